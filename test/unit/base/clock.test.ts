import { describe, expect, it } from 'vitest';
import { within } from '../../../src/base/clock.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('within', () => {
  it('gives what the work gives, and leaves no timer behind', async () => {
    const clock = createManualClock();
    expect(await within(clock, 1_000, Promise.resolve(5))).toBe(5);
    await expect(within(clock, 1_000, Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(clock.pending).toBe(0);
  });

  it('is late when the time is over, whatever the work does then', async () => {
    const clock = createManualClock();
    let fail = (_err: Error): void => undefined;
    const outcome = within(
      clock,
      1_000,
      new Promise<never>((_, reject) => {
        fail = reject;
      }),
    );
    clock.advance(999);
    expect(await Promise.race([outcome, Promise.resolve('waits')])).toBe('waits');
    clock.advance(1);
    expect(await outcome).toBe('late');
    fail(new Error('too late'));
  });
});
