import type { Duplex, Readable, Writable } from 'node:stream';
import type { QosClass } from '../api/core/v1/qos.ts';
import type { ResolverConfig } from '../base/resolv-conf.ts';
import type { MachineUsage } from './machine-usage.ts';
import type { RegistryCredentials } from './registry-credentials.ts';

/**
 * Runs pods for the node agent. The shape is that of the Container Runtime Interface: sandboxes (a pod's shared address and directories)
 * hold containers. `process/` (host processes) and `simulated/` (timed states, no processes) implement it. Probes, restarts, volumes,
 * hooks and status are the agent's own, so every runtime gets them alike.
 *
 * All state that matters is in the runtime: after a restart the agent finds its pods again with `list`.
 *
 * `test/conformance/runtimes` holds every runtime to these promises:
 * - Calls may overlap. Those that make something make it once. That is one sandbox for each pod and attempt, one container for each name
 *   and attempt, and one start for each container. A stop waits for the start that is under way.
 * - An unknown id rejects where something was to happen (create, start, stop, exec). Stop of a sandbox and both removals accept it,
 *   because they may be repeated after a crash.
 * - No call throws; all failures are rejections.
 *
 * A runtime over CRI meets questions that the others do not ask. The answers expected of it:
 * - Images: an empty `command` means the image's entrypoint, an absent `identity` the image's user.
 * - Sandboxes: one can end by itself (its pause process dies). `list` must then say `ready: false`, and the agent makes the next attempt.
 *   CRI reserves a name by attempt also for a sandbox whose creation was interrupted: the adapter removes that one and repeats the call.
 * - Pod address: `ip` is the first address that the network plugin gave. It is undefined until there is one and with `hostNetwork`, where
 *   the agent uses the node's. A second family has no field yet. `connect` and probes have to enter the pod's network.
 * - Logs: CRI writes lines of `TIME STREAM TAG TEXT`, and `ContainerLog` describes raw output. The type needs a format before such a
 *   runtime can be read; `timesPath` has no use there.
 *
 * @see https://github.com/kubernetes/cri-api runtime.v1
 */
export interface ContainerRuntime {
  /** `process://0.1.0`, as in `node.status.nodeInfo.containerRuntimeVersion`. */
  readonly version: string;

  /**
   * False for a runtime that only pretends. Environment, volumes, hooks and probes are then not prepared by the agent. Probes count as
   * passed, and no Events are written for pulled, created and started containers.
   */
  readonly runsPrograms: boolean;

  /** Programs have a file system, namespaces and capabilities of their own, so a pod may choose them. */
  readonly hasContainers: boolean;

  /** The reason for which the node takes no pods now, for its condition Ready; undefined while all is well. */
  readonly trouble: string | undefined;

  /** Says how the node runs pods, as conditions of the Node. */
  readonly conditions: readonly NodeConditionReport[];

  /**
   * Creates the pod's address and directories. Idempotent by pod uid and attempt while the sandbox is ready; a stopped
   * one is created again.
   */
  runPodSandbox(config: PodSandboxConfig): Promise<SandboxId>;
  /** Kills what is left of the sandbox's containers (exit code 137) and releases its address. Its containers stay listed. */
  stopPodSandbox(sandbox: SandboxId): Promise<void>;
  /** Stops the sandbox, then forgets it, its containers and their files, logs included. */
  removePodSandbox(sandbox: SandboxId): Promise<void>;

  /** An image that is on the machine; undefined for one that is not. Throws `ImageError`. */
  findImage(image: string): Promise<LocalImage | undefined>;
  /**
   * Fetches an image from its registry, also when it is here. Absent for runtimes that know no registry. Throws `ImageError`.
   *
   * @param credentials  of a pull secret; absent: those that the machine has for the registry, if any
   */
  readonly pullImage?: (image: string, credentials?: RegistryCredentials) => Promise<LocalImage>;

  /**
   * Removes images that no container uses when the disk is nearly full. Gives a text for an Event when that was too little. Absent for
   * runtimes that keep none.
   *
   * @param kept  references of images that volumes are made of, as `LocalImage` has them
   * @param how  `all`: removes every image that no container uses, however much room there is
   */
  readonly collectImages?: (kept?: ReadonlySet<string>, how?: { readonly all: boolean }) => Promise<string | undefined>;

  /** Absent: volumes of pods cannot be images. */
  readonly images?: ImageMounts | undefined;

  /**
   * Makes a container that `startContainer` can start.
   *
   * @throws ContainerError when the name is taken for this attempt, or the configuration cannot be had here
   * @throws Error when the sandbox is not known or not ready
   */
  createContainer(sandbox: SandboxId, config: ContainerConfig): Promise<ContainerId>;
  /**
   * Starts a container, once in its life. Resolves when its program was begun, or has ended already. A program that is not there either
   * rejects, or leaves an exit with code 128 and reason `StartError`.
   *
   * @throws ContainerError `RunContainerError`, also when the container was started before
   */
  startContainer(container: ContainerId): Promise<void>;
  /**
   * Sends SIGTERM to the container's program, and kills all of its processes after `gracePeriodMs` (exit code 137). 0 kills at once. The
   * shortest grace of several calls counts. Resolves when no process is left. A container that has ended or was never started stays as
   * it is.
   */
  stopContainer(container: ContainerId, gracePeriodMs: number): Promise<void>;
  /** Kills the container if it runs, then forgets it and its log. Its name is free again. */
  removeContainer(container: ContainerId): Promise<void>;

  /**
   * Gives a pod, and containers of it that run, other amounts of CPU and memory. Safe to repeat. Absent where amounts cannot be changed.
   *
   * @throws Error of the kernel, such as for less memory than is in use; some amounts may have changed then
   */
  readonly resize?: (
    sandbox: SandboxId,
    resources: PodResources,
    containers: readonly { readonly id: ContainerId; readonly limits: ContainerLimits }[],
  ) => Promise<void>;

  /** Everything this runtime holds for this node, also from before a restart; of one pod when `podUid` is given. */
  list(options?: { readonly podUid?: string }): Promise<readonly SandboxStatus[]>;

  /** Reports once each damage to a pod that was found at the start and could not be recovered, as text for its user. */
  takeProblems(podUid: string): readonly string[];

  /**
   * Runs a command in the container, with its environment and working directory. Output is cut at `limitBytes` a stream. The answer comes
   * when the command ends, also where a child of it holds the output, or is killed after `timeoutMs`.
   *
   * @throws Error when the container does not run
   */
  exec(container: ContainerId, command: readonly string[], options: ExecOptions): Promise<ExecResult>;

  /**
   * Starts a command in the container with its streams connected. It ends by itself, or is killed when `signal` is
   * aborted. The caller must read the output: a program whose pipe is full waits.
   *
   * @throws UnsupportedError when the runtime cannot do this
   */
  startExec(container: ContainerId, command: readonly string[], options: StartExecOptions): Promise<ExecSession>;

  /**
   * Opens the input of the container's program. Ending it ends the program's input where the container has `stdinOnce`.
   *
   * @throws UnsupportedError when the container reads nothing
   */
  openStdin(container: ContainerId): Promise<Writable>;

  /**
   * Connects to the terminal of a container that was made with one. Absent where programs have none.
   *
   * @throws Error when the container does not run
   */
  readonly openTerminal?: (container: ContainerId, options: Pick<StartExecOptions, 'stdin' | 'signal'>) => Promise<ExecSession>;

  /** Connects to a TCP port of the pod. The connection is the caller's to close; `signal` abandons the attempt only. */
  connect(sandbox: SandboxId, port: number, signal: AbortSignal): Promise<Duplex>;

  /** File with the container's output. Absent for runtimes without one, and for unknown containers. */
  logOf(container: ContainerId): ContainerLog | undefined;

  /** TCP addresses the pod's programs listen on now; empty where that cannot be seen. */
  listeners(podUid: string): Promise<readonly ListeningAddress[]>;

  /** Processes and threads of a pod now; undefined where that is not known. Absent for runtimes that cannot count. */
  readonly countProcesses?: (podUid: string) => Promise<number | undefined>;

  /** CPU and memory of running containers; absent values are not measured (never invented). */
  stats(): Promise<readonly ContainerStats[]>;

  /** Usage of the whole machine. Absent where several nodes share one: a node then uses what its containers use. */
  readonly machineUsage?: () => Promise<MachineUsage>;

  /** Isolation of pods from the machine; absent when they are none of its processes. */
  readonly isolation: PodIsolation | undefined;

  /** The id on the machine that owns what the pod's programs write; undefined when that is this process's own. */
  hostIdOf(podUid: string): number | undefined;

  /** Calls back when something may have changed (an exit): a wake-up only, `list` tells what. Returns a function that removes it. */
  onChange(listener: (podUid: string) => void): () => void;

  /** Lets go of pods without stopping them, so that the next start adopts them. */
  close(): Promise<void>;
}

/** Images as directories of the machine. Calls may be repeated. */
export interface ImageMounts {
  /** Nothing there can be written to or run. @param image  the reference of one that is on the machine */
  mount(image: string, directory: string): Promise<void>;
  unmount(directory: string): Promise<void>;
}

/** The calls that make, start, stop and remove sandboxes and containers. */
export type PodChanges = Pick<
  ContainerRuntime,
  'runPodSandbox' | 'stopPodSandbox' | 'removePodSandbox' | 'createContainer' | 'startContainer' | 'stopContainer' | 'removeContainer'
>;

/** For the node's condition, an Event, and the person who starts it. */
export interface PodIsolation {
  readonly isolated: boolean;
  readonly reason: 'UserNamespaces' | 'OwnUserIds' | 'PlainProcesses' | 'PodsRefused';
  /** Some words. */
  readonly summary: string;
  /** A sentence or two. */
  readonly message: string;
}

export interface LocalImage {
  readonly reference: string;
  /** 0 when it has none of its own. */
  readonly sizeBytes: number;
  /** The user of its programs, where it says: `id` is absent when it is given by name. Absent where images have no users. */
  readonly user?: { readonly id?: number; readonly name: string };
}

export type SandboxId = string;
export type ContainerId = string;

/**
 * Output of both streams in one file, because a pipe would end with the agent. Older output is in the same paths with `.1` appended.
 *
 * With `timesPath` the file has the bytes that the program wrote, and `timesPath` has lines `OFFSET MILLISECONDS`: the bytes before OFFSET
 * had been written by then. Without it each line carries its time and stream, in the log format of the Container Runtime Interface.
 */
export interface ContainerLog {
  readonly path: string;
  readonly timesPath?: string;
}

export interface ListeningAddress {
  readonly address: string;
  readonly port: number;
}

export interface PodSandboxConfig {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly attempt: number;
  readonly hostname: string;
  /** The pod uses the node's address instead of one of its own. */
  readonly hostNetwork: boolean;
  /** The part of the pod's full name behind its hostname, `SUBDOMAIN.NAMESPACE.svc.cluster.local`. */
  readonly domain?: string | undefined;
  /** The pod's `resolv.conf`; absent: that of the machine. Process pods have that of the machine. */
  readonly dns?: ResolverConfig | undefined;
  /** Lines of /etc/hosts besides those of localhost and the pod itself. */
  readonly hostAliases: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  readonly logDirectory: string;
  /** Absent: those of a pod that asks for nothing. A runtime without containers need not look. */
  readonly linux?: PodLinux;
  /** The handler of the pod's RuntimeClass, which names one of the node's runtimes; absent: the usual one. */
  readonly runtimeHandler?: string | undefined;
  /** Time for its containers to end in when nobody asks the API any more. */
  readonly gracePeriodMs?: number;
}

/** The kernel's view of a pod. */
export interface PodLinux {
  readonly hostPID: boolean;
  readonly hostIPC: boolean;
  /** The pod's programs see each other. */
  readonly sharesProcesses: boolean;
  /** The pod's root is no user of the machine. */
  readonly ownUsers: boolean;
  /** True when a container of the pod has all rights on the machine. */
  readonly privileged: boolean;
  readonly ports: readonly PortMapping[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly resources: PodResources;
}

export interface ContainerConfig {
  readonly name: string;
  /** 0 for the first, +1 for each restart. */
  readonly attempt: number;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string | undefined;
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly mounts: readonly Mount[];
  /** The ids that programs see as their own. Absent: those of the image; without an image, 0 and 0. */
  readonly identity?: { readonly uid: number; readonly gid: number | undefined } | undefined;
  /** The program writes to its volumes alone. */
  readonly readOnlyRoot?: boolean;
  /** Absent: no privileges. A runtime without containers need not look. */
  readonly security?: ContainerSecurity;
  /** Groups that the program has besides that of its identity. */
  readonly supplementalGroups?: readonly number[];
  /** Changes with the container's spec: a running container with another hash is replaced. */
  readonly configHash: string;
  readonly terminationMessagePath: string;
  /** The program reads what is attached to it: until its end (`open`), or until the first that is attached lets go (`once`). */
  readonly stdin?: 'open' | 'once' | undefined;
  /** The program has a terminal, which clients can be attached to. A runtime without terminals for programs need not look. */
  readonly tty?: boolean;
  /** The program sees the processes of this container of its pod, and not those of its own alone. */
  readonly seesProcessesOf?: ContainerId | undefined;
  /** Absent in containers of an older version. */
  readonly limits?: ContainerLimits;
}

export interface ContainerSecurity {
  /** All rights on the machine. */
  readonly privileged: boolean;
  /** Without `CAP_`, or `ALL`. */
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  /** False: programs such as `sudo` stay without effect. */
  readonly mayGainPrivileges: boolean;
  readonly seccomp: SeccompProfile;
  /** All of /proc can be seen, and written to as far as the user may. */
  readonly unmaskedProc: boolean;
}

/** `path` is below the machine's directory of profiles. */
export type SeccompProfile = { readonly type: 'RuntimeDefault' | 'Unconfined' } | { readonly type: 'Localhost'; readonly path: string };

export interface PortMapping {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly containerPort: number;
  /** Port of the machine. */
  readonly hostPort: number;
  /** Empty: every address of the machine. */
  readonly hostIP: string;
}

/** The share of the machine that a pod has as a whole. */
export interface PodResources {
  readonly qosClass: QosClass;
  readonly cpuRequestMilli: number;
  /** Absent: some container has no limit. */
  readonly cpuLimitMilli?: number;
  readonly memoryLimitBytes?: number;
}

export interface ContainerLimits {
  readonly memoryBytes?: number;
  readonly cpuMilli?: number;
  readonly cpuRequestMilli?: number;
  /** 0 to 1000: how ready the kernel is to end the container when the machine is out of memory. */
  readonly oomScoreAdjust: number;
}

export interface NodeConditionReport {
  readonly type: string;
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

export interface Mount {
  /** A directory or file that no pod can replace. */
  readonly hostPath: string;
  /** Below `hostPath`, and found inside of the container, since pods may write there; made as a directory when it is missing. */
  readonly subPath?: string | undefined;
  /** Absent when unknown. A mount point is made as the kind of file it will be. */
  readonly subPathIsFile?: boolean | undefined;
  /** Mounts that are made later on one side appear on the other; absent: on neither. */
  readonly propagation?: 'HostToContainer' | 'Bidirectional' | undefined;
  readonly containerPath: string;
  readonly readOnly: boolean;
  /** The id that files have at `hostPath`, when the pod is to see them as its own; absent: the pod sees them as they are. */
  readonly owner?: number | undefined;
}

export interface SandboxStatus {
  readonly id: SandboxId;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly attempt: number;
  readonly ready: boolean;
  readonly ip: string | undefined;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly gracePeriodMs?: number | undefined;
  readonly containers: readonly ContainerStatus[];
}

export interface ContainerStatus {
  readonly id: ContainerId;
  readonly name: string;
  readonly attempt: number;
  readonly image: string;
  readonly imageRef: string;
  readonly configHash: string;
  readonly state: 'created' | 'running' | 'exited' | 'unknown';
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly exitCode?: number;
  /** `Completed`, `Error`, `OOMKilled`, `StartError`, `Unknown`, … */
  readonly reason?: string;
  readonly message?: string;
}

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly limitBytes: number;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly timedOut: boolean;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export interface StartExecOptions {
  readonly stdin: boolean;
  /** A terminal instead of pipes: one stream of output, lines, signals by keys. */
  readonly tty: boolean;
  readonly signal: AbortSignal;
}

export interface ExecSession {
  /** Absent when it was not asked for. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  /** Absent with a terminal. */
  readonly stderr: Readable | undefined;
  /** As a shell tells it: 128 + signal for a program that was killed. */
  readonly exitCode: Promise<number>;
  /** Resizes the terminal; without one it does nothing. */
  resize(size: TerminalSize): void;
}

export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface ContainerStats {
  readonly podUid: string;
  readonly container: string;
  readonly cpuUsageSeconds?: number;
  readonly memoryWorkingSetBytes?: number;
  readonly memoryRssBytes?: number;
  /** With all files that the kernel keeps in memory for the container. */
  readonly memoryUsageBytes?: number;
  /** The files that the container wrote beside its volumes. */
  readonly writableLayerBytes?: number;
  readonly writableLayerInodes?: number;
}

/** An image that cannot be had; `reason` becomes the waiting reason: `ErrImagePull`, `InvalidImageName`, `ErrImageNeverPull`. */
export class ImageError extends Error {
  readonly reason: 'ErrImagePull' | 'InvalidImageName' | 'ErrImageNeverPull';
  constructor(reason: ImageError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ImageError';
    this.reason = reason;
  }
}

/**
 * A container that cannot be created as its spec says. `reason` becomes the waiting reason: `ContainerCreating` for a volume that cannot
 * be mounted, of which the Event FailedMount says more.
 */
export class ContainerError extends Error {
  readonly reason: 'ContainerCreating' | 'CreateContainerConfigError' | 'CreateContainerError' | 'RunContainerError';
  constructor(reason: ContainerError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ContainerError';
    this.reason = reason;
  }
}

/** Request that this runtime cannot fulfil; the message is for its user. */
export class UnsupportedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UnsupportedError';
  }
}
