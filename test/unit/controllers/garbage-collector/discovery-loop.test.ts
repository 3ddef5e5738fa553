import { pino } from 'pino';
import { expect, it } from 'vitest';
import { createDiscoveryLoop } from '../../../../src/controllers/garbage-collector/discovery-loop.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

/** Lets what a timer started settle. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

function createLoop(discover: () => Promise<void>) {
  const clock = createManualClock();
  return { clock, loop: createDiscoveryLoop({ clock, log: pino({ level: 'silent' }), discover }) };
}

it('discovers every 30 seconds, also after a failure, until it stops', async () => {
  let count = 0;
  const { clock, loop } = createLoop(async () => {
    count += 1;
    if (count === 1) throw new Error('the server is away');
  });
  loop.start();
  for (const expected of [1, 2]) {
    clock.advance(30_000);
    await settle();
    expect(count).toBe(expected);
  }
  loop.stop();
  clock.advance(60_000);
  await settle();
  expect(count).toBe(2);
});

it('discovers once, 100 ms after the last of some changes, and not before it has started', async () => {
  let count = 0;
  const { clock, loop } = createLoop(async () => {
    count += 1;
  });
  loop.hurry();
  clock.advance(1_000);
  expect(count).toBe(0);
  loop.start();
  loop.hurry();
  clock.advance(60);
  loop.hurry();
  clock.advance(60);
  expect(count).toBe(0);
  clock.advance(40);
  await settle();
  expect(count).toBe(1);
});
