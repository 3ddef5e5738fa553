import type { Attempt } from '../../../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Client } from '../../../client/client.ts';
import type { ObjectRef } from '../../../machinery/object.ts';
import { readRecord } from '../objects/secret-record.ts';

/** One revision of an app that was applied, or could not be. */
export interface HistoryEntry {
  readonly revision: string;
  readonly digest: string;
  readonly result: 'applied' | 'failed';
  /** True when the app was healthy at a revision that was applied. Absent while it is in force, and when nobody knows. */
  readonly worked?: boolean;
  /** RFC 3339. */
  readonly at: string;
  readonly durationMs: number;
  readonly author: string;
  readonly subject: string;
  /** The app is what it was at an earlier revision, or the commit says that it takes one back. */
  readonly rollback: boolean;
  /** SHA of the commit that this one takes back; absent when that is not known, or more than one. */
  readonly revertOf?: string;
  readonly changes: readonly ObjectChange[];
  /** Changes that were made beyond those of `changes`. */
  readonly moreChanges?: number;
}

const maxEntries = 50;
/** Changes kept of one entry, and the characters of one: a history must fit into one Secret. */
const maxChanges = 50;
const maxTextLength = 300;
/** Bytes of the encoded history. A Secret holds 1 MiB, in base64; an incompressible history still fits. */
const maxBytes = 640 * 1024;

/** Secret with an app's history: outside of the app, so that reading the app stays cheap. */
export const historyRef = ({ metadata }: Pick<Kustomization, 'metadata'>): ObjectRef => ({
  namespace: metadata.namespace,
  name: `midship-history-${metadata.name}`,
});

/** The history of an app, newest last; empty when there is none yet. */
export async function readHistory(client: Client, app: Pick<Kustomization, 'metadata'>): Promise<readonly HistoryEntry[]> {
  return (await readRecord<readonly HistoryEntry[]>(client, historyRef(app))) ?? [];
}

/** Adds an entry, newest last; a failure that repeats replaces the one before it. */
export function addToHistory(history: readonly HistoryEntry[], entry: HistoryEntry): readonly HistoryEntry[] {
  const last = history.at(-1);
  const kept = last?.result === 'failed' && entry.result === 'failed' && last.revision === entry.revision ? history.slice(0, -1) : history;
  return bounded([...kept, shortened(entry)].slice(-maxEntries));
}

/** Notes the outcome of the entry in force until now: it is known at its end, and written with the next entry. */
export function noteOutcome(history: readonly HistoryEntry[], attempts: readonly Attempt[]): readonly HistoryEntry[] {
  const index = history.findLastIndex(({ result }) => result === 'applied');
  const entry = history[index];
  const attempt = attempts.find(({ revision }) => revision === entry?.revision);
  if (entry === undefined || entry.worked !== undefined || attempt === undefined) return history;
  return history.with(index, { ...entry, worked: attempt.healthyAt !== undefined });
}

/** Puts another entry in the place of one. */
export function replaceInHistory(history: readonly HistoryEntry[], index: number, entry: HistoryEntry): readonly HistoryEntry[] {
  return bounded(history.with(index, shortened(entry)));
}

function shortened(entry: HistoryEntry): HistoryEntry {
  const cut = (text: string): string => (text.length > maxTextLength ? `${text.slice(0, maxTextLength - 1)}…` : text);
  const more = entry.changes.length - maxChanges + (entry.moreChanges ?? 0);
  return {
    ...entry,
    author: cut(entry.author),
    subject: cut(entry.subject),
    changes: entry.changes
      .slice(0, maxChanges)
      .map(({ action, object, fields }) => ({ action, object: cut(object), fields: fields.map(cut) })),
    ...(more > 0 ? { moreChanges: more } : {}),
  };
}

/**
 * A history that is too large loses the objects of its oldest entries first: the existence of a revision is worth more.
 */
function bounded(history: readonly HistoryEntry[]): readonly HistoryEntry[] {
  const sizeOf = (entry: HistoryEntry): number => Buffer.byteLength(JSON.stringify(entry)) + 1;
  let total = history.reduce((sum, entry) => sum + sizeOf(entry), 2);
  if (total <= maxBytes) return history;
  return history.map((entry) => {
    if (total <= maxBytes) return entry;
    const bare = { ...entry, changes: [], moreChanges: entry.changes.length + (entry.moreChanges ?? 0) };
    total += sizeOf(bare) - sizeOf(entry);
    return bare;
  });
}

/** True when the tree equals one that was in force before the current one, or the commit says that it takes one back. */
export function isRollback(history: readonly HistoryEntry[], digest: string, message: string): boolean {
  const applied = history.filter(({ result }) => result === 'applied');
  if (applied.at(-1)?.digest === digest) return false;
  return applied.some((entry) => entry.digest === digest) || (applied.length > 0 && revertedSha(message) !== undefined);
}

/**
 * The commit that a new one takes back: the one that its message names, or else the newest. The newest counts when the app is again what
 * it was before that. Undefined for a commit that takes back several, and for one that was in force before, as after a pin.
 */
export function findRevertedCommit(
  history: readonly HistoryEntry[],
  { message, revision, digest }: { readonly message: string; readonly revision: string; readonly digest: string },
): string | undefined {
  const named = revertedSha(message);
  if (named !== undefined) return named;
  const [before, undone] = history.slice(-2);
  if (before === undefined || undone === undefined || history.some((entry) => entry.revision === revision)) return undefined;
  // A revision that could not be rendered has no digest.
  if (before.digest === '' || before.digest !== digest || undone.digest === digest) return undefined;
  return undone.revision.slice(undone.revision.lastIndexOf(':') + 1);
}

/** The commit that a message says it takes back, as `git revert` writes it. */
const revertedSha = (message: string): string | undefined => /^This reverts commit ([0-9a-f]{7,40})/m.exec(message)?.[1];
