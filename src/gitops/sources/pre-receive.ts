import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { untilAborted } from '../../base/concurrency.ts';
import { makeDurableDirectory, writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import { plain } from '../../base/plain-text.ts';
import { timeLimit } from '../../base/time-limit.ts';

/** A ref that a push moves; ids are 40 digits, all zeros where it is created or deleted. */
export interface RefUpdate {
  readonly ref: string;
  readonly before: string;
  readonly after: string;
}

/** A push whose objects are here and whose refs have not moved. */
export interface PendingPush {
  readonly gitdir: string;
  /** Directory of the objects it brought. */
  readonly quarantine: string;
  readonly updates: readonly RefUpdate[];
  readonly signal: AbortSignal;
}

/** Errors of a push, one line each; empty when there are none. */
export type CheckPush = (push: PendingPush) => Promise<readonly string[]>;

/** `warn` says what is wrong and takes the push, `enforce` refuses it. */
export type PreReceivePolicy = 'off' | 'warn' | 'enforce';

/**
 * The hook is this shell script and nothing more. It passes git's input to the program over an inherited socket, prints
 * the lines that come back, and exits as the last one says. It refuses the push when the program is gone and no answer
 * comes. No command in it contains a word of the push.
 */
const script = `#!/bin/sh
{ printf '%s\\n' "$GIT_QUARANTINE_PATH"; cat; echo; } >&3
while IFS= read -r line <&3; do
  case "$line" in
    accept) exit 0 ;;
    refuse) exit 1 ;;
    *) printf '%s\\n' "\${line#|}" >&2 ;;
  esac
done
echo 'Midship ended while it looked at the push.' >&2
exit 1
`;

/** Writes the hook; the directory is for `core.hooksPath`. */
export async function writeHooks(directory: string): Promise<void> {
  await makeDurableDirectory(directory);
  await writeDurableFile(join(directory, 'pre-receive'), script, { mode: 0o700 });
}

/** A push that may move its refs. Pushes of one repository move theirs one after the other. */
export interface Commitment {
  /** The reason why the push is refused, in one line. Absent: it is taken. */
  readonly refusal?: string;
  /** The push has moved its refs, or has failed. */
  end(): Promise<void>;
}

/** Called with a push that is to be taken, before its refs move. */
export type CommitPush = (updates: readonly RefUpdate[], signal: AbortSignal) => Promise<Commitment>;

export interface HookConversation {
  /** The other end of the hook's third file descriptor. */
  readonly socket: Duplex;
  readonly gitdir: string;
  readonly policy: PreReceivePolicy;
  readonly check: CheckPush;
  /** A check that takes longer, 30 s by default, counts as failed, even if it ignores its signal. */
  readonly checkTimeoutMs?: number | undefined;
  readonly commit?: ((updates: readonly RefUpdate[]) => Promise<Pick<Commitment, 'refusal'>>) | undefined;
  readonly signal: AbortSignal;
  readonly log: Log;
}

const maxRequestBytes = 1024 * 1024;
const maxUpdates = 1_000;
const maxLines = 20;
const defaultCheckTimeoutMs = 30_000;

/** Answers one run of the hook; undefined when there was none, because git itself refused the push. */
export async function answerHook(conversation: HookConversation): Promise<'taken' | 'refused' | undefined> {
  const { socket, policy, commit, log } = conversation;
  const request = await readRequest(socket);
  if (request === undefined) return undefined;
  const [quarantine = '', ...commands] = request;
  const updates = commands.map(parseRefUpdate).filter((update) => update !== undefined);
  const lines = policy === 'off' ? [] : await findingsOf(conversation, { quarantine, updates, isTooMany: commands.length > maxUpdates });
  const isGood = lines.length === 0;
  let isTaken = isGood || policy === 'warn';
  if (!isGood && isTaken) lines.push('! The push is accepted anyway; Midship does not apply invalid manifests.');
  if (isTaken && commit !== undefined && !socket.destroyed) {
    const refusal = await commit(updates).then(
      (done) => done.refusal,
      (err: unknown) => {
        log.warn({ err }, 'Could not commit push');
        return 'The store of the cluster did not take the push; try again.';
      },
    );
    if (refusal !== undefined) lines.push(`✗ ${refusal}`);
    isTaken = refusal === undefined;
  }
  if (!isTaken) lines.push('! The push is refused; nothing of it was taken.');
  // One line each, whatever is in a message, so that none of them can be taken for the verdict.
  const text = lines.flatMap((line) => line.split(/[\r\n]+/)).map((line) => `|${plain(line)}\n`);
  socket.write(`${text.join('')}${isTaken ? 'accept' : 'refuse'}\n`);
  return isTaken ? 'taken' : 'refused';
}

/** Gives lines of what is wrong with a push; empty for a good one. */
async function findingsOf(
  { gitdir, check, checkTimeoutMs = defaultCheckTimeoutMs, signal: stopped, log }: HookConversation,
  { quarantine, updates, isTooMany }: { readonly quarantine: string; readonly updates: readonly RefUpdate[]; readonly isTooMany: boolean },
): Promise<string[]> {
  const signal = timeLimit(stopped, checkTimeoutMs);
  try {
    if (isTooMany) throw new Error(`it moves more than ${maxUpdates} refs`);
    const found = await untilAborted(check({ gitdir, quarantine, updates, signal }), signal);
    const lines = found.slice(0, maxLines).map((line) => `✗ ${line}`);
    return found.length > maxLines ? [...lines, `… and ${found.length - maxLines} more`] : lines;
  } catch (err) {
    log.warn({ err }, 'Could not check push');
    const isLate = signal.aborted;
    return [isLate ? `✗ The push was not checked within ${checkTimeoutMs / 1_000} s.` : '✗ The push could not be checked; see the log.'];
  }
}

/** Lines up to an empty one; undefined when the hook was not run. */
function readRequest(socket: Duplex): Promise<readonly string[] | undefined> {
  return new Promise((resolve) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.endsWith('\n\n')) resolve(text.slice(0, -2).split('\n'));
      else if (text.length > maxRequestBytes) socket.destroy();
    });
    socket.on('error', () => resolve(undefined));
    socket.on('close', () => resolve(undefined));
  });
}

/** A line that git gives to the hook, or that a client sends: the two ids and the name. */
export function parseRefUpdate(line: string): RefUpdate | undefined {
  const [, before = '', after = '', ref = ''] = /^([0-9a-f]{40}) ([0-9a-f]{40}) (refs\/.+)$/.exec(line) ?? [];
  return ref === '' ? undefined : { ref, before, after };
}
