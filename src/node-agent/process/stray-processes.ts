import type { Clock } from '../../base/clock.ts';
import type { ListeningAddress } from '../container-runtime.ts';
import { allProcesses, descendantsOf, listenersOf, processesWithArguments, processesWithEnvironment, readListeners } from './proc.ts';
import { stateDirectoryOf } from './waiter.ts';

export const environmentMarker = 'MIDSHIP_CONTAINER_ID';

/** A machine under load takes its time to end what was killed. */
const deadlineMs = 5_000;
const pauseMs = 10;

/**
 * Ends processes of a container that no record names any more, because they left the group of its first process. The mark in their
 * environment names them; only containers without namespaces have it.
 *
 * @returns true when none is left
 */
export const endMarked = (containerId: string, clock: Clock): Promise<boolean> =>
  endAll(() => processesWithEnvironment(`${environmentMarker}=${containerId}`), clock);

/** Ends all processes of a container whose records cannot be read: what started them has the state directory among its arguments. */
export const endByDirectory = (stateDirectory: string, containerId: string, clock: Clock): Promise<boolean> =>
  endAll(async () => {
    const ofContainer = await startedFrom((directory) => directory === stateDirectory);
    return [...ofContainer, ...(await processesWithEnvironment(`${environmentMarker}=${containerId}`))];
  }, clock);

/** Ends all containers whose state lies below a directory, whatever is left of it. */
export const endBelow = (directory: string, clock: Clock): Promise<boolean> =>
  endAll(() => startedFrom((stateDirectory) => stateDirectory.startsWith(`${directory}/`)), clock);

/**
 * Ends the containers below `directory` that listen on an address which is not theirs. A pod that outlived its control plane can take the
 * addresses of the next one, and would keep it from starting.
 *
 * @returns what they listened on
 */
export async function endListeners(
  directory: string,
  isReserved: (listening: ListeningAddress) => boolean,
  clock: Clock,
): Promise<readonly ListeningAddress[]> {
  const found: ListeningAddress[] = [];
  const stateDirectories = new Set<string>();
  await processesWithArguments((args) => {
    const stateDirectory = stateDirectoryOf(args);
    if (stateDirectory?.startsWith(`${directory}/`)) stateDirectories.add(stateDirectory);
    return false;
  });
  for (const stateDirectory of stateDirectories) {
    const own = (): Promise<readonly number[]> => startedFrom((candidate) => candidate === stateDirectory);
    const reserved = (await listenersOf(await own())).filter(isReserved);
    if (reserved.length === 0) continue;
    found.push(...reserved);
    await endAll(own, clock);
    await waitUntilClosed(reserved, clock);
  }
  return found;
}

/** A killed process loses its arguments before its sockets close, so its addresses may still be taken when nothing of it is found. */
async function waitUntilClosed(addresses: readonly ListeningAddress[], clock: Clock): Promise<void> {
  const deadline = clock.monotonicMs() + deadlineMs;
  const isOpen = async (): Promise<boolean> =>
    (await readListeners()).some((each) => addresses.some(({ address, port }) => each.address === address && each.port === port));
  while ((await isOpen()) && clock.monotonicMs() < deadline) await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
}

/** The processes that start and hold containers of such state directories, and all below them. */
async function startedFrom(accepts: (stateDirectory: string) => boolean): Promise<readonly number[]> {
  const starters = await processesWithArguments((args) => {
    const stateDirectory = stateDirectoryOf(args);
    return stateDirectory !== undefined && accepts(stateDirectory);
  });
  const processes = starters.length === 0 ? [] : await allProcesses();
  return [...starters, ...starters.flatMap((pid) => descendantsOf(pid, processes).map((process) => process.pid))];
}

async function endAll(find: () => Promise<readonly number[]>, clock: Clock): Promise<boolean> {
  const deadline = clock.monotonicMs() + deadlineMs;
  for (;;) {
    const pids = new Set(await find());
    pids.delete(process.pid);
    if (pids.size === 0) return true;
    for (const pid of pids) sendSignal(pid, 'SIGKILL');
    if (clock.monotonicMs() > deadline) return false;
    await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
  }
}

/** A process that is gone needs no signal. */
export function sendSignal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}
