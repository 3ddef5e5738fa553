import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { events } from '../../src/api/core/v1/event.ts';
import { persistentVolumes } from '../../src/api/core/v1/persistent-volume.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { labels } from '../../src/api/well-known.ts';
import type { KubeApiOptions } from '../../src/apiserver/create-kube-api.ts';
import type { ApiServerOptions } from '../../src/apiserver/server.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import type { Client, New } from '../../src/client/client.ts';
import { type Guard, guardedClient } from '../../src/client/guarded-client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { isNotFound } from '../../src/machinery/status-error.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from '../../src/node-agent/agent.ts';
import { createConfigSource } from '../../src/node-agent/config-source.ts';
import type { ContainerRuntime } from '../../src/node-agent/container-runtime.ts';
import { createKubeletMetrics } from '../../src/node-agent/kubelet-metrics.ts';
import { readMachineFacts } from '../../src/node-agent/machine-facts.ts';
import { createPodEndpoints } from '../../src/node-agent/pod-endpoints.ts';
import { createPodQueue } from '../../src/node-agent/pod-queue.ts';
import { createPodSource, createSharedPodSources } from '../../src/node-agent/pod-source.ts';
import { openProcessHost, type ProcessHost, type ProcessHostOptions } from '../../src/node-agent/process/process-host.ts';
import { openProcessRuntime } from '../../src/node-agent/process/process-runtime.ts';
import { createStaticPods } from '../../src/node-agent/static-pods/static-pods.ts';
import { createWatchedConfigSource } from '../../src/node-agent/watched-config-source.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { startSeededApi, type TestApi } from './api.ts';
import { serveTestApi } from './api-server.ts';
import { until } from './until.ts';

/** The API on a memory store with one real node agent on the process runtime; pods are assigned to it by name. */
export interface TestNode {
  readonly client: Client;
  readonly directory: string;
  readonly agent: NodeAgent;
  readonly runtime: ContainerRuntime;
  readonly host: ProcessHost;
  /** Creates a pod on this node. */
  run(pod: TestPod): Promise<Pod>;
  get(name: string): Promise<Pod | undefined>;
  /** Waits for a state of the pod. */
  pod(name: string, what: string, condition: (pod: Pod) => boolean, timeoutMs?: number): Promise<Pod>;
  gone(name: string): Promise<void>;
  messagesOf(name: string): Promise<readonly string[]>;
  /** The agent dies without a word; its pods run on. `meanwhile` happens before a new one begins where it was. */
  crash(meanwhile?: () => Promise<unknown>): Promise<void>;
  stop(): Promise<void>;
}

type TestPod = Omit<Partial<Pod['spec']>, 'nodeName'> & { readonly name: string; readonly metadata?: Partial<Pod['metadata']> };

export const testNodeName = 'node-a';
const log = createLog({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });

export async function startTestNode(
  options: {
    /** The directory in which its data directory is made. */
    readonly parent?: string;
    /** Directories of the machine that pods may mount. */
    readonly allowedHostPaths?: readonly string[];
    /** Pods have the id of this process on the machine, as they have for whoever is not root. */
    readonly asUser?: boolean;
    readonly host?: Partial<ProcessHostOptions>;
    readonly agent?: Partial<NodeAgentOptions>;
    /** Directory with the manifests of static pods. */
    readonly manifests?: string;
    /** The node has volumes for claims, below `storage` of its directory. */
    readonly hasStorage?: boolean;
    readonly api?: Partial<KubeApiOptions>;
    /** The agent asks a server by HTTP, as one that joined, and not its own process. */
    readonly server?: Partial<ApiServerOptions>;
    /** The requests of the agent go through it. */
    readonly guard?: Guard;
  } = {},
): Promise<TestNode> {
  const directory = await mkdtemp(join(options.parent ?? tmpdir(), 'midship-node-'));
  const api = await startSeededApi(['default', 'kube-node-lease', 'kube-system'], options.api);
  const client = api.clientFor();
  const served = options.server === undefined ? undefined : await serveTestApi(api, options.server);
  const found = await openProcessHost({
    nodePath: process.execPath,
    searchPath: process.env.PATH ?? '',
    hidden: [directory],
    ...options.host,
  });
  const host =
    options.asUser === true && found.isolation.mode === 'namespaces'
      ? { ...found, isolation: { ...found.isolation, ids: undefined } }
      : found;
  const agentOptions = { hostPaths: { allowed: options.allowedHostPaths ?? [], refused: [directory] }, ...options.agent };
  const { manifests, hasStorage = false, guard } = options;
  const start = () => startAgent({ api, overHttp: served?.client, directory, host, changes: agentOptions, manifests, hasStorage, guard });
  let running = await start();

  const get = async (name: string): Promise<Pod | undefined> => {
    try {
      return await client.get(pods, { namespace: 'default', name });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  };

  return {
    client,
    directory,
    host,
    get agent() {
      return running.agent;
    },
    get runtime() {
      return running.runtime;
    },
    run({ name, metadata, containers = [], ...spec }) {
      const pod: New<Pod> = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default', ...metadata },
        spec: { containers, ...spec, nodeName: testNodeName },
      };
      return client.create(pods, pod);
    },
    get,
    async pod(name, what, condition, timeoutMs = 15_000) {
      let last: Pod | undefined;
      return until(
        async () => {
          last = await get(name);
          return last !== undefined && condition(last) ? last : undefined;
        },
        { timeoutMs, intervalMs: 10, what: () => `${what}: ${JSON.stringify(last?.status, null, 1)}` },
      );
    },
    async gone(name) {
      await until(async () => (await get(name)) === undefined, { timeoutMs: 15_000, intervalMs: 10, what: `end of pod ${name}` });
    },
    async messagesOf(name) {
      const { items } = await client.list(events, { namespace: 'default' });
      return items.filter(({ involvedObject }) => involvedObject.name === name).map(({ reason, message }) => `${reason}: ${message}`);
    },
    async crash(meanwhile) {
      await running.abandon();
      await meanwhile?.();
      running = await start();
    },
    async stop() {
      await running.agent.stop();
      await running.agent.haltPods(0);
      for (const { id } of await running.runtime.list()) await running.runtime.removePodSandbox(id);
      await running.abandon();
      await (served ?? api).stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

interface StartedAgentOptions {
  readonly api: TestApi;
  readonly overHttp: Client | undefined;
  readonly directory: string;
  readonly host: ProcessHost;
  readonly changes: Partial<NodeAgentOptions>;
  readonly manifests: string | undefined;
  readonly hasStorage: boolean;
  readonly guard: Guard | undefined;
}

async function startAgent({ api, overHttp, directory, host, changes, manifests, hasStorage, guard }: StartedAgentOptions) {
  const clock = systemClock;
  const own = overHttp ?? api.clientFor({ name: `system:node:${testNodeName}`, groups: ['system:masters'] }, 'kubelet/1');
  const client = guard === undefined ? own : guardedClient(own, guard);
  const abort = new AbortController();
  const { signal } = abort;
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  // With the rights of a node, and no more.
  const nodeClient = api.clientFor({ name: `system:node:${testNodeName}`, groups: ['system:nodes', 'system:authenticated'] }, 'kubelet/1');
  const ofNode = createInformerSet({ client: nodeClient, clock, log });
  const events = createEventQueue({ client, clock, log, metrics });
  const queue = createPodQueue({ clock, log });
  const runtime = await openProcessRuntime({
    host,
    directory: join(directory, 'run'),
    podCidr: '127.64.16.0/24',
    version: '0.1.0',
    clock,
    log,
  });
  const assigned = overHttp === undefined ? createSharedPodSources(informers)(testNodeName) : createPodSource(informers, testNodeName);
  const watched = overHttp === undefined ? undefined : createWatchedConfigSource({ client, informers, clock, log, random: () => 0.5 });
  const staticPods =
    manifests === undefined
      ? undefined
      : createStaticPods({
          directory: manifests,
          nodeName: testNodeName,
          pods: assigned,
          client: nodeClient,
          clock,
          log,
          recorder: events.recorder('kubelet', testNodeName),
        });
  const agent = createNodeAgent({
    nodeName: testNodeName,
    address: { internalIP: '127.64.16.1', kubeletPort: 0 },
    runtime,
    client: staticPods?.client ?? (hasStorage ? nodeClient : client),
    pods: staticPods?.pods ?? assigned,
    config: watched ?? createConfigSource(informers),
    endpoints: createPodEndpoints(informers, clock),
    queue,
    clock,
    log,
    random: () => 0.5,
    recorder: events.recorder('kubelet', testNodeName),
    steps: createStepLog({ clock, log, metrics }),
    metrics: createKubeletMetrics(metrics),
    machine: await readMachineFacts('/'),
    kubeletVersion: 'v1.36.0+midship.0.1.0',
    directory,
    logDirectory: join(directory, 'logs'),
    ...(hasStorage
      ? {
          storage: {
            directory: join(directory, 'storage'),
            volumes: ofNode.get(persistentVolumes, { labelSelector: `${labels.storageNode}=${testNodeName}` }),
          },
        }
      : {}),
    ...changes,
  });
  informers.start({ signal });
  ofNode.start({ signal });
  await events.start({ signal });
  await queue.start({ signal });
  await staticPods?.start({ signal });
  await agent.start({ signal });
  return {
    agent,
    runtime,
    async abandon() {
      await agent.stop();
      await staticPods?.stop();
      await queue.stop();
      await events.stop();
      await runtime.close();
      watched?.stop();
      abort.abort(new Error('the agent is gone'));
    },
  };
}
