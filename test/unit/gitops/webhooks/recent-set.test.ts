import { describe, expect, it } from 'vitest';
import { createRecentSet } from '../../../../src/gitops/webhooks/recent-set.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

describe('a set of what was seen lately', () => {
  it('knows a key for as long as its window, and no longer', () => {
    const clock = createManualClock();
    const seen = createRecentSet({ clock, windowMs: 1_000, maxEntries: 10 });
    expect(seen.add('a')).toBe(true);
    clock.advance(999);
    expect(seen.add('a')).toBe(false);
    clock.advance(1);
    expect(seen.add('a')).toBe(true);
  });

  it('forgets a key that is taken back', () => {
    const set = createRecentSet({ clock: createManualClock(), windowMs: 1_000, maxEntries: 2 });
    set.add('a');
    set.delete('a');
    expect(set.add('a')).toBe(true);
  });

  it('never holds more than it may, and forgets the oldest first', () => {
    const clock = createManualClock();
    const seen = createRecentSet({ clock, windowMs: 1_000_000, maxEntries: 3 });
    for (const key of ['a', 'b', 'c', 'd']) expect(seen.add(key)).toBe(true);
    expect(seen.add('d')).toBe(false);
    expect(seen.add('a')).toBe(true);
  });
});
