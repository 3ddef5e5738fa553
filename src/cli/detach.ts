import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { readFileTail } from '../base/bounded-file.ts';
import { formatAddresses } from './addresses.ts';
import { type Configuration, filesOf } from './configuration.ts';
import { type Endpoints, ensureDataDirectory, refuseRunning, tryEndpoints } from './data-directory.ts';
import { tryHeapArgument } from './heap.ts';
import { pagePathOf } from './page-url.ts';
import type { ProgramContext } from './program.ts';

const pollMs = 50;
const maxFailureBytes = 64 * 1024;

/**
 * Starts the command `argv` in the background, in a session of its own, and waits until its addresses exist.
 *
 * @returns 0, or the exit code of a start that failed, whose reason is printed
 * @throws Failure when the cluster of the data directory runs already
 */
export async function startDetached(
  argv: readonly string[],
  configuration: Configuration,
  { stdout, stderr, version }: Pick<ProgramContext, 'stdout' | 'stderr' | 'version'>,
): Promise<number> {
  const { dataDirectory } = configuration;
  const files = filesOf(dataDirectory);
  await refuseRunning(dataDirectory);
  await ensureDataDirectory(dataDirectory);
  const failure = await open(files.failureLog, 'w', 0o600);
  const heap = tryHeapArgument(argv);
  const child = spawn(process.execPath, [...process.execArgv, ...(heap === undefined ? [] : [heap]), process.argv[1] ?? '', ...argv], {
    detached: true,
    stdio: ['ignore', 'ignore', failure.fd],
  });
  await failure.close();
  const interrupt = (): void => {
    child.kill('SIGTERM');
    process.exit(130);
  };
  process.once('SIGINT', interrupt);
  const looking = new AbortController();
  try {
    const ended = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code ?? 2));
    });
    const started = await Promise.race([ended, untilItRuns(dataDirectory, child.pid, looking.signal)]);
    if (started === undefined) return 2;
    if (typeof started === 'number') {
      const reason = (await readFileTail(files.failureLog, maxFailureBytes)).toString('utf8');
      stderr.write(reason === '' ? `✗ the cluster ended with ${started}; see ${files.terminalLog}\n` : reason);
      return started === 0 ? 2 : started;
    }
    child.unref();
    const isTerminal = stdout.isTTY === true;
    const pagePath = isTerminal ? await pagePathOf(started) : '';
    stdout.write(`  midship ${version}   in the background, process ${started.pid}\n`);
    stdout.write(formatAddresses({ endpoints: started, configuration, pagePath, isTerminal }));
    stdout.write(`  Output         ${files.terminalLog}\n\n  midship status asks it, midship down stops it\n`);
    return 0;
  } finally {
    looking.abort();
    process.off('SIGINT', interrupt);
  }
}

async function untilItRuns(dataDirectory: string, pid: number | undefined, until: AbortSignal): Promise<Endpoints | undefined> {
  while (!until.aborted) {
    const endpoints = await tryEndpoints(dataDirectory);
    if (endpoints?.pid === pid) return endpoints;
    await delay(pollMs);
  }
  return undefined;
}
