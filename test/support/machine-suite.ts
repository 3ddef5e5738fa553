import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, type EventFromLogic, type SnapshotFrom, type StateValue, transition } from 'xstate';
import { getShortestPaths } from 'xstate/graph';
import { restore, type StateValueOf, stateNameOf, step } from '../../src/lifecycle/step.ts';

/** Facts that a machine's author declares; the suite checks the rest against the machine itself. */
export interface MachineSuiteOptions<M extends AnyStateMachine> {
  readonly machine: M;
  /** At least one event for every event type and every branch of a guard. */
  readonly samples: readonly EventFromLogic<M>[];
  /** States that only deletion leaves, by name (`Complete`); the state of deletion itself is among them without being listed. */
  readonly terminal: readonly string[];
  /** Absent for a machine whose object is not deleted through it. */
  readonly deletion?: {
    readonly event: EventFromLogic<M>;
    /** Names of the deletion states; nothing leads out of them to other states. */
    readonly states: readonly string[];
  };
  /** `stateOf` of an object that has the status which `statusOf` writes for this state. */
  readonly roundTrip: (value: StateValueOf<M>) => StateValueOf<M>;
}

/** Declares the standard tests of a lifecycle machine (style guide, section 7). */
export function machineSuite<M extends AnyStateMachine>(options: MachineSuiteOptions<M>): void {
  const { machine, samples, terminal, deletion } = options;
  const reached = reachedStates(options);
  const nameOf = (snapshot: unknown): string => stateNameOf((snapshot as { value: StateValue }).value);
  const stepTo = (value: StateValue, event: EventFromLogic<M>): string =>
    nameOf(step(machine, restore(machine, value as StateValueOf<M>), event).next);

  describe(`machine ${machine.id}`, () => {
    it('uses no timers, invocations, context, entry or exit actions', () => {
      for (const node of nodesOf(machine)) {
        expect(node.after, node.id).toEqual([]);
        expect(node.invoke, node.id).toEqual([]);
        expect(node.entry, node.id).toEqual([]);
        expect(node.exit, node.id).toEqual([]);
      }
      for (const { value } of reached.values()) {
        expect((restore(machine, value as StateValueOf<M>) as { context: object }).context).toEqual({});
      }
    });

    it('has a sample event for every event type', () => {
      const types = new Set(samples.map((sample) => sample.type));
      expect([...types].sort()).toEqual([...new Set(machine.events)].sort());
    });

    it('takes every branch with some sample', () => {
      const taken = new Set<unknown>();
      for (const { value } of reached.values()) {
        const snapshot = restore(machine, value as StateValueOf<M>);
        for (const sample of samples) for (const branch of machine.getTransitionData(snapshot as never, sample as never)) taken.add(branch);
      }
      const missed = nodesOf(machine).flatMap((node) =>
        [...node.transitions.values()].flat().filter((branch) => !taken.has(branch) && branch.eventType !== ''),
      );
      expect(
        missed.map((branch) => `${branch.source.id} on ${branch.eventType} -> ${branch.target?.map(({ id }) => id) ?? 'itself'}`),
      ).toEqual([]);
    });

    it('reaches every state', () => {
      const atomic = nodesOf(machine).filter((node) => node.type === 'atomic' || node.type === 'final');
      const names = [...reached.values()].map(({ value }) => restore(machine, value as StateValueOf<M>));
      const missed = atomic.filter(
        (node) => !names.some((snapshot) => (snapshot as unknown as { _nodes: readonly unknown[] })._nodes.includes(node)),
      );
      expect(missed.map(({ id }) => id)).toEqual([]);
    });

    it('reads back from the object the state that the status was written for', () => {
      for (const [name, { value }] of reached) {
        expect(stateNameOf(options.roundTrip(value as StateValueOf<M>) as StateValue), name).toBe(name);
      }
    });

    it('leaves terminal states by deletion alone', () => {
      for (const name of terminal) {
        const state = reached.get(name);
        expect(state, `terminal state ${name} is reached`).toBeDefined();
        for (const sample of samples) {
          if (state === undefined || (deletion !== undefined && sample.type === deletion.event.type)) continue;
          const to = stepTo(state.value, sample);
          expect(deletion?.states.includes(to) === true ? name : to, `${name} on ${JSON.stringify(sample)}`).toBe(name);
        }
      }
    });

    if (deletion !== undefined) {
      it('can be deleted from every state, and stays so', () => {
        for (const [name, { value }] of reached) {
          expect(deletion.states, `${name} on ${deletion.event.type}`).toContain(stepTo(value, deletion.event));
          if (!deletion.states.includes(name)) continue;
          for (const sample of samples) expect(deletion.states, `${name} on ${JSON.stringify(sample)}`).toContain(stepTo(value, sample));
        }
      });
    }

    it('answers from memory what XState answers', () => {
      for (const { value } of reached.values()) {
        for (const sample of samples) {
          const raw = rawStep(machine, value, sample);
          for (const attempt of ['asked', 'remembered']) {
            const { next, changed, intents } = step(machine, restore(machine, value as StateValueOf<M>), sample);
            const what = `${stateNameOf(value)} on ${JSON.stringify(sample)}, ${attempt}`;
            expect(nameOf(next), what).toBe(raw.to);
            expect(changed, what).toBe(raw.to !== stateNameOf(value));
            expect(intents, what).toEqual(raw.intents);
          }
        }
      }
    });
  });
}

function rawStep<M extends AnyStateMachine>(machine: M, value: StateValue, event: EventFromLogic<M>) {
  const [next, actions] = transition(machine, machine.resolveState({ value, context: {} }) as SnapshotFrom<M>, event);
  return {
    to: stateNameOf((next as { value: StateValue }).value),
    intents: actions.map(({ type, params }) => ({ type, params })),
  };
}

function reachedStates<M extends AnyStateMachine>({
  machine,
  samples,
}: MachineSuiteOptions<M>): Map<string, { readonly value: StateValue }> {
  const paths = getShortestPaths(machine, {
    events: samples as never,
    serializeState: (state) => stateNameOf((state as unknown as { value: StateValue }).value),
  });
  return new Map(
    paths.map(({ state }) => {
      const { value } = state as unknown as { value: StateValue };
      return [stateNameOf(value), { value }];
    }),
  );
}

function nodesOf(machine: AnyStateMachine): AnyStateMachine['root'][] {
  const nodes = [machine.root];
  for (const node of nodes) nodes.push(...Object.values(node.states));
  return nodes;
}
