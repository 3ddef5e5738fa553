import { join, resolve } from 'node:path';
import { nodes } from '../../api/core/v1/node.ts';
import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { labels as knownLabels } from '../../api/well-known.ts';
import type { Component } from '../../base/component.ts';
import { invariant } from '../../base/invariant.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { LiveKeyPair, Pki } from '../../base/pki.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createPolicyEnforcer, sendsPolicies } from '../../network-policy/enforcer.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '../../node-agent/agent.ts';
import { createAgentGroup } from '../../node-agent/agent-group.ts';
import type { ConfigSource } from '../../node-agent/config-source.ts';
import type { ContainerRuntime, PodIsolation } from '../../node-agent/container-runtime.ts';
import { waitForPodRange } from '../../node-agent/join/pod-range.ts';
import { createKubeletApi } from '../../node-agent/kubelet-api.ts';
import { createKubeletMetrics, type KubeletMetrics } from '../../node-agent/kubelet-metrics.ts';
import { type MachineFacts, readMachineFacts } from '../../node-agent/machine-facts.ts';
import { isMachineStopping } from '../../node-agent/machine-shutdown.ts';
import { createAnnouncedAddresses } from '../../node-agent/network/announced-addresses.ts';
import { createHostRoutes, podMtuOf } from '../../node-agent/network/host-routes.ts';
import { createIpCommands } from '../../node-agent/network/ip-commands.ts';
import { enforcePolicies } from '../../node-agent/network/policed-runtime.ts';
import { ensureWireguard, openWireguardKey, WireguardError, type WireguardKey } from '../../node-agent/network/wireguard.ts';
import { capacityOf } from '../../node-agent/node-object.ts';
import { createPodEndpoints } from '../../node-agent/pod-endpoints.ts';
import { createPodQueue, type PodQueue } from '../../node-agent/pod-queue.ts';
import type { PodSource } from '../../node-agent/pod-source.ts';
import { runtimeDirectory } from '../../node-agent/process/leftover-pods.ts';
import { openProcessHost } from '../../node-agent/process/process-host.ts';
import { openProcessRuntime } from '../../node-agent/process/process-runtime.ts';
import { createSimulatedHost } from '../../node-agent/simulated/simulated-host.ts';
import { createStaticPods } from '../../node-agent/static-pods/static-pods.ts';
import type { NodeStorage } from '../../node-agent/volume-storage.ts';
import type { HostPaths } from '../../node-agent/volumes.ts';
import { createServiceProxy, type ServiceProxyOptions } from '../../proxy/service-proxy.ts';
import type { EventQueue } from '../../reconcile/event-recorder.ts';
import type { StepLog } from '../../reconcile/step-log.ts';
import { type Configuration, filesOf, type NodeSettings } from '../configuration.ts';
import type { Network } from '../data-directory.ts';
import { Failure } from '../failure.ts';
import { publishClusterDns } from './cluster-dns-service.ts';
import { kubeletPort, maxStopGraceMs, realNodes } from './node-settings.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

/** Nodes that run, and the proxy that makes Services reachable for their pods. */
export interface Nodes extends Running {
  /** For people: `node-a, node-b   (processes on this machine, …)`. */
  readonly text: string;
  /** The isolation of pods from each other; undefined without real nodes. */
  readonly isolation: PodIsolation | undefined;
  /** Nodes whose pods run on this machine, each with a client of its rights. */
  readonly real: readonly { readonly name: string; readonly client: Client }[];
}

export interface NodesOptions extends Surroundings {
  readonly configuration: Pick<Configuration, 'dataDirectory' | 'runtime' | 'simulatedNodes' | 'pods' | 'machines'>;
  readonly network: Network;
  readonly kubeletTls: KubeletTls;
  /** The pods of a node. */
  podsOf(nodeName: string): PodSource;
  readonly config: ConfigSource;
  readonly informers: InformerSet;
  readonly events: EventQueue;
  readonly steps: StepLog;
  readonly metrics: Metrics;
  /** With the rights of the API server itself, for what a node may not do. Absent on a machine that joined. */
  readonly ownClient?: Client;
  /** A client of the user `name`. */
  clientFor(name: string, groups: readonly string[]): Client;
}

/** The certificates of kubelet APIs. */
export interface KubeletTls {
  /** PEM: who calls has a certificate of this authority. */
  readonly caCertificate: string;
  /** The Node is in the API, with this address. */
  certificateFor(node: { readonly nodeName: string; readonly address: string }): Promise<LiveKeyPair>;
}

/** Starts nodes whose pods are processes of this machine, simulated ones, and the proxy for both. */
export function startNodes(options: NodesOptions): Promise<Nodes> {
  const { configuration, version, clock, log, informers, events, metrics, network } = options;
  return startPart(options, async ({ start, onClose }) => {
    const queue = createPodQueue({ clock, log });
    const agents = await createAgents(options, queue);
    const real = await openRealNodes(options, agents, onClose);
    const simulated = createSimulatedHost({ clock, version });
    const common = {
      address: { internalIP: '', kubeletPort: 0 },
      capacity: capacityOf(agents.machine),
      simulated: true,
      stopping: new AbortController(),
    };
    const pretended = Array.from({ length: configuration.simulatedNodes }, (_, index) =>
      agents.create(`sim-${index}`, { ...common, runtime: simulated.createRuntime() }),
    );
    // Beside the nodes' own addresses, which change from cluster to cluster, node ports are open where everybody looks first.
    const nodeAddresses = real.proxy?.nodeAddresses ?? [
      ...real.names.map((nodeName, index) => ({ nodeName, address: network.nodeAddress(index) })),
      { address: '127.0.0.1' },
    ];
    await start([
      queue,
      ...real.parts,
      ...(pretended.length > 0 ? [createAgentGroup({ name: 'simulated-nodes', agents: pretended })] : []),
      createServiceProxy({
        informers,
        nodeAddresses,
        ownAddresses: [...real.names.map((_, index) => network.nodeAddress(index)), configuration.machines?.externalAddress ?? []].flat(),
        servedElsewhere: real.servedElsewhere,
        ...(real.proxy?.createBackend === undefined ? {} : { createBackend: real.proxy.createBackend }),
        clock,
        log,
        recorder: events.recorder('kube-proxy'),
        metrics,
      }),
    ]);
    // Before anything ends, and in a time of its own.
    onClose(async () => real.endForShutdown?.());
    return {
      isolation: real.isolation,
      real: real.names.map((name) => ({ name, client: nodeClient(options, name) })),
      text: nodesText(configuration, real),
    };
  });
}

/** The agents of one process, with the parts that they share. */
interface Agents {
  readonly machine: MachineFacts;
  readonly metrics: KubeletMetrics;
  create(nodeName: string, own: OwnOptions): NodeAgent;
}

type OwnOptions = Pick<
  NodeAgentOptions,
  | 'runtime'
  | 'address'
  | 'simulated'
  | 'stopping'
  | 'awaitsCloud'
  | 'capacity'
  | 'labels'
  | 'taints'
  | 'dns'
  | 'problems'
  | 'storage'
  | 'eviction'
  | 'measures'
  | 'kubeletDirectory'
> &
  Partial<Pick<NodeAgentOptions, 'client' | 'pods'>>;

async function createAgents(options: NodesOptions, queue: PodQueue): Promise<Agents> {
  const { configuration, log, version, clock, random, events, steps, podsOf, config } = options;
  const files = filesOf(configuration.dataDirectory);
  const machine = await readMachineFacts(configuration.dataDirectory);
  const metrics = createKubeletMetrics(options.metrics);
  const endpoints = createPodEndpoints(options.informers, clock);
  return {
    machine,
    metrics,
    create: (nodeName, own) =>
      createNodeAgent({
        client: nodeClient(options, nodeName),
        pods: podsOf(nodeName),
        ...own,
        nodeName,
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
        endpoints,
        hostPaths: hostPathsOf(configuration),
      }),
  };
}

/** A flag that gives containers the whole machine, as `kubectl debug node` needs it, gives them the data of this cluster too. */
function hostPathsOf({ runtime, pods, dataDirectory }: NodesOptions['configuration']): HostPaths {
  const hasAll = runtime === 'containerd' && pods.allowedHostPaths.includes('/');
  // Drivers of volumes work there. A flag has to name it, since the volumes of all pods are in it.
  const kubelet = filesOf(resolve(dataDirectory)).kubelet;
  const exempt = runtime === 'containerd' ? pods.allowedHostPaths.filter((path) => `${path}/`.startsWith(`${kubelet}/`)) : [];
  return { allowed: pods.allowedHostPaths, refused: hasAll ? [] : [dataDirectory], exempt };
}

const nodeClient = ({ clientFor }: NodesOptions, nodeName: string): Client =>
  clientFor(`system:node:${nodeName}`, ['system:nodes', 'system:authenticated']);

interface RealNodes {
  readonly names: readonly string[];
  readonly parts: readonly Component[];
  readonly isolation: PodIsolation | undefined;
  /** Keys of Services whose addresses one of the parts serves itself. */
  readonly servedElsewhere: readonly string[];
  /** Ends the pods when the machine goes down, and does nothing at another stop. */
  readonly endForShutdown?: () => Promise<void>;
  /** Absent: the proxy of nodes whose pods are processes. */
  readonly proxy?: Pick<ServiceProxyOptions, 'nodeAddresses' | 'createBackend'>;
  /** The way their pods run, for people. */
  readonly text: string;
}

type OnClose = (close: () => Promise<void>) => void;

async function openRealNodes(options: NodesOptions, agents: Agents, onClose: OnClose): Promise<RealNodes> {
  switch (options.configuration.runtime) {
    case 'process':
      return openProcessNodes(options, agents);
    case 'containerd':
      return openContainers(options, agents, onClose);
    case 'simulated':
      if (options.network.kind === 'machines' && options.ownClient !== undefined) {
        // Machines that join serve it themselves, and start with its address.
        await publishClusterDns(options.ownClient, options.network);
      }
      return { names: [], parts: [], isolation: undefined, servedElsewhere: [], text: '' };
  }
}

/** Opens the node whose pods are containers. */
async function openContainers(options: NodesOptions, agents: Agents, onClose: OnClose): Promise<RealNodes> {
  const { configuration, clock, log, network, signal } = options;
  // Only this runtime needs gRPC and the code behind it.
  const { containerNodeName, openContainerNode, readRegistries } = await import('./container-node.ts');
  const { dnsServiceKey, openClusterDns } = await import('./cluster-dns.ts');
  const shutdown = configuration.machines?.shutdown;
  const { nodeName, labels, taints, externalAddress, manifestDirectory }: Omit<NodeSettings, 'shutdown'> = configuration.machines ?? {
    nodeName: containerNodeName,
    labels: {},
    taints: [],
  };
  const client = nodeClient(options, nodeName);
  const dns = await openClusterDns({ ...options, client, resolverFile: configuration.pods.resolverFile });
  const { proxy, policyTable, problems, imageSpace, connectPods, close, ...containers } = await openContainerNode({
    dataDirectory: configuration.dataDirectory,
    nodeName,
    network,
    registries: await readRegistries(configuration.pods.registriesFile),
    runtimeSocket: configuration.pods.runtimeSocket,
    clock,
    log,
  });
  onClose(close);
  const policies =
    policyTable === undefined || !(await sendsPolicies({ client, nodeName, table: policyTable, log, signal }))
      ? undefined
      : createPolicyEnforcer({
          nodeName,
          table: policyTable,
          informers: options.informers,
          listPods: () => containers.runtime.list(),
          clock,
          log,
        });
  const runtime = policies === undefined ? containers.runtime : enforcePolicies(containers.runtime, policies);
  const address = {
    internalIP: network.nodeAddress(0),
    ...(externalAddress === undefined ? {} : { externalIP: externalAddress }),
    kubeletPort,
  };
  const staticPods = createStaticPods({
    directory: manifestDirectory ?? filesOf(configuration.dataDirectory).manifests,
    nodeName,
    pods: options.podsOf(nodeName),
    client,
    clock,
    log,
    recorder: options.events.recorder('kubelet', nodeName),
  });
  const agent = agents.create(nodeName, {
    client: staticPods.client,
    pods: staticPods.pods,
    runtime,
    address,
    labels: {
      ...labels,
      'midship.dev/service-proxy': proxy.mode,
      [knownLabels.networkPolicy]: policies === undefined ? 'none' : 'nftables',
    },
    taints,
    awaitsCloud: configuration.machines?.awaitsCloud ?? false,
    dns: dns.pods,
    problems,
    storage: storageOf(options, nodeName),
    ...(configuration.machines?.eviction === undefined ? {} : { eviction: configuration.machines.eviction }),
    measures: { imagefs: imageSpace },
    kubeletDirectory: filesOf(resolve(configuration.dataDirectory)).kubelet,
  });
  let podCidr = network.podCidr(0);
  if (podCidr === undefined) {
    // The cluster gives ranges and certificates to Nodes that it knows.
    await agent.register(signal);
    await options.ownClient?.patch(nodes, { name: nodeName }, { type: 'merge', body: controlPlaneRole }, { signal });
    podCidr = await waitForPodRange({ client, nodeName, clock, log, signal });
  }
  const nodeAddress = network.nodeAddress(0);
  const backend = configuration.machines?.networkBackend;
  const key = backend === 'wireguard' ? await openWireguard(filesOf(configuration.dataDirectory).wireguardKey) : undefined;
  await connectPods(podCidr, backend === undefined ? undefined : await podMtuOf(backend, nodeAddress));
  const parts = [
    dns.createServer(podCidr),
    ...(backend === undefined
      ? []
      : [
          createHostRoutes({
            nodeName,
            nodeAddress,
            podCidr,
            backend,
            ...(key === undefined ? {} : { wireguard: { key, client } }),
            informers: options.informers,
            clock,
            log,
          }),
          createAnnouncedAddresses({
            nodeName,
            nodeAddress,
            informers: options.informers,
            recorder: options.events.recorder('midship-load-balancer', nodeName),
            clock,
            log,
          }),
        ]),
    // It starts before the agent, and ends after the pods.
    ...(policies === undefined ? [] : [policies]),
    // Before the agent ends what is no pod of the node.
    staticPods,
    // A machine may go without its cluster, whose other parts go on.
    haltingPods(agent, { isSeen: configuration.machines !== undefined }),
    await kubeletApiOf(options, agents, { agent, runtime, address: address.internalIP }),
  ];
  return {
    names: [nodeName],
    parts,
    isolation: undefined,
    servedElsewhere: [dnsServiceKey],
    async endForShutdown() {
      if (shutdown !== undefined && shutdown.allMs > 0 && (await isMachineStopping(process.env.PATH ?? ''))) await agent.shutDown(shutdown);
    },
    proxy: {
      nodeAddresses: proxy.nodeAddresses,
      ...(proxy.createBackend === undefined ? {} : { createBackend: proxy.createBackend(podCidr) }),
    },
    text: `containers, ${runtime.version}, Services by ${proxy.mode}`,
  };
}

/** @throws Failure where this machine has no WireGuard */
async function openWireguard(keyFile: string): Promise<WireguardKey> {
  try {
    await ensureWireguard(createIpCommands());
  } catch (err) {
    if (!(err instanceof WireguardError)) throw err;
    throw new Failure('--network-backend wireguard cannot be used on this machine', { why: `${err.message}.`, fix: err.fix, cause: err });
  }
  return openWireguardKey(keyFile);
}

/** By it kubectl shows the role of the node; no node may give itself one. */
const controlPlaneRole = { metadata: { labels: { 'node-role.kubernetes.io/control-plane': 'true' } } };

/** Opens the nodes whose pods are processes of this machine, and the kubelet API of each. */
async function openProcessNodes(options: NodesOptions, agents: Agents): Promise<RealNodes> {
  const { configuration, version, clock, log, network } = options;
  const files = filesOf(configuration.dataDirectory);
  const { machine } = agents;
  // The real nodes share one machine; each may promise its part only.
  const capacity = capacityOf({
    ...machine,
    cpus: Math.max(1, Math.floor(machine.cpus / realNodes.length)),
    memoryKiB: Math.floor(machine.memoryKiB / realNodes.length),
    diskKiB: Math.floor(machine.diskKiB / realNodes.length),
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
    const podCidr = network.podCidr(index);
    invariant(podCidr, 'pods that are processes have addresses of this machine');
    const runtime = await openProcessRuntime({
      host,
      directory: runtimeDirectory(files.pods, nodeName),
      podCidr,
      version,
      clock,
      log,
    });
    isolation = runtime.isolation;
    const storage = storageOf(options, nodeName);
    const agent = agents.create(nodeName, { runtime, address: { internalIP, kubeletPort }, capacity, storage });
    parts.push(haltingPods(agent, { isSeen: false }), await kubeletApiOf(options, agents, { agent, runtime, address: internalIP }));
  }
  return { names: realNodes, parts, isolation, servedElsewhere: [], text: `processes on this machine, ${isolation?.summary}` };
}

/** A machine that joined may follow the volumes of its own node alone; in the process of the control plane all are in memory. */
function storageOf({ configuration, informers, ownClient }: NodesOptions, nodeName: string): NodeStorage {
  const own = ownClient === undefined ? { labelSelector: `${knownLabels.storageNode}=${nodeName}` } : {};
  return { directory: filesOf(resolve(configuration.dataDirectory)).storage, volumes: informers.get(persistentVolumes, own) };
}

interface KubeletApiOptions {
  readonly agent: NodeAgent;
  readonly runtime: ContainerRuntime;
  readonly address: string;
}

async function kubeletApiOf(
  { kubeletTls, metrics, clock, log }: NodesOptions,
  agents: Agents,
  { agent, runtime, address }: KubeletApiOptions,
): Promise<Component> {
  const { nodeName } = agent;
  const tls = await kubeletTls.certificateFor({ nodeName, address });
  return createKubeletApi({
    agent,
    runtime,
    address,
    port: kubeletPort,
    tls,
    caCertificate: kubeletTls.caCertificate,
    metrics: agents.metrics,
    metricsText: () => metrics.text(),
    clock,
    log,
  });
}

/**
 * Stopping the cluster ends its pods; they stay in the API and run again at the next start.
 *
 * @param isSeen  others see the Node meanwhile, so it says that it stops
 */
const haltingPods = (agent: NodeAgent, { isSeen }: { readonly isSeen: boolean }): Component => ({
  name: agent.name,
  start: (options) => agent.start(options),
  async stop() {
    if (isSeen) await agent.leave();
    await agent.stop();
    await agent.haltPods(maxStopGraceMs);
  },
});

/** `node-a, node-b (processes on this machine, …), 3 simulated` */
function nodesText({ simulatedNodes }: NodesOptions['configuration'], { names, text }: RealNodes): string {
  const real = names.length === 0 ? '' : `${names.join(', ')}   (${text})`;
  const simulated = simulatedNodes === 0 ? '' : `${simulatedNodes} simulated`;
  return [real, simulated].filter((each) => each !== '').join(', ') || 'none';
}

/** Certificates that the authority of this process signs. */
export const ownKubeletTls = (pki: Pki): KubeletTls => ({
  caCertificate: pki.caCertificate,
  certificateFor: ({ nodeName, address }) =>
    pki.serverCertificate({ name: `kubelet-${nodeName}`, commonName: `system:node:${nodeName}`, hosts: [address, nodeName] }),
});
