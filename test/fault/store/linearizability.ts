import { type Call, type HistoryRecord, recordsOf } from './history.ts';

/**
 * Looks for an order of the calls of each key in which a single copy could have answered them. Each call has its place between its start
 * and its end. Keys are independent, so each is searched alone (P-compositionality).
 *
 * A write without an answer may take effect at any time after its start, or never.
 *
 * @see Wing and Gong, "Testing and Verifying Concurrent Objects"; Lowe, "Testing for Linearizability"
 */
export function checkLinearizable(history: readonly HistoryRecord[], maxSteps = 500_000): readonly string[] {
  const revisions = revisionsOfValues(history);
  const keys = new Map<string, Call[]>();
  for (const call of callsOf(history)) {
    const calls = keys.get(call.key) ?? [];
    calls.push(call);
    keys.set(call.key, calls);
  }
  return [...keys].flatMap(([key, calls]) => new Search(key, calls, revisions, maxSteps).run());
}

/** Calls, and each item of a consistent list as a read. A key that a list lacks is absent for it. */
function callsOf(history: readonly HistoryRecord[]): readonly Call[] {
  const calls = recordsOf(history, 'call');
  const keys = new Set(calls.map(({ key }) => key));
  const reads = recordsOf(history, 'list').flatMap(({ isConsistent, resource, items, client, server, start, end }): Call[] => {
    if (!isConsistent) return [];
    const found = new Map(items.map((item) => [item.key, item]));
    return [...keys]
      .filter((key) => key.startsWith(`${resource}/`))
      .map((key) => {
        const item = found.get(key);
        const outcome = item === undefined ? ({ kind: 'absent' } as const) : ({ kind: 'ok', ...item } as const);
        return { type: 'call', verb: 'get', key, client, server, start, end, outcome };
      });
  });
  return [...calls, ...reads];
}

/** Revision of each value that anybody saw: those of writes without an answer become known by it. */
export function revisionsOfValues(history: readonly HistoryRecord[]): ReadonlyMap<string, number> {
  const revisions = new Map<string, number>();
  for (const record of history) {
    if (record.type === 'list') for (const { value, revision } of record.items) revisions.set(value, revision);
    if (record.type === 'event' && record.value !== '' && record.event !== 'DELETED') revisions.set(record.value, record.revision);
    if (record.type === 'call' && record.outcome.kind === 'ok') {
      const value = record.outcome.value ?? record.value;
      if (value !== undefined && record.outcome.revision !== undefined) revisions.set(value, record.outcome.revision);
    }
  }
  return revisions;
}

/** The one copy of a key. */
interface State {
  /** Undefined: the key is absent. */
  readonly value: string | undefined;
  /** Undefined for an absent key, and for a value whose revision nobody saw. */
  readonly revision: number | undefined;
  /** Highest revision so far: none later is lower. */
  readonly last: number;
}

interface Step {
  readonly call: Call;
  readonly end: number;
  /** Known for a write that has taken effect. */
  readonly revision: number | undefined;
  readonly changes: boolean;
  readonly isOptional: boolean;
}

class Search {
  readonly #key: string;
  readonly #steps: readonly Step[];
  readonly #maxSteps: number;
  /** Steps with a known revision, lowest first: only the first that is left may come next. */
  readonly #byRevision: readonly number[];
  readonly #done: Uint8Array;
  readonly #failed = new Set<string>();
  #tried = 0;
  #deepest: { readonly done: number; readonly why: string } = { done: -1, why: '' };

  constructor(key: string, calls: readonly Call[], revisions: ReadonlyMap<string, number>, maxSteps: number) {
    this.#key = key;
    this.#maxSteps = maxSteps;
    this.#steps = calls
      .filter(
        ({ verb, outcome }) => outcome.kind !== 'refused' && outcome.kind !== 'unsent' && !(verb === 'get' && outcome.kind === 'unknown'),
      )
      // A patch that gave up among other writers has no effect, and says nothing of the state.
      .filter(({ verb, outcome }) => !((verb === 'patch' || verb === 'apply') && outcome.kind === 'conflict'))
      .map((call) => stepOf(call, revisions))
      .sort((a, b) => a.call.start - b.call.start);
    this.#byRevision = this.#steps
      .flatMap(({ revision }, index) => (revision === undefined ? [] : [index]))
      .sort((a, b) => (this.#steps[a]!.revision as number) - (this.#steps[b]!.revision as number));
    this.#done = new Uint8Array(this.#steps.length);
  }

  run(): readonly string[] {
    const absent: State = { value: undefined, revision: undefined, last: 0 };
    if (this.#search(absent, 0)) return [];
    const verdict = this.#tried > this.#maxSteps ? `not decided after ${this.#maxSteps} steps` : 'has no order';
    return [`Linearizable: ${this.#key} ${verdict}: ${this.#deepest.why}`];
  }

  /** @param first  every step before it is done */
  #search(before: State, first: number): boolean {
    this.#tried += 1;
    if (this.#tried > this.#maxSteps) return false;
    const absorbed: number[] = [];
    const undo = (): false => {
      for (const index of absorbed) this.#done[index] = 0;
      return false;
    };
    let from = first;
    let enabled = this.#enabled(from);
    // A read that fits now needs no later place: it changes nothing for the others.
    for (let found = true; found; ) {
      found = false;
      for (const index of enabled) {
        const step = this.#steps[index] as Step;
        if (step.changes || next(before, step) === undefined) continue;
        this.#done[index] = 1;
        absorbed.push(index);
        found = true;
      }
      while (this.#done[from] === 1) from += 1;
      enabled = this.#enabled(from);
    }
    if (!this.#steps.some(({ isOptional }, index) => !isOptional && this.#done[index] === 0)) return true;
    const id = `${before.value} ${before.revision} ${before.last} ${from} ${enabled.join()}`;
    if (this.#failed.has(id)) return undo();
    this.#note(before, enabled);
    const lowest = this.#byRevision.find((index) => this.#done[index] === 0);
    const candidates = enabled.filter((index) => {
      const { changes, revision } = this.#steps[index] as Step;
      return changes && (revision === undefined || index === lowest);
    });
    // Most likely first, or hundreds of writes without an answer are tried in all orders before it.
    candidates.sort((a, b) => this.#likelihood(b) - this.#likelihood(a));
    for (const index of candidates) {
      const after = next(before, this.#steps[index] as Step);
      if (after === undefined) continue;
      this.#done[index] = 1;
      if (this.#search(after, from)) return true;
      this.#done[index] = 0;
    }
    this.#failed.add(id);
    return undo();
  }

  #likelihood(index: number): number {
    const { revision, isOptional } = this.#steps[index] as Step;
    return isOptional ? 0 : revision === undefined ? 1 : 2;
  }

  /** Steps that may come next: none that is left ended before they began. */
  #enabled(first: number): number[] {
    const found: number[] = [];
    let minEnd = Number.POSITIVE_INFINITY;
    for (let index = first; index < this.#steps.length; index += 1) {
      const { call, end } = this.#steps[index] as Step;
      if (call.start > minEnd) break;
      if (this.#done[index] === 1) continue;
      found.push(index);
      minEnd = Math.min(minEnd, end);
    }
    return found.filter((index) => (this.#steps[index] as Step).call.start <= minEnd);
  }

  #note(state: State, enabled: readonly number[]): void {
    const done = this.#done.reduce((sum, each) => sum + each, 0);
    if (done <= this.#deepest.done) return;
    const calls = enabled
      .filter((index) => !this.#steps[index]?.isOptional)
      .map((index) => this.#steps[index]?.call)
      .map((call) => JSON.stringify(call));
    const is = state.value === undefined ? 'absent' : `${state.value} at ${state.revision}`;
    this.#deepest = { done, why: `after ${done} calls it is ${is}, and none of these fits:\n${calls.join('\n')}` };
  }
}

function stepOf(call: Call, revisions: ReadonlyMap<string, number>): Step {
  const { verb, outcome, value, end } = call;
  const isUnknown = outcome.kind === 'unknown';
  const changes = verb !== 'get' && (outcome.kind === 'ok' || isUnknown);
  const revision = changes && value !== undefined ? revisions.get(value) : undefined;
  return { call, revision, changes, end: isUnknown ? Number.POSITIVE_INFINITY : end, isOptional: isUnknown && revision === undefined };
}

/** The state after a step; undefined when the call cannot have been answered so. */
function next(state: State, { call, revision, changes }: Step): State | undefined {
  const { verb, value, expected, outcome } = call;
  const isPresent = state.value !== undefined;
  if (!changes) {
    const fits = {
      ok: () => isPresent && outcome.kind === 'ok' && state.value === outcome.value && state.revision === outcome.revision,
      absent: () => !isPresent,
      exists: () => isPresent,
      conflict: () => isPresent && state.revision !== expected,
      refused: () => true,
      unsent: () => true,
      unknown: () => true,
    }[outcome.kind]();
    return fits ? state : undefined;
  }
  if (expected !== undefined && isPresent && state.revision !== expected) return undefined;
  if (verb === 'delete') return isPresent ? { value: undefined, revision: undefined, last: state.last } : undefined;
  if (verb === 'create' && isPresent) return undefined;
  if ((verb === 'update' || verb === 'patch') && !isPresent) return undefined;
  if (revision !== undefined && revision <= state.last) return undefined;
  return { value, revision, last: revision ?? state.last };
}
