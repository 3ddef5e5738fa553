import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, open, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { serviceAccountDirectory } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import { joinCall } from '../../base/concurrency.ts';
import type { Log } from '../../base/log.ts';
import { isSameProcess } from '../../base/process-identity.ts';
import {
  ContainerError,
  type ContainerId,
  type ContainerLog,
  type ContainerRuntime,
  type ContainerStats,
  ImageError,
  type PodSandboxConfig,
  type SandboxId,
  UnsupportedError,
} from '../container-runtime.ts';
import { createAddressPool } from './address-pool.ts';
import {
  type ContainerRecord,
  containerDirectory,
  type ExitRecord,
  ensureSandboxes,
  type FoundSandbox,
  readExit,
  readIdentity,
  readRecords,
  readTerminationMessage,
  type SandboxRecord,
  sandboxDirectory,
  Unreadable,
  writeExit,
  writeRecord,
} from './container-state.ts';
import { type ContainerPlace, type ExecPlan, execInContainer, killGroup } from './exec.ts';
import { startExecSession } from './exec-session.ts';
import { dropCommand, hostIdOf, type Identity, outerCommand } from './isolation.ts';
import { type Container, killed, type Sandbox, sandboxStatusOf, unknownExit, unknownExitCode } from './known-container.ts';
import { type LaunchPlan, launchFiles, mountTableFile } from './launch-script.ts';
import { recordLogTimes } from './log-times.ts';
import { planMounts } from './mount-plan.ts';
import { allProcesses, childrenOf, descendantsOf, listenersOf, pageSizeBytes, ticksPerSecond } from './proc.ts';
import { describeIsolation, type ProcessHost } from './process-host.ts';
import { createResourceLimits, type LimitCommands } from './resource-limits.ts';
import { splitEnvironment } from './shell-environment.ts';
import { connectTo, openPipe } from './sockets.ts';
import { endByDirectory, endMarked, environmentMarker, sendSignal } from './stray-processes.ts';
import { waiterCommand } from './waiter.ts';

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

const rootIdentity: Identity = { uid: 0, gid: 0 };
const launchTimeoutMs = 60_000;
const adoptedPollMs = 500;
/** Limits of a container that nobody says more about: the first that the kernel ends. */
const noLimits = { oomScoreAdjust: 1_000 };
const killTries = 50;
const killPauseMs = 10;
/** For the programs that start a container. The container's own comes last: its LD_PRELOAD, say, must have no effect on the host. */
const startEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

/**
 * Runs containers as processes of this machine. Images are names only (`host/ANYTHING`): programs are those of the host.
 *
 * Everything needed to find containers again is on disk before they start. They have no tie to this process: when it dies they run
 * on, and the next `openProcessRuntime` on the same directory adopts them.
 */
export async function openProcessRuntime(options: ProcessRuntimeOptions): Promise<ContainerRuntime> {
  const { host, directory, clock, log } = options;
  const { isolation } = host;
  const limits = createResourceLimits({ cgroups: host.cgroups, isolation, directory, clock, log });
  const pool = createAddressPool(options.podCidr);
  const sandboxes = new Map<SandboxId, Sandbox>();
  const containers = new Map<ContainerId, Container>();
  /** Calls under way, so that calls at the same time share one. */
  const making = new Map<SandboxId, Promise<SandboxId>>();
  const stopping = new Map<SandboxId, Promise<void>>();
  const removing = new Map<SandboxId, Promise<void>>();
  const listeners = new Set<(podUid: string) => void>();
  /** Damage that was found, by pod. */
  const problems = new Map<string, readonly string[]>();
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
  const logOf = (container: Container): Required<ContainerLog> => ({
    path: container.record.logPath,
    timesPath: `${container.record.logPath}.times`,
  });

  const watchLog = (container: Container): void => {
    container.logTimes ??= recordLogTimes({ log: logOf(container), clock, logger: log });
  };

  /** The container has ended; its exit code is read, or is `fallback` where the waiter could not write it. */
  async function settle(container: Container, fallback: Omit<ExitRecord, 'finishedAt'>): Promise<void> {
    if (container.exit !== undefined || closed) return;
    await endFirstProcess(container);
    const noted = await readExit(container.directory);
    if (noted instanceof Unreadable) log.warn({ container: container.record.id, why: noted.why }, 'Could not read the end of a container');
    const exit = noted === undefined || noted instanceof Unreadable ? await noteExit(container, fallback) : noted;
    if (isolation.mode === 'plain') await killMarked(container.record.id);
    container.terminationMessage = await readTerminationMessage(container.directory);
    container.ranOutOfMemory = await limits.ranOutOfMemory(container.record.sandbox, container.record.id);
    const { logTimes } = container;
    container.logTimes = undefined;
    await logTimes
      ?.close()
      .catch((err: unknown) => log.warn({ err, container: container.record.id }, 'Could not end the log of a container'));
    container.exit = exit;
    for (const listener of container.exitListeners.splice(0)) listener();
    for (const listener of listeners) listener(podOf(container).uid);
  }

  /** A waiter that was killed leaves the container running, with nobody to wait for it. */
  async function endFirstProcess({ identity, record }: Container): Promise<void> {
    if (identity === undefined || record.bootId !== host.bootId) return;
    for (let tries = 0; await isSameProcess(identity.pid, identity.startTime); tries += 1) {
      if (tries === killTries) {
        log.warn({ container: record.id, pid: identity.pid }, 'The first process of a container outlived its kill');
        return;
      }
      sendSignal(identity.pid, 'SIGKILL');
      await new Promise<void>((resolve) => clock.after(killPauseMs, resolve));
    }
  }

  /** A full disk must not keep a container that is gone among the running: then the exit code is known to this process alone. */
  async function noteExit({ record, directory: state }: Container, exit: Omit<ExitRecord, 'finishedAt'>): Promise<ExitRecord> {
    try {
      await writeExit(state, exit);
    } catch (err) {
      log.warn({ err, container: record.id }, 'Could not write down the end of a container');
    }
    return { ...exit, finishedAt: clock.now() };
  }

  async function killMarked(id: ContainerId): Promise<void> {
    if (!(await endMarked(id, clock))) log.warn({ container: id }, 'Processes of a container outlived their kill');
  }

  async function isAlive({ identity, waiter }: Container): Promise<boolean> {
    const last = waiter ?? identity;
    return last !== undefined && (await isSameProcess(last.pid, last.startTime));
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
          if (!(await isAlive(container))) await settle(container, killed);
        }),
      )
        .catch((err: unknown) => log.error({ err }, 'Could not look at adopted containers'))
        .finally(pollAdopted);
    });
  }

  /** Every sandbox and container for itself: a record that cannot be read is the trouble of its pod, and the others run on. */
  async function adopt(): Promise<void> {
    for (const found of await readRecords(directory)) {
      try {
        if (found.record instanceof Unreadable) await discardSandbox(found, found.record.why);
        else await adoptSandbox(found, found.record);
      } catch (err) {
        // For any unexpected error: without the sandbox the pod starts again.
        log.error({ err, sandbox: found.id }, 'Could not recover sandbox');
        await discardSandbox(found, err instanceof Error ? err.message : String(err));
      }
    }
    await limits.removeOthers(new Set(sandboxes.keys()));
    pollAdopted();
  }

  async function adoptSandbox({ containers: found }: FoundSandbox, kept: SandboxRecord): Promise<void> {
    const boots =
      kept.bootId === undefined ? found.map(({ record }) => (record instanceof Unreadable ? '' : record.bootId)) : [kept.bootId];
    // After another boot nothing of it can run, and its pod gets a new sandbox.
    const record = { ...kept, ready: kept.ready && boots.every((boot) => boot === '' || boot === host.bootId) };
    const sandbox: Sandbox = { record, containers: new Map() };
    sandboxes.set(record.id, sandbox);
    if (record.ready && !record.config.hostNetwork) pool.reserve(record.ip);
    for (const { id, directory: place, record: containerRecord } of found) {
      if (containerRecord instanceof Unreadable) {
        await discardContainer(place, id);
        await limits.remove(record.id, id);
        report(record.config.uid, `a container of this pod was ended, because its record is damaged: ${containerRecord.why}`);
        continue;
      }
      const container = newContainer(containerRecord);
      sandbox.containers.set(id, container);
      containers.set(id, container);
      await recover(container);
    }
  }

  /** Nobody can say what is in it: its processes are ended, and its pod, when there still is one, starts again. */
  async function discardSandbox(found: FoundSandbox, why: string): Promise<void> {
    const sandbox = sandboxes.get(found.id);
    if (sandbox?.record.ready === true && !sandbox.record.config.hostNetwork) pool.release(sandbox.record.ip);
    sandboxes.delete(found.id);
    for (const { id, directory: place } of found.containers) {
      containers.delete(id);
      await discardContainer(place, id);
    }
    await limits.remove(found.id);
    if (found.podUid !== undefined) report(found.podUid, `the sandbox of this pod was ended, because its record is damaged: ${why}`);
    await removeFiles(found.directory);
  }

  async function discardContainer(place: string, id: ContainerId): Promise<void> {
    if (!(await endByDirectory(place, id, clock))) log.warn({ container: id }, 'Processes of a container outlived their kill');
    await removeFiles(place);
  }

  async function removeFiles(place: string): Promise<void> {
    await rm(place, { recursive: true, force: true }).catch((err: unknown) =>
      log.warn({ err, path: place }, 'Could not remove damaged files'),
    );
  }

  function report(podUid: string, problem: string): void {
    log.warn({ uid: podUid, problem }, 'Found damaged records of a pod');
    problems.set(podUid, [...(problems.get(podUid) ?? []), problem]);
  }

  async function recover(container: Container): Promise<void> {
    const { record, directory: state } = container;
    // Pids of another boot are those of strangers.
    const sameBoot = record.bootId === host.bootId;
    const identity = await readIdentity(state, 'pid');
    const waiter = await readIdentity(state, 'waiter');
    const damage = [identity, waiter].find((found) => found instanceof Unreadable);
    if (damage instanceof Unreadable) {
      if (sameBoot) await endByDirectory(state, record.id, clock);
      await conclude(container, unknownExit(damage.why));
      return;
    }
    if (identity === undefined || identity instanceof Unreadable || waiter instanceof Unreadable) {
      // Created and not started, or on the way there when the agent ended: the agent removes it.
      if (sameBoot && waiter !== undefined) await endByDirectory(state, record.id, clock);
      return;
    }
    container.identity = { pid: identity.pid, startTime: identity.startTime };
    container.waiter = waiter;
    container.startedAt = identity.startedAt;
    if (sameBoot && (await isAlive(container))) {
      watchLog(container);
      log.info({ pod: podKeyOf(podOf(container)), container: record.config.name, pid: identity.pid }, 'Adopted running container');
      return;
    }
    await endFirstProcess(container);
    const exit = await readExit(state);
    if (exit instanceof Unreadable) await conclude(container, unknownExit(exit.why));
    else await conclude(container, killed, exit);
  }

  async function conclude(container: Container, fallback: Omit<ExitRecord, 'finishedAt'>, noted?: ExitRecord): Promise<void> {
    const { record, directory: state } = container;
    container.exit = noted ?? (await noteExit(container, fallback));
    if (container.exit.exitCode === unknownExitCode && container.exit.message !== undefined)
      report(podOf(container).uid, `container ${record.config.name}: ${container.exit.message}`);
    if (isolation.mode === 'plain' && record.bootId === host.bootId) await killMarked(record.id);
    container.terminationMessage = await readTerminationMessage(state);
    container.ranOutOfMemory = await limits.ranOutOfMemory(record.sandbox, record.id);
  }

  const newContainer = (record: ContainerRecord): Container => ({
    record,
    directory: containerDirectory(directory, record.sandbox, record.id),
    identity: undefined,
    waiter: undefined,
    startedAt: undefined,
    exit: undefined,
    terminationMessage: undefined,
    ranOutOfMemory: false,
    child: undefined,
    launching: undefined,
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

  const limitsOf = ({ record, directory: state }: Container): LimitCommands =>
    limits.commandsOf(record.sandbox, record.id, record.config.limits ?? noLimits, join(state, 'failure'));

  /** The id that the pod has on the host; undefined when that is the agent's own. */
  const hostIdFor = (podUid: string): number | undefined =>
    isolation.mode === 'namespaces' && isolation.ids !== undefined ? hostIdOf(isolation.ids, podUid) : undefined;
  const identityOf = ({ record }: Container): Identity => record.config.identity ?? rootIdentity;
  /** Takes away what plain processes can be without. */
  const plainDrop = (): readonly string[] =>
    isolation.mode === 'namespaces' || isolation.setpriv === undefined
      ? []
      : dropCommand(isolation.setpriv, { withBounds: process.getuid?.() === 0 });

  async function placeOf(container: Container, first: number): Promise<ContainerPlace | undefined> {
    if (isolation.mode === 'plain') return undefined;
    // Orphaned processes of the container are children of the first process, too, and were started by the program.
    const [program] = await childrenOf(first);
    if (program === undefined) throw new Error(`container ${container.record.config.name} is not running`);
    return { tools: isolation.tools, first, program, hostId: hostIdFor(podOf(container).uid), asRoot: identityOf(container).uid === 0 };
  }

  async function execPlanOf(container: Container, command: readonly string[]): Promise<ExecPlan> {
    const { identity } = container;
    if (identity === undefined || !isRunning(container)) throw new Error(`container ${container.record.config.name} is not running`);
    const environment = environmentOf(container);
    const place = await placeOf(container, identity.pid);
    return { place, drop: plainDrop(), limits: limitsOf(container), command, workingDir: workingDirOf(container), environment, clock };
  }

  async function launchPlanOf(container: Container): Promise<LaunchPlan> {
    const { config } = container.record;
    const pod = podOf(container);
    // Names that a shell cannot hold are set by env.
    const [environment, others] = splitEnvironment(environmentOf(container));
    const odd = Object.entries(others).map(([name, value]) => `${name}=${value}`);
    const plan = {
      environment,
      stateDirectory: container.directory,
      workingDir: workingDirOf(container),
      command: [...(odd.length === 0 ? [] : ['/usr/bin/env', '--', ...odd]), ...config.command, ...config.args],
      stdin: config.stdin,
      limits: limitsOf(container).inside,
    };
    if (isolation.mode === 'plain') return { ...plan, drop: plainDrop() };
    const { layout } = host;
    const { mounts, linked } = await planMounts({
      config,
      layout,
      sandboxDirectory: sandboxDirectory(directory, container.record.sandbox),
      containerDirectory: container.directory,
    });
    const names = await Promise.all(linked.map(async (path) => [path, await readdir(path)] as const));
    return {
      ...plan,
      fileSystem: {
        tools: isolation.tools,
        hostId: hostIdFor(pod.uid),
        identity: identityOf(container),
        readOnlyRoot: config.readOnlyRoot ?? false,
        layout,
        hostname: pod.hostname,
        mounts,
        linked: new Map(names),
      },
    };
  }

  async function launch(container: Container): Promise<void> {
    const { sandbox, id, config } = container.record;
    const script = join(container.directory, 'start.sh');
    await limits.prepare(sandbox, id, config.limits ?? noLimits);
    await mkdir(join(container.directory, isolation.mode === 'plain' ? 'work' : 'root'), { recursive: true });
    const files = launchFiles(await launchPlanOf(container));
    await writeFile(script, files.script, { mode: 0o600 });
    await writeFile(join(container.directory, mountTableFile), files.mountTable, { mode: 0o600 });
    const output = await open(container.record.logPath, 'a', 0o640);
    let cancelDeadline: () => void = () => undefined;
    try {
      const hostId = hostIdFor(podOf(container).uid);
      // Programs open /dev/stdout and the like again, by name.
      if (hostId !== undefined) await output.chown(hostId, hostId);
      const outer = isolation.mode === 'plain' ? [] : outerCommand(isolation.tools, isolation.ids);
      const { outside, words } = limitsOf(container);
      const [command, ...args] = waiterCommand(container.directory, outside, [...words, ...outer, '/bin/sh']);
      const child = spawn(command, args, {
        // A session of its own: signals from the agent's terminal do not reach it.
        detached: true,
        stdio: ['ignore', output.fd, output.fd, 'pipe'],
        env: isolation.mode === 'plain' ? { ...startEnvironment, [environmentMarker]: container.record.id } : startEnvironment,
        cwd: '/',
      });
      container.child = child;
      // A volume with a pipe in the way of a mount could hold up this start, and with it those of other pods.
      cancelDeadline = clock.after(launchTimeoutMs, () => killGroup(child.pid));
      const exited = new Promise<void>((resolve, reject) => {
        child.once('error', (err) => reject(new ContainerError('RunContainerError', `start ${command}`, { cause: err })));
        child.once('exit', (code, signalName) => {
          resolve();
          settle(container, { ...killed, exitCode: signalName === null ? (code ?? 137) : 137 }).catch((err: unknown) =>
            log.error({ err, container: container.record.id }, 'Could not note the end of a container'),
          );
        });
      });
      const started = child.stdio[3] as Readable;
      await Promise.race([exited, wordFrom(started)]);
      exited.catch(() => undefined);
      started.destroy();
    } finally {
      cancelDeadline();
      await output.close();
    }
    const identity = await readIdentity(container.directory, 'pid');
    if (identity === undefined || identity instanceof Unreadable)
      throw new ContainerError('RunContainerError', 'the first process of the container ended before it began');
    container.startedAt = identity.startedAt;
    container.identity = { pid: identity.pid, startTime: identity.startTime };
    watchLog(container);
  }

  const exitOf = (container: Container): Promise<void> =>
    isRunning(container) ? new Promise((resolve) => container.exitListeners.push(resolve)) : Promise.resolve();

  async function stop(container: Container, gracePeriodMs: number): Promise<void> {
    await container.launching;
    const { identity } = container;
    if (identity === undefined || !isRunning(container)) return;
    const exited = exitOf(container);
    // Between here and the call the kernel could give the pid to another; the start time is compared just before.
    const send = async (name: NodeJS.Signals): Promise<void> => {
      if (await isSameProcess(identity.pid, identity.startTime)) sendSignal(identity.pid, name);
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

  async function writeContainer(container: Container): Promise<void> {
    const { record } = container;
    await mkdir(dirname(record.logPath), { recursive: true, mode: 0o750 });
    await mkdir(container.directory, { recursive: true, mode: 0o700 });
    const terminationLog = join(container.directory, 'termination-log');
    await writeFileWithMode(terminationLog, '', 0o600);
    const hostId = hostIdFor(podOf(container).uid);
    if (hostId !== undefined) await chown(terminationLog, hostId, hostId);
    await writeRecord(container.directory, 'container.json', record);
  }

  async function makeSandbox(id: SandboxId, config: PodSandboxConfig): Promise<SandboxId> {
    const existing = sandboxes.get(id);
    if (existing?.record.ready) return id;
    const ip = config.hostNetwork ? pool.nodeAddress : pool.take();
    if (ip === undefined) throw new Error(`no address is free in ${options.podCidr}`);
    const record: SandboxRecord = { id, config, ip, createdAt: clock.now(), ready: true, bootId: host.bootId };
    const path = sandboxDirectory(directory, id);
    await mkdir(path, { recursive: true, mode: 0o700 });
    await writeFileWithMode(join(path, 'hosts'), hostsFile(config, ip), 0o644);
    await writeFileWithMode(join(path, 'hostname'), `${config.hostname}\n`, 0o644);
    await mkdir(config.logDirectory, { recursive: true, mode: 0o750 });
    await writeRecord(path, 'sandbox.json', record);
    sandboxes.set(id, { record, containers: existing?.containers ?? new Map() });
    return id;
  }

  const stopPodSandbox = (id: SandboxId): Promise<void> => joinCall(stopping, id, () => stopSandbox(id));

  async function stopSandbox(id: SandboxId): Promise<void> {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    await Promise.all([...sandbox.containers.values()].map((container) => stop(container, 0)));
    if (!sandbox.record.ready) return;
    sandbox.record = { ...sandbox.record, ready: false };
    await writeRecord(sandboxDirectory(directory, id), 'sandbox.json', sandbox.record);
    if (!sandbox.record.config.hostNetwork) pool.release(sandbox.record.ip);
  }

  async function removeSandbox(id: SandboxId): Promise<void> {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    await stopPodSandbox(id);
    for (const container of sandbox.containers.values()) {
      await removeContainerFiles(container);
      containers.delete(container.record.id);
    }
    await limits.remove(id);
    await rm(sandboxDirectory(directory, id), { recursive: true, force: true });
    sandboxes.delete(id);
    await removeIfEmpty(sandbox.record.config.logDirectory);
  }

  async function removeContainerFiles(container: Container): Promise<void> {
    await container.logTimes?.close();
    await limits.remove(container.record.sandbox, container.record.id);
    await rm(container.directory, { recursive: true, force: true });
    const { path, timesPath } = logOf(container);
    for (const file of [path, timesPath]) for (const suffix of ['', '.1']) await rm(`${file}${suffix}`, { force: true });
    await removeIfEmpty(dirname(path));
  }

  await ensureSandboxes(directory);
  await adopt();

  return {
    version: `process://${options.version}`,
    runsPrograms: true,
    conditions: [limits.condition],

    runPodSandbox(config) {
      const id = `${config.uid}-${config.attempt}`;
      return joinCall(making, id, () => makeSandbox(id, config));
    },

    stopPodSandbox,

    removePodSandbox: (id) => joinCall(removing, id, () => removeSandbox(id)),

    pullImage(image) {
      if (/^host\/[\w][\w./:@-]*$/.test(image)) return Promise.resolve({ imageRef: image });
      const reason = /^[\w][\w./:@-]*$/.test(image) ? 'ErrImagePull' : 'InvalidImageName';
      const why =
        reason === 'InvalidImageName'
          ? `couldn't parse image name "${image}": invalid reference format`
          : 'images are not pulled in this version: pods run programs of this machine, host/NAME the program NAME';
      return Promise.reject(new ImageError(reason, why));
    },

    async createContainer(sandboxId, config) {
      const sandbox = sandboxOf(sandboxId);
      if (!sandbox.record.ready) throw new Error(`sandbox ${sandboxId} is not ready`);
      const { reason: mode, message } = describeIsolation(host);
      if (mode === 'PodsRefused') throw new ContainerError('CreateContainerError', message);
      if (isolation.mode === 'plain') {
        const own = process.getuid?.() ?? 0;
        const { identity = { uid: own }, readOnlyRoot = false } = config;
        const what = identity.uid !== own ? `user ${identity.uid} (programs run as user ${own} of the machine)` : 'a read-only root';
        if (identity.uid !== own || readOnlyRoot) {
          throw new ContainerError('CreateContainerConfigError', `plain processes cannot have ${what}`);
        }
      }
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
      // Before anything is awaited: the name is taken.
      sandbox.containers.set(id, container);
      containers.set(id, container);
      try {
        await writeContainer(container);
      } catch (err) {
        sandbox.containers.delete(id);
        containers.delete(id);
        throw err;
      }
      return id;
    },

    async startContainer(id) {
      const container = containerOf(id);
      if (container.identity !== undefined || container.launching !== undefined)
        throw new ContainerError('RunContainerError', `container ${id} was started already`);
      const launched = host.limitStarts(() => launch(container));
      container.launching = launched
        .catch(() => undefined)
        .finally(() => {
          container.launching = undefined;
        });
      try {
        await launched;
      } catch (err) {
        if (err instanceof ContainerError) throw err;
        throw new ContainerError('RunContainerError', err instanceof Error ? err.message : String(err), { cause: err });
      }
    },

    async stopContainer(id, gracePeriodMs) {
      await stop(containerOf(id), gracePeriodMs);
    },

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

    takeProblems(podUid) {
      const found = problems.get(podUid) ?? [];
      problems.delete(podUid);
      return found;
    },

    async exec(id, command, execOptions) {
      return execInContainer(await execPlanOf(containerOf(id), command), execOptions);
    },

    async startExec(id, command, execOptions) {
      return startExecSession(await execPlanOf(containerOf(id), command), { ...execOptions, terminal: host.terminal });
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
              if (same) sendSignal(identity.pid, 'SIGUSR1');
            })
            .catch((err: unknown) => log.warn({ err, container: id }, 'Could not end the input of a container'));
        });
      }
      return writer;
    },

    async connect(id, port, abort) {
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

    isolation: describeIsolation(host),
    hostIdOf: hostIdFor,

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
      await limits.removeEmpty();
    },
  };
}

const podKeyOf = ({ namespace, name }: PodSandboxConfig): string => `${namespace}/${name}`;

function hostsFile({ hostname, hostAliases }: PodSandboxConfig, ip: string): string {
  const aliases = hostAliases.map((alias) => `${alias.ip}\t${alias.hostnames.join('\t')}\n`).join('');
  return `# Written by the node agent.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${ip}\t${hostname}\n${aliases}`;
}

/** The umask is not asked: programs of another user read or write these. */
async function writeFileWithMode(path: string, text: string, mode: number): Promise<void> {
  await writeFile(path, text);
  await chmod(path, mode);
}

/** Resolves at the first byte, or at the end when there is none. */
function wordFrom(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.once('data', () => resolve());
    stream.once('close', resolve);
    stream.once('error', () => resolve());
  });
}

async function removeIfEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw err;
  }
}
