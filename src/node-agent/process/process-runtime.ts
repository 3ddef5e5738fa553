import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants, existsSync, open as openCallback, statSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { serviceAccountDirectory } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import {
  ContainerError,
  type ContainerId,
  type ContainerLog,
  type ContainerRuntime,
  type ContainerStats,
  type ContainerStatus,
  ImageError,
  type PodSandboxConfig,
  type SandboxId,
  type SandboxStatus,
  UnsupportedError,
} from '../container-runtime.ts';
import { createAddressPool } from './address-pool.ts';
import {
  type ContainerRecord,
  containerDirectory,
  type ExitRecord,
  type ProcessIdentity,
  readExit,
  readIdentity,
  readRecords,
  type SandboxRecord,
  sandboxDirectory,
  writeExit,
  writeRecord,
} from './container-state.ts';
import { type ExecPlan, execInContainer } from './exec.ts';
import { startExecSession } from './exec-session.ts';
import { directoriesToLink, type LaunchPlan, launchScript, planMounts } from './launch-script.ts';
import { type LogTimes, recordLogTimes } from './log-times.ts';
import {
  allProcesses,
  descendantsOf,
  isSameProcess,
  listenersOf,
  pageSizeBytes,
  processesWithEnvironment,
  ticksPerSecond,
} from './proc.ts';
import type { ProcessHost } from './process-host.ts';

export interface ProcessRuntimeOptions {
  readonly host: ProcessHost;
  /** Absolute; this runtime's alone. */
  readonly directory: string;
  /** `127.N.M.0/24`; `.1` is the node's own address. */
  readonly podCidr: string;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
}

interface Sandbox {
  record: SandboxRecord;
  readonly containers: Map<ContainerId, Container>;
}

interface Container {
  readonly record: ContainerRecord;
  readonly directory: string;
  identity: ProcessIdentity | undefined;
  startedAt: number | undefined;
  exit: ExitRecord | undefined;
  terminationMessage: string | undefined;
  /** Present for containers that this process started; adopted ones are polled. */
  child: ChildProcess | undefined;
  logTimes: LogTimes | undefined;
  readonly exitListeners: (() => void)[];
}

const environmentMarker = 'MIDSHIP_CONTAINER_ID';
const adoptedPollMs = 500;
const plainKillTries = 20;
const plainKillPauseMs = 10;
const maxTerminationMessageBytes = 4096;

/**
 * Runs containers as processes of this machine. Images are names only (`host/ANYTHING`): programs are those of the host.
 *
 * Everything needed to find containers again is on disk before they start, and they have no tie to this process: when it dies they run
 * on, and the next `openProcessRuntime` on the same directory adopts them.
 */
export async function openProcessRuntime(options: ProcessRuntimeOptions): Promise<ContainerRuntime> {
  const { host, directory, clock, log } = options;
  const { isolation } = host;
  const pool = createAddressPool(options.podCidr);
  const sandboxes = new Map<SandboxId, Sandbox>();
  const containers = new Map<ContainerId, Container>();
  const listeners = new Set<(podUid: string) => void>();
  let closed = false;
  let cancelPoll: (() => void) | undefined;

  const sandboxOf = (id: SandboxId): Sandbox => {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) throw new Error(`sandbox ${id} is not known`);
    return sandbox;
  };
  const containerOf = (id: ContainerId): Container => {
    const container = containers.get(id);
    if (container === undefined) throw new Error(`container ${id} is not known`);
    return container;
  };
  const podOf = (container: Container): PodSandboxConfig => sandboxOf(container.record.sandbox).record.config;
  const isRunning = (container: Container): boolean => container.identity !== undefined && container.exit === undefined;
  const logOf = (container: Container): ContainerLog => ({
    path: container.record.logPath,
    timesPath: `${container.record.logPath}.times`,
  });

  const watchLog = (container: Container): void => {
    container.logTimes ??= recordLogTimes({ log: logOf(container), clock, logger: log });
  };

  /** The container's first process is gone; the exit code is read, or known to be that of a kill. */
  async function settle(container: Container, fallbackCode: number): Promise<void> {
    if (container.exit !== undefined || closed) return;
    const exit = (await readExit(container.directory)) ?? (await noteExit(container, fallbackCode));
    if (isolation.mode === 'plain') await killMarked(container.record.id);
    container.terminationMessage = await readTerminationMessage(container.directory);
    const { logTimes } = container;
    container.logTimes = undefined;
    await logTimes
      ?.close()
      .catch((err: unknown) => log.warn({ err, container: container.record.id }, 'Could not end the log of a container'));
    container.exit = exit;
    for (const listener of container.exitListeners.splice(0)) listener();
    for (const listener of listeners) listener(podOf(container).uid);
  }

  /** A full disk must not keep a container that is gone among the running: then the exit code is known to this process alone. */
  async function noteExit({ record, directory: state }: Container, exitCode: number): Promise<ExitRecord> {
    try {
      return await writeExit(state, exitCode);
    } catch (err) {
      log.warn({ err, container: record.id }, 'Could not write down the end of a container');
      return { exitCode, message: undefined, finishedAt: clock.now() };
    }
  }

  /** Ends processes that left the container's group, by the mark in their environment. */
  async function killMarked(id: ContainerId): Promise<void> {
    for (let tries = 0; tries < plainKillTries; tries += 1) {
      const pids = await processesWithEnvironment(`${environmentMarker}=${id}`);
      if (pids.length === 0) return;
      for (const pid of pids) signal(pid, 'SIGKILL');
      await new Promise<void>((resolve) => clock.after(plainKillPauseMs, resolve));
    }
    log.warn({ container: id }, 'Processes of a container outlived their kill');
  }

  // Processes of another parent send no SIGCHLD.
  function pollAdopted(): void {
    if (cancelPoll !== undefined || closed) return;
    const adopted = [...containers.values()].filter((container) => isRunning(container) && container.child === undefined);
    if (adopted.length === 0) return;
    cancelPoll = clock.after(adoptedPollMs, () => {
      cancelPoll = undefined;
      Promise.all(
        adopted.map(async (container) => {
          const { identity } = container;
          if (identity !== undefined && !(await isSameProcess(identity.pid, identity.startTime))) await settle(container, 137);
        }),
      )
        .catch((err: unknown) => log.error({ err }, 'Could not look at adopted containers'))
        .finally(pollAdopted);
    });
  }

  async function adopt(): Promise<void> {
    const { sandboxes: records, broken } = await readRecords(directory);
    for (const path of broken) await rm(path, { recursive: true, force: true });
    for (const { record, containers: containerRecords } of records) {
      const sandbox: Sandbox = { record, containers: new Map() };
      sandboxes.set(record.id, sandbox);
      if (record.ready && !record.config.hostNetwork) pool.reserve(record.ip);
      for (const containerRecord of containerRecords) {
        const container = newContainer(containerRecord);
        sandbox.containers.set(containerRecord.id, container);
        containers.set(containerRecord.id, container);
        await recover(container);
      }
    }
    pollAdopted();
  }

  async function recover(container: Container): Promise<void> {
    const identity = await readIdentity(container.directory);
    // Created and never started, as far as can be seen: the agent removes it, and with its directory gone a start that is under way fails.
    if (identity === undefined) return;
    container.identity = { pid: identity.pid, startTime: identity.startTime };
    container.startedAt = identity.startedAt;
    const alive = container.record.bootId === host.bootId && (await isSameProcess(identity.pid, identity.startTime));
    if (alive) {
      watchLog(container);
      log.info(
        { pod: podKeyOf(podOf(container)), container: container.record.config.name, pid: identity.pid },
        'Adopted running container',
      );
      return;
    }
    container.exit = (await readExit(container.directory)) ?? (await noteExit(container, 137));
    if (isolation.mode === 'plain') await killMarked(container.record.id);
    container.terminationMessage = await readTerminationMessage(container.directory);
  }

  const newContainer = (record: ContainerRecord): Container => ({
    record,
    directory: containerDirectory(directory, record.sandbox, record.id),
    identity: undefined,
    startedAt: undefined,
    exit: undefined,
    terminationMessage: undefined,
    child: undefined,
    logTimes: undefined,
    exitListeners: [],
  });

  function environmentOf({ record }: Container): Record<string, string> {
    const { config } = sandboxOf(record.sandbox).record;
    const environment: Record<string, string> = { PATH: host.defaultPath, HOME: host.home, HOSTNAME: config.hostname };
    for (const { name, value } of record.config.env) environment[name] = value;
    if (isolation.mode === 'plain') environment[environmentMarker] = record.id;
    return environment;
  }

  const workingDirOf = ({ record, directory: state }: Container): string =>
    record.config.workingDir ?? (isolation.mode === 'plain' ? join(state, 'work') : '/');

  function execPlanOf(container: Container, command: readonly string[]): ExecPlan {
    const { identity } = container;
    if (identity === undefined || !isRunning(container)) throw new Error(`container ${container.record.config.name} is not running`);
    const environment = environmentOf(container);
    return { isolation, pid: identity.pid, command, workingDir: workingDirOf(container), environment, clock };
  }

  async function launchPlanOf(container: Container): Promise<LaunchPlan> {
    const { config } = container.record;
    const { config: pod } = sandboxOf(container.record.sandbox).record;
    // A shell passes only names that it could have itself; the others are set by env.
    const odd = config.env.filter(({ name }) => !/^[A-Za-z_]\w*$/.test(name)).map(({ name, value }) => `${name}=${value}`);
    const plan = {
      stateDirectory: container.directory,
      workingDir: workingDirOf(container),
      command: [...(odd.length === 0 ? [] : ['/usr/bin/env', ...odd]), ...config.command, ...config.args],
      stdin: config.stdin,
    };
    if (isolation.mode === 'plain') return plan;
    const sandbox = sandboxDirectory(directory, container.record.sandbox);
    const own = [
      { hostPath: join(sandbox, 'hosts'), containerPath: '/etc/hosts', readOnly: false },
      { hostPath: join(sandbox, 'hostname'), containerPath: '/etc/hostname', readOnly: false },
      { hostPath: join(container.directory, 'termination-log'), containerPath: config.terminationMessagePath, readOnly: false },
    ].filter(({ containerPath }) => !config.mounts.some((mount) => mount.containerPath === containerPath));
    const sources = await Promise.all(
      [...own, ...config.mounts].map(async (mount) => ({ ...mount, isDirectory: (await stat(mount.hostPath)).isDirectory() })),
    );
    const mounts = planMounts(sources, host.layout).filter(
      // The host has no such file to mount over, and a pod does not need it enough for a directory of links.
      ({ containerPath }) => containerPath !== '/etc/hostname' || existsSync('/etc/hostname'),
    );
    const linked = directoriesToLink(mounts, host.layout, existsAs);
    const names = await Promise.all(linked.map(async (path) => [path, await readdir(path)] as const));
    return { ...plan, fileSystem: { tools: isolation.tools, layout: host.layout, hostname: pod.hostname, mounts, linked: new Map(names) } };
  }

  async function launch(container: Container): Promise<void> {
    const script = join(container.directory, 'start.sh');
    await mkdir(join(container.directory, isolation.mode === 'plain' ? 'work' : 'root'), { recursive: true });
    await writeFile(script, launchScript(await launchPlanOf(container)), { mode: 0o600 });
    const output = await open(container.record.logPath, 'a', 0o640);
    try {
      const [command = '', ...args] = [...(isolation.mode === 'plain' ? [] : isolation.unshare), '/bin/sh', script];
      const child = spawn(command, args, {
        // A session of its own: signals from the agent's terminal do not reach it.
        detached: true,
        stdio: ['ignore', output.fd, output.fd, 'pipe'],
        env: environmentOf(container),
        cwd: '/',
      });
      container.child = child;
      const exited = new Promise<void>((resolve, reject) => {
        child.once('error', (err) => reject(new ContainerError('RunContainerError', `start ${command}`, { cause: err })));
        child.once('exit', (code, signalName) => {
          resolve();
          settle(container, signalName === null ? (code ?? 137) : 137).catch((err: unknown) =>
            log.error({ err, container: container.record.id }, 'Could not note the end of a container'),
          );
        });
      });
      await Promise.race([exited, wordFrom(child.stdio[3] as Readable)]);
      exited.catch(() => undefined);
    } finally {
      await output.close();
    }
    const identity = await readIdentity(container.directory);
    if (identity === undefined) throw new ContainerError('RunContainerError', 'the first process of the container ended before it began');
    container.startedAt = identity.startedAt;
    container.identity = { pid: identity.pid, startTime: identity.startTime };
    watchLog(container);
  }

  const exitOf = (container: Container): Promise<void> =>
    isRunning(container) ? new Promise((resolve) => container.exitListeners.push(resolve)) : Promise.resolve();

  async function stop(container: Container, gracePeriodMs: number): Promise<void> {
    const { identity } = container;
    if (identity === undefined || !isRunning(container)) return;
    const exited = exitOf(container);
    // Between here and the call the kernel could give the pid to another; the start time is compared just before.
    const send = async (name: NodeJS.Signals): Promise<void> => {
      if (await isSameProcess(identity.pid, identity.startTime)) signal(identity.pid, name);
    };
    if (gracePeriodMs > 0) await send('SIGTERM');
    let cancel: () => void = () => undefined;
    const deadline = new Promise<'late'>((resolve) => {
      cancel = clock.after(gracePeriodMs, () => resolve('late'));
    });
    const outcome = await Promise.race([exited, deadline]);
    cancel();
    if (outcome === 'late') {
      await send('SIGKILL');
      if (isolation.mode === 'plain') await killMarked(container.record.id);
      await exited;
    }
  }

  async function stopPodSandbox(id: SandboxId): Promise<void> {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    await Promise.all([...sandbox.containers.values()].map((container) => stop(container, 0)));
    if (!sandbox.record.ready) return;
    sandbox.record = { ...sandbox.record, ready: false };
    await writeRecord(sandboxDirectory(directory, id), 'sandbox.json', sandbox.record);
    if (!sandbox.record.config.hostNetwork) pool.release(sandbox.record.ip);
  }

  async function removeContainerFiles(container: Container): Promise<void> {
    await container.logTimes?.close();
    await rm(container.directory, { recursive: true, force: true });
    const { path, timesPath } = logOf(container);
    for (const file of [path, timesPath]) for (const suffix of ['', '.1']) await rm(`${file}${suffix}`, { force: true });
    await removeIfEmpty(dirname(path));
  }

  await mkdir(join(directory, 'sandboxes'), { recursive: true, mode: 0o700 });
  await adopt();

  return {
    version: `process://${options.version}`,
    runsPrograms: true,

    async runPodSandbox(config) {
      const id = `${config.uid}-${config.attempt}`;
      const existing = sandboxes.get(id);
      if (existing?.record.ready) return id;
      const ip = config.hostNetwork ? pool.nodeAddress : pool.take();
      if (ip === undefined) throw new Error(`no address is free in ${options.podCidr}`);
      const record: SandboxRecord = { id, config, ip, createdAt: clock.now(), ready: true };
      const path = sandboxDirectory(directory, id);
      await mkdir(path, { recursive: true, mode: 0o700 });
      await writeFile(join(path, 'hosts'), hostsFile(config, ip), { mode: 0o644 });
      await writeFile(join(path, 'hostname'), `${config.hostname}\n`, { mode: 0o644 });
      await mkdir(config.logDirectory, { recursive: true, mode: 0o750 });
      await writeRecord(path, 'sandbox.json', record);
      sandboxes.set(id, { record, containers: existing?.containers ?? new Map() });
      return id;
    },

    stopPodSandbox,

    async removePodSandbox(id) {
      const sandbox = sandboxes.get(id);
      if (sandbox === undefined) return;
      await stopPodSandbox(id);
      for (const container of sandbox.containers.values()) {
        await removeContainerFiles(container);
        containers.delete(container.record.id);
      }
      await rm(sandboxDirectory(directory, id), { recursive: true, force: true });
      sandboxes.delete(id);
      await removeIfEmpty(sandbox.record.config.logDirectory);
    },

    pullImage(image) {
      if (/^host\/[\w][\w./:@-]*$/.test(image)) return Promise.resolve({ imageRef: image });
      const reason = /^[\w][\w./:@-]*$/.test(image) ? 'ErrImagePull' : 'InvalidImageName';
      const why =
        reason === 'InvalidImageName'
          ? `couldn't parse image name "${image}": invalid reference format`
          : `image "${image}" cannot run on the process runtime, which runs programs of this machine (images named host/...); the containerd runtime will pull images`;
      return Promise.reject(new ImageError(reason, why));
    },

    async createContainer(sandboxId, config) {
      const sandbox = sandboxOf(sandboxId);
      // Every pod is offered access to the API, and most do not need it: what cannot be mounted is left out. Other volumes were asked for.
      if (isolation.mode === 'plain' && config.mounts.some(({ containerPath }) => containerPath !== serviceAccountDirectory)) {
        throw new ContainerError(
          'CreateContainerConfigError',
          `volumeMounts need a mount namespace for the container, and ${isolation.why}`,
        );
      }
      if (config.command.length + config.args.length === 0) {
        throw new ContainerError(
          'CreateContainerError',
          `image ${config.image} has no program of its own: spec.containers[].command is needed`,
        );
      }
      const id = createHash('sha256').update(`${sandboxId}/${config.name}/${config.attempt}`).digest('hex');
      const existing = sandbox.containers.get(id);
      if (existing !== undefined)
        throw new ContainerError('CreateContainerError', `container name ${config.name} with attempt ${config.attempt} is in use`);
      const logPath = join(sandbox.record.config.logDirectory, config.name, `${config.attempt}.log`);
      const record: ContainerRecord = { id, sandbox: sandboxId, config, createdAt: clock.now(), logPath, bootId: host.bootId };
      const container = newContainer(record);
      await mkdir(dirname(logPath), { recursive: true, mode: 0o750 });
      await mkdir(container.directory, { recursive: true, mode: 0o700 });
      await writeFile(join(container.directory, 'termination-log'), '', { mode: 0o666 });
      await writeRecord(container.directory, 'container.json', record);
      sandbox.containers.set(id, container);
      containers.set(id, container);
      return id;
    },

    async startContainer(id) {
      const container = containerOf(id);
      if (container.identity !== undefined) throw new ContainerError('RunContainerError', `container ${id} was started already`);
      try {
        await host.limitStarts(() => launch(container));
      } catch (err) {
        if (err instanceof ContainerError) throw err;
        throw new ContainerError('RunContainerError', err instanceof Error ? err.message : String(err), { cause: err });
      }
    },

    stopContainer: (id, gracePeriodMs) => stop(containerOf(id), gracePeriodMs),

    async removeContainer(id) {
      const container = containers.get(id);
      if (container === undefined) return;
      await stop(container, 0);
      await removeContainerFiles(container);
      sandboxOf(container.record.sandbox).containers.delete(id);
      containers.delete(id);
    },

    list({ podUid } = {}) {
      const found = [...sandboxes.values()].filter(({ record }) => podUid === undefined || record.config.uid === podUid);
      return Promise.resolve(found.map(sandboxStatusOf));
    },

    async exec(id, command, execOptions) {
      return execInContainer(execPlanOf(containerOf(id), command), execOptions);
    },

    async startExec(id, command, execOptions) {
      return startExecSession(execPlanOf(containerOf(id), command), { ...execOptions, terminal: host.terminal });
    },

    async openStdin(id) {
      const container = containerOf(id);
      const { identity } = container;
      const { name, stdin } = container.record.config;
      if (stdin === undefined) throw new UnsupportedError(`container ${name} has no open input: stdin is not set in its spec`);
      if (identity === undefined || !isRunning(container)) throw new Error(`container ${name} is not running`);
      const writer = await openPipe(join(container.directory, 'stdin'));
      if (stdin === 'once') {
        writer.once('close', () => {
          isSameProcess(identity.pid, identity.startTime)
            .then((same) => {
              if (same) signal(identity.pid, 'SIGUSR1');
            })
            .catch((err: unknown) => log.warn({ err, container: id }, 'Could not end the input of a container'));
        });
      }
      return writer;
    },

    connect(id, port, abort) {
      const { ip } = sandboxOf(id).record;
      return connectTo(ip, port, abort);
    },

    logOf(id) {
      const container = containers.get(id);
      return container === undefined ? undefined : logOf(container);
    },

    async listeners(podUid) {
      const roots = [...containers.values()].filter((container) => isRunning(container) && podOf(container).uid === podUid);
      if (roots.length === 0) return [];
      const processes = await allProcesses();
      return listenersOf(roots.flatMap(({ identity }) => descendantsOf(identity?.pid ?? -1, processes).map(({ pid }) => pid)));
    },

    async stats() {
      const processes = await allProcesses();
      const found: ContainerStats[] = [];
      for (const container of containers.values()) {
        if (!isRunning(container) || container.identity === undefined) continue;
        const tree = descendantsOf(container.identity.pid, processes);
        const rss = tree.reduce((sum, { rssPages }) => sum + rssPages, 0) * pageSizeBytes;
        found.push({
          podUid: podOf(container).uid,
          container: container.record.config.name,
          cpuUsageSeconds: tree.reduce((sum, { cpuTicks }) => sum + cpuTicks, 0) / ticksPerSecond,
          // Without a cgroup of its own a container's working set is what its processes have resident.
          memoryWorkingSetBytes: rss,
          memoryRssBytes: rss,
        });
      }
      return found;
    },

    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      closed = true;
      cancelPoll?.();
      listeners.clear();
      for (const container of containers.values()) {
        await container.logTimes?.close();
        container.logTimes = undefined;
        // Lets this process end while its children live on.
        container.child?.removeAllListeners('exit');
        container.child?.unref();
      }
    },
  };
}

function sandboxStatusOf({ record, containers }: Sandbox): SandboxStatus {
  const { namespace, name, uid, attempt } = record.config;
  return {
    id: record.id,
    namespace,
    name,
    uid,
    attempt,
    ready: record.ready,
    ip: record.ip,
    createdAt: record.createdAt,
    containers: [...containers.values()].map(containerStatusOf),
  };
}

function containerStatusOf({ record, identity, startedAt, exit, terminationMessage }: Container): ContainerStatus {
  const { name, attempt, image, configHash } = record.config;
  const common = { id: record.id, name, attempt, image, imageRef: image, configHash, createdAt: record.createdAt };
  if (exit !== undefined) {
    const message = exit.message ?? terminationMessage;
    return {
      ...common,
      state: 'exited',
      startedAt: startedAt ?? record.createdAt,
      finishedAt: exit.finishedAt,
      exitCode: exit.exitCode,
      reason: exit.exitCode === 0 ? 'Completed' : exit.message === undefined ? 'Error' : 'StartError',
      ...(message === undefined ? {} : { message }),
    };
  }
  if (identity === undefined) return { ...common, state: 'created' };
  return { ...common, state: 'running', startedAt: startedAt ?? record.createdAt };
}

/** Never waits in a thread: the pipe has a reader, and a full one is waited for by the event loop. */
async function openPipe(path: string): Promise<Socket> {
  const fd = await openDescriptor(path, constants.O_WRONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: false, writable: true });
}

/** A connection whose other side has ended stays open for writing, as in the pod. */
function connectTo(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = new Socket({ allowHalfOpen: true });
    const onAbort = (): void => void socket.destroy(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', reject);
    socket.connect({ host, port }, () => {
      signal.removeEventListener('abort', onAbort);
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('close', () => signal.removeEventListener('abort', onAbort));
  });
}

const openDescriptor = promisify(openCallback);

const podKeyOf = ({ namespace, name }: PodSandboxConfig): string => `${namespace}/${name}`;

function hostsFile({ hostname, hostAliases }: PodSandboxConfig, ip: string): string {
  const aliases = hostAliases.map((alias) => `${alias.ip}\t${alias.hostnames.join('\t')}\n`).join('');
  return `# Written by the node agent.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${ip}\t${hostname}\n${aliases}`;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

function existsAs(path: string, isDirectory: boolean): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === isDirectory;
}

/** Resolves at the first byte, or at the end when there is none. */
function wordFrom(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.once('data', () => resolve());
    stream.once('close', resolve);
    stream.once('error', () => resolve());
  });
}

async function readTerminationMessage(directory: string): Promise<string | undefined> {
  try {
    const text = (await readFile(join(directory, 'termination-log'))).subarray(0, maxTerminationMessageBytes).toString('utf8');
    return text === '' ? undefined : text;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

async function removeIfEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw err;
  }
}
