import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';

export interface StorageWatchOptions {
  readonly storage: { readonly failure: Error | undefined };
  readonly clock: Clock;
  /** The store refuses writes, for a full disk for example, or takes them again. */
  onChange(failure: Error | undefined): void;
}

/** A look costs nothing: the store knows the room on its disk. */
const intervalMs = 5_000;

/** Says when the store begins to refuse writes, and when that is over: pods and pages go on, so nothing else in the terminal would. */
export function createStorageWatch({ storage, clock, onChange }: StorageWatchOptions): Component {
  let isRefusing = false;
  let cancel: () => void = () => undefined;
  const look = (): void => {
    const { failure } = storage;
    if ((failure !== undefined) !== isRefusing) {
      isRefusing = failure !== undefined;
      onChange(failure);
    }
    cancel = clock.after(intervalMs, look);
  };
  return {
    name: 'storage-watch',
    async start() {
      look();
    },
    async stop() {
      cancel();
    },
  };
}
