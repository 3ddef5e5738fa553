import type { Clock } from '../base/clock.ts';

/** Work of the page that holds the event loop: one piece after the other, so that no number of viewers takes more than its share. */
export interface Pace {
  /**
   * Runs `work` when its turn comes, and gives what it gives.
   *
   * @throws Busy when too many wait, or the turn did not come in time
   */
  run<T>(work: () => T): Promise<T>;
}

export interface PaceOptions {
  readonly clock: Clock;
  /** Resolves when work may take a turn of the event loop. */
  takeTurn(): Promise<void>;
}

/** The client should come back; nothing was done for it. */
export class Busy extends Error {
  override readonly name = 'Busy';
  readonly statusCode = 503;
  readonly retryAfterSeconds = 1;
  constructor() {
    super('Too many pages are asked for at once; try again in a second.');
  }
}

/** Work takes at most a quarter of the time: after each piece comes a pause of three times its length. */
const pauseShare = 3;
/** A piece also takes long because the machine was busy; viewers need not wait longer for that. */
const maxPauseMs = 1_000;
const maxWaiting = 64;
const maxWaitMs = 2_000;

export function createPace({ clock, takeTurn }: PaceOptions): Pace {
  const waiting = new Set<() => void>();
  let isRunning = false;
  let nextAt = 0;

  async function runNext(): Promise<void> {
    const [first] = waiting;
    if (isRunning || first === undefined) return;
    isRunning = true;
    const pauseMs = nextAt - clock.monotonicMs();
    if (pauseMs > 0) await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
    // Refused where too many wait for a turn already: the pace does not come to a stop with them.
    await takeTurn().catch(() => undefined);
    // The one that came first may have given up meanwhile.
    const [next] = waiting;
    const startedAt = clock.monotonicMs();
    next?.();
    const endedAt = clock.monotonicMs();
    nextAt = endedAt + Math.min((endedAt - startedAt) * pauseShare, maxPauseMs);
    isRunning = false;
    void runNext();
  }

  return {
    run(work) {
      if (waiting.size >= maxWaiting) return Promise.reject(new Busy());
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          cancel();
          waiting.delete(start);
        };
        const start = (): void => {
          leave();
          try {
            resolve(work());
          } catch (err) {
            reject(err);
          }
        };
        const cancel = clock.after(maxWaitMs, () => {
          leave();
          reject(new Busy());
        });
        waiting.add(start);
        void runNext();
      });
    },
  };
}
