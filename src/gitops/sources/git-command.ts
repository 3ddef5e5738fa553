import { spawn } from 'node:child_process';

export interface GitCommandOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly cwd?: string;
}

const maxOutputBytes = 1024 * 1024;

/** Runs the system's git without a shell and returns its output, trimmed; throws with git's own words. */
export async function runGit({ args, env = {}, signal, cwd }: GitCommandOptions): Promise<string> {
  const child = spawn('git', [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C', ...env },
    ...(signal === undefined ? {} : { signal }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8');
    child[name].on('data', (text: string) => {
      if (output[name].length < maxOutputBytes) output[name] += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause: NodeJS.ErrnoException) =>
      reject(cause.code === 'ENOENT' ? new Error('git is not installed: install the package "git"', { cause }) : cause),
    );
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`git ${args[0]}: ${output.stderr.trim() || `exit code ${code}`}`);
  return output.stdout.trim();
}
