import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createBackoffTimer } from '../../../src/scheduler/backoff-timer.ts';
import { createSchedulerCache } from '../../../src/scheduler/cache.ts';
import { createEarlyRetries } from '../../../src/scheduler/early-retries.ts';
import { startHousekeeping } from '../../../src/scheduler/housekeeping.ts';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { createSchedulingQueue } from '../../../src/scheduler/queue.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';

function setUp() {
  const clock = createManualClock();
  const queue = createSchedulingQueue({ clock });
  const shapes = createShapeReader();
  const add = (name: string) => queue.add(shapes.read(podOf(name)));
  /** Adds a pod whose first attempt has just failed. */
  const addFailed = (name: string) => {
    const pod = add(name);
    queue.activate(pod);
    queue.take();
    queue.backOff(pod);
    return pod;
  };
  return { clock, queue, add, addFailed };
}

describe('timer of back-offs', () => {
  it('reports each pod when its back-off is over', () => {
    const { clock, queue, addFailed } = setUp();
    const expired: string[] = [];
    const timer = createBackoffTimer({ clock, queue, onExpired: ({ record }) => void expired.push(record.key) });
    addFailed('a');
    timer.arm();
    clock.advance(400);
    addFailed('b');
    timer.arm();
    clock.advance(600);
    expect(expired).toEqual(['shop/a']);
    clock.advance(400);
    expect(expired).toEqual(['shop/a', 'shop/b']);
    expect(clock.pending).toBe(0);
  });

  it('reports nothing after it was stopped, even when a pod begins to wait then', () => {
    const { clock, queue, addFailed } = setUp();
    const expired: string[] = [];
    const timer = createBackoffTimer({ clock, queue, onExpired: ({ record }) => void expired.push(record.key) });
    addFailed('a');
    timer.arm();
    timer.stop();
    timer.arm();
    clock.advance(5_000);
    expect(expired).toEqual([]);
  });
});

describe('early retries', () => {
  it('are at most 200 in a second', () => {
    const { clock, queue, addFailed } = setUp();
    const retries = createEarlyRetries({ clock, queue });
    expect(retries.take()).toBeUndefined();
    const pod = addFailed('a');
    clock.advance(1_000);
    for (let count = 0; count < 200; count += 1) expect(retries.take()).toBe(pod);
    expect(retries.take()).toBeUndefined();
    clock.advance(1_000);
    expect(retries.take()).toBe(pod);
  });

  it('leave out a pod whose attempt ended in an error', () => {
    const { clock, queue, addFailed } = setUp();
    addFailed('a').erred = true;
    expect(createEarlyRetries({ clock, queue }).take()).toBeUndefined();
  });
});

describe('housekeeping', () => {
  function start() {
    const base = setUp();
    const { clock, queue } = base;
    const cache = createSchedulerCache({ clock, namespaceLabels: () => undefined });
    cache.setNode(nodeOf('n1'));
    const events: string[] = [];
    const retried: string[] = [];
    const stop = startHousekeeping({
      clock,
      log: pino({ level: 'silent' }),
      cache,
      queue,
      advance: ({ record }, { type }) => void events.push(`${record.key} ${type}`),
      retry: ({ record }) => void retried.push(record.key),
    });
    return { ...base, cache, events, retried, stop };
  }

  it('finds a promise that nobody confirmed, and drops it when no pod waits for it', () => {
    const { clock, cache, add, events } = start();
    const held = add('held');
    const node = cache.nodes[0];
    if (node === undefined) throw new Error('no node');
    cache.assume(held.record, node);
    cache.assume(createShapeReader().read(podOf('unknown')), node);
    for (const name of ['held', 'unknown']) cache.bindingFinished(`shop/${name}`);
    clock.advance(25_000);
    expect(events).toEqual([]);
    clock.advance(5_000);
    expect(events).toEqual(['shop/held ASSUMPTION_EXPIRED']);
    expect(cache.expired()).toEqual(['shop/held']);
  });

  it('tries a pod again that was parked for five minutes, and nothing after it ends', () => {
    const { clock, queue, add, retried, stop } = start();
    queue.park(add('a'));
    clock.advance(300_000);
    expect(retried).toEqual([]);
    clock.advance(5_000);
    expect(retried).toEqual(['shop/a']);
    stop();
    clock.advance(60_000);
    expect(retried).toEqual(['shop/a']);
  });
});
