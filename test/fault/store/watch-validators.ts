import { type Change, describeChange, type EventLog, isOf, lastOf, type Session } from './event-log.ts';
import { colorOf, resourceOf, type WatchEventRecord } from './history.ts';

/**
 * The promises of a watch, by the names that the robustness suite of etcd gives them. Each validator lists what breaks its promise.
 *
 * A watch of the API tells more than one of etcd: whether an object is new, and what it was before its deletion. So PrevKV, IsCreate and
 * Filter apply to it. Atomic is checked where the log is put together: each write has a revision of its own, which names one change.
 *
 * @see https://etcd.io/docs/v3.5/learning/api_guarantees/
 */
export const watchValidators: Readonly<Record<string, (log: EventLog) => readonly string[]>> = {
  Ordered: (log) => perWatcher(log, ordered),
  Unique: (log) => perWatcher(log, unique),
  Reliable: (log) =>
    log.sessions.flatMap((session) =>
      missingIn(session, log)
        .filter(({ isFirst }) => !isFirst)
        .map(say('Reliable')),
    ),
  Resumable: (log) =>
    log.sessions.flatMap((session) =>
      missingIn(session, log)
        .filter(({ isFirst }) => isFirst)
        .map(say('Resumable')),
    ),
  Bookmarkable: (log) => [...perWatcher(log, bookmarkable), ...log.sessions.flatMap((session) => bookmarkedTooEarly(session, log))],
  PrevKV: (log) => log.sessions.flatMap((session) => previousValue(session, log)),
  IsCreate: (log) => log.sessions.flatMap((session) => eventType(session, log)),
  Filter: (log) => log.sessions.flatMap(filtered),
};

const isChange = ({ event }: WatchEventRecord): boolean => event === 'ADDED' || event === 'MODIFIED' || event === 'DELETED';

const describeEvent = ({ event, key, value, revision }: WatchEventRecord): string => `${event} ${key} ${value} at ${revision}`;

/** Checks the sessions of each watcher as one: looks at the past are sessions of their own. */
function perWatcher(log: EventLog, check: (sessions: readonly Session[]) => readonly string[]): readonly string[] {
  const watchers = new Map<number, Session[]>();
  for (const session of log.sessions) watchers.set(session.watcher, [...(watchers.get(session.watcher) ?? []), session]);
  return [...watchers.values()].flatMap((sessions) => {
    const chains: Session[][] = [];
    for (const session of sessions) {
      if (session.isResumed) chains.at(-1)?.push(session);
      else chains.push([session]);
    }
    return chains.flatMap(check);
  });
}

function ordered(sessions: readonly Session[]): readonly string[] {
  let last = 0;
  const errors: string[] = [];
  for (const { events, session } of sessions) {
    for (const event of events.filter(isChange)) {
      if (event.revision < last) errors.push(`Ordered: watch ${session} has ${describeEvent(event)} after revision ${last}`);
      last = event.revision;
    }
  }
  return errors;
}

function unique(sessions: readonly Session[]): readonly string[] {
  const seen = new Set<number>();
  const errors: string[] = [];
  for (const { events, session } of sessions) {
    for (const event of events.filter(isChange)) {
      if (seen.has(event.revision)) errors.push(`Unique: watch ${session} has ${describeEvent(event)} twice`);
      seen.add(event.revision);
    }
  }
  return errors;
}

/** No event at or before a bookmark comes after it, and bookmarks do not go back. */
function bookmarkable(sessions: readonly Session[]): readonly string[] {
  let bookmark = 0;
  const errors: string[] = [];
  for (const { events, session } of sessions) {
    for (const event of events) {
      const isBookmark = event.event === 'BOOKMARK' || event.event === 'INITIAL_END';
      if (event.event === 'INITIAL' || (isBookmark ? event.revision >= bookmark : event.revision > bookmark)) {
        if (isBookmark) bookmark = event.revision;
        continue;
      }
      errors.push(`Bookmarkable: watch ${session} has ${describeEvent(event)} after a bookmark at ${bookmark}`);
    }
  }
  return errors;
}

/** The event that a session has to deliver for a change; undefined: none. */
function expectedEvent({ color }: Session, change: Change, before: Change | undefined): WatchEventRecord['event'] | undefined {
  const matches = (value: string | undefined): boolean => value !== undefined && (color === undefined || colorOf(value) === color);
  const had = matches(before?.value);
  if (matches(change.value)) return had ? 'MODIFIED' : 'ADDED';
  return had ? 'DELETED' : undefined;
}

interface Missing {
  readonly session: number;
  readonly change: Change;
  /** Nothing was delivered before it. */
  readonly isFirst: boolean;
}

const say =
  (promise: string) =>
  ({ session, change }: Missing): string =>
    `${promise}: watch ${session} lacks ${describeChange(change)}`;

/** The changes between the start of a session and the last that it delivered, without which it is incomplete. */
function missingIn(session: Session, log: EventLog): readonly Missing[] {
  const { from } = session;
  const to = lastOf(session);
  if (from === undefined || to === undefined) return [];
  const delivered = new Set(session.events.filter(isChange).map(({ revision }) => revision));
  const first = Math.min(...delivered);
  return changesIn(session, log, { from, to })
    .filter(({ change, event }) => event !== undefined && !delivered.has(change.revision))
    .map(({ change }) => ({ session: session.session, change, isFirst: change.revision < first }));
}

/** Changes of the session's resource in a range, with the event that each has to be. */
function changesIn(session: Session, log: EventLog, { from, to }: { readonly from: number; readonly to: number }) {
  return log.changes
    .filter((change) => change.revision > from && change.revision <= to && isOf(session.resource, change))
    .map((change) => {
      const before = log.stateAt(change.key, change.revision - 1);
      // Without a watch of the time between, the object may have been deleted in it.
      const isKnown = before !== undefined && log.isComplete(session.resource, before.revision, change.revision);
      return { change, event: expectedEvent(session, change, isKnown ? before : undefined) };
    });
}

/** A bookmark says that everything up to it has been delivered. */
function bookmarkedTooEarly(session: Session, log: EventLog): readonly string[] {
  const { from } = session;
  if (from === undefined) return [];
  const delivered = new Set<number>();
  const errors: string[] = [];
  for (const event of session.events) {
    if (isChange(event)) delivered.add(event.revision);
    if (event.event !== 'BOOKMARK') continue;
    const late = changesIn(session, log, { from, to: event.revision }).find(
      ({ change, event: expected }) => expected !== undefined && !delivered.has(change.revision),
    );
    if (late !== undefined)
      errors.push(`Bookmarkable: watch ${session.session} has a bookmark at ${event.revision} before ${describeChange(late.change)}`);
  }
  return errors;
}

/** A deletion shows the object as it was last. */
function previousValue(session: Session, log: EventLog): readonly string[] {
  return session.events.flatMap((event) => {
    if (event.event !== 'DELETED') return [];
    const before = log.stateAt(event.key, event.revision - 1);
    return before === undefined || before.value === undefined || before.value === event.value
      ? []
      : [`PrevKV: watch ${session.session} has ${describeEvent(event)} instead of ${before.value}`];
  });
}

/** ADDED is for an object that was not there, or did not match; MODIFIED and DELETED for one that was. */
function eventType(session: Session, log: EventLog): readonly string[] {
  return session.events.flatMap((event) => {
    const before = log.stateAt(event.key, event.revision - 1);
    // The log knows nothing of the time before its first change.
    const isKnown = before !== undefined && log.isComplete(session.resource, before.revision, event.revision);
    const change = log.stateAt(event.key, event.revision);
    if (!isChange(event) || !isKnown || change?.revision !== event.revision) return [];
    const expected = expectedEvent(session, change, before);
    return expected === undefined || expected === event.event
      ? []
      : [`IsCreate: watch ${session.session} has ${describeEvent(event)} instead of ${expected}, after ${describeChange(before)}`];
  });
}

/** A watch gets nothing but its own resource and what its selector matches; what leaves the selector is shown as it was. */
function filtered({ resource, color, session, events }: Session): readonly string[] {
  return events
    .filter(({ key, value }) => key !== '' && (resourceOf(key) !== resource || (color !== undefined && colorOf(value) !== color)))
    .map((event) => `Filter: watch ${session} has ${describeEvent(event)}`);
}
