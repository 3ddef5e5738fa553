import { describe, expect, it } from 'vitest';
import {
  createFairQueue,
  type FairQueue,
  QueueFull,
  type QueueLimits,
  type Seat,
} from '../../../../src/apiserver/flow-control/fair-queue.ts';
import { createTurnGate, type TurnGate } from '../../../../src/base/turn-gate.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

const open: TurnGate = {
  isOpen: () => true,
  ask(admitNext) {
    while (admitNext());
  },
};
const queueOf = (limits: Partial<QueueLimits> = {}, clock = createManualClock()): FairQueue =>
  createFairQueue({
    limits: { seats: 2, seatsOfFlow: Number.POSITIVE_INFINITY, maxWaitingOfFlow: 10, maxWaiting: 20, ...limits },
    maxWaitMs: 15_000,
    clock,
    gate: open,
  });
const never = (): void => undefined;
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
};

/** Enters and notes the order in which turns come. */
function player(queue: FairQueue) {
  const order: string[] = [];
  const seats: Seat[] = [];
  return {
    order,
    leaveFirst: () => seats.shift()?.leave(),
    enter(flow: string, width = 1): void {
      const seat = queue.enter(flow, width, never);
      const take = (taken: Seat): void => {
        order.push(flow);
        seats.push(taken);
      };
      if (seat instanceof Promise) void seat.then(take);
      else take(seat);
    },
  };
}

describe('a fair queue', () => {
  it('admits at once while there is room, without asking for the deadline', () => {
    const queue = queueOf();
    const first = queue.enter('a', 1, () => {
      throw new Error('asked');
    });
    expect(first).not.toBeInstanceOf(Promise);
    expect(queue).toMatchObject({ executing: 1, takenSeats: 1, waiting: 0 });
    (first as Seat).leave();
    (first as Seat).leave();
    expect(queue).toMatchObject({ executing: 0, takenSeats: 0 });
  });

  it('gives turns to the flow that had least, however many another one sends', async () => {
    const queue = queueOf({ seats: 1 });
    const { enter, leaveFirst, order } = player(queue);
    for (let request = 0; request < 8; request += 1) enter('greedy');
    enter('modest');
    enter('modest');
    for (let turn = 0; turn < 6; turn += 1) {
      leaveFirst();
      await settled();
    }
    expect(order.slice(0, 5).filter((flow) => flow === 'modest')).toHaveLength(2);
    // A client that comes back later neither pays for its absence nor gains from it.
    enter('modest');
    leaveFirst();
    await settled();
    expect(order.at(-1)).toBe('modest');
  });

  it('counts seats, not requests', async () => {
    const queue = queueOf({ seats: 4 });
    const { enter, leaveFirst, order } = player(queue);
    enter('x', 4);
    for (let request = 0; request < 4; request += 1) enter('wide', 4);
    for (let request = 0; request < 8; request += 1) enter('narrow', 1);
    for (let turn = 0; turn < 6; turn += 1) {
      leaveFirst();
      await settled();
    }
    // Four narrow ones for each wide one.
    expect(order.slice(1, 6)).toEqual(['wide', 'narrow', 'narrow', 'narrow', 'narrow']);
  });

  it('lets nobody pass the one that does not fit yet', async () => {
    const queue = queueOf({ seats: 2 });
    const { enter, leaveFirst, order } = player(queue);
    enter('a');
    enter('a');
    enter('wide', 2);
    enter('b');
    leaveFirst();
    await settled();
    expect(order).toEqual(['a', 'a']);
    leaveFirst();
    await settled();
    expect(order).toEqual(['a', 'a', 'wide']);
  });

  it('lets one in that wants more than there is, alone', async () => {
    const queue = queueOf({ seats: 2 });
    const { enter, order } = player(queue);
    enter('wide', 10);
    enter('b');
    await settled();
    expect(order).toEqual(['wide']);
    expect(queue.takenSeats).toBe(2);
  });

  it('refuses what is too much for a flow, for all, or where nobody waits', async () => {
    const queue = queueOf({ seats: 1, maxWaitingOfFlow: 2, maxWaiting: 3 });
    const { enter } = player(queue);
    enter('a');
    enter('a');
    enter('a');
    expect(() => queue.enter('a', 1, never)).toThrow('queue-full');
    enter('b');
    expect(() => queue.enter('c', 1, never)).toThrow('queue-full');
    const rejecting = queueOf({ seats: 1, maxWaitingOfFlow: 0, maxWaiting: 0 });
    player(rejecting).enter('a');
    expect(() => rejecting.enter('a', 1, never)).toThrow('concurrency-limit');
  });

  it('forgets those who go away or wait too long, and lets the next one in', async () => {
    const clock = createManualClock();
    const queue = queueOf({ seats: 2 }, clock);
    const { enter, order } = player(queue);
    enter('a');
    let giveUp = never;
    const wide = queue.enter('wide', 2, (end) => {
      giveUp = end;
    });
    const late = queue.enter('late', 2, never);
    enter('b');
    giveUp();
    giveUp();
    await expect(wide).rejects.toThrow('cancelled');
    expect(queue.waiting).toBe(2);
    clock.advance(14_000);
    enter('c');
    clock.advance(1_000);
    await expect(late).rejects.toThrow('time-out');
    await settled();
    expect(order).toEqual(['a', 'b']);
    expect(queue.waiting).toBe(1);
    expect(clock.pending).toBe(1);
  });

  it('lets more in when it grows', async () => {
    const queue = queueOf({ seats: 1 });
    const { enter, order } = player(queue);
    for (const flow of ['a', 'b', 'c']) enter(flow);
    queue.resize({ ...queue.limits, seats: 3 });
    await settled();
    expect(order).toEqual(['a', 'b', 'c']);
  });
});

describe('seats', () => {
  it('are never all of one flow, and its next request does not hold up another flow', async () => {
    const queue = queueOf({ seats: 4, seatsOfFlow: 2 });
    const { enter, order, leaveFirst } = player(queue);
    for (let request = 0; request < 5; request += 1) enter('unread');
    expect(queue).toMatchObject({ takenSeats: 2, waiting: 3 });
    enter('modest');
    await settled();
    expect(order).toEqual(['unread', 'unread', 'modest']);
    leaveFirst();
    await settled();
    expect(order).toEqual(['unread', 'unread', 'modest', 'unread']);
    expect(queue).toMatchObject({ takenSeats: 3, waiting: 2 });
  });

  it('are refused at once to a flow that has its part, where nobody may wait', () => {
    const queue = queueOf({ seats: 4, seatsOfFlow: 2, maxWaitingOfFlow: 0, maxWaiting: 0 });
    const { enter } = player(queue);
    enter('unread');
    enter('unread');
    expect(() => queue.enter('unread', 1, never)).toThrow(QueueFull);
    expect(queue.enter('modest', 1, never)).not.toBeInstanceOf(Promise);
  });

  it("are others' while their request waits for its client, and are taken back without a wait", async () => {
    const queue = queueOf({ seats: 1 });
    const first = queue.enter('slow', 1, never) as Seat;
    const second = queue.enter('next', 1, never);
    expect(queue).toMatchObject({ takenSeats: 1, waiting: 1 });
    first.pause();
    first.pause();
    const next = await second;
    expect(queue).toMatchObject({ takenSeats: 1, waiting: 0 });
    first.resume();
    expect(queue).toMatchObject({ takenSeats: 2 });
    next.leave();
    first.leave();
    first.resume();
    expect(queue).toMatchObject({ takenSeats: 0, executing: 0 });
  });

  it('stay free when a paused request ends', () => {
    const queue = queueOf({ seats: 1 });
    const seat = queue.enter('slow', 1, never) as Seat;
    seat.pause();
    seat.leave();
    seat.resume();
    expect(queue).toMatchObject({ takenSeats: 0, executing: 0 });
  });
});

describe('turns of the event loop', () => {
  it('are shared by flows, not by connections, once one has lasted', async () => {
    const clock = createManualClock();
    let scheduled: (() => void)[] = [];
    const gate = createTurnGate({ clock, schedule: (action) => scheduled.push(action), sliceMs: 2 });
    const limits = { seats: 100, seatsOfFlow: 100, maxWaitingOfFlow: 100, maxWaiting: 200 };
    const { enter, order } = player(createFairQueue({ limits, maxWaitMs: 15_000, clock, gate }));
    /** Each admitted request takes a millisecond. */
    const turn = async (): Promise<void> => {
      const now = scheduled;
      scheduled = [];
      for (const action of now) {
        const before = order.length;
        action();
        await settled();
        clock.advance(order.length - before);
      }
    };
    enter('greedy');
    clock.advance(3);
    for (let connection = 0; connection < 20; connection += 1) enter('greedy');
    enter('modest');
    expect(order).toEqual(['greedy']);
    await turn();
    expect(order).toEqual(['greedy', 'greedy', 'modest', 'greedy']);
    // As long as somebody waits, nobody passes.
    enter('modest');
    expect(order).toHaveLength(4);
    await turn();
    expect(order.slice(4, 7)).toContain('modest');
    for (let turns = 0; turns < 6; turns += 1) await turn();
    expect(order).toHaveLength(23);
    await turn();
    expect(scheduled).toEqual([]);
    enter('greedy');
    expect(order).toHaveLength(24);
  });
});
