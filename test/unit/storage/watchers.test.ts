import { describe, expect, test } from 'vitest';
import type { StorageEvent } from '../../../src/storage/storage.ts';
import { createWatchers, type Watcher } from '../../../src/storage/watchers.ts';

const put = (key: string, revision: number): StorageEvent => ({ type: 'put', key, revision, created: true, value: { text: '{}' } });

function watcherOf(prefix: string, after = 0) {
  const seen: number[] = [];
  const ends: string[] = [];
  const abort = new AbortController();
  const watcher: Watcher = {
    options: {
      prefix,
      afterRevision: after,
      signal: abort.signal,
      onEvents: (events) => seen.push(...events.map(({ revision }) => revision)),
      onEnd: ({ message }) => ends.push(message),
    },
    after,
  };
  return { watcher, seen, ends, abort };
}

describe('the watches of a store', () => {
  test('get the events of their prefix after their revision, each once', () => {
    const watchers = createWatchers();
    const all = watcherOf('', 1);
    const some = watcherOf('b/');
    watchers.add(all.watcher);
    watchers.add(some.watcher);
    watchers.notifyAll([put('a/x', 1), put('b/x', 2)]);
    watchers.notifyAll([put('b/y', 3)]);
    watchers.notifyAll([put('b/y', 3)]);
    expect(all.seen).toEqual([2, 3]);
    expect(some.seen).toEqual([2, 3]);
  });

  test('end with the error that their handler throws, alone', () => {
    const watchers = createWatchers();
    const broken = watcherOf('');
    const failing: Watcher = {
      ...broken.watcher,
      options: {
        ...broken.watcher.options,
        onEvents() {
          throw new Error('handler');
        },
      },
    };
    const other = watcherOf('');
    watchers.add(failing);
    watchers.add(other.watcher);
    watchers.notifyAll([put('a', 1)]);
    watchers.notifyAll([put('a', 2)]);
    expect(broken.ends).toEqual(['handler']);
    expect(other.seen).toEqual([1, 2]);
  });

  test('get nothing after their signal, and learn that the store closes', () => {
    const watchers = createWatchers();
    const gone = watcherOf('');
    const left = watcherOf('');
    watchers.add(gone.watcher);
    watchers.add(left.watcher);
    gone.abort.abort();
    watchers.notifyAll([put('a', 1)]);
    watchers.end(new Error('closed'));
    expect({ seen: gone.seen, ends: gone.ends }).toEqual({ seen: [], ends: [] });
    expect({ seen: left.seen, ends: left.ends }).toEqual({ seen: [1], ends: ['closed'] });
  });
});
