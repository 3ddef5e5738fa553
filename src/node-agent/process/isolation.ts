import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, lstat, mkdtemp, readlink, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, posix } from 'node:path';

/**
 * How containers are kept apart on this machine, found once at start.
 *
 * `namespaces`: each container has its own mount, pid, uts and ipc namespace; `unshare` is the command in front of its first program.
 * `plain`: host processes as they are, because `why`.
 */
export type Isolation =
  | { readonly mode: 'namespaces'; readonly user: boolean; readonly tools: Tools; readonly unshare: readonly string[] }
  | { readonly mode: 'plain'; readonly why: string };

/** Absolute paths, since a container chooses its own PATH. */
export interface Tools {
  readonly unshare: string;
  readonly nsenter: string;
  readonly mount: string;
  readonly umount: string;
  readonly pivotRoot: string;
}

/** What of the host's file system containers see, read-only and at the same paths. */
export interface HostLayout {
  /** Links at the top, such as `/bin` to `usr/bin`. */
  readonly links: readonly { readonly path: string; readonly target: string }[];
  readonly directories: readonly string[];
  /** Single files outside of `directories` that links inside point to: a resolv.conf that a daemon writes under /run. */
  readonly files: readonly string[];
}

const namespaceFlags = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc'];
const userFlags = ['--user', '--map-root-user'];
const probeTimeoutMs = 5_000;

/** Tries the calls that a container start makes, as root or in a user namespace, and says why when they fail. */
export async function probeIsolation(searchPath: string): Promise<Isolation> {
  const tools = await findTools(searchPath);
  if (typeof tools === 'string') return { mode: 'plain', why: `the program ${tools} (util-linux) was not found` };
  const reasons: string[] = [];
  for (const user of process.getuid?.() === 0 ? [false, true] : [true]) {
    const unshare = [tools.unshare, ...(user ? userFlags : []), ...namespaceFlags, '--'];
    const failure = await tryNamespaces(tools, unshare);
    if (failure === undefined) return { mode: 'namespaces', user, tools, unshare };
    reasons.push(failure);
  }
  return { mode: 'plain', why: `namespaces are not available here: ${reasons.join('; ')}` };
}

/** Programs that make and resize terminals. */
export interface TerminalTools {
  readonly script: string;
  readonly stty: string;
}

export async function findTerminalTools(searchPath: string): Promise<TerminalTools | undefined> {
  const [script, stty] = await Promise.all(['script', 'stty'].map((name) => findProgram(searchPath, name)));
  return script === undefined || stty === undefined ? undefined : { script, stty };
}

async function findProgram(searchPath: string, name: string): Promise<string | undefined> {
  // Tools of the superuser are often missing from the PATH of others, who may run them all the same.
  const directories = [...searchPath.split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter((path) => path.startsWith('/'));
  for (const directory of directories) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

async function findTools(searchPath: string): Promise<Tools | string> {
  const find = (name: string): Promise<string | undefined> => findProgram(searchPath, name);
  const names = ['unshare', 'nsenter', 'mount', 'umount', 'pivot_root'] as const;
  const [unshare, nsenter, mount, umount, pivotRoot] = await Promise.all(names.map(find));
  if (unshare === undefined) return 'unshare';
  if (nsenter === undefined) return 'nsenter';
  if (mount === undefined) return 'mount';
  if (umount === undefined) return 'umount';
  if (pivotRoot === undefined) return 'pivot_root';
  return { unshare, nsenter, mount, umount, pivotRoot };
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    // Absent or not ours to run: the next directory is tried.
    return false;
  }
}

const probeScript = `set -e
"$1" -t tmpfs -o mode=755 probe "$3"
mkdir "$3/proc" "$3/old" "$3/usr"
"$1" -t proc proc "$3/proc"
"$1" --rbind -o ro /usr "$3/usr"
cd "$3"
"$2" . old
`;

async function tryNamespaces(tools: Tools, unshare: readonly string[]): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'midship-probe-'));
  try {
    const [command = '', ...args] = [...unshare, '/bin/sh', '-c', probeScript, 'probe', tools.mount, tools.pivotRoot, directory];
    return await new Promise((resolve) => {
      execFile(command, args, { timeout: probeTimeoutMs, env: {} }, (err, _, stderr) => {
        resolve(err === null ? undefined : (stderr.trim().split('\n').at(-1) ?? err.message));
      });
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const systemDirectories = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/etc', '/opt', '/nix', '/gnu'];

/** @param nodePath  the Node program, which containers may run even when it lies outside of the system's directories */
export async function readHostLayout(nodePath: string): Promise<HostLayout> {
  const links: { path: string; target: string }[] = [];
  const directories: string[] = [];
  const files: string[] = [];
  for (const path of systemDirectories) {
    const info = await lstatOptional(path);
    if (info?.isSymbolicLink()) links.push({ path, target: await readlink(path) });
    else if (info?.isDirectory()) directories.push(path);
  }
  for (const path of [nodePath, await realpath(nodePath)]) {
    const directory = dirname(path);
    if (!isWithinAny(directory, [...directories, ...links.map((link) => link.path)])) directories.push(directory);
  }
  const resolver = await realpathOptional('/etc/resolv.conf');
  if (resolver !== undefined && !isWithinAny(resolver, directories)) files.push(resolver);
  return { links, directories, files };
}

export const isWithin = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);
const isWithinAny = (path: string, directories: readonly string[]): boolean => directories.some((directory) => isWithin(path, directory));

/** A container's path with `.`, `..` and the layout's top-level links resolved; always absolute. */
export function resolveContainerPath(path: string, layout: HostLayout): string {
  const absolute = posix.join('/', path).replace(/\/+$/, '');
  const link = layout.links.find((candidate) => isWithin(absolute, candidate.path));
  return link === undefined ? absolute : posix.join('/', link.target, absolute.slice(link.path.length));
}

async function lstatOptional(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(path);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

async function realpathOptional(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}
