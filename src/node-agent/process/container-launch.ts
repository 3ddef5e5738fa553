import { spawn } from 'node:child_process';
import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ContainerError } from '../container-runtime.ts';
import type { ContainerEnds } from './container-ends.ts';
import { readIdentity, sandboxDirectory, Unreadable } from './container-state.ts';
import { type ContainerPlace, type ExecPlan, killGroup } from './exec.ts';
import { dropCommand, type Identity, outerCommand } from './isolation.ts';
import { type Container, killed } from './known-container.ts';
import { isRunning, type KnownPods } from './known-pods.ts';
import { type LaunchPlan, launchFiles, mountTableFile } from './launch-script.ts';
import { planMounts } from './mount-plan.ts';
import { childrenOf } from './proc.ts';
import type { LimitCommands } from './resource-limits.ts';
import { splitEnvironment } from './shell-environment.ts';
import { environmentMarker } from './stray-processes.ts';
import { waiterCommand } from './waiter.ts';

const rootIdentity: Identity = { uid: 0, gid: 0 };
const launchTimeoutMs = 60_000;
/** Limits of a container that nobody says more about: the first that the kernel ends. */
const noLimits = { oomScoreAdjust: 1_000 };
/** For the programs that start a container. The container's own comes last: its LD_PRELOAD, say, must have no effect on the host. */
const startEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

/** Starts containers, and commands in them. */
export interface ContainerLauncher {
  /** Resolves when the first process of the container runs, or has ended. */
  launch(container: Container): Promise<void>;
  /** @throws Error when the container does not run */
  execPlanOf(container: Container, command: readonly string[]): Promise<ExecPlan>;
}

export function createContainerLauncher(pods: KnownPods, ends: ContainerEnds): ContainerLauncher {
  const { host, directory, clock, log, limits, sandboxOf, podOf, hostIdOf, watchLog } = pods;
  const { isolation } = host;

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
    limits.commandsOf({
      pod: record.sandbox,
      container: record.id,
      limits: record.config.limits ?? noLimits,
      failure: join(state, 'failure'),
    });

  const identityOf = ({ record }: Container): Identity => {
    const { uid, gid = rootIdentity.gid } = record.config.identity ?? rootIdentity;
    return { uid, gid };
  };
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
    return { tools: isolation.tools, first, program, hostId: hostIdOf(podOf(container).uid), asRoot: identityOf(container).uid === 0 };
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
        hostId: hostIdOf(pod.uid),
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
      const hostId = hostIdOf(podOf(container).uid);
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
      const ended = new Promise<void>((resolve, reject) => {
        child.once('error', (err) => reject(new ContainerError('RunContainerError', `start ${command}`, { cause: err })));
        child.once('exit', (code, signalName) => {
          ends
            .settle(container, { ...killed, exitCode: signalName === null ? (code ?? 137) : 137 })
            .catch((err: unknown) => log.error({ err, container: container.record.id }, 'Could not note the end of a container'))
            .finally(resolve);
        });
      });
      const started = child.stdio[3] as Readable;
      const hasBegun = await Promise.race([ended.then(() => false), isWritten(started)]);
      // A program that cannot start never ran: without probes, the pod would be ready until its end is seen.
      if (!hasBegun) await ended;
      ended.catch(() => undefined);
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
    // Its end was seen before its log was watched.
    if (container.exit !== undefined) await ends.endLog(container);
  }

  return { launch, execPlanOf };
}

/** True at the first byte, false at an end without one. */
function isWritten(stream: Readable): Promise<boolean> {
  return new Promise((resolve) => {
    stream.once('data', () => resolve(true));
    stream.once('close', () => resolve(false));
    stream.once('error', () => resolve(false));
  });
}
