import { shellWord } from '../../base/shell-word.ts';

/** Names that one shell or another sets itself, refuses to have set, or reads as a number. */
const ownNames = new Set(
  (
    '_ BASHOPTS BASHPID BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_LINENO BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO DIRSTACK ' +
    'EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS LINENO OLDPWD OPTARG OPTIND PPID PWD RANDOM SECONDS SHELLOPTS SRANDOM UID'
  ).split(' '),
);

export type Environment = Readonly<Record<string, string>>;

/** The part of an environment that a shell can pass on, and the rest. */
export function splitEnvironment(environment: Environment): readonly [byShell: Environment, others: Environment] {
  const byShell: Record<string, string> = {};
  const others: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    (/^[A-Za-z_]\w*$/.test(name) && !ownNames.has(name) ? byShell : others)[name] = value;
  }
  return [byShell, others];
}

/** A command of a POSIX shell for each variable, without a newline: the variable `newline` is one, as `readExports` sets it. */
const exportLines = (environment: Environment, newline: string): readonly string[] =>
  Object.entries(environment).map(([name, value]) => `export ${name}=${value.split('\n').map(shellWord).join(`"$${newline}"`)}`);

/**
 * Shell commands that take the variables from a descriptor and close it. As arguments every user of the machine could read them. In the
 * environment they would affect the programs in front as well: LD_PRELOAD names a file of the host then.
 */
export const readExports = (descriptor: number): string => `_ms_n='
'; while IFS= read -r _ms_line <&${descriptor}; do eval "$_ms_line"; done; exec ${descriptor}<&-; unset _ms_n _ms_line`;

/** The text that `readExports` reads. */
export const exportsText = (environment: Environment): string =>
  exportLines(splitEnvironment(environment)[0], '_ms_n')
    .map((line) => `${line}\n`)
    .join('');
