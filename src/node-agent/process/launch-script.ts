import { posix } from 'node:path';
import { shellWord } from '../../base/shell-word.ts';
import { type HostLayout, isWithin, resolveContainerPath, type Tools } from './isolation.ts';
import { type Environment, exportCommands } from './shell-environment.ts';

/**
 * The POSIX shell script that is a container's first process. It tells its pid, sets up the container's file system where namespaces are
 * used, runs the program, passes SIGTERM on to it, and ends with its exit code, which the waiter (`waiter.ts`) writes down.
 *
 * Files in the state directory: `pid` holds the script's /proc/PID/stat line as the host sees it; `failure` says why the program could not
 * be started. Descriptor 3 gets the word `started`. No file of the state directory is open any more when the program runs, the script itself
 * included, since its processes can reach every descriptor of the first one through /proc.
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
  /**
   * The program reads the named pipe `stdin` of the state directory, which this script holds open so that it outlives who writes;
   * with `once` SIGUSR1 lets go of it.
   */
  readonly stdin?: 'open' | 'once' | undefined;
  /** Present when the container gets its own file system. */
  readonly fileSystem?: FileSystemPlan;
}

interface FileSystemPlan {
  readonly tools: Tools;
  readonly layout: HostLayout;
  readonly hostname: string;
  readonly mounts: readonly PlannedMount[];
  /** Host directories that hold a mount point which the host lacks, with the names in them: they become directories of links. */
  readonly linked: ReadonlyMap<string, readonly string[]>;
}

export interface PlannedMount {
  readonly hostPath: string;
  /** Resolved with `resolveContainerPath`. */
  readonly containerPath: string;
  readonly readOnly: boolean;
  readonly isDirectory: boolean;
}

/** The container's /, its /tmp included, lies in memory up to this; volumes do not. */
const rootSizeMiB = 256;
/** Of the container's own terminals. */
const terminals = 'newinstance,ptmxmode=0666,mode=0620';
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
/** Where the host's directories are when links stand in their place. */
const hostPrefix = '/.host';

// Names start with _ms so that they hide no variable of the container.
export function launchScript(plan: LaunchPlan): string {
  const { stateDirectory, fileSystem, stdin } = plan;
  const [program = ''] = plan.command;
  return `${[
    // One command, which the shell has read to its end before it runs it: it comes by the standard input, and that is closed first.
    '{ exec </dev/null',
    '_ms_stopped=',
    `trap '_ms_stopped=1; if [ -n "$!" ]; then kill -TERM "$!" 2>/dev/null; else exit 143; fi' TERM`,
    `exec 9>${shellWord(`${stateDirectory}/failure`)} || exit 125`,
    `read -r _ms_stat </proc/self/stat && printf '%s\\n' "$_ms_stat" >${shellWord(`${stateDirectory}/pid`)} || exit 125`,
    ...(stdin === undefined ? [] : stdinSteps(`${stateDirectory}/stdin`, stdin)),
    `_ms_fail() { printf '%s\\n' "$1" >&9; exit 128; }`,
    ...(fileSystem === undefined ? [] : fileSystemSteps(`${stateDirectory}/root`, fileSystem, plan.workingDir)),
    ...exportCommands(plan.environment),
    `cd ${shellWord(plan.workingDir)} || _ms_fail ${shellWord(`working directory ${plan.workingDir} cannot be entered`)}`,
    `command -v ${shellWord(program)} >/dev/null || _ms_fail ${shellWord(notFound(program))}`,
    'exec 9>&-',
    // Told by the subshell, not by this script: a signal that reached it before it has let go of this script's trap would be lost, and
    // nobody sends one before the word. The agent may be gone, and a broken pipe must not end it.
    `( trap '' PIPE; printf started >&3 2>/dev/null; trap - PIPE`,
    `exec ${plan.command.map(shellWord).join(' ')} 3>&- ) ${stdin === undefined ? '' : '<&7 7<&- 8>&- '}&`,
    ...(stdin === undefined ? [] : ['exec 7<&-']),
    'exec 3>&-',
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

/** Opened for reading and writing first, since a pipe without a writer would hold up whoever opens it to read. */
const stdinSteps = (pipe: string, stdin: 'open' | 'once'): string[] => [
  `PATH=/usr/bin:/bin mkfifo -m 600 ${shellWord(pipe)} && exec 8<>${shellWord(pipe)} 7<${shellWord(pipe)} || exit 125`,
  // A signal ends the wait for the program early, as a stop does.
  ...(stdin === 'once' ? [`trap '_ms_stopped=1; exec 8>&-' USR1`] : []),
];

const notFound = (program: string): string =>
  program.includes('/')
    ? `exec: "${program}": stat ${program}: no such file or directory`
    : `exec: "${program}": executable file not found in $PATH`;

function fileSystemSteps(root: string, { tools, layout, hostname, mounts, linked }: FileSystemPlan, workingDir: string): string[] {
  const steps: string[] = [];
  const step = (what: string, ...command: readonly string[]): void => {
    steps.push(`${command.map(shellWord).join(' ')} || _ms_fail ${shellWord(`${what} failed, see the container's log`)}`);
  };
  const bind = (source: string, target: string, readOnly: boolean): void =>
    step(`mount ${target.slice(root.length)}`, tools.mount, '--rbind', ...(readOnly ? ['-o', 'ro'] : []), '--', source, target);
  const placeOf = (directory: string): string => (linked.has(directory) ? `${root}${hostPrefix}${directory}` : `${root}${directory}`);

  // PATH is the container's; these few programs are looked up in the system's.
  steps.push('_ms_path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin');
  step('mount /', tools.mount, '-t', 'tmpfs', '-o', `mode=755,size=${rootSizeMiB}m`, 'midship', root);
  const directories = ['/proc', '/dev/pts', '/dev/shm', '/tmp', '/run', '/var/tmp', '/root', '/.old', ...linked.keys()].map(
    (path) => `${root}${path}`,
  );
  step(
    'mkdir /',
    'mkdir',
    '-p',
    ...directories,
    ...layout.directories.map(placeOf),
    ...layout.files.map((path) => `${root}${posix.dirname(path)}`),
  );
  step('chmod /tmp', 'chmod', '1777', `${root}/tmp`, `${root}/var/tmp`, `${root}/dev/shm`);
  for (const { path, target } of layout.links) step(`link ${path}`, 'ln', '-s', target, `${root}${path}`);
  step('touch /dev', 'touch', ...devices.map((name) => `${root}/dev/${name}`), ...layout.files.map((path) => `${root}${path}`));
  for (const name of devices) bind(`/dev/${name}`, `${root}/dev/${name}`, false);
  step('link /dev/fd', 'ln', '-s', '/proc/self/fd', `${root}/dev/fd`);
  // Where the kernel refuses it there are no terminals in this container, which whoever asks for one is told.
  steps.push(`${[tools.mount, '-t', 'devpts', '-o', terminals, 'devpts', `${root}/dev/pts`].map(shellWord).join(' ')} 2>/dev/null || :`);
  step('link /dev/ptmx', 'ln', '-s', 'pts/ptmx', `${root}/dev/ptmx`);
  for (const directory of layout.directories) bind(directory, placeOf(directory), true);
  for (const path of layout.files) bind(path, `${root}${path}`, true);
  for (const [directory, names] of linked) {
    // Relative, so that the links mean the same before and after the change of root.
    const up = '../'.repeat(directory.split('/').length - 1);
    const targets = names.filter((name) => !linked.has(`${directory}/${name}`)).map((name) => `${up}.host${directory}/${name}`);
    if (targets.length > 0) step(`link ${directory}`, 'ln', '-s', '--', ...targets, `${root}${directory}/`);
  }
  step('mount /proc', tools.mount, '-t', 'proc', 'proc', `${root}/proc`);
  for (const { hostPath, containerPath, readOnly, isDirectory } of mounts) {
    const target = `${root}${containerPath}`;
    if (isDirectory) step(`mkdir ${containerPath}`, 'mkdir', '-p', '--', target);
    else {
      step(`mkdir ${containerPath}`, 'mkdir', '-p', '--', posix.dirname(target));
      // A file of the host's that is there already is only mounted over.
      steps.push(
        `[ -e ${shellWord(target)} ] || : >${shellWord(target)} || _ms_fail ${shellWord(`mount point ${containerPath} cannot be made`)}`,
      );
    }
    bind(hostPath, target, readOnly);
  }
  // Root may write the kernel's file, others need the program. Without either the name is only in HOSTNAME, which is what programs read.
  steps.push(
    `hostname ${shellWord(hostname)} 2>/dev/null || { printf '%s' ${shellWord(hostname)} >/proc/sys/kernel/hostname; } 2>/dev/null || :`,
  );
  step('enter /', 'cd', root);
  step('change of root', tools.pivotRoot, '.', '.old');
  step('unmount of the host', tools.umount, '-l', '/.old');
  // Made when it is missing, as container runtimes do; when that fails the program's start says so.
  steps.push(`[ -d ${shellWord(workingDir)} ] || mkdir -p -- ${shellWord(workingDir)} 2>/dev/null || :`);
  steps.push('rmdir /.old', 'PATH=$_ms_path; export PATH; unset _ms_path');
  return steps;
}

/** Host directories above `mounts` that must become directories of links, because the host lacks the mount point. Parents come first. */
export function directoriesToLink(
  mounts: readonly PlannedMount[],
  layout: HostLayout,
  exists: (path: string, isDirectory: boolean) => boolean,
): readonly string[] {
  const needed = new Set<string>();
  for (const { containerPath, isDirectory } of mounts) {
    const top = layout.directories.find((directory) => isWithin(containerPath, directory));
    if (top === undefined || exists(containerPath, isDirectory)) continue;
    for (let at = posix.dirname(containerPath); isWithin(at, top); at = posix.dirname(at)) if (exists(at, true)) needed.add(at);
  }
  return [...needed].sort();
}

/** Shallow ones first, so that a mount inside another is made after it. */
export function planMounts(
  mounts: readonly (Omit<PlannedMount, 'containerPath'> & { readonly containerPath: string })[],
  layout: HostLayout,
): readonly PlannedMount[] {
  const depth = (path: string): number => path.split('/').length;
  return mounts
    .map((mount) => ({ ...mount, containerPath: resolveContainerPath(mount.containerPath, layout) }))
    .sort((a, b) => depth(a.containerPath) - depth(b.containerPath));
}
