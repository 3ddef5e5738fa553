import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Storage } from '../../storage/storage.ts';
import type { ValueSeals } from './value-seals.ts';

export interface SealerOptions {
  readonly storage: Storage;
  readonly seals: ValueSeals;
  readonly purging: {
    readonly isDue: boolean;
    mark(): Promise<void>;
    purge(): Promise<void>;
  };
  /** True: until the first `wake`. */
  readonly waits: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Sealing {
  /** Goes on with what a survey has noted. */
  wake(): void;
  stop(): void;
}

/** At most 80 values a second: a start has more urgent work. */
const sealAtOnce = 16;
const sealEveryMs = 200;
const retryMs = 60_000;

/** Seals what is not sealed with the first key, a few values at a time, then purges the store. Rests when nothing is left. */
export function startSealer({ storage, seals, purging, waits, clock, log }: SealerOptions): Sealing {
  const { stale } = seals;
  let stopped = false;
  let count = 0;
  let isDue = !waits;
  let cancel = waits ? () => undefined : clock.after(sealEveryMs, () => void round());

  async function round(): Promise<void> {
    let pauseMs = sealEveryMs;
    try {
      if (stale.size > 0 || purging.isDue) await purging.mark();
      if (stale.size > 0) {
        count += Math.min(stale.size, sealAtOnce);
        await Promise.all([...stale].slice(0, sealAtOnce).map(seal));
      } else if (purging.isDue) {
        await purging.purge();
        log.info({ count }, 'Sealed values of the store with the current key');
      }
    } catch (err) {
      if (stopped) return;
      log.warn({ err }, 'Could not seal values of the store');
      pauseMs = retryMs;
    }
    isDue = !stopped && (stale.size > 0 || purging.isDue);
    if (isDue) cancel = clock.after(pauseMs, () => void round());
  }

  async function seal(key: string): Promise<void> {
    const entry = await storage.get(key);
    const text = entry === undefined ? undefined : seals.opened(entry);
    // A value that was written meanwhile is sealed already, and one that is gone needs no seal.
    if (entry !== undefined && text !== undefined && stale.has(key)) {
      await storage.update(key, { text: seals.resealed(key, text) }, entry.revision);
    }
    stale.delete(key);
  }

  return {
    wake() {
      if (isDue || stopped) return;
      isDue = true;
      cancel = clock.after(sealEveryMs, () => void round());
    },
    stop() {
      stopped = true;
      cancel();
    },
  };
}
