import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import type { Log } from '../../base/log.ts';
import { readProcOptional } from '../../base/process-identity.ts';
import {
  type ContainerId,
  type ContainerRuntime,
  type ExecOptions,
  type ExecResult,
  type ListeningAddress,
  type SandboxId,
  UnsupportedError,
} from '../container-runtime.ts';
import type { FileSystemSpace } from '../disk-pressure.ts';
import { measureMachine } from '../machine-usage.ts';
import { parseListeners } from '../process/proc.ts';
import { connectTo } from '../process/sockets.ts';
import type { Ctr } from './containerd-service.ts';
import type { CriClient } from './cri-client.ts';
import { annotations, isHostNetwork, labels, linuxOf } from './cri-config.ts';
import { createImageCollector } from './image-collector.ts';
import { createImageMounts } from './image-mounts.ts';
import { createImages } from './images.ts';
import { createPodChanges } from './pod-changes.ts';
import { createPodList, type PodList, statsOf } from './pod-list.ts';
import type { QosCgroups } from './qos-cgroups.ts';
import { createRuntimeHealth } from './runtime-health.ts';
import { openAttachedInput, openForward, openRemoteCommand } from './runtime-streams.ts';
import { followEvents, followStates, rotateLogs } from './runtime-watch.ts';

export interface ContainerdRuntimeOptions {
  readonly client: CriClient;
  readonly cgroups: QosCgroups;
  /** The number by which the machine tells its clusters apart, at most 254. */
  readonly cluster: number;
  /** Holds what the agent mounts into containers by itself: /etc/hosts and termination messages. */
  readonly directory: string;
  /** Holds the seccomp profiles that pods name by `localhostProfile`. */
  readonly seccompDirectory: string;
  /** The file system that holds the images. */
  readonly imageSpace: () => Promise<FileSystemSpace>;
  readonly nodeName: string;
  /** Absent: the runtime has no program that mounts images. */
  readonly ctr?: Ctr | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Pods as containers of a runtime that speaks the Container Runtime Interface. The runtime keeps all state, in labels
 * and annotations, so the next agent finds its pods by a list.
 *
 * @throws Error when the runtime does not answer
 */
export async function openContainerdRuntime(options: ContainerdRuntimeOptions): Promise<ContainerRuntime> {
  const { client, cgroups, cluster, directory, seccompDirectory, nodeName, clock, log } = options;
  const { runtimeName, runtimeVersion } = await client.version();
  const own = { [labels.node]: nodeName };
  const health = createRuntimeHealth(clock);
  const listeners = new Set<(podUid: string) => void>();
  const abort = new AbortController();
  const pods = createPodList({ client, own, directory });
  const notify = (uid: string): void => {
    for (const listener of listeners) listener(uid);
  };
  const watch = { client, own, clock, log, signal: abort.signal };
  const background = [
    followEvents({ ...watch, notify }),
    followStates({ ...watch, notify, onAnswer: health.answered }),
    rotateLogs({ ...watch, openLogs: () => pods.openLogs() }),
  ];
  for (const each of background) each.catch(() => undefined);

  /** Sandboxes that ended keep their records for the next start, which makes their groups again. Groups in use stay. */
  async function removeGroups(): Promise<void> {
    const sandboxes = await client.listPodSandboxes(own).catch((err: unknown) => {
      log.debug({ err }, 'Could not list sandboxes to remove their control groups');
      return [];
    });
    const ended = sandboxes.filter(({ state }) => state === 'SANDBOX_NOTREADY');
    for (const sandbox of ended) await cgroups.remove(linuxOf(sandbox).cgroupParent);
    await cgroups.removeClasses();
  }

  return {
    version: `${runtimeName}://${runtimeVersion}`,
    runsPrograms: true,
    hasContainers: true,
    get trouble() {
      return health.trouble;
    },
    conditions: [],
    isolation: undefined,

    ...createPodChanges({ client, own, directory, pods, cgroups, cluster, seccompDirectory, nodeName, log }),
    ...(options.ctr === undefined ? {} : { images: createImageMounts(options.ctr) }),
    collectImages: createImageCollector({ client, measure: options.imageSpace, clock }),
    ...createImages({ client, signal: abort.signal }),
    list: (which) => pods.list(which),
    takeProblems: () => [],
    exec: (id, command, how) => execute({ client, id, command, ...how }),

    startExec: async (id, command, how) =>
      openRemoteCommand(
        await client.execUrl({ containerId: id, cmd: command, tty: how.tty, stdin: how.stdin, stdout: true, stderr: !how.tty }),
        how,
      ),

    async openStdin(id) {
      const container = (await client.listContainers(own)).find((each) => each.id === id);
      if (container?.annotations[annotations.stdin] !== 'true') throw new UnsupportedError('the container reads no input');
      return openAttachedInput(await client.attachUrl({ containerId: id, stdin: true, tty: false, stdout: false, stderr: false }));
    },

    openTerminal: async (id, { stdin, signal }) =>
      openRemoteCommand(await client.attachUrl({ containerId: id, stdin, tty: true, stdout: true, stderr: false }), {
        stdin,
        tty: true,
        signal,
      }),

    connect: (id, port, signal) => connect({ client, pods, id, port, signal }),

    logOf(id) {
      const path = pods.logOf(id);
      return path === undefined ? undefined : { path };
    },

    // Containers have a network of their own, so a program of theirs takes no address of another pod or of the machine.
    listeners: async () => [],
    countProcesses: (uid) => cgroups.countProcesses(uid),
    stats: async () => statsOf(await client.containerStats(), nodeName),
    machineUsage: measureMachine,
    hostIdOf: () => undefined,

    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      abort.abort();
      listeners.clear();
      await Promise.allSettled(background);
      await removeGroups();
      client.close();
    },
  };
}

interface ExecuteOptions extends ExecOptions {
  readonly client: CriClient;
  readonly id: ContainerId;
  readonly command: readonly string[];
}

async function execute({ client, id, command, timeoutMs, limitBytes }: ExecuteOptions): Promise<ExecResult> {
  try {
    const { stdout, stderr, exitCode } = await client.execSync(id, command, timeoutMs);
    return { exitCode, timedOut: false, stdout: stdout.subarray(0, limitBytes), stderr: stderr.subarray(0, limitBytes) };
  } catch (err) {
    if (!(err instanceof GrpcError)) throw err;
    const nothing = Buffer.alloc(0);
    if (err.code === grpcCodes.deadlineExceeded) return { exitCode: 137, timedOut: true, stdout: nothing, stderr: nothing };
    if (/CONTAINER_EXITED|CONTAINER_CREATED/.test(err.message)) throw new Error(`container ${id} is not running`, { cause: err });
    // A shell's code for a program that cannot be run.
    if (/executable file not found|no such file or directory/.test(err.message))
      return { exitCode: 127, timedOut: false, stdout: nothing, stderr: Buffer.from(err.message) };
    throw err;
  }
}

interface ConnectOptions {
  readonly client: CriClient;
  readonly pods: PodList;
  readonly id: SandboxId;
  readonly port: number;
  readonly signal: AbortSignal;
}

async function connect({ client, pods, id, port, signal }: ConnectOptions): Promise<Duplex> {
  const sandbox = await pods.sandboxOf(id);
  // The node's own network needs no help of the runtime.
  if (isHostNetwork(sandbox)) return connectTo('127.0.0.1', port, signal);
  // The runtime gives a stream before it knows if anybody listens, so the question comes first.
  const open = (await listenersOf(client, id)).filter((each) => each.port === port);
  const ip = (await pods.addressOf(sandbox, true)) ?? '';
  if (open.some(({ address }) => address === '0.0.0.0' || address === '::' || address === ip)) return connectTo(ip, port, signal);
  if (open.length === 0) throw new Error(`connect ECONNREFUSED: nothing in the pod listens on port ${port}`);
  return openForward(await client.portForwardUrl(id, port), port, signal);
}

/** Programs that listen in the network of the sandbox, which is that of its first process. */
async function listenersOf(client: CriClient, id: SandboxId): Promise<readonly ListeningAddress[]> {
  const pid = await client.sandboxPid(id);
  if (pid === undefined) return [];
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readProcOptional(`/proc/${pid}/net/${name}`)));
  return tables.flatMap((table) => parseListeners(table ?? ''));
}
