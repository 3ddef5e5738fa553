import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { interleave, type TimedFile } from '../../support/test-order.ts';
import measured from '../../support/test-times.json' with { type: 'json' };

const waits = (name: string, seconds: number): TimedFile => ({ name, seconds, waits: true });
const works = (name: string, seconds: number): TimedFile => ({ name, seconds, waits: false });
const namesOf = (files: readonly TimedFile[], count: number, waiting: number): string =>
  interleave(files, { count, waiting })
    .map(({ name }) => name)
    .join(' ');

describe('the order of test files', () => {
  it('begins with the longest that wait, and leaves the other workers to files that work', () => {
    expect(namesOf([works('a', 5), works('b', 4), waits('short', 10), waits('long', 90), waits('middle', 50)], 3, 2)).toBe(
      'long middle a b short',
    );
  });

  it('gives a worker of a file that waits the next one of its kind, and keeps the order of files that work', () => {
    expect(namesOf([waits('x', 10), waits('y', 3), works('a', 4), works('b', 4), works('c', 4)], 2, 1)).toBe('x a b c y');
  });

  it('leaves no worker idle when one kind is used up', () => {
    expect(namesOf([waits('x', 3), waits('y', 2), waits('z', 1)], 4, 1)).toBe('x y z');
    expect(namesOf([works('a', 3), works('b', 2)], 4, 2)).toBe('a b');
    expect(namesOf([], 4, 2)).toBe('');
  });

  it('knows times of files that exist', () => {
    const root = fileURLToPath(new URL('../../../', import.meta.url));
    expect(Object.keys(measured).filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });
});
