import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';

/** Interval between two discoveries of the resources. */
const discoveryMs = 30_000;
/** Delay of a discovery after a change of a definition, since definitions often change in groups. */
const definitionChangedMs = 100;

/** Discovers the resources again and again, sooner after a definition changed. */
export interface DiscoveryLoop {
  start(): void;
  /** Brings the next discovery forward; nothing before `start`. */
  hurry(): void;
  stop(): void;
}

export interface DiscoveryLoopOptions {
  readonly clock: Clock;
  readonly log: Log;
  discover(signal: AbortSignal): Promise<void>;
}

export function createDiscoveryLoop({ clock, log, discover }: DiscoveryLoopOptions): DiscoveryLoop {
  const abort = new AbortController();
  let cancelNext: (() => void) | undefined;

  function discoverAfter(delayMs: number): void {
    cancelNext?.();
    cancelNext = clock.after(delayMs, () => {
      void discover(abort.signal)
        .catch((err: unknown) => {
          if (!abort.signal.aborted) log.warn({ err }, 'Could not discover resources');
        })
        .finally(() => {
          if (!abort.signal.aborted) discoverAfter(discoveryMs);
        });
    });
  }

  return {
    start: () => discoverAfter(discoveryMs),
    hurry() {
      if (cancelNext !== undefined && !abort.signal.aborted) discoverAfter(definitionChangedMs);
    },
    stop() {
      abort.abort(new Error('garbage collector stops'));
      cancelNext?.();
    },
  };
}
