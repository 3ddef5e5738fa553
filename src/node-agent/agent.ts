import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Node, Taint } from '../api/core/v1/node.ts';
import { defaultEviction, type EvictionSettings } from '../api/eviction-settings.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import type { AgentContext, NodeDns } from './agent-context.ts';
import type { ConfigSource } from './config-source.ts';
import { containerLines, countsOf, createMeasurements, type PodOnNode } from './container-metrics.ts';
import type { ContainerRuntime } from './container-runtime.ts';
import { createNodeCsi } from './csi/node-csi.ts';
import type { VolumeStats } from './csi/volume-stats.ts';
import { measureFileSystem } from './disk-pressure.ts';
import { createHeartbeat } from './heartbeat.ts';
import { createImageVolumes } from './image-volumes.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';
import type { MachineFacts } from './machine-facts.ts';
import { endPodsInOrder, type ShutdownPeriods } from './machine-shutdown.ts';
import { allocatableOf, capacityOf } from './node-object.ts';
import { createNodePressure, measureMemory, measureProcesses, type NodeMeasures, type NodePressure, noPressure } from './node-pressure.ts';
import { createNodeUpkeep } from './node-upkeep.ts';
import type { PodEndpoints } from './pod-endpoints.ts';
import type { PodQueue } from './pod-queue.ts';
import type { PodSource } from './pod-source.ts';
import { createPodWorkers } from './pod-workers.ts';
import { createTokenSource } from './service-account-tokens.ts';
import { createClaimedVolumes } from './volume-claims.ts';
import { createLocalPathStorage, type NodeStorage } from './volume-storage.ts';
import { createVolumes, type HostPaths } from './volumes.ts';

export interface NodeAgentOptions {
  readonly nodeName: string;
  /** Addresses of the node: its InternalIP, the port of its kubelet API (0: none), and the address for those outside. */
  readonly address: { readonly internalIP: string; readonly kubeletPort: number; readonly externalIP?: string };
  readonly runtime: ContainerRuntime;
  readonly client: Client;
  readonly pods: PodSource;
  readonly config: ConfigSource;
  readonly queue: PodQueue;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  /** With the node's name as host. */
  readonly recorder: EventRecorder;
  readonly steps: StepLog;
  readonly metrics: KubeletMetrics;
  readonly machine: MachineFacts;
  /** `v1.36.0+midship.0.1.0` */
  readonly kubeletVersion: string;
  /** Holds the pods' volumes; this agent's alone. */
  readonly directory: string;
  /** Holds the pods' logs. */
  readonly logDirectory: string;
  /** Paths of the machine that pods may mount; absent: none. */
  readonly hostPaths?: HostPaths;
  /** Absent: the node makes no volumes for claims. */
  readonly storage?: NodeStorage;
  /**
   * The directory that drivers of volumes (CSI) know as that of the kubelet. Their sockets are in `plugins_registry`, their mounts in
   * `plugins` and `pods`. Absent: pods get no volumes of drivers.
   */
  readonly kubeletDirectory?: string;
  /** Measurements of what the node has left; by default the machine, and no images. `nodefs` is the file system of `directory`. */
  readonly measures?: Partial<NodeMeasures>;
  /** The amounts at which the node is short of something; defaults to a kubelet's. */
  readonly eviction?: EvictionSettings;
  /** Absent: pods resolve names as the machine does. */
  readonly dns?: NodeDns;
  /** Defaults to the machine's. */
  readonly capacity?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly Taint[];
  /** Marks the node, by label and taint, as one whose pods are pretended. */
  readonly simulated?: boolean;
  /** A new Node waits for the cloud provider of the cluster. */
  readonly awaitsCloud?: boolean;
  /** Things that a person has to repair on the machine, which became clear before the start: Events on the Node. */
  readonly problems?: readonly NodeProblem[];
  /**
   * A deleted pod gets its SIGTERM when no Service sends connections to it any more, within its grace period. Upstream leaves this race to
   * the pod's preStop hook. Absent: it gets the signal at once.
   */
  readonly endpoints?: PodEndpoints;
}

/** Runs the pods that are assigned to one node. */
export interface NodeAgent extends Component {
  readonly nodeName: string;
  /** The pods of this node as it knows them, with what the runtime has of each. */
  pods(): Iterable<PodOnNode>;
  podNamed(namespace: string, name: string): PodOnNode | undefined;
  /** Asks the drivers for the usage of their volumes. */
  volumeStats(): Promise<readonly VolumeStats[]>;
  /** Creates the Node, not ready yet: its part of the pods' addresses and its certificates need it. Optional, before `start`. */
  register(signal: AbortSignal): Promise<Node>;
  /** Ends the pods because the machine goes down: they fail, those that are critical last, and no further one begins. */
  shutDown(periods: ShutdownPeriods): Promise<void>;
  /**
   * Reports that the node is not ready, before its pods end. Otherwise Services would send connections to them until the node counts as
   * lost. The report takes 3 s at most. Call before `stop`.
   */
  leave(): Promise<void>;
  /**
   * Ends the programs of all pods, each within its grace period and at most `maxGraceMs`. The pods stay in the API and run again with the
   * next start. Call after `stop`. Without it they run on, and the next start adopts them.
   */
  haltPods(maxGraceMs: number): Promise<void>;
}

export interface NodeProblem {
  readonly reason: string;
  readonly message: string;
}

export function createNodeAgent(options: NodeAgentOptions): NodeAgent {
  const { nodeName, runtime, queue, clock, config, machine, log: parent } = options;
  const log = parent.child({ component: 'node-agent', node: nodeName });
  const capacity = options.capacity ?? capacityOf(machine);
  const { eviction = defaultEviction } = options;
  const allocatable = allocatableOf(capacity, eviction);
  const abort = new AbortController();
  const tokens = createTokenSource({ client: options.client, clock });
  const csi =
    options.kubeletDirectory === undefined || !runtime.runsPrograms
      ? undefined
      : createNodeCsi({
          directory: options.kubeletDirectory,
          nodeName,
          tokens,
          client: options.client,
          recorder: options.recorder,
          reportInUse: () => heartbeat.reportNow(),
          onRegistered: () => upkeep.renewWaiting(),
          clock,
          log,
          signal: abort.signal,
        });
  const volumes = createVolumes({
    directory: join(options.directory, 'pods'),
    config,
    tokens,
    ownerOf: (uid) => runtime.hostIdOf(uid),
    hostPaths: options.hostPaths ?? { allowed: [], refused: [] },
    claims: createClaimedVolumes({
      client: options.client,
      nodeName,
      storageDirectory: options.storage?.directory,
      ownerOf: (uid) => runtime.hostIdOf(uid),
    }),
    csi: csi?.volumes,
    images: runtime.images === undefined ? undefined : createImageVolumes(() => context),
    forContainers: runtime.hasContainers,
  });
  const unsubscribe: (() => void)[] = [];
  const shutdown = { isUnderWay: false };

  const pressure = runtime.runsPrograms ? createPressure(options, { eviction, log }) : noPressure;
  const context: AgentContext = {
    nodeName,
    hostIP: options.address.internalIP,
    allocatable,
    client: options.client,
    runtime,
    clock,
    log,
    recorder: options.recorder,
    steps: options.steps,
    metrics: options.metrics,
    config,
    volumes,
    logDirectory: options.logDirectory,
    dns: options.dns,
    endpoints: options.endpoints,
    shutdown,
    pressure,
    signal: abort.signal,
  };
  let isStarted = false;
  let isLeaving = false;
  const heartbeat = createHeartbeat({
    client: options.client,
    clock,
    log,
    random: options.random,
    describe: () => ({
      name: nodeName,
      ...options.address,
      capacity,
      allocatable,
      labels: options.labels ?? {},
      taints: options.taints ?? [],
      simulated: options.simulated ?? false,
      awaitsCloud: options.awaitsCloud ?? false,
      storageDirectory: options.storage?.directory,
      machine,
      kubeletVersion: options.kubeletVersion,
      runtimeVersion: runtime.version,
      isolation: runtime.isolation,
      volumesInUse: csi?.volumes.inUse(),
      pressures: pressure.conditions,
      conditions: runtime.conditions,
      notReady:
        shutdown.isUnderWay || isLeaving
          ? 'node is shutting down'
          : isStarted
            ? runtime.trouble
            : 'container runtime network not ready: NetworkReady=false',
    }),
  });

  const storage = options.storage === undefined ? undefined : createLocalPathStorage({ ...context, ...options.storage });
  const workers = createPodWorkers(context, queue);
  const upkeep = createNodeUpkeep({ context, workers, tokens, pressure, eviction, csi: csi?.volumes });

  const podsOnNode = (): readonly PodOnNode[] => workers.all().map(({ pod, sandbox }) => ({ pod, sandbox }));

  return {
    name: `node-agent ${nodeName}`,
    nodeName,
    pods: podsOnNode,
    volumeStats: async () => (await csi?.volumes.stats()) ?? [],
    register: (signal) => heartbeat.register(signal),
    podNamed(namespace, name) {
      return podsOnNode().find(({ pod: { metadata } }) => metadata.name === name && metadata.namespace === namespace);
    },

    async start({ signal }) {
      await options.pods.ready(signal);
      // Before any pod asks for a volume.
      await csi?.start({ signal });
      unsubscribe.push(runtime.onChange((uid) => queue.wake(uid)));
      if (runtime.runsPrograms) {
        const measurements = createMeasurements(context);
        measurements.renew();
        unsubscribe.push(
          options.metrics.addNode({
            name: nodeName,
            counts: () => countsOf(podsOnNode()),
            containerLines() {
              measurements.renew();
              return containerLines(nodeName, podsOnNode(), measurements.newest);
            },
          }),
          config.onChange((reference) => workers.onConfig(reference)),
        );
      }
      unsubscribe.push(options.pods.subscribe((change) => workers.onPod(change)));
      await upkeep.start();
      await storage?.start({ signal });
      // No pod has made it on a new machine, and its disk is measured now.
      await mkdir(options.directory, { recursive: true, mode: 0o700 });
      // The node's first report has the condition already.
      if (runtime.runsPrograms) await upkeep.lookAtPressure();
      upkeep.watchPressure();
      isStarted = true;
      // Last: with the node in the API pods are assigned to it.
      const node = await heartbeat.start(signal);
      upkeep.registered(node);
      await csi?.registered();
      if (runtime.runsPrograms) options.recorder.record(node, { type: 'Normal', reason: 'Starting', message: 'Starting kubelet.' });
      for (const problem of options.problems ?? []) options.recorder.record(node, { type: 'Warning', ...problem });
      const { isolation } = runtime;
      if (isolation !== undefined && !isolation.isolated) {
        options.recorder.record(node, { type: 'Warning', reason: isolation.reason, message: isolation.message });
      }
    },

    async stop() {
      if (abort.signal.aborted) return;
      abort.abort(new Error(`node agent ${nodeName} stops`));
      upkeep.stop();
      for (const remove of unsubscribe) remove();
      await heartbeat.stop();
      await csi?.stop();
      await storage?.stop();
      await workers.detach();
    },

    async shutDown(periods) {
      shutdown.isUnderWay = true;
      // The scheduler gives it no pods from now on.
      await heartbeat.reportNow().catch((err: unknown) => log.warn({ err }, 'Could not report that the node goes down'));
      await endPodsInOrder({ workers: workers.all(), periods, clock, log });
    },

    async leave() {
      isLeaving = true;
      await heartbeat.leave();
    },

    async haltPods(maxGraceMs) {
      await Promise.all(workers.all().map((worker) => worker.halt(maxGraceMs)));
    },
  };
}

/** In a function of its own: no closure of a node without programs holds it. */
function createPressure(
  { clock, directory, measures }: NodeAgentOptions,
  { eviction, log }: { readonly eviction: EvictionSettings; readonly log: Log },
): NodePressure {
  return createNodePressure({
    clock,
    settings: eviction,
    measures: { memory: measureMemory, nodefs: () => measureFileSystem(directory), pid: measureProcesses, ...measures },
    onProblem: (err, measure) => log.warn({ err, measure }, 'Could not measure a resource of the node'),
  });
}
