import { describe, expect, it } from 'vitest';
import { type QueuedWatch, WatchMemory } from '../../../../src/apiserver/http/watch-memory.ts';
import type { Retained } from '../../../../src/apiserver/kube-api.ts';

const event = (bytes: number): Retained => ({ bytes, holders: 0 });

/** A watch whose client never reads. */
function join(memory: WatchMemory) {
  const waiting: Retained[] = [];
  const ends: string[] = [];
  const watch: QueuedWatch = {
    get queuedBytes() {
      return waiting.reduce((sum, { bytes }) => sum + bytes, 0);
    },
    fallBehind() {
      ends.push('behind');
      for (const retained of waiting.splice(0)) memory.release(retained);
    },
    cut: () => ends.push('cut'),
  };
  memory.join(watch);
  return {
    ends,
    push(retained: Retained): void {
      waiting.push(retained);
      memory.hold(retained);
      memory.makeRoom();
    },
  };
}

describe('the memory of watches', () => {
  it('counts an event once, however many watches wait for it, until the last lets go of it', () => {
    const memory = new WatchMemory(1_000);
    const shared = event(400);
    for (let watch = 0; watch < 100; watch += 1) memory.hold(shared);
    expect(memory.bytes).toBe(400);
    for (let watch = 0; watch < 99; watch += 1) memory.release(shared);
    expect(memory.bytes).toBe(400);
    memory.release(shared);
    expect(memory.bytes).toBe(0);
  });

  it('ends the watch that has most waiting when it is full, and no other', () => {
    const memory = new WatchMemory(1_000);
    const slow = join(memory);
    const slower = join(memory);
    for (let count = 0; count < 3; count += 1) slow.push(event(100));
    for (let count = 0; count < 8; count += 1) slower.push(event(100));
    expect(slower.ends).toEqual(['behind']);
    expect(slow.ends).toEqual([]);
    expect(memory.bytes).toBe(300);
  });

  it('cuts connections when what is full is what they were given already', () => {
    const memory = new WatchMemory(1_000);
    const watch = join(memory);
    watch.push(event(100));
    memory.count(2_000);
    memory.makeRoom();
    expect(watch.ends).toEqual(['behind', 'cut']);
  });
});
