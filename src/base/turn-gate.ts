/**
 * The event loop as what requests share: most are answered in one piece, so that those that are read in a turn would all be answered in
 * it, in the order in which their connections are looked at, and whoever has most connections would have most of the server. What comes
 * when a turn has lasted a while waits instead; from then on requests are let in for a while in each turn, after all that has arrived was
 * read.
 */
export interface TurnGate {
  /** Whether requests need not wait for a turn. Counts from the first question of a turn. */
  isOpen(): boolean;
  /** Calls `admitNext` in the next turns until it lets nobody in. Several that ask are called by turns. */
  ask(admitNext: () => boolean): void;
}

export interface TurnGateOptions {
  readonly clock: { monotonicMs(): number };
  /**
   * Calls `action` when everything that has arrived was looked at, and what an action has set off is done before the next one is called:
   * `setImmediate`.
   */
  readonly schedule?: (action: () => void) => unknown;
  /** Share of a turn of the event loop, for requests in the order in which they come. */
  readonly sliceMs?: number;
}

/** Let in at most in one turn. */
const stepsOfTurn = 16;

export function createTurnGate({ clock, schedule = setImmediate, sliceMs = 2 }: TurnGateOptions): TurnGate {
  let turnBegan: number | undefined;
  let roundBegan: number | undefined;
  let isScheduled = false;
  const asking = new Set<() => boolean>();

  /** The callbacks of one round run in one turn; each sees how long those before it took. */
  function scheduleRound(): void {
    if (isScheduled) return;
    isScheduled = true;
    for (let count = 0; count < stepsOfTurn; count += 1) schedule(step);
    schedule(endRound);
  }

  function step(): void {
    if (asking.size === 0) return;
    const now = clock.monotonicMs();
    roundBegan ??= now;
    if (now - roundBegan > sliceMs) return;
    for (const admitNext of asking) {
      asking.delete(admitNext);
      if (!admitNext()) continue;
      // To the end of the line.
      asking.add(admitNext);
      return;
    }
  }

  function endRound(): void {
    isScheduled = false;
    roundBegan = undefined;
    if (asking.size > 0) scheduleRound();
  }

  return {
    isOpen() {
      const now = clock.monotonicMs();
      if (turnBegan === undefined) {
        turnBegan = now;
        schedule(() => {
          turnBegan = undefined;
        });
      }
      return now - turnBegan <= sliceMs;
    },
    ask(admitNext) {
      asking.add(admitNext);
      scheduleRound();
    },
  };
}
