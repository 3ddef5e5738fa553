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
import { createNodeCsi, type NodeCsi } from './csi/node-csi.ts';
import type { VolumeStats } from './csi/volume-stats.ts';
import { measureFileSystem } from './disk-pressure.ts';
import { createHeartbeat, type Heartbeat } from './heartbeat.ts';
import { createImageVolumes } from './image-volumes.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';
import type { MachineFacts } from './machine-facts.ts';
import { endPodsInOrder, type ShutdownPeriods } from './machine-shutdown.ts';
import { allocatableOf, capacityOf, type NodeDescription } from './node-object.ts';
import { createNodePressure, measureMemory, measureProcesses, type NodeMeasures, type NodePressure, noPressure } from './node-pressure.ts';
import { createNodeUpkeep, type NodeUpkeep } from './node-upkeep.ts';
import type { PodEndpoints } from './pod-endpoints.ts';
import type { PodQueue } from './pod-queue.ts';
import type { PodSource } from './pod-source.ts';
import { createPodWorkers, type PodWorkers } from './pod-workers.ts';
import { createTokenSource, type TokenSource } from './service-account-tokens.ts';
import { createClaimedVolumes } from './volume-claims.ts';
import { createLocalPathStorage, type NodeStorage } from './volume-storage.ts';
import { createVolumes, type HostPaths, type Volumes } from './volumes.ts';

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
  /** Agents that stop together share it, since its signal takes 0.7 KiB. Absent: the agent has its own. */
  readonly stopping?: AbortController;
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

export const createNodeAgent = (options: NodeAgentOptions): NodeAgent => new Agent(options);

/** A class, as its parts are. A process may have thousands of simulated nodes, and a closure for each method would take 60 bytes. */
class Agent implements NodeAgent {
  readonly nodeName: string;
  readonly #options: NodeAgentOptions;
  readonly #capacity: Readonly<Record<string, string>>;
  readonly #abort: AbortController;
  readonly #shutdown = { isUnderWay: false };
  readonly #csi: NodeCsi | undefined;
  readonly #context: AgentContext;
  readonly #heartbeat: Heartbeat;
  readonly #storage: Component | undefined;
  readonly #workers: PodWorkers;
  readonly #upkeep: NodeUpkeep;
  #unsubscribe: readonly (() => void)[] = [];
  #isStarted = false;
  #isLeaving = false;
  #isStopped = false;

  constructor(options: NodeAgentOptions) {
    const { nodeName, runtime, client, clock, config, random } = options;
    const { eviction = defaultEviction, capacity = capacityOf(options.machine) } = options;
    this.nodeName = nodeName;
    this.#options = options;
    this.#capacity = capacity;
    this.#abort = options.stopping ?? new AbortController();
    const log = options.log.child({ component: 'node-agent', node: nodeName });
    const tokens = createTokenSource({ client, clock });
    this.#csi = this.#openCsi(tokens, log);
    const csi = this.#csi?.volumes;
    const pressure = runtime.runsPrograms ? createPressure(options, { eviction, log }) : noPressure;
    this.#context = {
      nodeName,
      hostIP: options.address.internalIP,
      allocatable: allocatableOf(capacity, eviction),
      client,
      runtime,
      clock,
      log,
      recorder: options.recorder,
      steps: options.steps,
      metrics: options.metrics,
      config,
      volumes: this.#openVolumes(tokens),
      logDirectory: options.logDirectory,
      dns: options.dns,
      endpoints: options.endpoints,
      shutdown: this.#shutdown,
      pressure,
      signal: this.#abort.signal,
    };
    this.#heartbeat = createHeartbeat({ client, clock, log, random, describe: () => this.#describe() });
    this.#storage = options.storage === undefined ? undefined : createLocalPathStorage({ ...this.#context, ...options.storage });
    this.#workers = createPodWorkers(this.#context, options.queue);
    this.#upkeep = createNodeUpkeep({ context: this.#context, workers: this.#workers, tokens, pressure, eviction, csi });
  }

  get name(): string {
    return `node-agent ${this.nodeName}`;
  }

  pods(): readonly PodOnNode[] {
    return this.#workers.all().map(({ pod, sandbox }) => ({ pod, sandbox }));
  }

  podNamed(namespace: string, name: string): PodOnNode | undefined {
    return this.pods().find(({ pod: { metadata } }) => metadata.name === name && metadata.namespace === namespace);
  }

  async volumeStats(): Promise<readonly VolumeStats[]> {
    return (await this.#csi?.volumes.stats()) ?? [];
  }

  register(signal: AbortSignal): Promise<Node> {
    return this.#heartbeat.register(signal);
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { runtime, queue, pods, directory, recorder, problems = [] } = this.#options;
    await pods.ready(signal);
    // Before any pod asks for a volume.
    await this.#csi?.start({ signal });
    this.#unsubscribe = [runtime.onChange((uid) => queue.wake(uid))].concat(
      runtime.runsPrograms ? this.#followPrograms() : [],
      pods.subscribe((change) => this.#workers.onPod(change)),
    );
    await this.#upkeep.start();
    await this.#storage?.start({ signal });
    // No pod has made it on a new machine, and its disk is measured now.
    await mkdir(directory, { recursive: true, mode: 0o700 });
    // The node's first report has the condition already.
    if (runtime.runsPrograms) await this.#upkeep.lookAtPressure();
    this.#upkeep.watchPressure();
    this.#isStarted = true;
    // Last: with the node in the API pods are assigned to it.
    const node = await this.#heartbeat.start(signal);
    this.#upkeep.registered(node);
    await this.#csi?.registered();
    if (runtime.runsPrograms) recorder.record(node, { type: 'Normal', reason: 'Starting', message: 'Starting kubelet.' });
    for (const problem of problems) recorder.record(node, { type: 'Warning', ...problem });
    const { isolation } = runtime;
    if (isolation !== undefined && !isolation.isolated) {
      recorder.record(node, { type: 'Warning', reason: isolation.reason, message: isolation.message });
    }
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#abort.abort(new Error(`node agent ${this.nodeName} stops`));
    this.#upkeep.stop();
    for (const remove of this.#unsubscribe) remove();
    await this.#heartbeat.stop();
    await this.#csi?.stop();
    await this.#storage?.stop();
    await this.#workers.detach();
  }

  async shutDown(periods: ShutdownPeriods): Promise<void> {
    const { clock, log } = this.#context;
    this.#shutdown.isUnderWay = true;
    // The scheduler gives it no pods from now on.
    await this.#heartbeat.reportNow().catch((err: unknown) => log.warn({ err }, 'Could not report that the node goes down'));
    await endPodsInOrder({ workers: this.#workers.all(), periods, clock, log });
  }

  async leave(): Promise<void> {
    this.#isLeaving = true;
    await this.#heartbeat.leave();
  }

  async haltPods(maxGraceMs: number): Promise<void> {
    await Promise.all(this.#workers.all().map((worker) => worker.halt(maxGraceMs)));
  }

  #openCsi(tokens: TokenSource, log: Log): NodeCsi | undefined {
    const { kubeletDirectory, nodeName, client, recorder, clock, runtime } = this.#options;
    if (kubeletDirectory === undefined || !runtime.runsPrograms) return undefined;
    return createNodeCsi({
      directory: kubeletDirectory,
      nodeName,
      tokens,
      client,
      recorder,
      reportInUse: () => this.#heartbeat.reportNow(),
      onRegistered: () => this.#upkeep.renewWaiting(),
      clock,
      log,
      signal: this.#abort.signal,
    });
  }

  #openVolumes(tokens: TokenSource): Volumes {
    const { directory, config, client, nodeName, runtime, storage, hostPaths } = this.#options;
    const ownerOf = (uid: string): number | undefined => runtime.hostIdOf(uid);
    return createVolumes({
      directory: join(directory, 'pods'),
      config,
      tokens,
      ownerOf,
      hostPaths: hostPaths ?? { allowed: [], refused: [] },
      claims: createClaimedVolumes({ client, nodeName, storageDirectory: storage?.directory, ownerOf }),
      csi: this.#csi?.volumes,
      images: runtime.images === undefined ? undefined : createImageVolumes(() => this.#context),
      forContainers: runtime.hasContainers,
    });
  }

  #followPrograms(): readonly (() => void)[] {
    const { nodeName, metrics, config } = this.#options;
    const measurements = createMeasurements(this.#context);
    measurements.renew();
    const remove = metrics.addNode({
      name: nodeName,
      counts: () => countsOf(this.pods()),
      containerLines: () => {
        measurements.renew();
        return containerLines(nodeName, this.pods(), measurements.newest);
      },
    });
    return [remove, config.onChange((reference) => this.#workers.onConfig(reference))];
  }

  #describe(): NodeDescription {
    const { nodeName, address, labels, taints, simulated, awaitsCloud, storage, machine, kubeletVersion, runtime } = this.#options;
    const isStopping = this.#shutdown.isUnderWay || this.#isLeaving;
    const notReady = this.#isStarted ? runtime.trouble : 'container runtime network not ready: NetworkReady=false';
    return {
      name: nodeName,
      ...address,
      capacity: this.#capacity,
      allocatable: this.#context.allocatable,
      labels: labels ?? {},
      taints: taints ?? [],
      simulated: simulated ?? false,
      awaitsCloud: awaitsCloud ?? false,
      storageDirectory: storage?.directory,
      machine,
      kubeletVersion,
      runtimeVersion: runtime.version,
      isolation: runtime.isolation,
      volumesInUse: this.#csi?.volumes.inUse(),
      pressures: this.#context.pressure.conditions,
      conditions: runtime.conditions,
      notReady: isStopping ? 'node is shutting down' : notReady,
    };
  }
}

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
