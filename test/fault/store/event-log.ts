import { type HistoryRecord, recordsOf, resourceOf, type WatchEventRecord, type WatchStart } from './history.ts';

/** A change of the store, as anybody saw it. */
export interface Change {
  readonly revision: number;
  readonly key: string;
  /** Undefined: a deletion. */
  readonly value: string | undefined;
}

/** A watch from its start to its end, with what it delivered. */
export interface Session extends WatchStart {
  readonly events: readonly WatchEventRecord[];
  /** Revision after which it delivers changes; that of the end of the initial events when it began with these. */
  readonly from: number | undefined;
}

export interface EventLog {
  /** By revision. */
  readonly changes: readonly Change[];
  readonly sessions: readonly Session[];
  /** Changes of a key, oldest first. */
  changesOf(key: string): readonly Change[];
  /** The change of a key that is in force at a revision. */
  stateAt(key: string, revision: number): Change | undefined;
  /** True when some watch without a selector says that it delivered everything of the resource in this range (from is exclusive). */
  isComplete(resource: string, from: number, to: number): boolean;
}

/**
 * Everything that happened, put together from all watches, answers and lists. Each write has a revision of its own, so two different
 * changes of one revision are a broken promise: Atomic.
 */
export function mergeLog(history: readonly HistoryRecord[], errors: string[]): EventLog {
  const sessions = sessionsOf(history);
  const byRevision = new Map<number, Change>();
  const add = (change: Change, source: string): void => {
    const known = byRevision.get(change.revision);
    if (known === undefined) byRevision.set(change.revision, change);
    else if (known.key !== change.key || known.value !== change.value)
      errors.push(`Atomic: revision ${change.revision} is ${describeChange(known)}, and ${describeChange(change)} by ${source}`);
  };
  for (const { events, session, color } of sessions) {
    for (const { event, key, revision, value } of events) {
      // An object that leaves a selector is DELETED for it, and its revision is that of a change.
      if (event === 'DELETED' && color === undefined) add({ key, revision, value: undefined }, `watch ${session}`);
      if (event === 'ADDED' || event === 'MODIFIED' || event === 'INITIAL') add({ key, revision, value }, `watch ${session}`);
    }
  }
  for (const { verb, key, value, outcome, server } of recordsOf(history, 'call')) {
    if (outcome.kind !== 'ok' || outcome.revision === undefined) continue;
    add({ key, revision: outcome.revision, value: verb === 'get' ? outcome.value : value }, `${verb} by server ${server}`);
  }
  for (const { items, server } of recordsOf(history, 'list')) for (const item of items) add(item, `a list of server ${server}`);
  const changes = [...byRevision.values()].sort((a, b) => a.revision - b.revision);
  const byKey = new Map<string, Change[]>();
  for (const change of changes) byKey.set(change.key, [...(byKey.get(change.key) ?? []), change]);
  const covered = coverage(sessions);
  const changesOf = (key: string): readonly Change[] => byKey.get(key) ?? [];
  return {
    changes,
    sessions,
    changesOf,
    stateAt: (key, revision) => changesOf(key).findLast((change) => change.revision <= revision),
    isComplete: (resource, from, to) => (covered.get(resource) ?? []).some((range) => range.from <= from && range.to >= to),
  };
}

export const describeChange = ({ key, value, revision }: Change): string => `${key} ${value ?? 'deleted'} at ${revision}`;

function sessionsOf(history: readonly HistoryRecord[]): readonly Session[] {
  const events = new Map<number, WatchEventRecord[]>();
  for (const event of recordsOf(history, 'event')) {
    const known = events.get(event.session);
    if (known === undefined) events.set(event.session, [event]);
    else known.push(event);
  }
  return recordsOf(history, 'watch').map((start) => {
    const own = events.get(start.session) ?? [];
    const from = start.after ?? own.find(({ event }) => event === 'INITIAL_END')?.revision;
    return { ...start, events: own, from };
  });
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Ranges of revisions, joined, that watches without a selector delivered of each resource. */
function coverage(sessions: readonly Session[]): ReadonlyMap<string, readonly Range[]> {
  const all = new Map<string, Range[]>();
  for (const session of sessions) {
    const to = lastOf(session);
    if (session.color !== undefined || session.from === undefined || to === undefined) continue;
    const { resource, from } = session;
    all.set(resource, [...(all.get(resource) ?? []), { from, to }]);
  }
  for (const [resource, ranges] of all) {
    ranges.sort((a, b) => a.from - b.from);
    const joined: Range[] = [];
    for (const range of ranges) {
      const last = joined.at(-1);
      if (last !== undefined && range.from <= last.to) joined[joined.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
      else joined.push(range);
    }
    all.set(resource, joined);
  }
  return all;
}

/** The revision up to which a session says that it has delivered everything. */
export function lastOf({ events, from }: Session): number | undefined {
  let last: number | undefined;
  for (const { event, revision } of events) if (event !== 'INITIAL' && from !== undefined) last = Math.max(last ?? from, revision);
  return last;
}

export const isOf = (resource: string, { key }: Change): boolean => resourceOf(key) === resource;
