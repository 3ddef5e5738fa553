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
function startClosed(clock = createManualClock()) {
  const askers = new Set<() => boolean>();
  const flowControl = createFlowControl({
    registry: {} as Registry,
    served: [],
    clock,
    answerBytes: 1024 ** 2,
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

describe('memory for bodies and answers', () => {
  const mebi = 1024 ** 2;
  const user = (name: string) => ({ name, groups: ['system:authenticated'] });

  it('is not asked for by what is small', () => {
    expect(startClosed().flowControl.holdMemory(user('a'), 60_000, never)).toBeUndefined();
  });

  it('is half of one user at most, whatever that user leaves unread, and all of it comes back', async () => {
    const { flowControl } = startClosed();
    const first = flowControl.holdMemory(user('greedy'), 0.4 * mebi, never) as Seat;
    const second = flowControl.holdMemory(user('greedy'), 0.4 * mebi, never);
    expect(second).toBeInstanceOf(Promise);
    expect(flowControl.isShortOfMemory).toBe(true);
    const other = flowControl.holdMemory(user('modest'), 0.4 * mebi, never);
    await expect(other).resolves.toBeDefined();
    first.leave();
    await expect(second).resolves.toBeDefined();
    expect(flowControl.isShortOfMemory).toBe(false);
  });

  it('is there for one answer that is larger than all of it, and for no second one', async () => {
    const { flowControl } = startClosed();
    const large = flowControl.holdMemory(user('a'), 5 * mebi, never) as Seat;
    expect(large).not.toBeInstanceOf(Promise);
    const next = flowControl.holdMemory(user('b'), 0.1 * mebi, never);
    expect(next).toBeInstanceOf(Promise);
    large.leave();
    await expect(next).resolves.toBeDefined();
  });

  it('that does not come in time is TooManyRequests, with a time to come back, for an administrator too', async () => {
    const clock = createManualClock();
    const { flowControl } = startClosed(clock);
    const held = flowControl.holdMemory(user('a'), mebi, never);
    expect(held).not.toBeInstanceOf(Promise);
    const refused = flowControl.holdMemory(admin('root'), mebi, never) as Promise<Seat>;
    const outcome = refused.catch((err: unknown) => err);
    clock.advance(20_000);
    expect(await outcome).toMatchObject({ code: 429, reason: 'TooManyRequests', details: { retryAfterSeconds: 1 } });
  });
});
