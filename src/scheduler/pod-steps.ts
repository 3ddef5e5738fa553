import type { Pod } from '../api/core/v1/pod.ts';
import { eventsOf, stateOf } from '../lifecycle/pod-scheduling.facts.ts';
import { podSchedulingMachine } from '../lifecycle/pod-scheduling.machine.ts';
import { type EventOf, type IntentOf, nameOf, restore, step } from '../lifecycle/step.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import type { QueuedPod } from './queue.ts';

type Machine = typeof podSchedulingMachine;

/**
 * The action for each intent of the machine; an intent without one does not compile. The table exists once, since one for each of
 * ten thousand pods a second would be garbage: the pod is a parameter.
 */
export type PodEffects = { readonly [Type in IntentOf<Machine>['type'] & string]: (pod: QueuedPod) => void };

/** Takes pods through their machine, one event at a time. */
export interface PodSteps {
  advance(pod: QueuedPod, event: EventOf<Machine>): void;
  /** Takes the pod through what its object says now; undefined: the object is gone. */
  observe(pod: QueuedPod, object: Pod | undefined): void;
}

export function createPodSteps({ effects, steps }: { readonly effects: PodEffects; readonly steps: StepLog }): PodSteps {
  function advance(pod: QueuedPod, event: EventOf<Machine>): void {
    // The hold says all while the scheduler has the pod; what the pod itself says arrives as events.
    const from = restore(podSchedulingMachine, stateOf(pod.record.pod, pod.hold));
    const { next, changed, intents } = step(podSchedulingMachine, from, event);
    if (!changed && intents.length === 0) return;
    steps.record({
      machine: podSchedulingMachine.id,
      key: pod.record.key,
      from: nameOf<Machine>(from),
      event: event.type,
      to: nameOf<Machine>(next),
    });
    for (const { type } of intents) effects[type](pod);
  }

  return {
    advance,
    observe(pod, object) {
      for (const event of eventsOf(object, pod.hold)) advance(pod, event);
    },
  };
}
