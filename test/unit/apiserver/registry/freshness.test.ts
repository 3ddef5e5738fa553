import { describe, expect, it } from 'vitest';
import { createFreshness } from '../../../../src/apiserver/registry/freshness.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

/** A store that answers when the test says so, and a memory that is where it says. */
function createWorld() {
  const clock = createManualClock();
  const asked: { answer(revision: number): void; fail(err: Error): void }[] = [];
  const stale: string[] = [];
  const world = { seen: 0, isReached: true };
  const freshness = createFreshness({
    storage: {
      isShared: true,
      latest: () => new Promise((resolve, reject) => asked.push({ answer: resolve, fail: reject })),
    },
    clock,
    waitFor: (revision) => {
      world.seen = Math.max(world.seen, revision);
      return Promise.resolve(world.isReached);
    },
    onStale: (err) => stale.push(err.message),
  });
  const settle = async (): Promise<void> => {
    for (let microtask = 0; microtask < 20; microtask += 1) await Promise.resolve();
  };
  return { clock, asked, stale, world, freshness, settle };
}

describe('the barrier', () => {
  it('is nothing where one process alone writes', () => {
    const storage = { isShared: false, latest: () => Promise.reject(new Error('nobody asks')) };
    const options = { clock: createManualClock(), waitFor: () => Promise.resolve(true), onStale: () => undefined };
    expect(createFreshness({ storage, ...options }).barrier()).toBeUndefined();
  });

  it('serves all who came before a round by that round, and all who come during it by the next one', async () => {
    const { asked, freshness, settle } = createWorld();
    const passed: string[] = [];
    const come = (name: string): void => void freshness.barrier()?.then(() => passed.push(name));
    come('first');
    come('during');
    come('during, too');
    expect(asked).toHaveLength(1);
    asked[0]?.answer(5);
    await settle();
    expect(passed).toEqual(['first']);
    expect(asked).toHaveLength(2);
    asked[1]?.answer(6);
    await settle();
    expect(passed).toEqual(['first', 'during', 'during, too']);
    expect(asked).toHaveLength(2);
  });

  it('is refused when the store does not answer within 3 s, and by an error of the store at once', async () => {
    const { clock, asked, freshness, settle } = createWorld();
    // Rounds of its own would come between.
    freshness.stop();
    const slow = expect(freshness.barrier()).rejects.toMatchObject({ code: 503, details: { retryAfterSeconds: 1 } });
    clock.advance(3_000);
    await slow;
    await settle();
    const failed = expect(freshness.barrier()).rejects.toThrow('the store cannot say which state is the newest: no leader');
    asked.at(-1)?.fail(new Error('no leader'));
    await failed;
  });

  it('is refused when the memory does not reach what the store has', async () => {
    const { asked, world, freshness } = createWorld();
    world.isReached = false;
    const refused = expect(freshness.barrier()).rejects.toThrow('its watch did not deliver revision 7');
    asked[0]?.answer(7);
    await refused;
  });
});

describe('a server that is cut off from the store', () => {
  it('is not ready after 3 s and shows nothing after 10 s, until the store answers again', async () => {
    const { clock, asked, stale, freshness, settle } = createWorld();
    const pass = async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second += 1) {
        clock.advance(1_000);
        await settle();
      }
    };
    await pass(1);
    asked.at(-1)?.answer(1);
    await settle();
    expect(() => freshness.check()).not.toThrow();
    await pass(4);
    expect(() => freshness.check()).toThrow('the store has not answered for 4 s');
    expect(freshness.staleness).toBeUndefined();
    await pass(7);
    expect(freshness.staleness).toMatchObject({ code: 503 });
    expect(stale).toEqual(['this server has lost the store, and knows no state that is new enough']);
    await pass(5);
    expect(stale).toHaveLength(1);
    asked.at(-1)?.answer(9);
    await settle();
    expect(freshness.staleness).toBeUndefined();
    expect(() => freshness.check()).not.toThrow();
    freshness.stop();
  });
});
