import { posix } from 'node:path';
import { shellWord } from '../../base/shell-word.ts';
import {
  becomeCommand,
  dropCommand,
  forbidUserNamespaces,
  type HostLayout,
  type Identity,
  innerCommand,
  isWithin,
  type Tools,
} from './isolation.ts';
import { type Environment, exportsText, readExports } from './shell-environment.ts';

/**
 * The POSIX shell script that is a container's first process. It writes its pid, sets up the container's file system where namespaces are
 * used, runs the program, and passes SIGTERM on to it. It ends with the program's exit code, which the waiter (`waiter.ts`) writes down.
 *
 * Files in the state directory: `pid` holds the script's /proc/PID/stat line as the host sees it. `failure` has the
 * reason why the program could not be started. Descriptor 3 gets the word `started`. When the program runs, no file of
 * the state directory is open any more, the script itself included.
 *
 * Three shells, each with less than the one before (decisions/0016):
 * 1. The first process makes a file system, on no path that a pod wrote, enters it, and lets go of the host.
 * 2. A child in a user namespace of its own, with the pod's id on the host, mounts the paths in volumes. Pods may have written those. The
 * host is not in view any more.
 * 3. A shell without any privilege sets the variables, and becomes the program.
 *
 * A shell and not a Node process, because that costs 2 MB a container instead of 40.
 */
export interface LaunchPlan {
  readonly stateDirectory: string;
  readonly workingDir: string;
  /** Program and arguments; a name without a slash is looked up in the container's PATH. */
  readonly command: readonly string[];
  /** Names must be ones that a shell can hold. They are set last: a variable such as LD_PRELOAD must not change what sets up. */
  readonly environment: Environment;
  /** Shell commands that bound what is counted in the container's own namespaces. */
  readonly limits: string;
  /**
   * The program reads the named pipe `stdin` of the state directory, which this script holds open so that it outlives who writes. With
   * `once` SIGUSR1 lets go of it.
   */
  readonly stdin?: 'open' | 'once' | undefined;
  /** Words in front of the program where it gets no file system of its own. */
  readonly drop?: readonly string[];
  /** Present when the container gets its own file system. */
  readonly fileSystem?: FileSystemPlan;
}

interface FileSystemPlan {
  readonly tools: Tools;
  /** The pod's id on the host, where it has one of its own. */
  readonly hostId: number | undefined;
  readonly identity: Identity;
  readonly readOnlyRoot: boolean;
  readonly layout: HostLayout;
  readonly hostname: string;
  /** Shallow ones first. */
  readonly mounts: readonly PlannedMount[];
  /** Host directories that hold a mount point which the host lacks, with the names in them: they become directories of links. */
  readonly linked: ReadonlyMap<string, readonly string[]>;
}

export interface PlannedMount {
  /** On the host, and the agent's own choice: no part of this path was written by a pod. */
  readonly hostPath: string;
  /** Below `hostPath`; found inside of the container, since pods write there. */
  readonly subPath?: string | undefined;
  /** Absolute, without links of the host. */
  readonly containerPath: string;
  readonly readOnly: boolean;
  /** The id of its files on the host. The container sees them as files of the pod's own id. */
  readonly owner?: number | undefined;
  /** Of `hostPath`. */
  readonly isDirectory: boolean;
  /** True when a directory is mounted, as far as is known; a `subPath` that is not there becomes one. */
  readonly mountsDirectory: boolean;
  /** Its path lies in another volume. */
  readonly nested: boolean;
}

/** True when a pod may have written a part of the way from the source to the mount point. */
const isReachedThroughPods = ({ nested, subPath }: PlannedMount): boolean => nested || subPath !== undefined;

/** The container's /, its /tmp included, lies in memory up to this; volumes do not. */
const rootSizeMiB = 256;
/** For the container's own terminals. */
const terminals = 'newinstance,ptmxmode=0666,mode=0620';
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
/** Directory of the host's directories when links replace them. */
const hostPrefix = '/.host';
/** The volumes are here before they are mounted at their paths. Covered when the program starts. */
const volumePrefix = '/.vol';
const systemPath = 'PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH';
const failFunction = `_ms_fail() { printf '%s\\n' "$1" >&9; exit 128; }`;

// Names start with _ms so that they hide no variable of the container.
function launchScript(plan: LaunchPlan): string {
  const { stateDirectory, fileSystem, stdin, command, drop = [] } = plan;
  const program = ['/bin/sh', '-c', programScript(plan), 'sh', ...command];
  const inner =
    fileSystem === undefined
      ? [...drop, ...program]
      : [
          ...becomeCommand(fileSystem.tools, fileSystem.hostId),
          ...innerCommand(fileSystem.tools, fileSystem.identity),
          ...['/bin/sh', '-c', volumeScript(fileSystem), 'sh', ...program],
        ];
  return `${[
    // All in one command, so that the shell reads it to its end first: it comes by the standard input, which the command closes.
    '{ exec </dev/null',
    // Before anything is open that a process which writes them would hold open, too.
    `exec 4<<'_ms_end'\n${exportsText(plan.environment)}_ms_end`,
    '_ms_stopped=',
    `trap '_ms_stopped=1; if [ -n "$!" ]; then kill -TERM "$!" 2>/dev/null; else exit 143; fi' TERM`,
    `exec 9>${shellWord(`${stateDirectory}/failure`)} || exit 125`,
    `read -r _ms_stat </proc/self/stat && printf '%s\\n' "$_ms_stat" >${shellWord(`${stateDirectory}/pid`)} || exit 125`,
    systemPath,
    'umask 022',
    ...(stdin === undefined ? [] : stdinSteps(`${stateDirectory}/stdin`, stdin)),
    failFunction,
    ...(fileSystem === undefined ? [] : fileSystemSteps(stateDirectory, fileSystem)),
    `( exec ${inner.map(shellWord).join(' ')} ) ${stdin === undefined ? '' : '<&7 7<&- 8>&- '}&`,
    ...(stdin === undefined ? [] : ['exec 7<&-']),
    'exec 3>&- 4<&- 9>&-',
    'wait "$!"; _ms_code=$?',
    // A trap ends the wait early and reports 143; the program may still run, or have a code of its own.
    'while [ -n "$_ms_stopped" ]; do',
    '  _ms_stopped=',
    '  wait "$!"; _ms_again=$?',
    '  if [ "$_ms_again" != 127 ]; then _ms_code=$_ms_again; fi',
    'done',
    'exit "$_ms_code"; }',
  ].join('\n')}\n`;
}

/** The last shell: the pod's own in all but name. */
function programScript({ workingDir, limits, command }: LaunchPlan): string {
  const [program = ''] = command;
  return [
    systemPath,
    'umask 022',
    failFunction,
    limits,
    // Made when it is missing, as container runtimes do; when that fails the next line says so.
    `[ -d ${shellWord(workingDir)} ] || mkdir -p -- ${shellWord(workingDir)} 2>/dev/null || :`,
    `cd ${shellWord(workingDir)} || _ms_fail ${shellWord(`working directory ${workingDir} cannot be entered`)}`,
    readExports(4),
    `command -v ${shellWord(program)} >/dev/null || _ms_fail ${shellWord(notFound(program))}`,
    // The process that becomes the program says this, and not the first one. A signal before this process runs on its own would be lost,
    // and nobody sends one before the word. The agent may be gone, and a broken pipe must not end the process.
    `trap '' PIPE; printf started >&3 2>/dev/null; trap - PIPE`,
    'exec "$@" 3>&- 9>&-',
  ].join('\n');
}

/** Opened for reading and writing first, since a pipe without a writer would hold up whoever opens it to read. */
const stdinSteps = (pipe: string, stdin: 'open' | 'once'): string[] => [
  `mkfifo -m 600 ${shellWord(pipe)} && exec 8<>${shellWord(pipe)} 7<${shellWord(pipe)} || exit 125`,
  // A signal ends the wait for the program early, as a stop does.
  ...(stdin === 'once' ? [`trap '_ms_stopped=1; exec 8>&-' USR1`] : []),
];

const notFound = (program: string): string =>
  program.includes('/')
    ? `exec: "${program}": stat ${program}: no such file or directory`
    : `exec: "${program}": executable file not found in $PATH`;

/** The files of a container's start: the script, and in the form of fstab(5) what it mounts, which takes one program instead of 20. */
export function launchFiles(plan: LaunchPlan): { readonly script: string; readonly mountTable: string } {
  const { fileSystem, stateDirectory } = plan;
  return { script: launchScript(plan), mountTable: fileSystem === undefined ? '' : mountTable(`${stateDirectory}/root`, fileSystem) };
}

export const mountTableFile = 'mounts';

/** Gives the place of a directory of the host in the new root. */
const placeOf = (root: string, directory: string, linked: ReadonlyMap<string, unknown>): string =>
  linked.has(directory) ? `${root}${hostPrefix}${directory}` : `${root}${directory}`;

function mountTable(root: string, { layout, mounts, linked, hostId }: FileSystemPlan): string {
  const lines: string[] = [];
  const add = (...fields: readonly string[]): void => {
    lines.push(`${fields.map(fstabField).join(' ')} 0 0\n`);
  };
  const bind = (source: string, target: string, readOnly: boolean, owner?: number): void => {
    const ids = owner === undefined || hostId === undefined ? '' : `,X-mount.idmap=u:${owner}:${hostId}:1 g:${owner}:${hostId}:1`;
    add(source, target, 'none', `${readOnly ? 'rbind,ro=recursive' : 'rbind'}${ids}`);
  };
  const cover = (target: string): void => add('midship', target, 'tmpfs', 'ro,mode=555,size=4k');
  // Mount points cannot be renamed, so that the pod, whose / this is, cannot put other programs where the host's are.
  if (linked.size > 0) bind(`${root}${hostPrefix}`, `${root}${hostPrefix}`, false);
  for (const directory of layout.directories) bind(directory, placeOf(root, directory, linked), true);
  for (const directory of linked.keys()) {
    if (layout.directories.includes(directory)) bind(`${root}${directory}`, `${root}${directory}`, true);
  }
  for (const path of layout.files) bind(path, `${root}${path}`, true);
  for (const path of layout.hidden) {
    const top = layout.directories.find((directory) => isWithin(path, directory)) ?? '';
    cover(`${placeOf(root, top, linked)}${path.slice(top.length)}`);
  }
  for (const name of devices) bind(`/dev/${name}`, `${root}/dev/${name}`, false);
  add('proc', `${root}/proc`, 'proc', 'defaults');
  mounts.forEach((mount, index) => {
    const { hostPath, containerPath, readOnly, subPath, owner } = mount;
    const target = isReachedThroughPods(mount) ? `${root}${volumePrefix}/${index}` : `${root}${containerPath}`;
    // With a subPath the directory may have to be made first.
    bind(hostPath, target, readOnly && subPath === undefined, owner);
    for (const path of layout.hiddenOnHost) {
      if (path !== hostPath && isWithin(path, hostPath)) cover(posix.join(target, path.slice(hostPath === '/' ? 0 : hostPath.length)));
    }
  });
  return lines.join('');
}

const fstabField = (text: string): string =>
  text.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);

function fileSystemSteps(stateDirectory: string, { tools, hostId, layout, hostname, mounts, linked }: FileSystemPlan): string[] {
  const root = `${stateDirectory}/root`;
  const steps: string[] = [];
  const step = (what: string, ...command: readonly string[]): void => {
    steps.push(`${command.map(shellWord).join(' ')} || _ms_fail ${shellWord(`${what} failed, see the container's log`)}`);
  };
  const owner = hostId === undefined ? '' : `,uid=${hostId},gid=${hostId}`;

  step('mount of /', tools.mount, '-t', 'tmpfs', '-o', `mode=755,size=${rootSizeMiB}m${owner}`, 'midship', root);
  const made = mountPointsToMake(mounts, layout, linked);
  const waiting = mounts.flatMap((mount, index) =>
    isReachedThroughPods(mount) ? [{ path: `${volumePrefix}/${index}`, isDirectory: mount.isDirectory }] : [],
  );
  const directories = [
    ...['/proc', '/dev/pts', '/dev/shm', '/tmp', '/run', '/var/tmp', '/root', '/.old', volumePrefix],
    ...(linked.size === 0 ? [] : [hostPrefix, ...linked.keys()]),
    ...made.map(({ containerPath, mountsDirectory }) => (mountsDirectory ? containerPath : posix.dirname(containerPath))),
    ...waiting.filter(({ isDirectory }) => isDirectory).map(({ path }) => path),
    ...layout.files.map((path) => posix.dirname(path)),
  ];
  const files = [
    ...devices.map((name) => `/dev/${name}`),
    ...layout.files,
    ...made.filter(({ mountsDirectory }) => !mountsDirectory).map(({ containerPath }) => containerPath),
    ...waiting.filter(({ isDirectory }) => !isDirectory).map(({ path }) => path),
  ];
  const inRoot = (path: string): string => `${root}${path}`;
  step(
    'making of directories',
    'mkdir',
    '-p',
    '--',
    ...directories.map(inRoot),
    ...layout.directories.map((path) => placeOf(root, path, linked)),
  );
  step('making of files', 'touch', '--', ...files.map(inRoot));
  step('change of modes', 'chmod', '1777', ...['/tmp', '/var/tmp', '/dev/shm'].map(inRoot));
  step('link of /dev/fd', 'ln', '-s', '/proc/self/fd', inRoot('/dev/fd'));
  step('link of /dev/ptmx', 'ln', '-s', 'pts/ptmx', inRoot('/dev/ptmx'));
  for (const [directory, names] of linked) {
    const up = '../'.repeat(directory.split('/').length - 1);
    const targets = names.filter((name) => !linked.has(`${directory}/${name}`)).map((name) => `${up}.host${directory}/${name}`);
    if (targets.length > 0) step(`links of ${directory}`, 'ln', '-s', '--', ...targets, `${root}${directory}/`);
  }
  if (hostId !== undefined) step('change of owner', 'chown', '-hR', `${hostId}:${hostId}`, root);
  // The program writes the map of ids to the file of a child that it starts, and /proc still has the machine's numbers.
  if (mounts.some(({ owner }) => owner !== undefined)) step('mount of /proc', tools.mount, '-t', 'proc', 'proc', '/proc');
  step('mount of the container', tools.mount, '-a', '-T', `${stateDirectory}/${mountTableFile}`);
  // If the kernel refuses it, this container has no terminals, and a request for one says so.
  steps.push(`${[tools.mount, '-t', 'devpts', '-o', terminals, 'devpts', `${root}/dev/pts`].map(shellWord).join(' ')} 2>/dev/null || :`);
  // Root may write the kernel's file, others need the program. Without either the name is only in HOSTNAME, which is what programs read.
  steps.push(
    `hostname ${shellWord(hostname)} 2>/dev/null || { printf '%s' ${shellWord(hostname)} >/proc/sys/kernel/hostname; } 2>/dev/null || :`,
  );
  step('change to /', 'cd', root);
  step('change of root', tools.pivotRoot, '.', '.old');
  step('unmount of the host', tools.umount, '-l', '/.old');
  steps.push('cd /', 'rmdir /.old');
  return steps;
}

/** The mount points on the container's own file system. Mount points in other volumes are made there; most host directories have theirs. */
function mountPointsToMake(
  mounts: readonly PlannedMount[],
  { directories }: HostLayout,
  linked: ReadonlyMap<string, unknown>,
): readonly PlannedMount[] {
  return mounts.filter((mount) => {
    const { containerPath, nested } = mount;
    if ([...linked.keys()].some((directory) => isWithin(containerPath, directory))) return !nested;
    const ofHost = isWithin(containerPath, hostPrefix) || directories.some((directory) => isWithin(containerPath, directory));
    return !ofHost && !isReachedThroughPods(mount);
  });
}

/**
 * Mounts the volumes at their paths. Other containers of the pod may write to the same volumes meanwhile, so nothing is concluded from
 * what a path was. The script enters each directory, asks the kernel where that is, and mounts onto the directory that it entered.
 */
const volumeFunctions = `
# From / to the directory $1, one name at a time; what is missing is made.
_ms_to() {
  cd /
  _ms_rest=\${1#/}
  while [ -n "$_ms_rest" ]; do
    _ms_name=\${_ms_rest%%/*}
    case $_ms_rest in */*) _ms_rest=\${_ms_rest#*/} ;; *) _ms_rest= ;; esac
    [ ! -L "./$_ms_name" ] || return 1
    [ -d "./$_ms_name" ] || mkdir -- "./$_ms_name" || return 1
    cd -P -- "./$_ms_name" || return 1
  done
  [ "$(pwd -P)" = "$1" ]
}
# Mounts $1 at $2.
_ms_put() {
  if [ -d "$1" ]; then
    _ms_to "$2" && mount -c --rbind -- "$1" .
  else
    _ms_to "\${2%/*}" && _ms_put_file "$1" "$2" "\${2##*/}"
  fi || _ms_fail "mount point $2 cannot be used: a part of its path is a link or of another type, or was changed meanwhile; see the container's log"
  cd /
}
# The older system call follows the descriptor to what it is of; the newer one does not.
_ms_put_file() {
  [ -e "./$3" ] || [ -L "./$3" ] || ( set -C; : >"./$3" ) || return 1
  [ -f "./$3" ] && [ ! -L "./$3" ] || return 1
  { [ "$(readlink /proc/self/fd/5)" = "$2" ] && LIBMOUNT_FORCE_MOUNT2=always mount -c --rbind -- "$1" /proc/self/fd/5; } 5<"./$3"
}
# The path $2 below $1 becomes $1.sub; links may lead anywhere within $1. What is missing is made, in the end a file if $4. With $3 it is read-only.
_ms_sub() {
  cd "$1" || return 1
  _ms_rest=$2
  _ms_file=
  while [ -n "$_ms_rest" ]; do
    _ms_name=\${_ms_rest%%/*}
    case $_ms_rest in */*) _ms_rest=\${_ms_rest#*/} ;; *) _ms_rest= ;; esac
    if [ -n "$4" ] && [ -z "$_ms_rest" ] && [ ! -e "./$_ms_name" ] && [ ! -L "./$_ms_name" ]; then ( set -C; : >"./$_ms_name" ) || return 1; fi
    if [ -f "./$_ms_name" ] && [ -z "$_ms_rest" ]; then _ms_file=./$_ms_name; break; fi
    [ -e "./$_ms_name" ] || [ -L "./$_ms_name" ] || mkdir -m 755 -- "./$_ms_name" || return 1
    cd -P -- "./$_ms_name" || return 1
    case $(pwd -P)/ in "$1"/*) ;; *) return 1 ;; esac
  done
  if [ -n "$_ms_file" ]; then
    : >"$1.sub" && { case $(readlink /proc/self/fd/5) in "$1"/*) mount -c --rbind -- /proc/self/fd/5 "$1.sub" ;; *) false ;; esac; } 5<"$_ms_file"
  else
    mkdir -- "$1.sub" && mount -c --rbind -- . "$1.sub"
  fi || return 1
  cd /
  [ -z "$3" ] || mount -o remount,bind,ro -- "$1.sub"
}
`;

/** The second shell. Its arguments are the command of the third. */
function volumeScript({ tools, mounts, readOnlyRoot }: FileSystemPlan): string {
  const steps = mounts.flatMap((mount, index) => {
    const { containerPath, subPath, readOnly, mountsDirectory } = mount;
    if (!isReachedThroughPods(mount)) return [];
    const source = `${volumePrefix}/${index}`;
    if (subPath === undefined) return [`_ms_put ${source} ${shellWord(containerPath)}`];
    return [
      `_ms_sub ${source} ${shellWord(subPath)} ${readOnly ? 'ro' : "''"} ${mountsDirectory ? "''" : 'file'} || _ms_fail ${shellWord(`path "${subPath}" of a volume leads to nothing, or out of the volume; see the container's log`)}`,
      `_ms_put ${source}.sub ${shellWord(containerPath)}`,
    ];
  });
  return [
    failFunction,
    ...(steps.length === 0
      ? []
      : [
          volumeFunctions,
          ...steps,
          `mount -t tmpfs -o ro,mode=555,size=4k midship ${volumePrefix} || _ms_fail ${shellWord(`mount of ${volumePrefix} failed, see the container's log`)}`,
        ]),
    ...(readOnlyRoot ? [`mount -o remount,bind,ro / || _ms_fail 'the root could not be made read-only'`] : []),
    `${forbidUserNamespaces} || _ms_fail 'user namespaces could not be switched off'`,
    `exec ${dropCommand(tools.setpriv, { withBounds: true }).map(shellWord).join(' ')} "$@"`,
  ].join('\n');
}

/** Host directories above `mounts` that must become directories of links, because the host lacks the mount point. Parents come first. */
export function directoriesToLink(
  mounts: readonly Pick<PlannedMount, 'containerPath' | 'mountsDirectory'>[],
  layout: HostLayout,
  exists: (path: string, isDirectory: boolean) => boolean,
): readonly string[] {
  const needed = new Set<string>();
  for (const { containerPath, mountsDirectory } of mounts) {
    const top = layout.directories.find((directory) => isWithin(containerPath, directory));
    if (top === undefined || exists(containerPath, mountsDirectory)) continue;
    for (let at = posix.dirname(containerPath); isWithin(at, top); at = posix.dirname(at)) if (exists(at, true)) needed.add(at);
  }
  return [...needed].sort();
}

/** A container's path with `.` and `..` resolved; always absolute. */
export const normalContainerPath = (path: string): string => posix.join('/', path).replace(/(?!^)\/+$/, '');

/** Gives the place of the path once `linked` directories hold links: what the host has in them is elsewhere. */
export function placeOfMount(path: string, linked: readonly string[], existsOnHost: (path: string) => boolean): string {
  const holder = linked.filter((directory) => isWithin(path, directory) && path !== directory).at(-1);
  if (holder === undefined) return path;
  const [name = ''] = path.slice(holder.length + 1).split('/');
  return existsOnHost(`${holder}/${name}`) ? `${hostPrefix}${path}` : path;
}

/** Shallow ones first, so that a mount inside another is made after it. */
export function outsideIn<T extends { readonly containerPath: string }>(mounts: readonly T[]): readonly T[] {
  const depth = ({ containerPath }: T): number => containerPath.split('/').length;
  return [...mounts].sort((a, b) => depth(a) - depth(b));
}

/** Directories of the programs and libraries that set a container up, and enter it later. */
const programDirectories = ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'].flatMap((path) => [path, `/usr${path}`]);
const loaderFiles = ['/etc/ld.so.preload', '/etc/ld.so.cache', '/etc/ld.so.conf.d', '/usr/local/lib'];

/** Reason why nothing may be mounted at the path; undefined when it may. */
export function whyNotAt(path: string): string | undefined {
  if (path === '/') return 'it is the root of the container';
  if (['/proc', '/sys', hostPrefix, volumePrefix].some((directory) => isWithin(path, directory))) return 'it is kept for the system';
  if (path === '/dev' || path === '/dev/pts') return "it holds the container's devices";
  const covers = programDirectories.some((directory) => isWithin(path, directory) || isWithin(directory, path));
  if (covers || loaderFiles.some((file) => isWithin(file, path)))
    return 'it would cover programs of the machine that containers are started with';
  return undefined;
}
