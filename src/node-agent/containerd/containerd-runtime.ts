import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { readBoundedFile } from '../../base/bounded-file.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { createLimit, joinCall, mapBounded } from '../../base/concurrency.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import type { Log } from '../../base/log.ts';
import { readProcOptional } from '../../base/process-identity.ts';
import {
  type ContainerConfig,
  ContainerError,
  type ContainerId,
  type ContainerRuntime,
  type ContainerStatus,
  ImageError,
  type ListeningAddress,
  type PodSandboxConfig,
  type SandboxId,
  type SandboxStatus,
  UnsupportedError,
} from '../container-runtime.ts';
import { parseListeners } from '../process/proc.ts';
import { connectTo } from '../process/sockets.ts';
import type {
  CriClient,
  CriContainer,
  CriContainerConfig,
  CriContainerStatus,
  CriMount,
  CriNamespaces,
  CriSandbox,
  CriSandboxConfig,
} from './cri-client.ts';
import { openAttachedInput, openForward, openRemoteCommand } from './runtime-streams.ts';
import { mountSubPath, removeWithMounts } from './sub-path.ts';

export interface ContainerdRuntimeOptions {
  readonly client: CriClient;
  /** Holds what the agent mounts into containers by itself: /etc/hosts and termination messages. */
  readonly directory: string;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Log;
}

const labels = {
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  podUid: 'io.kubernetes.pod.uid',
  containerName: 'io.kubernetes.container.name',
  /** Tells pods of this agent from those of others on a runtime that several use. */
  node: 'io.midship.node',
} as const;

const annotations = {
  hash: 'io.kubernetes.container.hash',
  terminationMessagePath: 'io.kubernetes.container.terminationMessagePath',
  /** The directory of what the agent made for the container, below that of its pod. */
  place: 'io.midship.place',
  stdin: 'io.midship.stdin',
  gracePeriod: 'io.midship.grace-period-ms',
  hostNetwork: 'io.midship.host-network',
  hostname: 'io.midship.hostname',
  hostAliases: 'io.midship.host-aliases',
  logDirectory: 'io.midship.log-directory',
} as const;

const terminationFile = 'termination-log';
const maxTerminationBytes = 4_096;
const eventRetryMs = 1_000;
const relistMs = 1_000;
/** As the kubelet's containerLogMaxSize. */
const maxLogBytes = 10 * 1024 * 1024;
const logLookMs = 10_000;
const cpuPeriodUs = 100_000;
const minCpuShares = 2;
/** Fewer starts at once than would only wait for each other's kernel locks. */
const startsAtOnce = 2 * availableParallelism();
const readsAtOnce = 8;
const nodeNamespaces: CriNamespaces = { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' };
const podNamespaces: CriNamespaces = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };

/** Files of the kernel that a container must not see; containerd hides them unless the container is privileged. */
const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/**
 * Pods as containers of a runtime that speaks the Container Runtime Interface. The runtime keeps all state, in labels
 * and annotations, so the next agent finds its pods by a list.
 *
 * @throws Error when the runtime does not answer
 */
export async function openContainerdRuntime(options: ContainerdRuntimeOptions): Promise<ContainerRuntime> {
  const { client, directory, nodeName, clock, log } = options;
  const { runtimeName, runtimeVersion } = await client.version();
  const own = { [labels.node]: nodeName };
  const limitStarts = createLimit(startsAtOnce);
  const listeners = new Set<(podUid: string) => void>();
  const abort = new AbortController();
  /** The details of a container only change with its state, so each is asked for once a state. Holds those of the newest list. */
  let details = new Map<ContainerId, CriContainerStatus>();
  let addresses = new Map<SandboxId, string>();
  const logPaths = new Map<ContainerId, string>();
  // Calls under way, so that those at the same time are one.
  const makingSandboxes = new Map<string, Promise<SandboxId>>();
  const removingSandboxes = new Map<SandboxId, Promise<void>>();
  const removingContainers = new Map<ContainerId, Promise<void>>();
  const starting = new Map<ContainerId, Promise<void>>();

  /** The configuration of a sandbox, which every container of it is created with. */
  async function sandboxOf(id: SandboxId): Promise<CriSandbox> {
    const sandbox = (await client.listPodSandboxes(own)).find((each) => each.id === id);
    if (sandbox === undefined) throw new Error(`sandbox ${id} is not known`);
    return sandbox;
  }

  async function statusOf(container: CriContainer): Promise<ContainerStatus> {
    const known = details.get(container.id);
    const status =
      known?.state === container.state || container.state === 'CONTAINER_CREATED' ? known : await client.containerStatus(container.id);
    if (status !== undefined) logPaths.set(container.id, status.logPath);
    const exited = status?.state === 'CONTAINER_EXITED';
    const message = exited ? await readTerminationMessage(container) : undefined;
    if (status !== undefined) details.set(container.id, status);
    return {
      id: container.id,
      name: container.metadata.name,
      attempt: container.metadata.attempt,
      image: container.image.image,
      imageRef: container.imageRef,
      configHash: container.annotations[annotations.hash] ?? '',
      state: stateOf(status?.state ?? container.state),
      createdAt: millisecondsOf(container.createdAt),
      ...(status === undefined || status.startedAt === 0 ? {} : { startedAt: millisecondsOf(status.startedAt) }),
      ...(exited
        ? {
            finishedAt: millisecondsOf(status.finishedAt),
            exitCode: status.exitCode,
            reason: status.reason === '' ? (status.exitCode === 0 ? 'Completed' : 'Error') : status.reason,
          }
        : {}),
      ...(message === undefined || message === '' ? (status?.message ? { message: status.message } : {}) : { message }),
    };
  }

  async function readTerminationMessage(container: CriContainer): Promise<string | undefined> {
    const place = placeOf(container);
    if (place === undefined) return undefined;
    try {
      return (await readBoundedFile(join(place, terminationFile), maxTerminationBytes)).toString('utf8');
    } catch {
      // Too large or not there: upstream shows nothing then, either.
      return undefined;
    }
  }

  /** The mounts of the pod's volumes and of what the agent adds, as paths on the machine. */
  async function prepareMounts(sandbox: CriSandbox, config: ContainerConfig, place: string): Promise<readonly CriMount[]> {
    await mkdir(place, { recursive: true, mode: 0o700 });
    const mounts: CriMount[] = [];
    for (const [index, { hostPath, containerPath, readOnly, subPath }] of config.mounts.entries()) {
      if (subPath === undefined || subPath === '') {
        mounts.push({ hostPath, containerPath, readonly: readOnly });
        continue;
      }
      const target = join(place, 'sub-paths', String(index));
      await mountSubPath({ volume: hostPath, subPath, target });
      mounts.push({ hostPath: target, containerPath, readonly: readOnly });
    }
    const has = (path: string): boolean => mounts.some(({ containerPath }) => containerPath === path);
    if (config.terminationMessagePath !== '') {
      const path = join(place, terminationFile);
      // Any user of the container may write to it, and nobody else reaches the directory.
      await writeFile(path, '');
      await chmod(path, 0o666);
      mounts.push({ hostPath: path, containerPath: config.terminationMessagePath, readonly: false });
    }
    if (!has('/etc/hosts') && sandbox.annotations[annotations.hostNetwork] !== 'true') {
      const path = join(place, 'etc-hosts');
      await writeFile(path, hostsText(sandbox, (await addressOf(sandbox, true)) ?? ''));
      await chmod(path, 0o644);
      mounts.push({ hostPath: path, containerPath: '/etc/hosts', readonly: false });
    }
    return mounts;
  }

  async function list({ podUid }: { readonly podUid?: string } = {}): Promise<readonly SandboxStatus[]> {
    const filter = podUid === undefined ? own : { ...own, [labels.podUid]: podUid };
    const [allSandboxes, allContainers] = await Promise.all([client.listPodSandboxes(filter), client.listContainers(filter)]);
    // The runtime lists in no order.
    const sandboxes = allSandboxes.toSorted(byCreation);
    const containers = allContainers.toSorted(byCreation);
    const statuses = await mapBounded(containers, readsAtOnce, async (container) => ({
      sandbox: container.podSandboxId,
      status: await statusOf(container).catch((err: unknown) => {
        // Removed since the list.
        if (err instanceof GrpcError && err.code === grpcCodes.notFound) return undefined;
        throw err;
      }),
    }));
    const found = await mapBounded(sandboxes, readsAtOnce, async (sandbox): Promise<SandboxStatus> => {
      const ready = sandbox.state === 'SANDBOX_READY';
      const { name, namespace, uid, attempt } = sandbox.metadata;
      const grace = Number(sandbox.annotations[annotations.gracePeriod]);
      return {
        id: sandbox.id,
        namespace,
        name,
        uid,
        attempt,
        ready,
        ip: await addressOf(sandbox, ready),
        createdAt: millisecondsOf(sandbox.createdAt),
        ...(Number.isFinite(grace) ? { gracePeriodMs: grace } : {}),
        containers: statuses.flatMap(({ sandbox: of, status }) => (of === sandbox.id && status !== undefined ? [status] : [])),
      };
    });
    if (podUid === undefined) {
      const ids = new Set(containers.map(({ id }) => id));
      details = new Map([...details].filter(([id]) => ids.has(id)));
      for (const id of logPaths.keys()) if (!ids.has(id)) logPaths.delete(id);
      const sandboxIds = new Set(sandboxes.map(({ id }) => id));
      addresses = new Map([...addresses].filter(([id]) => sandboxIds.has(id)));
    }
    return found;
  }

  async function addressOf(sandbox: CriSandbox, ready: boolean): Promise<string | undefined> {
    const known = addresses.get(sandbox.id);
    if (known !== undefined || !ready || sandbox.annotations[annotations.hostNetwork] === 'true') return known;
    const address = await client.podAddress(sandbox.id);
    if (address === '') return undefined;
    addresses.set(sandbox.id, address);
    return address;
  }

  /** Programs that listen in the network of the sandbox, which is that of its first process. */
  async function listenersOfSandbox(id: SandboxId): Promise<readonly ListeningAddress[]> {
    const pid = await client.sandboxPid(id);
    if (pid === undefined) return [];
    const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readProcOptional(`/proc/${pid}/net/${name}`)));
    return tables.flatMap((table) => parseListeners(table ?? ''));
  }

  const notify = (uid: string): void => {
    for (const listener of listeners) listener(uid);
  };

  /** Follows the runtime's events. They only make reactions faster: a runtime loses some when their reader changes. */
  async function followEvents(): Promise<void> {
    let isFailing = false;
    for (;;) {
      try {
        for await (const event of client.containerEvents(abort.signal)) {
          isFailing = false;
          const uid = event.podSandboxStatus?.metadata?.uid;
          if (uid !== undefined && uid !== '') notify(uid);
        }
      } catch (err) {
        if (abort.signal.aborted) return;
        if (!isFailing) log.warn({ err }, 'Lost the events of the container runtime');
        isFailing = true;
      }
      await sleep(clock, eventRetryMs, abort.signal);
    }
  }

  /** Lists states once a second, as the kubelet's pod lifecycle event generator, and reports the pods whose states have changed. */
  async function followStates(): Promise<void> {
    let before = new Map<string, string>();
    let isFailing = false;
    for (;;) {
      await sleep(clock, relistMs, abort.signal);
      try {
        const [sandboxes, containers] = await Promise.all([client.listPodSandboxes(own), client.listContainers(own)]);
        const states = new Map<string, string>();
        for (const { id, state, metadata } of sandboxes) states.set(id, `${metadata.uid} ${state}`);
        for (const { id, state, labels: of } of containers) states.set(id, `${of[labels.podUid]} ${state}`);
        const changed = [...states].filter(([id, state]) => before.get(id) !== state).map(([, state]) => state);
        const gone = [...before].filter(([id]) => !states.has(id)).map(([, state]) => state);
        before = states;
        isFailing = false;
        for (const uid of new Set([...changed, ...gone].map((state) => state.split(' ')[0] ?? ''))) notify(uid);
      } catch (err) {
        if (abort.signal.aborted) return;
        if (!isFailing) log.warn({ err }, 'Could not list the pods of the container runtime');
        isFailing = true;
      }
    }
  }

  async function rotateLogs(): Promise<void> {
    for (;;) {
      await sleep(clock, logLookMs, abort.signal);
      for (const [id, path] of logPaths) {
        if (details.get(id)?.state === 'CONTAINER_EXITED') continue;
        try {
          if ((await stat(path)).size <= maxLogBytes) continue;
          await rename(path, `${path}.1`);
          await client.reopenContainerLog(id);
        } catch (err) {
          if ((err as NodeJS.ErrnoException).code !== 'ENOENT') log.warn({ err, container: id }, 'Could not rotate the log of a container');
        }
      }
    }
  }

  async function makeSandbox(config: PodSandboxConfig): Promise<SandboxId> {
    const before = (await client.listPodSandboxes({ ...own, [labels.podUid]: config.uid })).find(
      ({ metadata }) => metadata.attempt === config.attempt,
    );
    if (before?.state === 'SANDBOX_READY') return before.id;
    // Its name is taken until it is gone; an agent that ended in the middle leaves such a one.
    if (before !== undefined) await removeSandbox(before.id);
    return client.runPodSandbox(sandboxConfig(config, nodeName), '');
  }

  async function removeSandbox(id: SandboxId): Promise<void> {
    const sandbox = (await client.listPodSandboxes(own)).find((each) => each.id === id);
    if (sandbox === undefined) return;
    const containers = (await client.listContainers({ ...own, [labels.podUid]: sandbox.metadata.uid })).filter(
      ({ podSandboxId }) => podSandboxId === id,
    );
    await client.stopPodSandbox(id).catch(ignoreUnknown);
    for (const container of containers) await removeContainer(container.id);
    await client.removePodSandbox(id).catch(ignoreUnknown);
    addresses.delete(id);
    const { uid } = sandbox.metadata;
    if ((await client.listPodSandboxes({ ...own, [labels.podUid]: uid })).length > 0) return;
    await removeWithMounts(join(directory, uid));
    await removePodGroups(uid);
  }

  async function removeContainer(id: ContainerId): Promise<void> {
    const container = (await client.listContainers(own)).find((each) => each.id === id);
    const path =
      logPaths.get(id) ?? (container === undefined ? undefined : (await client.containerStatus(id).catch(() => undefined))?.logPath);
    await client.removeContainer(id).catch(ignoreUnknown);
    details.delete(id);
    logPaths.delete(id);
    if (path !== undefined && path !== '') await removeLog(path);
    const place = container === undefined ? undefined : placeOf(container);
    if (place !== undefined) await removeWithMounts(place);
  }

  /** Holds what the agent made for one container; undefined when the labels, which others may write, name no place of ours. */
  function placeOf({ labels: own, annotations: notes }: CriContainer): string | undefined {
    const uid = own[labels.podUid] ?? '';
    const name = notes[annotations.place] ?? '';
    return isName(uid) && isName(name) ? join(directory, uid, name) : undefined;
  }

  const background = [followEvents(), followStates(), rotateLogs()];
  for (const each of background) each.catch(() => undefined);

  return {
    version: `${runtimeName}://${runtimeVersion}`,
    runsPrograms: true,
    conditions: [],
    isolation: undefined,

    runPodSandbox: (config) => joinCall(makingSandboxes, `${config.uid}/${config.attempt}`, () => limitStarts(() => makeSandbox(config))),

    async stopPodSandbox(id) {
      await client.stopPodSandbox(id).catch(ignoreUnknown);
    },

    removePodSandbox: (id) => joinCall(removingSandboxes, id, () => removeSandbox(id)),

    async pullImage(image) {
      const present = await client.imageStatus(image).catch((err: unknown) => {
        throw imageError(err);
      });
      if (present !== undefined) return { imageRef: present.repoDigests[0] ?? present.id };
      try {
        return { imageRef: await client.pullImage(image, abort.signal) };
      } catch (err) {
        throw imageError(err);
      }
    },

    async createContainer(sandboxId, config) {
      const sandbox = await sandboxOf(sandboxId);
      if (sandbox.state !== 'SANDBOX_READY') throw new Error(`sandbox ${sandboxId} is not ready`);
      const place = `${config.name}-${config.attempt}-${randomUUID()}`;
      try {
        const mounts = await prepareMounts(sandbox, config, join(directory, sandbox.metadata.uid, place));
        const id = await client.createContainer(sandboxId, containerConfig({ config, sandbox, mounts, place }), storedConfig(sandbox));
        logPaths.set(id, join(sandbox.annotations[annotations.logDirectory] ?? '', logPathOf(config)));
        return id;
      } catch (err) {
        await removeWithMounts(join(directory, sandbox.metadata.uid, place)).catch((cause: unknown) =>
          log.warn({ err: cause, place }, 'Could not remove what was made for a container'),
        );
        if (err instanceof ContainerError) throw err;
        throw new ContainerError('CreateContainerError', messageOf(err), { cause: err });
      }
    },

    async startContainer(id) {
      const start = limitStarts(() => client.startContainer(id));
      const settled = start.catch(() => undefined);
      starting.set(id, settled);
      try {
        await start;
      } catch (err) {
        throw new ContainerError('RunContainerError', messageOf(err), { cause: err });
      } finally {
        if (starting.get(id) === settled) starting.delete(id);
      }
    },

    async stopContainer(id, gracePeriodMs) {
      await starting.get(id);
      // The runtime takes an unknown id for one that is stopped.
      await client.containerStatus(id);
      await client.stopContainer(id, Math.ceil(gracePeriodMs / 1_000));
    },

    removeContainer: (id) => joinCall(removingContainers, id, () => removeContainer(id)),

    list,
    takeProblems: () => [],

    async exec(id, command, { timeoutMs, limitBytes }) {
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
    },

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

    async connect(id, port, signal) {
      const sandbox = await sandboxOf(id);
      // The node's own network needs no help of the runtime.
      if (sandbox.annotations[annotations.hostNetwork] === 'true') return connectTo('127.0.0.1', port, signal);
      // The runtime gives a stream before it knows if anybody listens, so the question comes first.
      const open = (await listenersOfSandbox(id)).filter((each) => each.port === port);
      const ip = (await addressOf(sandbox, true)) ?? '';
      if (open.some(({ address }) => address === '0.0.0.0' || address === '::' || address === ip)) return connectTo(ip, port, signal);
      if (open.length === 0) throw new Error(`connect ECONNREFUSED: nothing in the pod listens on port ${port}`);
      return openForward(await client.portForwardUrl(id, port), port, signal);
    },

    logOf(id) {
      const path = logPaths.get(id);
      return path === undefined ? undefined : { path };
    },

    // Containers have a network of their own, so a program of theirs takes no address of another pod or of the machine.
    listeners: async () => [],

    async stats() {
      return (await client.containerStats()).flatMap(({ attributes, cpu, memory }) => {
        const podUid = attributes.labels[labels.podUid];
        const container = attributes.labels[labels.containerName];
        if (podUid === undefined || container === undefined || attributes.labels[labels.node] !== nodeName) return [];
        // An ended container is in the list without measurements.
        if (!cpu && !memory) return [];
        const used = cpu?.usageCoreNanoSeconds?.value;
        const workingSet = memory?.workingSetBytes?.value;
        const rss = memory?.rssBytes?.value;
        return [
          {
            podUid,
            container,
            ...(used === undefined ? {} : { cpuUsageSeconds: used / 1e9 }),
            ...(workingSet === undefined ? {} : { memoryWorkingSetBytes: workingSet }),
            ...(rss === undefined ? {} : { memoryRssBytes: rss }),
          },
        ];
      });
    },

    hostIdOf: () => undefined,

    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      abort.abort();
      listeners.clear();
      await Promise.allSettled(background);
      client.close();
    },
  };
}

/** The directories of its container and pod go with the last log in them. */
async function removeLog(path: string): Promise<void> {
  for (const suffix of ['', '.1']) await rm(`${path}${suffix}`, { force: true });
  for (const directory of [dirname(path), dirname(dirname(path))]) {
    await rmdir(directory).catch((err: NodeJS.ErrnoException) => {
      if (err.code !== 'ENOTEMPTY' && err.code !== 'ENOENT') throw err;
    });
  }
}

/** The runtime makes the pod's control group in every hierarchy and leaves it there. */
async function removePodGroups(uid: string): Promise<void> {
  const roots = ['/sys/fs/cgroup', ...(await readdir('/sys/fs/cgroup').catch(() => [])).map((name) => join('/sys/fs/cgroup', name))];
  // A group that is still in use, or that was never there, stays as it is.
  for (const root of roots) await rmdir(join(root, 'midship', 'pods', uid)).catch(() => undefined);
}

/** Names of one part, that stay in the directory which they are joined to. */
const isName = (text: string): boolean => text !== '' && text !== '.' && text !== '..' && basename(text) === text;

const byCreation = (a: { readonly createdAt: number }, b: { readonly createdAt: number }): number => a.createdAt - b.createdAt;

const millisecondsOf = (nanoseconds: number): number => Math.round(nanoseconds / 1e6);

const stateOf = (state: CriContainer['state']): ContainerStatus['state'] =>
  (({ CONTAINER_CREATED: 'created', CONTAINER_RUNNING: 'running', CONTAINER_EXITED: 'exited', CONTAINER_UNKNOWN: 'unknown' }) as const)[
    state
  ];

const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

/** Both an end that was asked for twice and a container that somebody else removed are what the caller wants. */
function ignoreUnknown(err: unknown): void {
  if (!(err instanceof GrpcError) || err.code !== grpcCodes.notFound) throw err;
}

function imageError(err: unknown): unknown {
  if (!(err instanceof GrpcError)) return err;
  if (err.code === grpcCodes.invalidArgument || /invalid reference format/.test(err.message))
    return new ImageError('InvalidImageName', err.message);
  return new ImageError('ErrImagePull', err.message);
}

const podLabels = ({ name, namespace, uid }: Pick<PodSandboxConfig, 'name' | 'namespace' | 'uid'>): Record<string, string> => ({
  [labels.podName]: name,
  [labels.podNamespace]: namespace,
  [labels.podUid]: uid,
});

function sandboxConfig(config: PodSandboxConfig, nodeName: string): CriSandboxConfig {
  const { name, namespace, uid, attempt, hostNetwork, hostname, hostAliases, logDirectory, gracePeriodMs } = config;
  return {
    metadata: { name, namespace, uid, attempt },
    // The node's own network has the node's own name.
    hostname: hostNetwork ? '' : hostname,
    logDirectory,
    labels: { ...podLabels(config), [labels.node]: nodeName },
    annotations: {
      [annotations.hostNetwork]: String(hostNetwork),
      [annotations.hostname]: hostname,
      [annotations.hostAliases]: JSON.stringify(hostAliases),
      [annotations.logDirectory]: logDirectory,
      ...(gracePeriodMs === undefined ? {} : { [annotations.gracePeriod]: String(gracePeriodMs) }),
    },
    linux: {
      cgroupParent: `/midship/pods/${uid}`,
      securityContext: { namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces, seccomp: { profileType: 'RuntimeDefault' } },
    },
  };
}

/** The configuration that a sandbox was made with, as far as its containers need it. */
const storedConfig = (sandbox: CriSandbox): CriSandboxConfig => {
  const hostNetwork = sandbox.annotations[annotations.hostNetwork] === 'true';
  return {
    metadata: sandbox.metadata,
    hostname: hostNetwork ? '' : (sandbox.annotations[annotations.hostname] ?? ''),
    logDirectory: sandbox.annotations[annotations.logDirectory] ?? '',
    labels: sandbox.labels,
    annotations: sandbox.annotations,
    linux: {
      cgroupParent: `/midship/pods/${sandbox.metadata.uid}`,
      securityContext: { namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces, seccomp: { profileType: 'RuntimeDefault' } },
    },
  };
};

const logPathOf = ({ name, attempt }: Pick<ContainerConfig, 'name' | 'attempt'>): string => join(name, `${attempt}.log`);

interface ContainerOptions {
  readonly config: ContainerConfig;
  readonly sandbox: CriSandbox;
  readonly mounts: readonly CriMount[];
  readonly place: string;
}

function containerConfig({ config, sandbox, mounts, place }: ContainerOptions): CriContainerConfig {
  const { name, attempt, image, command, args, workingDir, env, identity, readOnlyRoot = false, limits, stdin } = config;
  const { dropCapabilities = [], supplementalGroups = [] } = config;
  const hostNetwork = sandbox.annotations[annotations.hostNetwork] === 'true';
  return {
    metadata: { name, attempt },
    image: { image },
    command,
    args,
    workingDir: workingDir ?? '',
    envs: env.map(({ name: key, value }) => ({ key, value: Buffer.from(value) })),
    mounts,
    labels: { ...podLabels(sandbox.metadata), [labels.containerName]: name, [labels.node]: sandbox.labels[labels.node] ?? '' },
    annotations: {
      [annotations.hash]: config.configHash,
      [annotations.terminationMessagePath]: config.terminationMessagePath,
      [annotations.place]: place,
      [annotations.stdin]: String(stdin !== undefined),
    },
    logPath: logPathOf(config),
    stdin: stdin !== undefined,
    stdinOnce: stdin === 'once',
    tty: false,
    linux: {
      resources: {
        cpuPeriod: cpuPeriodUs,
        cpuQuota: limits?.cpuMilli === undefined ? 0 : Math.ceil((limits.cpuMilli * cpuPeriodUs) / 1_000),
        cpuShares: Math.max(minCpuShares, Math.floor(((limits?.cpuRequestMilli ?? 0) * 1_024) / 1_000)),
        memoryLimitInBytes: limits?.memoryBytes ?? 0,
        oomScoreAdj: limits?.oomScoreAdjust ?? 1_000,
      },
      securityContext: {
        capabilities: { addCapabilities: [], dropCapabilities },
        namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces,
        ...(identity === undefined ? {} : { runAsUser: { value: identity.uid }, runAsGroup: { value: identity.gid } }),
        readonlyRootfs: readOnlyRoot,
        supplementalGroups,
        noNewPrivs: true,
        maskedPaths,
        readonlyPaths,
        seccomp: { profileType: 'RuntimeDefault' },
      },
    },
  };
}

/** /etc/hosts as the kubelet writes it. */
function hostsText(sandbox: CriSandbox, ip: string): string {
  const aliases = JSON.parse(sandbox.annotations[annotations.hostAliases] ?? '[]') as PodSandboxConfig['hostAliases'];
  const lines = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
    ...(ip === '' ? [] : [`${ip}\t${sandbox.annotations[annotations.hostname] ?? sandbox.metadata.name}`]),
    ...(aliases.length === 0 ? [] : ['', '# Entries added by HostAliases.']),
    ...aliases.map((alias) => `${alias.ip}\t${alias.hostnames.join('\t')}`),
  ];
  return `${lines.join('\n')}\n`;
}
