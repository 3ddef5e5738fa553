#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import pc from 'picocolors';
import { plainLines } from './base/plain-text.ts';
import { Failure, formatFailure, tryExplainSystemError } from './cli/failure.ts';
import { runWithHeap } from './cli/heap.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { readonly version: string };

async function run(argv: readonly string[]): Promise<number> {
  const { createProgram } = await import('./cli/program.ts');
  return createProgram({ environment: process.env, stdout: process.stdout, stderr: process.stderr, version }).run(argv);
}

// A reader that went away (`midship get apps | head -1`) is no failure: as with SIGPIPE, nothing more is said. `up` goes on without it.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (err: NodeJS.ErrnoException) => {
    if (err.code !== 'EPIPE') throw err;
    process.exit(128 + constants.signals.SIGPIPE);
  });
}

try {
  const argv = process.argv.slice(2);
  // A process that only waits for another one does not load the program.
  const exitCode = runWithHeap(argv) ?? run(argv);
  process.exitCode = await exitCode;
} catch (err) {
  const failure = err instanceof Failure ? err : tryExplainSystemError(err);
  if (failure !== undefined) {
    process.stderr.write(formatFailure(failure));
    process.exitCode = failure.exitCode;
  } else {
    const isVerbose = process.env.MIDSHIP_VERBOSE !== undefined || ['-v', '--verbose'].some((flag) => process.argv.includes(flag));
    const text = err instanceof Error ? (isVerbose ? (err.stack ?? err.message) : err.message) : String(err);
    process.stderr.write(
      `${pc.red('✗')} unexpected: ${plainLines(text)}\n  This is a defect of Midship ${version}.\n  Run again with -v and report what it prints.\n`,
    );
    process.exitCode = 2;
  }
}
// Sockets and timers of a cluster that failed to start must not keep the process alive.
if (process.exitCode !== 0) process.exit();
