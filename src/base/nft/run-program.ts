import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { type NftFrame, noRules, writeRemoval, writeTable } from './rules.ts';

/** Runs a program with `input`, and gives its output. Rejects with what it wrote to stderr when it fails. */
export type RunProgram = (program: string, args: readonly string[], input?: string) => Promise<string>;

const programTimeoutMs = 30_000;
const maxOutputBytes = 64 * 1024 * 1024;
const maxComplaint = 2_000;

const execute = promisify(execFile);

/** Output of a program that gets input is not read. */
export async function runProgram(program: string, args: readonly string[], input?: string): Promise<string> {
  const options = { timeout: programTimeoutMs, maxBuffer: maxOutputBytes };
  if (input === undefined) return (await execute(program, args, options)).stdout;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], timeout: programTimeoutMs });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      complaint = `${complaint}${part}`.slice(0, maxComplaint);
    });
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve('') : reject(new Error(`${program} ended with ${code}: ${complaint.trim()}`))));
    // A program that ends before it has read everything says why on stderr.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** Removes the table, as after a crash; none is no failure. @throws Error with what `nft` says */
export async function removeNftTable(table: Pick<NftFrame, 'name'>, run: RunProgram = runProgram): Promise<void> {
  await run('nft', ['-f', '-'], writeRemoval(table));
}

/** Tries the table out without making it. @returns why rules cannot be used here; undefined when they can */
export async function whyNoNft(frame: NftFrame, run: RunProgram = runProgram): Promise<string | undefined> {
  try {
    await run('nft', ['-c', '-f', '-'], writeTable(frame, noRules));
    return undefined;
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'ENOENT' ? 'the program nft is not installed' : (err as Error).message;
  }
}
