import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdtemp, readFile, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, posix } from 'node:path';

/**
 * Isolation of containers on this machine, detected once at start.
 *
 * `namespaces`: each container has its own mount, pid, uts, ipc and user namespace. `ids` are there for root alone: the host ids that
 * pods get, one a pod. The pods of an ordinary user have the user's own id on the host.
 * `plain`: host processes without isolation, for the reason `why`.
 */
export type Isolation =
  | { readonly mode: 'namespaces'; readonly tools: Tools; readonly ids: IdRange | undefined }
  | { readonly mode: 'plain'; readonly why: string; readonly setpriv: string | undefined };

/** Absolute paths, since a container chooses its own PATH. */
export interface Tools {
  readonly unshare: string;
  readonly nsenter: string;
  readonly setpriv: string;
  readonly mount: string;
  readonly umount: string;
  readonly pivotRoot: string;
}

export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/** The ids that a program sees as its own. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** Parts of the host's file system that containers see, read-only and at the same paths. */
export interface HostLayout {
  readonly directories: readonly string[];
  /** Single files outside of `directories`: the Node program, a resolv.conf that a daemon writes under /run. */
  readonly files: readonly string[];
  /** Directories below `directories` that no container sees into, whatever it mounts. */
  readonly hidden: readonly string[];
  /** The same directories, wherever the machine has them: a volume may be of a directory above. */
  readonly hiddenOnHost: readonly string[];
}

const probeTimeoutMs = 5_000;

/** The command in front of a container's first process. It may still mount; the container's program may not. */
export const outerCommand = ({ unshare }: Tools, ids: IdRange | undefined): readonly string[] => [
  unshare,
  // Root makes the view of a container as root, since the data directory is root's; the program's own user namespace comes later.
  ...(ids === undefined ? ['--user', '--map-root-user'] : []),
  '--mount',
  '--pid',
  '--fork',
  '--kill-child',
  '--uts',
  '--ipc',
  '--',
];

/** Becomes the pod's host id, where it has one of its own. */
export const becomeCommand = ({ setpriv }: Tools, hostId: number | undefined): readonly string[] =>
  hostId === undefined ? [] : [setpriv, `--reuid=${hostId}`, `--regid=${hostId}`, '--clear-groups', '--'];

/**
 * The command that enters the user namespace of the container's program. Earlier mounts are locked in it: nobody inside can unmount
 * them, make them writable, or see below them.
 */
export const innerCommand = ({ unshare }: Tools, { uid, gid }: Identity): readonly string[] => [
  unshare,
  '--user',
  `--map-user=${uid}`,
  `--map-group=${gid}`,
  // Another id than 0 would lose them at the next program, and the volumes are not mounted yet.
  '--keep-caps',
  '--mount',
  '--',
];

/** The last command in front of a program of the pod: from here on nothing gains a privilege. */
export const dropCommand = (setpriv: string, { withBounds }: { readonly withBounds: boolean }): readonly string[] => [
  setpriv,
  '--no-new-privs',
  '--inh-caps=-all',
  '--ambient-caps=-all',
  // Only a process with capabilities can lower the bound; one without gains none, since nothing may.
  ...(withBounds ? ['--bounding-set=-all'] : []),
  '--',
];

/** Tries what a container start does, and says why when it fails. */
export async function probeIsolation(searchPath: string): Promise<Isolation> {
  const tools = await findTools(searchPath);
  const plain = async (why: string): Promise<Isolation> => ({ mode: 'plain', why, setpriv: await findSetpriv(searchPath) });
  if (typeof tools === 'string') return plain(`the program ${tools} (util-linux) was not found`);
  const isRoot = process.getuid?.() === 0;
  const ids = isRoot ? idsOf(await readFile('/proc/self/uid_map', 'utf8')) : undefined;
  if (isRoot && ids === undefined) return plain('root has no other user ids here to give to pods');
  const failure = await tryNamespaces(tools, ids);
  return failure === undefined ? { mode: 'namespaces', tools, ids } : plain(`namespaces are not available here: ${failure}`);
}

/** Nobody else's: systemd's list of user ids calls this range unused. */
const wideIds: IdRange = { first: 0x7000_0000, count: 0x1000_0000 };
/** Inside of a container that has 65,536 ids. */
const narrowIds: IdRange = { first: 62_000, count: 3_500 };

/** The ids for pods, of those that `/proc/self/uid_map` names. */
export function idsOf(uidMap: string): IdRange | undefined {
  const ranges = uidMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  return [wideIds, narrowIds].find(({ first, count }) =>
    ranges.some(([start = 0, , length = 0]) => start <= first && first + count <= start + length),
  );
}

/** Always the same for a pod, so that its volumes stay its own after a restart of the machine. */
export function hostIdOf(ids: IdRange, podUid: string): number {
  return ids.first + (createHash('sha256').update(podUid).digest().readUInt32BE(0) % ids.count);
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

export const findSetpriv = (searchPath: string): Promise<string | undefined> => findProgram(searchPath, 'setpriv');

async function findProgram(searchPath: string, name: string): Promise<string | undefined> {
  // The superuser's tools are often missing from the PATH of others, who may still run them.
  const directories = [...searchPath.split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter((path) => path.startsWith('/'));
  for (const directory of directories) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

async function findTools(searchPath: string): Promise<Tools | string> {
  const find = (name: string): Promise<string | undefined> => findProgram(searchPath, name);
  const names = ['unshare', 'nsenter', 'setpriv', 'mount', 'umount', 'pivot_root'] as const;
  const [unshare, nsenter, setpriv, mount, umount, pivotRoot] = await Promise.all(names.map(find));
  if (unshare === undefined) return 'unshare';
  if (nsenter === undefined) return 'nsenter';
  if (setpriv === undefined) return 'setpriv';
  if (mount === undefined) return 'mount';
  if (umount === undefined) return 'umount';
  if (pivotRoot === undefined) return 'pivot_root';
  return { unshare, nsenter, setpriv, mount, umount, pivotRoot };
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

/** Turns off what would make a user namespace within that of the program, and with it new capabilities. */
export const forbidUserNamespaces = 'echo 0 >/proc/sys/user/max_user_namespaces';

const probeScript = `set -e
mount=$1 pivot=$2 root=$3; shift 3
"$mount" -t tmpfs -o mode=755 probe "$root"
cd "$root"
mkdir proc old usr etc bin sbin lib lib64
"$mount" -t proc proc proc
for directory in usr bin sbin lib lib64; do
  [ ! -d "/$directory" ] || "$mount" --rbind -o ro=recursive "/$directory" "$directory"
done
"$pivot" . old
exec "$@"
`;

async function tryNamespaces(tools: Tools, ids: IdRange | undefined): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'midship-probe-'));
  const inside = `${forbidUserNamespaces} && exec "$@"`;
  try {
    const [command = '', ...args] = [
      ...outerCommand(tools, ids),
      ...['/bin/sh', '-c', probeScript, 'probe', tools.mount, tools.pivotRoot, directory],
      ...becomeCommand(tools, ids === undefined ? undefined : ids.first),
      ...innerCommand(tools, { uid: 1, gid: 1 }),
      ...['/bin/sh', '-c', inside, 'probe', ...dropCommand(tools.setpriv, { withBounds: true }), '/bin/sh', '-c', ':'],
    ];
    return await new Promise((resolve) => {
      execFile(command, args, { timeout: probeTimeoutMs, env: {}, cwd: '/' }, (err, _, stderr) => {
        const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !line.includes('dmesg(1)'));
        resolve(err === null ? undefined : (lines.at(-1) ?? err.message).trim());
      });
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const systemDirectories = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/etc', '/opt', '/nix', '/gnu'];

/**
 * @param nodePath  the Node program, which containers may run even when it lies outside of the system's directories
 * @param hidden  directories of which containers see nothing, wherever the machine has them mounted
 */
export async function readHostLayout(nodePath: string, hidden: readonly string[]): Promise<HostLayout> {
  const directories: string[] = [];
  for (const path of systemDirectories) if (await isDirectory(path)) directories.push(path);
  const files = new Set<string>();
  // The program alone: beside it may be anything, a home directory with keys for one.
  for (const path of [nodePath, await realpath(nodePath)]) if (!isWithinAny(path, directories)) files.add(path);
  const resolver = await realpathOptional('/etc/resolv.conf');
  if (resolver !== undefined && !isWithinAny(resolver, directories)) files.add(resolver);
  const mountInfo = await readFile('/proc/self/mountinfo', 'utf8');
  const seen = new Set<string>();
  const places = new Set<string>();
  for (const path of hidden) {
    for (const place of placesOf((await realpathOptional(path)) ?? path, mountInfo)) {
      places.add(place);
      // Through /lib and /usr/lib alike, where the one is a link to the other.
      for (const directory of directories) {
        const real = await realpath(directory);
        if (isWithin(place, real) && place !== real) seen.add(`${directory}${place.slice(real.length)}`);
      }
    }
  }
  return { directories, files: [...files], hidden: [...seen], hiddenOnHost: [...places] };
}

/** Every path at which a directory, or a part of it, is seen: a mount may show a directory of another one again. */
export function placesOf(path: string, mountInfo: string): readonly string[] {
  const mounts = mountInfo
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length > 4)
    .map(([, , device, root = '', point = '']) => ({ device, root: unescaped(root), point: unescaped(point) }));
  const join = (directory: string, rest: string): string => posix.join(directory, rest);
  const own = mounts
    .filter(({ point }) => isWithin(path, point))
    .reduce((best, mount) => (mount.point.length >= best.point.length ? mount : best), {
      device: '',
      root: '/',
      point: '',
    } as (typeof mounts)[number]);
  const inner = join(own.root, path.slice(own.point === '/' ? 0 : own.point.length));
  const places = new Set([path]);
  for (const { device, root, point } of mounts) {
    if (device !== own.device) continue;
    if (isWithin(inner, root)) places.add(join(point, inner.slice(root === '/' ? 0 : root.length)));
    else if (isWithin(root, inner)) places.add(point);
  }
  return [...places].map((place) => (place.length > 1 ? place.replace(/\/$/, '') : place));
}

/** The kernel writes blanks and the like as octal numbers. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

export const isWithin = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
const isWithinAny = (path: string, directories: readonly string[]): boolean => directories.some((directory) => isWithin(path, directory));

async function isDirectory(path: string): Promise<boolean> {
  try {
    // A link to nothing is none.
    return (await stat(path)).isDirectory();
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return false;
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
