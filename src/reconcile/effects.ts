import { type EventOf, type IntentOf, type Machine, nameOf, restore, type SnapshotOf, type StateValueOf, step } from '../lifecycle/step.ts';
import type { StepLog } from './step-log.ts';

/** What a controller does for each intent of its machine. Typed from the machine: an intent without an effect does not compile. */
export type Effects<M extends Machine> = {
  readonly [Type in IntentOf<M>['type'] & string]: (
    params: Extract<IntentOf<M>, { readonly type: Type }>['params'],
  ) => void | Promise<void>;
};

export interface AdvanceOptions<M extends Machine> {
  readonly machine: M;
  /** Key of the object, for the step log. */
  readonly key: string;
  /** The state the object is in now, by `stateOf`. */
  readonly from: StateValueOf<M>;
  /** What is new in the world, in order, by `eventsOf`. Read while stepping, so a generator may look at what came before. */
  readonly events: Iterable<EventOf<M>>;
  readonly effects: Effects<M>;
  readonly steps: StepLog;
}

/**
 * Takes a machine through the events of one pass, then performs the intents in order and gives the state that was reached.
 *
 * An effect that throws ends the pass with its error: what it should have done is still missing in the world, so the next pass derives
 * the same event again.
 */
export async function advance<M extends Machine>(options: AdvanceOptions<M>): Promise<SnapshotOf<M>> {
  const { machine, key, effects, steps } = options;
  let snapshot = restore(machine, options.from);
  let intents: IntentOf<M>[] | undefined;
  for (const event of options.events) {
    const taken = step(machine, snapshot, event);
    if (taken.changed || taken.intents.length > 0) {
      steps.record({
        machine: machine.id,
        key,
        from: nameOf<M>(snapshot),
        event: event.type,
        to: nameOf<M>(taken.next),
      });
    }
    if (taken.intents.length > 0) {
      intents ??= [];
      intents.push(...taken.intents);
    }
    snapshot = taken.next;
  }
  if (intents !== undefined) {
    for (const intent of intents) await perform(intent, effects);
  }
  return snapshot;
}

/** Does what one intent asks for. */
export function perform<M extends Machine>(intent: IntentOf<M>, effects: Effects<M>): void | Promise<void> {
  const table = effects as Readonly<Record<string, (params: unknown) => void | Promise<void>>>;
  const effect = table[String(intent.type)];
  if (effect === undefined) throw new Error(`no effect for intent ${String(intent.type)}`);
  return effect(intent.params);
}
