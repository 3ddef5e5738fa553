import { describe, expect, test } from 'vitest';
import { createLane } from '../../../../src/storage/log/lane.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A lane whose commits end when the test says so. */
function openLane(due: (moment: 'idle' | 'busy') => (() => Promise<void>) | undefined = () => undefined) {
  const clock = createManualClock();
  const calls: string[] = [];
  let waiting = 0;
  let end: (() => void) | undefined;
  const lane = createLane({
    clock,
    hasCommit: () => waiting > 0,
    beginCommit(done) {
      waiting -= 1;
      calls.push('commit');
      end = done;
    },
    due,
  });
  return {
    lane,
    clock,
    calls,
    want(count: number) {
      waiting += count;
      lane.wakeUp();
    },
    endCommit: () => end?.(),
    task: (name: string) => lane.run(async () => void calls.push(name)),
  };
}

describe('the lane of a driver', () => {
  test('begins a commit after the turn in which it is wanted, and the next one at once', async () => {
    const { calls, want, endCommit } = openLane();
    want(2);
    expect(calls).toEqual([]);
    await turn();
    expect(calls).toEqual(['commit']);
    endCommit();
    expect(calls).toEqual(['commit', 'commit']);
  });

  test('runs a task when no commit waits, and after four commits when some always do', async () => {
    const { calls, want, endCommit, task } = openLane();
    want(6);
    await turn();
    const done = task('task');
    for (let commit = 0; commit < 4; commit += 1) endCommit();
    await done;
    await turn();
    expect(calls).toEqual(['commit', 'commit', 'commit', 'commit', 'task', 'commit']);
  });

  test('goes on after a task that fails, which its caller learns', async () => {
    const { lane, calls, task } = openLane();
    const failing = lane.run(() => Promise.reject(new Error('disk')));
    const next = task('next');
    await expect(failing).rejects.toThrow('disk');
    await next;
    expect(calls).toEqual(['next']);
  });

  test('tidies up when no write came for 100 ms, and not while writes come', async () => {
    const moments: string[] = [];
    const { clock, want, endCommit } = openLane((moment) => {
      moments.push(moment);
      return undefined;
    });
    want(1);
    await turn();
    await clock.advance(1_000);
    expect(moments).toEqual([]);
    endCommit();
    await clock.advance(99);
    expect(moments).toEqual([]);
    await clock.advance(1);
    expect(moments).toEqual(['idle']);
  });

  test('ends what is wanted before it closes, and takes nothing more', async () => {
    const { lane, calls, want, endCommit, task } = openLane();
    want(1);
    const last = task('last');
    const closed = lane.close();
    await expect(task('late')).rejects.toThrow('closed');
    await turn();
    endCommit();
    await last;
    await closed;
    expect(calls).toEqual(['commit', 'last']);
  });
});
