import { getHeapStatistics } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { maxObjectBytes, shareMemory } from '../../../src/base/memory-budget.ts';

const mebi = 1024 ** 2;

describe('a memory budget', () => {
  it.each([192, 384, 1024, 8192])('gives the parts of %d MiB room in the heap all at once, and the program, too', (size) => {
    const { heapBytes, objectBytes, windowBytes, watchBytes, answerBytes } = shareMemory({ totalBytes: size * mebi });
    expect(objectBytes + windowBytes + watchBytes + answerBytes).toBeLessThan(heapBytes - 50 * mebi);
    expect(heapBytes).toBeLessThan(size * mebi);
  });

  it('keeps at most 64 MiB of history', () => {
    expect(shareMemory({ totalBytes: 8192 * mebi }).windowBytes).toBe(64 * mebi);
    expect(shareMemory({ totalBytes: 192 * mebi }).windowBytes).toBeLessThan(16 * mebi);
  });

  it('is without a wish the one of the heap that Node has', () => {
    expect(shareMemory().heapBytes).toBeCloseTo(getHeapStatistics().heap_size_limit, -3);
  });

  it('takes a wish for the objects, within what leaves room for the rest', () => {
    const memory = shareMemory({ totalBytes: 512 * mebi, objectBytes: 10 * mebi });
    expect(memory.objectBytes).toBe(10 * mebi);
    expect(maxObjectBytes(memory)).toBeGreaterThan(memory.totalBytes / 4);
    expect(maxObjectBytes(memory)).toBeLessThan(memory.heapBytes);
  });
});
