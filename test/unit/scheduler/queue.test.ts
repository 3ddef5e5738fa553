import { describe, expect, it } from 'vitest';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { createSchedulingQueue } from '../../../src/scheduler/queue.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';

function setUp() {
  const clock = createManualClock();
  const queue = createSchedulingQueue({ clock });
  const shapes = createShapeReader();
  const add = (name: string, priority?: number) => {
    const pod = queue.add(shapes.read(podOf(name, priority === undefined ? {} : { priority })));
    queue.activate(pod);
    return pod;
  };
  const take = () => queue.take()?.record.pod.metadata.name;
  return { clock, queue, add, take };
}

describe('scheduling queue', () => {
  it('gives the highest priority first and keeps the order among equals', () => {
    const { add, take } = setUp();
    add('a');
    add('b');
    add('urgent', 1_000);
    add('c');
    expect([take(), take(), take(), take(), take()]).toEqual(['urgent', 'a', 'b', 'c', undefined]);
  });

  it('doubles the back-off from one to ten seconds', () => {
    const { clock, queue, add } = setUp();
    const pod = add('a');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      queue.take();
      queue.backOff(pod);
      waits.push((queue.nextBackoffAt ?? 0) - clock.monotonicMs());
      clock.advance(10_000);
      expect(queue.expiredBackoffs()).toEqual([pod]);
      queue.activate(pod);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  });

  it('holds a pod in one place at a time', () => {
    const { queue, add, take } = setUp();
    const pod = add('a');
    queue.take();
    queue.park(pod);
    expect([queue.count('active'), queue.count('unschedulable')]).toEqual([0, 1]);
    queue.activate(pod);
    expect([...queue.parked()]).toEqual([]);
    queue.delete(pod);
    expect(take()).toBeUndefined();
    expect([queue.size, queue.count('active')]).toEqual([0, 0]);
  });
});
