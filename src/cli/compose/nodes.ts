import { join } from 'node:path';
import type { Component } from '../../base/component.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Pki } from '../../base/pki.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '../../node-agent/agent.ts';
import { createAgentGroup } from '../../node-agent/agent-group.ts';
import { createConfigSource } from '../../node-agent/config-source.ts';
import type { PodIsolation } from '../../node-agent/container-runtime.ts';
import { createKubeletApi } from '../../node-agent/kubelet-api.ts';
import { createKubeletMetrics, type KubeletMetrics } from '../../node-agent/kubelet-metrics.ts';
import { type MachineFacts, readMachineFacts } from '../../node-agent/machine-facts.ts';
import { capacityOf } from '../../node-agent/node-object.ts';
import { createPodQueue, type PodQueue } from '../../node-agent/pod-queue.ts';
import { createSharedPodSources } from '../../node-agent/pod-source.ts';
import { runtimeDirectory } from '../../node-agent/process/leftover-pods.ts';
import { openProcessHost } from '../../node-agent/process/process-host.ts';
import { openProcessRuntime } from '../../node-agent/process/process-runtime.ts';
import { createSimulatedHost } from '../../node-agent/simulated/simulated-host.ts';
import { createServiceProxy } from '../../proxy/service-proxy.ts';
import type { EventQueue } from '../../reconcile/event-recorder.ts';
import type { StepLog } from '../../reconcile/step-log.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import type { Network } from '../data-directory.ts';
import { kubeletPort, maxStopGraceMs, realNodes } from './node-settings.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

/** Nodes that run, and the proxy that makes Services reachable for their pods. */
export interface Nodes extends Running {
  /** For people: `node-a, node-b   (processes on this machine, …)`. */
  readonly text: string;
  /** The isolation of pods from each other; undefined without real nodes. */
  readonly isolation: PodIsolation | undefined;
}

export interface NodesOptions extends Surroundings {
  readonly configuration: Configuration;
  readonly network: Network;
  readonly pki: Pki;
  readonly informers: InformerSet;
  readonly events: EventQueue;
  readonly steps: StepLog;
  readonly metrics: Metrics;
  /** A client of the user `name`. */
  clientFor(name: string, groups: readonly string[]): Client;
}

/** Starts nodes whose pods are processes of this machine, simulated ones, and the proxy for both. */
export function startNodes(options: NodesOptions): Promise<Nodes> {
  const { configuration, version, clock, log, informers, events, metrics, network } = options;
  return startPart(options, async ({ start }) => {
    const queue = createPodQueue({ clock, log });
    const agents = await createAgents(options, queue);
    const isReal = configuration.runtime === 'process';
    const real = isReal ? await openRealNodes(options, agents) : undefined;
    const simulated = createSimulatedHost({ clock, version });
    const pretended = Array.from({ length: configuration.simulatedNodes }, (_, index) =>
      agents.create(`sim-${index}`, { runtime: simulated.createRuntime(), address: { internalIP: '', kubeletPort: 0 }, simulated: true }),
    );
    // Beside the nodes' own addresses, which change from cluster to cluster, node ports are open where everybody looks first.
    const nodeAddresses = [
      ...(isReal ? realNodes.map((nodeName, index) => ({ nodeName, address: network.nodeAddress(index) })) : []),
      { address: '127.0.0.1' },
    ];
    await start([
      queue,
      ...(real?.parts ?? []),
      ...(pretended.length > 0 ? [createAgentGroup({ name: 'simulated-nodes', agents: pretended })] : []),
      createServiceProxy({ informers, nodeAddresses, clock, log, recorder: events.recorder('kube-proxy'), metrics }),
    ]);
    return { isolation: real?.isolation, text: nodesText(configuration, real?.isolation) };
  });
}

/** The agents of one process, with the parts that they share. */
interface Agents {
  readonly machine: MachineFacts;
  readonly metrics: KubeletMetrics;
  create(nodeName: string, own: Pick<NodeAgentOptions, 'runtime' | 'address' | 'simulated' | 'capacity'>): NodeAgent;
}

async function createAgents(options: NodesOptions, queue: PodQueue): Promise<Agents> {
  const { configuration, log, version, clock, random, informers, events, steps, clientFor } = options;
  const files = filesOf(configuration.dataDirectory);
  const machine = await readMachineFacts();
  const metrics = createKubeletMetrics(options.metrics);
  const podsOf = createSharedPodSources(informers);
  const config = createConfigSource(informers);
  return {
    machine,
    metrics,
    create: (nodeName, own) =>
      createNodeAgent({
        ...own,
        nodeName,
        client: clientFor(`system:node:${nodeName}`, ['system:nodes', 'system:authenticated']),
        pods: podsOf(nodeName),
        config,
        queue,
        clock,
        log,
        random,
        recorder: events.recorder('kubelet', nodeName),
        steps,
        metrics,
        machine,
        kubeletVersion: `v1.36.0+midship.${version}`,
        directory: join(files.pods, nodeName),
        logDirectory: join(files.logs, 'pods'),
        hostPaths: { allowed: configuration.pods.allowedHostPaths, refused: [configuration.dataDirectory] },
      }),
  };
}

interface RealNodes {
  readonly parts: readonly Component[];
  readonly isolation: PodIsolation | undefined;
}

/** Opens the nodes whose pods are processes of this machine, and the kubelet API of each. */
async function openRealNodes(options: NodesOptions, agents: Agents): Promise<RealNodes> {
  const { configuration, version, clock, log, network, pki, metrics } = options;
  const files = filesOf(configuration.dataDirectory);
  const { machine } = agents;
  // The real nodes share one machine; each may promise its part only.
  const capacity = capacityOf({
    ...machine,
    cpus: Math.max(1, Math.floor(machine.cpus / realNodes.length)),
    memoryKiB: Math.floor(machine.memoryKiB / realNodes.length),
  });
  const host = await openProcessHost({
    nodePath: process.execPath,
    searchPath: process.env.PATH ?? '',
    insecurePlainPods: configuration.pods.insecurePlainPods,
    hidden: [configuration.dataDirectory],
  });
  const parts: Component[] = [];
  let isolation: PodIsolation | undefined;
  for (const [index, nodeName] of realNodes.entries()) {
    const internalIP = network.nodeAddress(index);
    const runtime = await openProcessRuntime({
      host,
      directory: runtimeDirectory(files.pods, nodeName),
      podCidr: network.podCidr(index),
      version,
      clock,
      log,
    });
    isolation = runtime.isolation;
    const agent = agents.create(nodeName, { runtime, address: { internalIP, kubeletPort }, capacity });
    const tls = await pki.serverCertificate({
      name: `kubelet-${nodeName}`,
      commonName: `system:node:${nodeName}`,
      hosts: [internalIP, nodeName],
    });
    parts.push(
      haltingPods(agent),
      createKubeletApi({
        agent,
        runtime,
        address: internalIP,
        port: kubeletPort,
        tls,
        caCertificate: pki.caCertificate,
        metrics: agents.metrics,
        metricsText: () => metrics.text(),
        clock,
        log,
      }),
    );
  }
  return { parts, isolation };
}

/** Stopping the cluster ends its pods; they stay in the API and run again at the next start. */
const haltingPods = (agent: NodeAgent): Component => ({
  name: agent.name,
  start: (options) => agent.start(options),
  async stop() {
    await agent.stop();
    await agent.haltPods(maxStopGraceMs);
  },
});

/** `node-a, node-b (processes on this machine, …), 3 simulated` */
function nodesText({ simulatedNodes }: Configuration, isolation: PodIsolation | undefined): string {
  const real = isolation === undefined ? '' : `${realNodes.join(', ')}   (processes on this machine, ${isolation.summary})`;
  const simulated = simulatedNodes === 0 ? '' : `${simulatedNodes} simulated`;
  return [real, simulated].filter((text) => text !== '').join(', ') || 'none';
}
