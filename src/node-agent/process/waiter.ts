/**
 * The process of the host that starts a container, waits for its end and writes the exit code down. It is the parent of all the
 * container's processes and shares nothing with them, so no program of the pod can write what it writes. It outlives the agent.
 *
 * Files in the state directory: `waiter` holds its /proc/PID/stat line; `exit` ends in a newline once the container has ended. The waiter
 * opens `exit` first, so that a full disk fails the start and not the end.
 */
const script = `exec 2>/dev/null 9>"$1/exit" || exit 125
read -r stat </proc/self/stat && printf '%s\\n' "$stat" >"$1/waiter" || exit 125
trap : TERM INT HUP
script=$1/start.sh
limits=$2
shift 2
( eval "$limits"
exec "$@" 2>&1 9>&- <"$script" )
code=$?
printf '%s\\n' "$code" >&9
exit "$code"`;

const title = 'midship-container';

/**
 * @param limits  shell commands that bind the shell they run in, and with it the container
 * @param shell  the command in whose place `start.sh` of the state directory is run: a shell, with what sets up namespaces in front of it
 */
export const waiterCommand = (
  stateDirectory: string,
  limits: string,
  shell: readonly string[],
): readonly [program: string, ...args: string[]] => [
  '/bin/sh',
  '-c',
  script,
  title,
  stateDirectory,
  limits,
  ...shell,
  // Read by nobody: marks the process.
  '-s',
  title,
  stateDirectory,
];

/** The state directory of the container that a process with these arguments waits for or is the first one of. */
export function stateDirectoryOf(args: readonly string[]): string | undefined {
  const at = args.lastIndexOf(title);
  return at === -1 ? undefined : args[at + 1];
}
