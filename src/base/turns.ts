import type { TurnGate } from './turn-gate.ts';

/**
 * Pieces of work of one sort that pass a gate one by one: slices of long lists, pages, scrapes. Flows take turns, so that a user with a
 * hundred answers under way gets as many pieces as one with a single answer. To the gate all of them are one that asks.
 */
export interface Turns {
  /**
   * Resolves when the turn of `flow` has come. The caller works at once, some milliseconds at most, and takes another turn for the rest.
   * A caller that no longer wants the turn lets it pass.
   *
   * Undefined when too many wait already.
   */
  take(flow: string): Promise<void> | undefined;
  readonly waiting: number;
}

export function createTurns({ gate, maxWaiting }: { readonly gate: TurnGate; readonly maxWaiting: number }): Turns {
  /** The flow in front is next. */
  const flows = new Map<string, (() => void)[]>();
  let waiting = 0;

  function admitNext(): boolean {
    const [next] = flows;
    const [flow, waiters] = next ?? [];
    const first = waiters?.shift();
    if (flow === undefined || waiters === undefined || first === undefined) return false;
    flows.delete(flow);
    if (waiters.length > 0) flows.set(flow, waiters);
    waiting -= 1;
    first();
    return true;
  }

  return {
    take(flow) {
      if (waiting >= maxWaiting) return undefined;
      waiting += 1;
      return new Promise((resolve) => {
        const waiters = flows.get(flow);
        if (waiters === undefined) flows.set(flow, [resolve]);
        else waiters.push(resolve);
        gate.ask(admitNext);
      });
    },
    get waiting() {
      return waiting;
    },
  };
}
