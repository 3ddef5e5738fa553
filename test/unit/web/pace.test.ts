import { describe, expect, it } from 'vitest';
import { Busy, createPace } from '../../../src/web/pace.ts';
import { createRenderings } from '../../../src/web/renderings.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';

/** Lets everything happen that needs no time. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let step = 0; step < ms; step += 10) {
    clock.advance(10);
    await settle();
  }
}

const setUp = () => {
  const clock = createManualClock();
  const pace = createPace({ clock, takeTurn: async () => undefined });
  /** Work of 40 ms. */
  const work = (): number => {
    clock.advance(40);
    return clock.monotonicMs();
  };
  return { clock, pace, work };
};

describe('pace', () => {
  it('gives work at most a quarter of the time, however many ask', async () => {
    const { clock, pace, work } = setUp();
    let done = 0;
    const ask = (): void => {
      void pace.run(work).then(
        () => {
          done += 1;
          ask();
        },
        () => ask(),
      );
    };
    for (let client = 0; client < 50; client += 1) ask();
    await pass(clock, 8_000);
    const seconds = clock.monotonicMs() / 1_000;
    expect((done * 40) / 1_000 / seconds).toBeLessThan(0.27);
    expect((done * 40) / 1_000 / seconds).toBeGreaterThan(0.2);
  });

  it('refuses what would wait longer than two seconds, and what comes when too many wait', async () => {
    const { clock, pace, work } = setUp();
    const outcomes = Array.from({ length: 65 }, () =>
      pace.run(work).then(
        () => 'done',
        (err) => (err instanceof Busy ? 'busy' : err),
      ),
    );
    await settle();
    expect(await outcomes[64]).toBe('busy');
    await pass(clock, 3_000);
    const all = await Promise.all(outcomes);
    expect(all.slice(0, 10)).toEqual(new Array(10).fill('done'));
    expect(all.slice(30)).toEqual(new Array(35).fill('busy'));
  });

  it('passes on what fails, and goes on', async () => {
    const { pace } = setUp();
    const broken = pace.run(() => {
      throw new Error('broken');
    });
    await expect(broken).rejects.toThrow('broken');
    expect(await pace.run(() => 1)).toBe(1);
  });
});

describe('renderings', () => {
  const start = () => {
    const clock = createManualClock();
    const renderings = createRenderings<string | undefined>({ clock, pace: createPace({ clock, takeTurn: async () => undefined }) });
    let made = 0;
    const make = (): string => {
      made += 1;
      return `made ${made}`;
    };
    return { clock, renderings, make, made: () => made };
  };

  it('are shared by all who ask within 200 ms, and made once more after that', async () => {
    const { clock, renderings, make } = start();
    const first = await Promise.all([renderings.get('/', make), renderings.get('/', make)]);
    clock.advance(199);
    expect([...first, await renderings.get('/', make)]).toEqual(['made 1', 'made 1', 'made 1']);
    clock.advance(2);
    expect(await renderings.get('/', make)).toBe('made 2');
  });

  it('are made after the call when that is asked for', async () => {
    const { renderings, make } = start();
    await renderings.get('/', make);
    expect(await Promise.all([renderings.renew('/', make), renderings.renew('/', make)])).toEqual(['made 2', 'made 2']);
    expect(await renderings.get('/', make)).toBe('made 2');
  });

  it('also remember that there is no such page, and forget a failure', async () => {
    const { renderings, make, made } = start();
    const none = (): undefined => void make();
    await renderings.get('/none', none);
    await renderings.get('/none', none);
    expect(made()).toBe(1);
    const fails = (): never => {
      throw new Error('broken');
    };
    await expect(renderings.get('/', fails)).rejects.toThrow('broken');
    expect(await renderings.get('/', make)).toBe('made 2');
  });

  it('keep 64 of them, and nothing for longer than it is good', async () => {
    const { clock, renderings, make, made } = start();
    for (let path = 0; path < 65; path += 1) await renderings.get(`/${path}`, make);
    await renderings.get('/64', make);
    expect(made()).toBe(65);
    await renderings.get('/0', make);
    expect(made()).toBe(66);
    clock.advance(10_000);
    expect(clock.pending).toBe(0);
  });
});
