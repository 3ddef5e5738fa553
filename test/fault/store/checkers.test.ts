import { describe, expect, it } from 'vitest';
import { checkHistory } from './check.ts';
import type { Call, HistoryRecord, Outcome, WatchEventRecord } from './history.ts';

/** Each checker has to refuse what it is for. A right history is broken by hand, one way each, and the checker has to name the promise. */

const keyA = 'configmaps/a';
const keyB = 'configmaps/b';

interface Draft {
  readonly verb: Call['verb'];
  readonly key?: string;
  readonly value?: string;
  readonly expected?: number;
  readonly at: number;
  readonly lasts?: number;
  readonly outcome: Outcome;
}

const call = ({ verb, key = keyA, value, expected, at, lasts = 2, outcome }: Draft): Call => ({
  ...{ type: 'call', client: 0, server: 0, verb, key, start: at, end: at + lasts, outcome },
  ...(value === undefined ? {} : { value }),
  ...(expected === undefined ? {} : { expected }),
});

const done = (revision: number, value?: string): Outcome => ({ kind: 'ok', revision, ...(value === undefined ? {} : { value }) });

const event = (
  session: number,
  type: WatchEventRecord['event'],
  [key, value, revision]: readonly [string, string, number],
  at: number,
): HistoryRecord => ({ type: 'event', session, event: type, key, value, revision, at });

const watch = (
  session: number,
  after: number,
  more: { readonly color?: string; readonly watcher?: number; readonly isResumed?: boolean } = {},
) => ({ type: 'watch', watcher: session, session, server: 0, resource: 'configmaps', after, isResumed: false, at: 5, ...more }) as const;

const list = (revision: number, items: readonly (readonly [string, string, number])[], at: number): HistoryRecord => ({
  ...{ type: 'list', client: 0, server: 0, resource: 'configmaps', isConsistent: true, start: at, end: at + 2, revision },
  items: items.map(([key, value, revision]) => ({ key, value, revision })),
});

/** a: created at 11, updated at 12 and 14, deleted at 15, created again at 16; b: created at 13. */
const calls: readonly HistoryRecord[] = [
  call({ verb: 'get', at: 1, outcome: { kind: 'absent' } }),
  call({ verb: 'create', value: 'a1-red', at: 10, outcome: done(11) }),
  call({ verb: 'create', value: 'a1b-red', at: 14, outcome: { kind: 'exists' } }),
  call({ verb: 'get', at: 17, outcome: done(11, 'a1-red') }),
  call({ verb: 'update', value: 'a2-red', expected: 11, at: 20, outcome: done(12) }),
  call({ verb: 'update', value: 'a2b-red', expected: 11, at: 24, outcome: { kind: 'conflict' } }),
  call({ verb: 'create', key: keyB, value: 'b1-blue', at: 30, outcome: done(13) }),
  call({ verb: 'patch', value: 'a3-blue', at: 40, outcome: done(14) }),
  list(
    14,
    [
      [keyA, 'a3-blue', 14],
      [keyB, 'b1-blue', 13],
    ],
    44,
  ),
  call({ verb: 'delete', at: 50, outcome: { kind: 'ok' } }),
  call({ verb: 'get', at: 54, outcome: { kind: 'absent' } }),
  call({ verb: 'apply', value: 'a4-red', at: 60, outcome: done(16) }),
];

const everything: readonly HistoryRecord[] = [
  watch(1, 10),
  event(1, 'ADDED', [keyA, 'a1-red', 11], 11.5),
  event(1, 'MODIFIED', [keyA, 'a2-red', 12], 21.5),
  event(1, 'ADDED', [keyB, 'b1-blue', 13], 31.5),
  event(1, 'MODIFIED', [keyA, 'a3-blue', 14], 41.5),
  event(1, 'BOOKMARK', ['', '', 14], 45),
  event(1, 'DELETED', [keyA, 'a3-blue', 15], 51.5),
  event(1, 'ADDED', [keyA, 'a4-red', 16], 61.5),
];

/** A watch with a selector: a leaves it at 14, shown as it was, and comes back at 16. */
const red: readonly HistoryRecord[] = [
  watch(2, 10, { color: 'red' }),
  event(2, 'ADDED', [keyA, 'a1-red', 11], 11.6),
  event(2, 'MODIFIED', [keyA, 'a2-red', 12], 21.6),
  event(2, 'DELETED', [keyA, 'a2-red', 14], 41.6),
  event(2, 'ADDED', [keyA, 'a4-red', 16], 61.6),
];

/** Two sessions of one watcher. */
const resumed: readonly HistoryRecord[] = [
  watch(3, 11),
  event(3, 'MODIFIED', [keyA, 'a2-red', 12], 21.7),
  watch(4, 12, { watcher: 3, isResumed: true }),
  event(4, 'ADDED', [keyB, 'b1-blue', 13], 31.7),
  event(4, 'MODIFIED', [keyA, 'a3-blue', 14], 41.7),
];

const right = [...calls, ...everything, ...red, ...resumed];

/** The history with the records of one kind changed; an undefined one is left out. */
const withEvents = (change: (event: WatchEventRecord) => HistoryRecord | readonly HistoryRecord[]): readonly HistoryRecord[] =>
  right.flatMap((record) => (record.type === 'event' ? change(record) : record));

const withCalls = (change: (call: Call) => Call): readonly HistoryRecord[] =>
  right.map((record) => (record.type === 'call' ? change(record) : record));

const without = (session: number, revision: number): readonly HistoryRecord[] =>
  withEvents((each) => (each.session === session && each.revision === revision ? [] : each));

const promisesOf = (history: readonly HistoryRecord[]): readonly string[] => [
  ...new Set(checkHistory(history).map((error) => error.slice(0, error.indexOf(':')))),
];

describe('a right history', () => {
  it('passes', () => {
    expect(checkHistory(right)).toEqual([]);
  });

  it('passes with writes that have no answer, whether they are done then, later or never', () => {
    const unknown: Outcome = { kind: 'unknown', why: 'cut' };
    const late = call({ verb: 'update', value: 'a5-red', expected: 16, at: 70, outcome: unknown });
    const never = call({ verb: 'create', value: 'a6-red', at: 71, outcome: unknown });
    const read = call({ verb: 'get', at: 90, outcome: done(17, 'a5-red') });
    expect(checkHistory([...right, late, never, read])).toEqual([]);
    const gone = call({ verb: 'delete', at: 72, outcome: unknown });
    expect(checkHistory([...right, gone, call({ verb: 'get', at: 90, outcome: { kind: 'absent' } })])).toEqual([]);
  });
});

describe('the watch validators refuse', () => {
  it.each([
    [
      'Ordered',
      'events that change places',
      () => {
        const [first, second] = [everything[2], everything[3]] as [HistoryRecord, HistoryRecord];
        return right.map((record) => (record === first ? second : record === second ? first : record));
      },
    ],
    [
      'Unique',
      'an event that comes twice in a row',
      () => withEvents((each) => (each.session === 1 && each.revision === 12 ? [each, each] : each)),
    ],
    [
      'Unique',
      'an event that a resumed watch has again',
      () =>
        withEvents((each) => (each.session === 4 && each.revision === 13 ? [event(4, 'MODIFIED', [keyA, 'a2-red', 12], 31), each] : each)),
    ],
    [
      'Atomic',
      'two changes of one revision',
      () => withEvents((each) => (each.session === 3 && each.revision === 12 ? { ...each, key: keyB } : each)),
    ],
    ['Reliable', 'an event that is left out in the middle', () => without(1, 13)],
    ['Reliable', 'a deletion that a selector does not show', () => without(2, 14)],
    ['Resumable', 'a first event after the one that was due', () => without(4, 13)],
    [
      'Bookmarkable',
      'a bookmark before what it promises',
      () => withEvents((each) => (each.event === 'BOOKMARK' ? { ...each, revision: 15 } : each)),
    ],
    [
      'PrevKV',
      'a deletion that shows an older state',
      () => withEvents((each) => (each.session === 1 && each.event === 'DELETED' ? { ...each, value: 'a2-red' } : each)),
    ],
    [
      'IsCreate',
      'MODIFIED for a creation',
      () => withEvents((each) => (each.session === 1 && each.revision === 16 ? { ...each, event: 'MODIFIED' } : each)),
    ],
    [
      'IsCreate',
      'ADDED for a change',
      () => withEvents((each) => (each.session === 1 && each.revision === 12 ? { ...each, event: 'ADDED' } : each)),
    ],
    [
      'Filter',
      'an object of another color',
      () =>
        withEvents((each) => (each.session === 2 && each.revision === 12 ? [each, event(2, 'ADDED', [keyB, 'b1-blue', 13], 31)] : each)),
    ],
    [
      'Filter',
      'an object of another resource',
      () =>
        withEvents((each) =>
          each.session === 1 && each.revision === 16 ? [each, event(1, 'ADDED', ['secrets/s', 'a4-red', 17], 62)] : each,
        ),
    ],
  ] as const)('%s: %s', (promise, _, broken) => {
    expect(promisesOf(broken())).toContain(promise);
  });
});

describe('the other checkers refuse', () => {
  const changed = (value: string, outcome: Outcome) => withCalls((each) => (each.value === value ? { ...each, outcome } : each));
  it.each([
    [
      'Revisions',
      'a list that is older than what was known',
      () => [
        ...right,
        list(
          14,
          [
            [keyA, 'a3-blue', 14],
            [keyB, 'b1-blue', 13],
          ],
          70,
        ),
      ],
    ],
    [
      'Revisions',
      'a write with a revision that was given out',
      () => [...right, call({ verb: 'create', key: keyB, value: 'b2-red', at: 80, outcome: done(9) })],
    ],
    [
      'Revisions',
      'an event before its write',
      () => withEvents((each) => (each.session === 3 && each.revision === 12 ? { ...each, at: 19 } : each)),
    ],
    [
      'Lost',
      'an acknowledged write that no watch has',
      () => right.filter((record) => !(record.type === 'event' && record.revision === 12)),
    ],
    ['Lost', 'a deletion that no watch has', () => right.filter((record) => !(record.type === 'event' && record.revision === 15))],
    ['Lost', 'a write that is elsewhere than it was acknowledged', () => changed('a2-red', done(17))],
    ['Refused', 'a write that was refused and done', () => changed('a3-blue', { kind: 'refused', why: '507' })],
    ['Snapshot', 'a list that lacks an object', () => [...right, list(16, [[keyB, 'b1-blue', 13]], 70)]],
    [
      'Snapshot',
      'a list with an older state',
      () => [
        ...right,
        list(
          16,
          [
            [keyA, 'a2-red', 12],
            [keyB, 'b1-blue', 13],
          ],
          70,
        ),
      ],
    ],
    ['Exit', 'a server that ends by itself', () => [...right, { type: 'exit', server: 0, output: '', at: 70 } as const]],
  ] as const)('%s: %s', (promise, _, broken) => {
    expect(promisesOf(broken())).toContain(promise);
  });

  it.each([
    ['a stale read', call({ verb: 'get', at: 70, outcome: done(14, 'a3-blue') })],
    ['a false 404', call({ verb: 'get', at: 70, outcome: { kind: 'absent' } })],
    ['a false conflict', call({ verb: 'update', value: 'x-red', expected: 16, at: 70, outcome: { kind: 'conflict' } })],
    ['a false AlreadyExists', call({ verb: 'create', key: 'configmaps/c', value: 'x-red', at: 70, outcome: { kind: 'exists' } })],
    ['an update of a version that was replaced', call({ verb: 'update', value: 'x-red', expected: 14, at: 70, outcome: done(17) })],
    ['a creation of what is there', call({ verb: 'create', key: keyB, value: 'x-red', at: 70, outcome: done(17) })],
    ['a second deletion', call({ verb: 'delete', at: 56, outcome: { kind: 'ok' } })],
    ['a patch of what is not there', call({ verb: 'patch', key: 'configmaps/c', value: 'x-red', at: 70, outcome: done(17) })],
  ])('Linearizable: %s', (_, wrong) => {
    expect(promisesOf([...right, wrong])).toContain('Linearizable');
  });

  it('Linearizable: a write without an answer that comes and goes', () => {
    const unknown = call({ verb: 'update', value: 'x-red', expected: 16, at: 70, outcome: { kind: 'unknown', why: 'cut' } });
    const reads = [done(17, 'x-red'), done(16, 'a4-red')].map((outcome, n) => call({ verb: 'get', at: 80 + 5 * n, outcome }));
    expect(promisesOf([...right, unknown, ...reads])).toContain('Linearizable');
  });
});
