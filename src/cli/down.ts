import { access, readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isRunning, type KnownProcess } from '../base/process-identity.ts';
import { removeTree } from '../base/remove-tree.ts';
import { filesOf } from './configuration.ts';
import { claimKeptNetwork, isCopyOfKilled, type Network, NetworkInUse, readProcess } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import { agreesToPurge } from './purge.ts';

export interface DownOptions {
  readonly dataDirectory: string;
  readonly purge: boolean;
  /** Delete also commits that may be nowhere else, without asking. */
  readonly isAgreed: boolean;
  /** Asks a person; undefined where none can be asked. */
  readonly ask: ((question: string) => Promise<boolean>) | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly output: NodeJS.WritableStream;
}

/** Longest time the pods' grace periods may take. */
const deadlineMs = 120_000;

/** Asks the running cluster to stop its pods and itself, and waits until it has. If it was killed, stops its pods from here. */
export async function down({ dataDirectory, purge, isAgreed, ask, now, output }: DownOptions): Promise<ExitCode> {
  const running = await readProcess(dataDirectory).catch((err: unknown) => {
    if (err instanceof Failure) return err;
    throw err;
  });
  if (purge && !isAgreed && !(await agreesToPurge({ dataDirectory, ask, now }))) {
    output.write('nothing was stopped or deleted\n');
    return 1;
  }
  if (!(running instanceof Failure)) await stop(running, output);
  // Only a directory of ours is looked into and deleted, whatever --data-dir says.
  if (!(await isThere(filesOf(dataDirectory).network))) {
    if (!purge && running instanceof Failure) throw running;
    if (!purge) return 0;
    // An agent that never reached its server: its process was the proof that the directory is ours.
    if (!(running instanceof Failure) && 'agentOf' in running) return await deleteData(dataDirectory, output);
    throw new Failure(`${dataDirectory} is not a data directory of Midship`, {
      why: 'It has no network.json.',
      fix: 'Check --data-dir.',
    });
  }
  if (running instanceof Failure) await (await import('./compose/leftovers.ts')).endSquatters({ dataDirectory });
  // Nobody may start the cluster while its pods are ended and its data is deleted.
  const claim = await claimKeptNetwork(dataDirectory).catch((err: unknown) => {
    // A network.json that cannot be read is no reason to keep the data.
    if (purge && err instanceof Failure && !(err instanceof NetworkInUse)) return undefined;
    throw err;
  });
  try {
    const isOfOriginal = await isCopyOfKilled(dataDirectory);
    const stopped = isOfOriginal ? 0 : await stopLeftovers(dataDirectory, { forget: purge, network: claim?.network, output });
    if (purge) {
      await deleteData(dataDirectory, output);
    } else if (running instanceof Failure && stopped === 0) throw running;
  } finally {
    await claim?.release();
  }
  return 0;
}

async function deleteData(dataDirectory: string, output: NodeJS.WritableStream): Promise<ExitCode> {
  for (const name of await readdir(dataDirectory)) await removeTree(join(dataDirectory, name));
  // The directory behind a link stays for the next start, and so does the root of a disk.
  await rmdir(dataDirectory).catch((err: NodeJS.ErrnoException) => {
    if (err.code !== 'EBUSY' && err.code !== 'ENOTDIR') throw err;
  });
  output.write(`data deleted: ${dataDirectory}\n`);
  return 0;
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function stop(endpoints: KnownProcess, output: NodeJS.WritableStream): Promise<void> {
  const { pid } = endpoints;
  const service = serviceIn(await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => ''));
  if (service !== undefined) {
    throw new Failure(`process ${pid} is the service ${service}`, {
      why: 'systemd starts it again when it ends.',
      fix: `Stop it by "systemctl stop ${service}", or remove the service: midship uninstall-service`,
    });
  }
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + deadlineMs;
  while (await isRunning(endpoints)) {
    if (performance.now() > deadline) {
      throw new Failure(`process ${pid} does not stop`, {
        why: `It was asked ${deadlineMs / 1_000} s ago.`,
        fix: `See its log; "kill -9 ${pid}" ends it, and "midship down" then ends the pods.`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  output.write('stopped\n');
}

/** The unit of "midship install-service" in `/proc/PID/cgroup`; undefined for a process that no unit keeps. */
export const serviceIn = (cgroups: string): string | undefined => /\/(midship(?:-agent)?\.service)(?:\/|$)/m.exec(cgroups)?.[1];

/** Gives the number of pods that were stopped. @throws Failure naming what could not be */
async function stopLeftovers(
  dataDirectory: string,
  { forget, network, output }: { readonly forget: boolean; readonly network: Network | undefined; readonly output: NodeJS.WritableStream },
): Promise<number> {
  if (!(await isThere(filesOf(dataDirectory).pods))) return 0;
  const { endContainers, endLeftoverPods } = await import('./compose/leftovers.ts');
  const ended = await endLeftoverPods(dataDirectory, { forget });
  const { left } = ended;
  const stopped = [
    ...ended.stopped,
    ...(network !== undefined && network.kind !== 'loopback' ? await endContainers({ dataDirectory, network, forget }) : []),
  ];
  if (stopped.length > 0) output.write(`stopped ${stopped.length} ${stopped.length === 1 ? 'pod' : 'pods'} that outlived a crash\n`);
  if (left.length > 0) {
    throw new Failure(`${left.join(', ')} cannot be stopped`, {
      why: 'Processes of it were killed and are still there; they may wait for a device, or belong to another user.',
      fix: 'End them (see "ps"), and run this again; the data is kept until then.',
    });
  }
  return stopped.length;
}
