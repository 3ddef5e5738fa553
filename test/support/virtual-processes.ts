import type { Clock } from '../../src/base/clock.ts';
import type { Client } from '../../src/client/client.ts';
import { guardedClient } from '../../src/client/guarded-client.ts';
import { StatusError } from '../../src/machinery/status-error.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

/** Fate of one request: times in milliseconds of the world. */
export interface Passage {
  readonly toServerMs: number;
  readonly toClientMs: number;
  /** Lost on the way there, or with its answer on the way back. */
  readonly lost?: 'request' | 'answer' | undefined;
}

export interface VirtualProcessOptions {
  /** Seconds of its clock in a second of the world. */
  readonly rate?: number;
  readonly offsetMs?: number;
  /** From when to when it is halted: no timer fires and no answer arrives then. */
  readonly halts?: readonly { readonly fromMs: number; readonly untilMs: number }[];
  passage?(atMs: number): Passage;
}

export interface VirtualProcess {
  readonly clock: Clock;
  readonly client: Client;
  isHalted(): boolean;
}

/** Processes with clocks of their own that talk to one API server, in a time that passes when a test says so. */
export interface VirtualWorld {
  readonly clock: ManualClock;
  process(options?: VirtualProcessOptions): VirtualProcess;
  /** Moves on by so much, a step at a time, and lets what falls due be done. */
  pass(ms: number, afterStep?: () => void): Promise<void>;
}

const stepMs = 100;
const instant: Passage = { toServerMs: 0, toClientMs: 0 };

export function createVirtualWorld(server: Client): VirtualWorld {
  const world = createManualClock();
  let asked = 0;

  /** Until the server has answered all it was asked and nothing came of that at once. */
  async function settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; ) {
      await new Promise((resolve) => setImmediate(resolve));
      quiet = asked === 0 ? quiet + 1 : 0;
    }
  }

  return {
    clock: world,
    process({ rate = 1, offsetMs = 0, halts = [], passage = () => instant } = {}) {
      const haltEnd = (): number | undefined =>
        halts.find(({ fromMs, untilMs }) => world.monotonicMs() >= fromMs && world.monotonicMs() < untilMs)?.untilMs;
      const clock: Clock = {
        now: () => world.now() * rate + offsetMs,
        monotonicMs: () => world.monotonicMs() * rate,
        after(delayMs, action) {
          let cancel = world.after(delayMs / rate, function run() {
            const end = haltEnd();
            if (end === undefined) action();
            else cancel = world.after(end - world.monotonicMs(), run);
          });
          return () => cancel();
        },
      };
      const wait = (ms: number): Promise<void> =>
        ms === 0 && haltEnd() === undefined ? Promise.resolve() : new Promise((resolve) => clock.after(ms * rate, resolve));
      const lost = () => new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'connection lost' });
      const client = guardedClient(server, async (act) => {
        const way = passage(world.monotonicMs());
        await wait(way.toServerMs);
        if (way.lost === 'request') throw lost();
        asked += 1;
        // The client may have gone by then; a message under way still arrives.
        const outcome = await Promise.allSettled([act(undefined)]).finally(() => {
          asked -= 1;
        });
        await wait(way.toClientMs);
        if (way.lost === 'answer') throw lost();
        if (outcome[0].status === 'rejected') throw outcome[0].reason;
        return outcome[0].value;
      });
      return { clock, client, isHalted: () => haltEnd() !== undefined };
    },
    async pass(ms, afterStep) {
      for (const end = world.monotonicMs() + ms; world.monotonicMs() < end; ) {
        world.advance(Math.min(stepMs, end - world.monotonicMs()));
        await settle();
        afterStep?.();
      }
      await settle();
    },
  };
}
