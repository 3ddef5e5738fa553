import { type AnyStateMachine, type EventFromLogic, type SnapshotFrom, type StateMachine, type StateValue, transition } from 'xstate';

/**
 * One step of a machine: what the state becomes and what should be done about it. Pure; nothing is run.
 *
 * XState is the specification and the source of each answer, but is asked only once for the same question. A raw `transition()`
 * costs 13 to 18 us and most of that is garbage. Answers are kept by (machine, state, event type, facts of the event). That works for
 * machines without context whose events carry booleans and short unions. XState answers an event with a number or an object each time. That
 * is right but slow, and shows in `memoMisses`.
 */
export function step<M extends Machine>(machine: M, snapshot: SnapshotFrom<M>, event: EventOf<M>): Step<M> {
  const memo = memoOf(machine);
  const current: AnySnapshot = snapshot;
  const facts = hasContext(current) ? undefined : factsOf(event);
  if (facts === undefined) {
    memo.misses += 1;
    return ask(machine, current, event) as unknown as Step<M>;
  }
  const from = memo.known.has(current) ? current : canonical(machine, memo, current.value);
  const answers = answersOf(memo, from, event.type);
  const kept = answers.get(facts);
  if (kept !== undefined) return kept as unknown as Step<M>;
  memo.misses += 1;
  const asked = ask(machine, from, event);
  const next = canonical(machine, memo, asked.next.value);
  const answer: AnyStep = Object.freeze({ next, changed: next !== from, intents: asked.intents });
  if (memo.entries < maxAnswers) {
    memo.entries += 1;
    answers.set(facts, answer);
  }
  return answer as unknown as Step<M>;
}

/** The snapshot of a derived state. Runs no entry action. The same value gives the same snapshot. */
export function restore<M extends Machine>(machine: M, value: StateValueOf<M>): SnapshotFrom<M> {
  return canonical(machine, memoOf(machine), value as StateValue) as SnapshotFrom<M>;
}

/** `Active`, `Ready.Schedulable`, or `health.Ready+schedulability.Open` for parallel regions: for logs, metrics and figures. */
export function stateNameOf(value: StateValue): string {
  if (typeof value === 'string') return value;
  return Object.entries(value)
    .map(([region, below]) => (below === undefined || isLeaf(below) ? region : `${region}.${stateNameOf(below)}`))
    .sort()
    .join('+');
}

/** The name of the state a snapshot is in. */
export function nameOf<M extends Machine>(snapshot: SnapshotOf<M>): string {
  return stateNameOf((snapshot as AnySnapshot).value);
}

/** Questions that XState had to answer since the start, by machine. Rises only while a process sees something for the first time. */
export function memoMisses(): ReadonlyMap<string, number> {
  return new Map([...memos].map(([machine, memo]) => [machine.id, memo.misses]));
}

/** Any machine of this folder; callers elsewhere need not know XState. */
export type Machine = AnyStateMachine;
export type EventOf<M extends Machine> = EventFromLogic<M>;
export type SnapshotOf<M extends Machine> = SnapshotFrom<M>;
/** The values its states have; a compound or parallel machine has objects. */
export type StateValueOf<M extends Machine> = SnapshotFrom<M>['value'];

/** Intent of the machine by name; `params` come from the transition. */
export type IntentOf<M extends Machine> =
  M extends StateMachine<
    infer _Context,
    infer _Event,
    infer _Children,
    infer _Actor,
    infer Action,
    infer _Guard,
    infer _Delay,
    infer _Value,
    infer _Tag,
    infer _Input,
    infer _Output,
    infer _Emitted,
    infer _Meta,
    infer _Schema,
    infer _TransitionMeta
  >
    ? Action extends { readonly type: infer Type; readonly params?: infer Params }
      ? { readonly type: Type; readonly params: Params }
      : never
    : never;

export interface Step<M extends Machine> {
  readonly next: SnapshotFrom<M>;
  /** The state is another one. Intents may exist without it. */
  readonly changed: boolean;
  readonly intents: readonly IntentOf<M>[];
}

interface AnySnapshot {
  readonly value: StateValue;
  readonly context: object;
}

interface AnyStep {
  readonly next: AnySnapshot;
  readonly changed: boolean;
  readonly intents: readonly { readonly type: string; readonly params: unknown }[];
}

interface Memo {
  /** One snapshot for each state, so that the memo below can compare by identity. */
  readonly snapshots: Map<string, AnySnapshot>;
  readonly known: Map<AnySnapshot, Map<string, Map<string, AnyStep>>>;
  entries: number;
  misses: number;
}

/** Answers kept for each machine. A machine has some dozens; more means that an event carries a fact with many values. */
const maxAnswers = 4_096;

const memos = new Map<AnyStateMachine, Memo>();

function memoOf(machine: AnyStateMachine): Memo {
  let memo = memos.get(machine);
  if (memo === undefined) {
    memo = { snapshots: new Map(), known: new Map(), entries: 0, misses: 0 };
    memos.set(machine, memo);
  }
  return memo;
}

function answersOf(memo: Memo, snapshot: AnySnapshot, eventType: string): Map<string, AnyStep> {
  let byEvent = memo.known.get(snapshot);
  if (byEvent === undefined) {
    byEvent = new Map();
    memo.known.set(snapshot, byEvent);
  }
  let answers = byEvent.get(eventType);
  if (answers === undefined) {
    answers = new Map();
    byEvent.set(eventType, answers);
  }
  return answers;
}

function canonical(machine: AnyStateMachine, memo: Memo, value: StateValue): AnySnapshot {
  const name = typeof value === 'string' ? value : stateNameOf(value);
  let snapshot = memo.snapshots.get(name);
  if (snapshot === undefined) {
    snapshot = machine.resolveState({ value, context: {} }) as AnySnapshot;
    memo.snapshots.set(name, snapshot);
    memo.known.set(snapshot, new Map());
  }
  return snapshot;
}

function ask(machine: AnyStateMachine, from: AnySnapshot, event: { readonly type: string }): AnyStep {
  const [next, actions] = transition(machine, from as never, event);
  const after = next as AnySnapshot;
  return {
    next: after,
    changed: stateNameOf(after.value) !== stateNameOf(from.value),
    intents: Object.freeze(actions.map(({ type, params }) => Object.freeze({ type, params }))),
  };
}

function hasContext(snapshot: AnySnapshot): boolean {
  for (const _ in snapshot.context) return true;
  return false;
}

/** The event's facts as a key, or undefined when one of them has too many values to be remembered. */
function factsOf(event: object): string | undefined {
  let facts = '';
  for (const [name, value] of Object.entries(event)) {
    if (name === 'type') continue;
    if (typeof value === 'boolean') facts += value ? `${name};` : `!${name};`;
    else if (typeof value === 'string') facts += `${name}=${value};`;
    else if (value !== undefined) return undefined;
  }
  return facts;
}

const isLeaf = (value: StateValue): boolean => typeof value !== 'string' && Object.keys(value).length === 0;
