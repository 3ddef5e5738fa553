import { readFile, rm } from 'node:fs/promises';
import { filesOf } from './configuration.ts';
import { type Endpoints, isAlive, readEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface DownOptions {
  readonly dataDirectory: string;
  readonly purge: boolean;
  readonly output: NodeJS.WritableStream;
}

/** Longest time the pods' grace periods may take. */
const deadlineMs = 120_000;

/** Asks the running cluster to stop its pods and itself, and waits until it has. */
export async function down({ dataDirectory, purge, output }: DownOptions): Promise<ExitCode> {
  const endpoints = await readEndpoints(dataDirectory).catch((err: unknown) => {
    if (purge && err instanceof Failure) return undefined;
    throw err;
  });
  if (endpoints !== undefined) await stop(endpoints, output);
  if (purge) {
    // Only a directory of ours is deleted, whatever --data-dir says.
    const known = await readFile(filesOf(dataDirectory).network, 'utf8').catch(() => undefined);
    if (known === undefined) {
      throw new Failure(`${dataDirectory} is not a data directory of Midship`, {
        why: 'It has no network.json.',
        fix: 'Check --data-dir.',
      });
    }
    await rm(dataDirectory, { recursive: true, force: true });
    output.write('data deleted\n');
  }
  return 0;
}

async function stop({ pid }: Endpoints, output: NodeJS.WritableStream): Promise<void> {
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + deadlineMs;
  while (isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new Failure(`process ${pid} does not stop`, {
        why: `It was asked ${deadlineMs / 1_000} s ago.`,
        fix: `See its log; "kill -9 ${pid}" ends it and leaves the pods running.`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  output.write('stopped\n');
}
