import { expect, it } from 'vitest';
import { createWritePace } from '../../../src/controllers/write-pace.ts';
import { createManualClock } from '../../support/manual-clock.ts';

it('collects changes of a key for a while after its last write, and only then', () => {
  const clock = createManualClock();
  const queued: [string, number][] = [];
  const pace = createWritePace({ clock, collectMs: 50, controller: { enqueueAfter: (key, delayMs) => void queued.push([key, delayMs]) } });
  const delayOf = (key: string): number | undefined => {
    pace.collect(key);
    return queued.pop()?.[1];
  };
  expect(delayOf('shop/web')).toBe(0);
  pace.noteWrite('shop/web');
  expect(delayOf('shop/web')).toBe(50);
  expect(delayOf('shop/other')).toBe(0);
  clock.advance(30);
  expect(delayOf('shop/web')).toBe(20);
  clock.advance(30);
  expect(delayOf('shop/web')).toBe(0);
  pace.noteWrite('shop/web');
  pace.forget('shop/web');
  expect(delayOf('shop/web')).toBe(0);
});
