import { type Change, describeChange, type EventLog, isOf } from './event-log.ts';
import { type Call, type HistoryRecord, type ListCall, recordsOf, resourceOf } from './history.ts';
import { revisionsOfValues } from './linearizability.ts';

/** Revisions never go back: what began after an answer has a revision that is at least as high. */
export function checkRevisions(history: readonly HistoryRecord[]): readonly string[] {
  const calls = recordsOf(history, 'call');
  const lists = recordsOf(history, 'list').filter(({ isConsistent }) => isConsistent);
  const answers = [
    ...lists.map(({ end, revision }) => ({ end, revision })),
    ...calls.flatMap(({ end, outcome }) =>
      outcome.kind === 'ok' && outcome.revision !== undefined ? [{ end, revision: outcome.revision }] : [],
    ),
  ].sort((a, b) => a.end - b.end);
  const begun = [
    ...lists.map((list) => ({ start: list.start, isLower: lowerThan(list.revision, 0), what: `a list of server ${list.server}` })),
    ...calls.flatMap((call) => {
      if (call.outcome.kind !== 'ok' || call.outcome.revision === undefined || call.verb === 'get') return [];
      const what = `${call.verb} ${call.key} by server ${call.server}`;
      return [{ start: call.start, isLower: lowerThan(call.outcome.revision, 1), what }];
    }),
  ].sort((a, b) => a.start - b.start);
  const errors: string[] = [];
  let highest = 0;
  let next = 0;
  for (const { start, isLower, what } of begun) {
    for (; next < answers.length && (answers[next]?.end as number) < start; next += 1) {
      highest = Math.max(highest, answers[next]?.revision as number);
    }
    const lower = isLower(highest);
    if (lower !== undefined) errors.push(`Revisions: ${what} has ${lower}, though ${highest} was known before it began`);
  }
  return [...errors, ...seenBeforeWritten(history)];
}

/** A list may have the known revision, a write has a higher one. */
const lowerThan =
  (revision: number, by: 0 | 1) =>
  (known: number): number | undefined =>
    revision < known + by ? revision : undefined;

/** No watch delivers a value before anybody began to write it. */
function seenBeforeWritten(history: readonly HistoryRecord[]): readonly string[] {
  const starts = new Map(recordsOf(history, 'call').flatMap(({ value, start }) => (value === undefined ? [] : [[value, start]])));
  return recordsOf(history, 'event')
    .filter(({ value, at }) => value !== '' && (starts.get(value) ?? Number.POSITIVE_INFINITY) > at)
    .map(({ value, session }) => `Revisions: watch ${session} has ${value} before it was written`);
}

/** Nothing acknowledged is lost, nothing refused is done, and lists have the state of their revision. */
export function checkAgainstLog(history: readonly HistoryRecord[], log: EventLog): readonly string[] {
  const revisions = revisionsOfValues(history);
  return [
    ...recordsOf(history, 'call').flatMap((call) => lostOrInvented(call, revisions, log)),
    ...recordsOf(history, 'list').flatMap((list) => otherThanLog(list, log)),
    ...unexplained(log),
  ];
}

function lostOrInvented(call: Call, revisions: ReadonlyMap<string, number>, log: EventLog): readonly string[] {
  const { verb, key, value, outcome } = call;
  if (verb === 'get' || value === undefined) return [];
  const seen = revisions.get(value);
  if (outcome.kind !== 'ok') {
    return outcome.kind !== 'unknown' && seen !== undefined ? [`Refused: ${JSON.stringify(call)} was done at ${seen}`] : [];
  }
  const { revision = 0 } = outcome;
  if (seen !== undefined && seen !== revision) return [`Lost: ${verb} ${key} ${value} was acknowledged at ${revision} and is at ${seen}`];
  // Any watch that covers the revision has to have it; Reliable says so for each, and this for all that there are.
  const isWatched = log.isComplete(resourceOf(key), revision - 1, revision);
  const wasDelivered = log.sessions.some(({ events }) => events.some((event) => event.revision === revision));
  return isWatched && !wasDelivered ? [`Lost: no watch has ${verb} ${key} ${value} at ${revision}, which was acknowledged`] : [];
}

/** A list shows each key as it was at the list's revision, as far as the log is complete. */
function otherThanLog({ resource, revision, items, server }: ListCall, log: EventLog): readonly string[] {
  const found = new Map(items.map((item) => [item.key, item]));
  const keys = new Set([...log.changes.filter((change) => isOf(resource, change)).map(({ key }) => key), ...found.keys()]);
  return [...keys].flatMap((key) => {
    const item = found.get(key);
    const inForce = log.stateAt(key, revision);
    if (item !== undefined && item.revision > revision)
      return [`Snapshot: a list of server ${server} at ${revision} has ${describeChange(item)}`];
    // The log knows nothing of the time before its first change, and of gaps between watches.
    if (inForce === undefined || inForce.revision === item?.revision || (inForce.value === undefined && item === undefined)) return [];
    if (item === undefined && !log.isComplete(resource, inForce.revision, revision)) return [];
    const shown = item === undefined ? 'lacks it' : `has ${describeChange(item)}`;
    return [`Snapshot: at ${revision} there is ${describeChange(inForce)}, and a list of server ${server} ${shown}`];
  });
}

/** A creation of what is there, or a change of what is not: an event between the two was lost for all. */
function unexplained(log: EventLog): readonly string[] {
  const errors: string[] = [];
  for (const { resource, events, session, color } of log.sessions) {
    if (color !== undefined) continue;
    for (const { event, key, revision } of events) {
      const before: Change | undefined = log.stateAt(key, revision - 1);
      if (before === undefined || !log.isComplete(resource, before.revision, revision)) continue;
      if (event === 'ADDED' && before.value !== undefined) errors.push(`Lost: no watch has the deletion of ${describeChange(before)}`);
      if (event === 'DELETED' && before.value === undefined)
        errors.push(`Lost: watch ${session} has a second deletion of ${key} at ${revision}`);
    }
  }
  return errors;
}
