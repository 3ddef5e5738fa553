import { within } from '../../base/clock.ts';
import { isSameProcess } from '../../base/process-identity.ts';
import type { ContainerId } from '../container-runtime.ts';
import { type ExitRecord, readExit, readTerminationMessage, Unreadable, writeExit } from './container-state.ts';
import { type Container, killed, unknownExitCode } from './known-container.ts';
import { isRunning, type KnownPods } from './known-pods.ts';
import { endMarked, sendSignal } from './stray-processes.ts';

const adoptedPollMs = 500;
const killTries = 50;
const killPauseMs = 10;

type ExitWithoutTime = Omit<ExitRecord, 'finishedAt'>;

/** Ends containers, sees that they have ended, and keeps how. */
export interface ContainerEnds {
  /** The container has ended; its exit code is read, or is `fallback` where the waiter could not write it. */
  settle(container: Container, fallback: ExitWithoutTime): Promise<void>;
  /** Like `settle`, for a container that was found ended; nobody is notified. */
  conclude(container: Container, fallback: ExitWithoutTime, noted?: ExitRecord): Promise<void>;
  /** A waiter that was killed leaves the container running, with nobody to wait for it. */
  endFirstProcess(container: Container): Promise<void>;
  isAlive(container: Container): Promise<boolean>;
  /** Sends SIGTERM, and after `gracePeriodMs` SIGKILL. Resolves when the container has ended. */
  stop(container: Container, gracePeriodMs: number): Promise<void>;
  /** Looks at adopted containers until none runs. */
  pollAdopted(): void;
  /** Notes when the last lines of the log were written. */
  endLog(container: Container): Promise<void>;
  /** Ends polls; no end is kept any more. */
  close(): void;
}

export function createContainerEnds(pods: KnownPods, notify: (podUid: string) => void): ContainerEnds {
  const { host, clock, log, limits, containers, podOf, report } = pods;
  const { isolation } = host;
  let closed = false;
  let cancelPoll: (() => void) | undefined;

  /** The container has ended; its exit code is read, or is `fallback` where the waiter could not write it. */
  async function settle(container: Container, fallback: ExitWithoutTime): Promise<void> {
    if (container.exit !== undefined || closed) return;
    await endFirstProcess(container);
    const noted = await readExit(container.directory);
    if (noted instanceof Unreadable) log.warn({ container: container.record.id, why: noted.why }, 'Could not read the end of a container');
    const exit = noted === undefined || noted instanceof Unreadable ? await noteExit(container, fallback) : noted;
    if (isolation.mode === 'plain') await killMarked(container.record.id);
    container.terminationMessage = await readTerminationMessage(container.directory);
    container.ranOutOfMemory = await limits.ranOutOfMemory(container.record.sandbox, container.record.id);
    await endLog(container);
    container.exit = exit;
    for (const listener of container.exitListeners.splice(0)) listener();
    notify(podOf(container).uid);
  }

  async function endLog(container: Container): Promise<void> {
    const { logTimes } = container;
    container.logTimes = undefined;
    await logTimes
      ?.close()
      .catch((err: unknown) => log.warn({ err, container: container.record.id }, 'Could not end the log of a container'));
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
  async function noteExit({ record, directory: state }: Container, exit: ExitWithoutTime): Promise<ExitRecord> {
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

  async function conclude(container: Container, fallback: ExitWithoutTime, noted?: ExitRecord): Promise<void> {
    const { record, directory: state } = container;
    container.exit = noted ?? (await noteExit(container, fallback));
    if (container.exit.exitCode === unknownExitCode && container.exit.message !== undefined)
      report(podOf(container).uid, `container ${record.config.name}: ${container.exit.message}`);
    if (isolation.mode === 'plain' && record.bootId === host.bootId) await killMarked(record.id);
    container.terminationMessage = await readTerminationMessage(state);
    container.ranOutOfMemory = await limits.ranOutOfMemory(record.sandbox, record.id);
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
    if ((await within(clock, gracePeriodMs, exited)) === 'late') {
      await send('SIGKILL');
      if (isolation.mode === 'plain') await killMarked(container.record.id);
      await exited;
    }
  }

  return {
    settle,
    conclude,
    endFirstProcess,
    isAlive,
    stop,
    endLog,
    pollAdopted,
    close() {
      closed = true;
      cancelPoll?.();
    },
  };
}
