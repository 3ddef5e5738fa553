import type { ObjectChange } from '../../base/activity.ts';

/** One revision of an app that was applied, or could not be. */
export interface HistoryEntry {
  readonly revision: string;
  readonly digest: string;
  readonly result: 'applied' | 'failed';
  /** RFC 3339. */
  readonly at: string;
  readonly durationMs: number;
  readonly author: string;
  readonly subject: string;
  readonly rollback: boolean;
  readonly changes: readonly ObjectChange[];
}

const maxEntries = 50;
/** Changes kept of one entry; a history must fit into one Secret. */
const maxChanges = 50;

/** Adds an entry, newest last; a failure that repeats replaces the one before it. */
export function addToHistory(history: readonly HistoryEntry[], entry: HistoryEntry): readonly HistoryEntry[] {
  const last = history.at(-1);
  const kept = last?.result === 'failed' && entry.result === 'failed' && last.revision === entry.revision ? history.slice(0, -1) : history;
  return [...kept, { ...entry, changes: entry.changes.slice(0, maxChanges) }].slice(-maxEntries);
}

/** True when the tree equals one that was in force before the current one, or the commit says that it takes one back. */
export function isRollback(history: readonly HistoryEntry[], digest: string, message: string): boolean {
  const applied = history.filter(({ result }) => result === 'applied');
  if (applied.at(-1)?.digest === digest) return false;
  return applied.some((entry) => entry.digest === digest) || (applied.length > 0 && /^This reverts commit [0-9a-f]{7,40}/m.test(message));
}
