import { describe, expect, it } from 'vitest';
import type { Seat } from '../../../../src/apiserver/flow-control/fair-queue.ts';
import { createFlowControl } from '../../../../src/apiserver/flow-control/flow-control.ts';
import type { Registry } from '../../../../src/apiserver/registry/registry.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

const never = (): void => undefined;
const noAttributes = (): never => {
  throw new Error('asked');
};
/** Flow control without stored objects, behind a gate whose turn has lasted long enough. */
function startClosed() {
  const askers = new Set<() => boolean>();
  const flowControl = createFlowControl({
    registry: {} as Registry,
    served: [],
    clock: createManualClock(),
    gate: { isOpen: () => false, ask: (admitNext) => askers.add(admitNext) },
  });
  return { flowControl, turn: () => [...askers].some((admitNext) => admitNext()) };
}
const admin = (name: string) => ({ name, groups: ['system:masters', 'system:authenticated'] });

describe('requests of administrators', () => {
  it('wait for their turn, and one administrator does not wait for all requests of another', async () => {
    const { flowControl, turn } = startClosed();
    const order: string[] = [];
    const enter = (name: string): void => {
      const seat = flowControl.classify(admin(name), noAttributes).enter(10, never);
      expect(seat).toBeInstanceOf(Promise);
      void (seat as Promise<Seat>).then(() => order.push(name));
    };
    for (let request = 0; request < 20; request += 1) enter('greedy');
    enter('modest');
    for (let turns = 0; turns < 3; turns += 1) turn();
    await Promise.resolve();
    await Promise.resolve();
    expect(order).toHaveLength(3);
    expect(order).toContain('modest');
  });

  it('have no end of seats', async () => {
    const { flowControl, turn } = startClosed();
    const seats = Array.from({ length: 500 }, () => flowControl.classify(admin('root'), noAttributes).enter(10, never));
    while (turn());
    expect(await Promise.all(seats)).toHaveLength(500);
  });
});
