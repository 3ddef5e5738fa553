import { constants } from 'node:os';
import { minMemoryBytes, shareMemory } from '../base/memory-budget.ts';
import { tryQuantity } from '../machinery/quantity.ts';

/**
 * V8 takes the size of its heap at the start of a process and not later. With `--memory-budget` the program therefore starts a second
 * process of itself, and the first one does nothing but pass signals on and wait.
 */

const flag = '--memory-budget';
const heapFlag = '--max-old-space-size';

/** In bytes; undefined for what is no size, and for less than the program can run with. */
export function tryMemorySize(text: string): number | undefined {
  const bytes = trySize(text);
  return bytes === undefined || bytes < minMemoryBytes ? undefined : bytes;
}

export function trySize(text: string): number | undefined {
  const quantity = tryQuantity(text);
  const bytes = quantity === undefined ? 0 : Number(quantity.nanos / 1_000_000_000n);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The process with the heap that the command line asks for, when it is another one: gives its exit code. */
export function runWithHeap(argv: readonly string[]): Promise<number> | undefined {
  const wanted = tryHeapArgument(argv);
  if (wanted === undefined) return undefined;
  if (process.execArgv.includes(wanted)) {
    stopWithParent();
    return undefined;
  }
  return runChild(wanted, argv);
}

async function runChild(heap: string, argv: readonly string[]): Promise<number> {
  // Loading it takes a tenth of what a question to a cluster takes, and no question needs it.
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, [...process.execArgv, heap, process.argv[1] ?? '', ...argv], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  // A terminal gives Ctrl-C to both processes, and a second one would end the cluster at once.
  const isAtTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY === true);
  process.on('SIGINT', () => {
    if (!isAtTerminal) child.kill('SIGINT');
  });
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

/** The argument for Node that makes a heap of the size which the command line asks for; undefined when it asks for none. */
export function tryHeapArgument(argv: readonly string[]): string | undefined {
  const index = argv.findIndex((argument) => argument === flag || argument.startsWith(`${flag}=`));
  const given = argv[index];
  if (given === undefined) return undefined;
  const totalBytes = tryMemorySize(given === flag ? (argv[index + 1] ?? '') : given.slice(flag.length + 1));
  // The command line's own reader refuses a text that is no size.
  if (totalBytes === undefined) return undefined;
  return `${heapFlag}=${Math.floor(shareMemory({ totalBytes }).heapBytes / 1024 ** 2)}`;
}

/** The first process is what a supervisor knows: when it is gone this one must not go on unseen. */
function stopWithParent(): void {
  if (process.channel === undefined || process.channel === null) return;
  process.channel.unref();
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}
