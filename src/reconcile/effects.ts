import { invariant } from '../base/invariant.ts';
import { type EventOf, type IntentOf, type Machine, nameOf, restore, type SnapshotOf, type StateValueOf, step } from '../lifecycle/step.ts';
import type { StepLog } from './step-log.ts';

/**
 * The action of a controller for each intent of its machine. The type comes from the machine: an intent without an
 * effect does not compile. The outcome may be another event of the machine, for example that the API refused.
 */
export type Effects<M extends Machine> = {
  readonly [Type in IntentOf<M>['type'] & string]: (
    params: Extract<IntentOf<M>, { readonly type: Type }>['params'],
  ) => Outcome<M> | Promise<Outcome<M>>;
};

// biome-ignore lint/suspicious/noConfusingVoidType: an effect that tells nothing is the common case and should not have to say so.
export type Outcome<M extends Machine> = EventOf<M> | void;

export interface AdvanceOptions<M extends Machine> {
  readonly machine: M;
  /** Key of the object, for the step log. */
  readonly key: string;
  /** The state the object is in now, by `stateOf`. */
  readonly from: StateValueOf<M>;
  /**
   * Events of the object in order, from `eventsOf`. They are read between steps, so a generator may look at earlier
   * outcomes.
   */
  readonly events: Iterable<EventOf<M>>;
  readonly effects: Effects<M>;
  readonly steps: StepLog;
}

/** Steps of one pass; more means that outcomes and intents chase each other. */
const maxSteps = 1_000;

/**
 * Takes a machine through the events of one pass, then performs the intents in order, then takes it through what came of them. Gives the
 * state that was reached.
 *
 * An effect that throws ends the pass with its error. Its work is still missing in the world, so the next pass derives
 * the same event again.
 */
export async function advance<M extends Machine>({
  machine,
  key,
  from,
  events,
  effects,
  steps,
}: AdvanceOptions<M>): Promise<SnapshotOf<M>> {
  let snapshot = restore(machine, from);
  let taken = 0;
  const intents: IntentOf<M>[] = [];

  function take(event: EventOf<M>): void {
    const { next, changed, intents: asked } = step(machine, snapshot, event);
    taken += 1;
    invariant(taken <= maxSteps, `machine ${machine.id} does not come to rest on ${key}`);
    if (changed || asked.length > 0) {
      steps.record({ machine: machine.id, key, from: nameOf<M>(snapshot), event: event.type, to: nameOf<M>(next) });
    }
    for (const intent of asked) intents.push(intent);
    snapshot = next;
  }

  for (const event of events) take(event);
  // Grows while it is read, by what the outcomes ask for.
  for (const intent of intents) {
    const outcome = await perform(intent, effects);
    if (outcome !== undefined) take(outcome as EventOf<M>);
  }
  return snapshot;
}

/** Does what one intent asks for. */
function perform<M extends Machine>(intent: IntentOf<M>, effects: Effects<M>): Outcome<M> | Promise<Outcome<M>> {
  const table = effects as Readonly<Record<string, (params: unknown) => Outcome<M> | Promise<Outcome<M>>>>;
  const effect = table[String(intent.type)];
  invariant(effect !== undefined, `no effect for intent ${String(intent.type)}`);
  return effect(intent.params);
}
