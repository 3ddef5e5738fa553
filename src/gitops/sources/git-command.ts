import { spawn } from 'node:child_process';

export interface GitCommandOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly cwd?: string;
  /** The child gets what `env` says and nothing of this process's environment, and what it started ends with it. */
  readonly isolated?: boolean;
}

const maxOutputBytes = 8 * 1024 * 1024;

/**
 * Runs the system's git without a shell and returns its output, trimmed. Throws with git's own words, and for more than
 * 8 MiB of output, because a list that is cut off looks like a whole one. The error of a full disk has the code ENOSPC.
 */
export async function runGit({ args, env = {}, signal, cwd, isolated = false }: GitCommandOptions): Promise<string> {
  const child = spawn('git', [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...(isolated ? {} : process.env), GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C', ...env },
    ...(cwd === undefined ? {} : { cwd }),
    // git has helpers do the work; a group of their own lets all of them be ended.
    detached: isolated,
  });
  const abort = (): void => {
    if (child.pid !== undefined && child.exitCode === null) tryKill(isolated ? -child.pid : child.pid);
  };
  signal?.addEventListener('abort', abort, { once: true });
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
    if (signal?.aborted === true) abort();
  }).finally(() => signal?.removeEventListener('abort', abort));
  if (signal?.aborted === true) throw signal.reason;
  if (code !== 0) {
    const failure = new Error(`git ${args[0]}: ${output.stderr.trim() || `exit code ${code}`}`);
    throw diskFull.test(output.stderr) ? Object.assign(failure, { code: 'ENOSPC' }) : failure;
  }
  if (output.stdout.length >= maxOutputBytes) throw new Error(`git ${args[0]}: more than ${maxOutputBytes} bytes of output`);
  return output.stdout.trim();
}

/** Git does not pass on the reason when the file of a configuration has no room; without permission it cannot lock that file at all. */
const diskFull = /No space left on device|Out of diskspace|failed to write new configuration file/;

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (err) {
    // It ended by itself meanwhile.
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

/** Configuration as environment, which git reads as if given on its command line. */
export function gitConfig(settings: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(settings);
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(entries.length) };
  for (const [index, [key, value]] of entries.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}

/** Settings of every git that works on foreign content: no configuration of a user or of the machine, and no home. */
export const isolatedEnvironment: Readonly<Record<string, string>> = {
  PATH: process.env.PATH ?? '/usr/bin:/bin',
  HOME: '/nonexistent',
  LANG: 'C',
  LC_ALL: 'C',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  // An id identifies its content and nothing else: no replacement refs, and no lazy fetches.
  GIT_NO_REPLACE_OBJECTS: '1',
  GIT_NO_LAZY_FETCH: '1',
  // A few bytes of a pack can expand to gigabytes that git would hold at once, and an endless line to all memory there
  // is.
  GIT_ALLOC_LIMIT: '256m',
};

/** Settings that keep a git on foreign objects below that: large ones are streamed and take part in no deltas. */
export const frugalSettings: Readonly<Record<string, string>> = { 'core.bigFileThreshold': '16m', 'pack.threads': '1' };

/**
 * Settings for every git that writes into a repository of the data directory. Git reports objects and refs only when they
 * are on the disk. It syncs files; `syncNames` syncs the directories.
 */
export const durableSettings: Readonly<Record<string, string>> = { 'core.fsync': 'all', 'core.fsyncMethod': 'batch' };

export interface ReadGitEnvironment {
  /** Directory of objects that a push brought and that are not accepted yet. */
  readonly quarantine?: string | undefined;
}

/** For a git that only reads. A repository of another user is readable too; nothing in it is run. */
export function readGitEnvironment({ quarantine }: ReadGitEnvironment = {}): Record<string, string> {
  return {
    ...isolatedEnvironment,
    ...gitConfig({ 'safe.directory': '*', ...frugalSettings }),
    // Quoted, because a colon would begin another directory.
    ...(quarantine === undefined ? {} : { GIT_ALTERNATE_OBJECT_DIRECTORIES: JSON.stringify(quarantine) }),
  };
}
