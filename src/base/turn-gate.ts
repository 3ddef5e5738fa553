/**
 * Shares the event loop among requests. Most requests are answered in one piece. So all that were read in one turn would also be answered
 * in that turn, connection by connection. The client with the most connections would then get most of the server. Once a turn has lasted a
 * while, later requests wait. Each following turn first reads everything that has arrived, and then admits requests for a while.
 */
export interface TurnGate {
  /** True when requests need not wait for a turn. The time counts from the first question of a turn. */
  isOpen(): boolean;
  /** Calls `admitNext` in the next turns until it lets nobody in. Several that ask are called by turns. */
  ask(admitNext: () => boolean): void;
}

export interface TurnGateOptions {
  readonly clock: { monotonicMs(): number };
  /**
   * Calls `action` when everything that has arrived was looked at. All that an action has set off is done before the next one is called:
   * `setImmediate`.
   */
  readonly schedule?: (action: () => void) => unknown;
  /** Share of a turn of the event loop, for requests in the order in which they come. */
  readonly sliceMs?: number;
}

/** Largest number of requests that one turn admits. */
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
