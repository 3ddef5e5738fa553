import type { StorageEvent, WatchOptions } from './storage.ts';

/** One watch of a store. */
export interface Watcher {
  readonly options: WatchOptions;
  /** Revisions up to here were delivered or not asked for. */
  after: number;
}

/** The watches of a store that follow its commits. */
export interface Watchers {
  /** Delivers every commit from now on, until the signal of the watch. */
  add(watcher: Watcher): void;
  /** Delivers events to one watch, which need not be added yet. */
  notify(watcher: Watcher, events: readonly StorageEvent[]): void;
  /** Delivers the events of one commit to all. */
  notifyAll(events: readonly StorageEvent[]): void;
  /** Ends all. */
  end(err: Error): void;
}

export function createWatchers(): Watchers {
  const watchers = new Set<Watcher>();

  function notify(watcher: Watcher, events: readonly StorageEvent[]): void {
    const { prefix, onEvents, onEnd } = watcher.options;
    const { after } = watcher;
    const first = events[0];
    const wanted =
      prefix === '' && first !== undefined && first.revision > after
        ? events
        : events.filter((event) => event.revision > after && event.key.startsWith(prefix));
    watcher.after = Math.max(after, events.at(-1)?.revision ?? 0);
    if (wanted.length === 0) return;
    try {
      onEvents(wanted);
    } catch (err) {
      watchers.delete(watcher);
      onEnd(err instanceof Error ? err : new Error(String(err)));
    }
  }

  return {
    add(watcher) {
      watchers.add(watcher);
      watcher.options.signal.addEventListener('abort', () => watchers.delete(watcher), { once: true });
    },
    notify,
    notifyAll(events) {
      for (const watcher of [...watchers]) notify(watcher, events);
    },
    end(err) {
      for (const { options } of watchers) options.onEnd(err);
      watchers.clear();
    },
  };
}
