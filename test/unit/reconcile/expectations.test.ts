import { describe, expect, it } from 'vitest';
import { createExpectations } from '../../../src/reconcile/expectations.ts';
import { createStatusPace } from '../../../src/reconcile/status-pace.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('expectations', () => {
  it('are met by what is seen, failed or never sent', () => {
    const expectations = createExpectations(createManualClock());
    expect(expectations.satisfied('rs')).toBe(true);
    expectations.expectCreations('rs', 5);
    expectations.creationObserved('rs');
    expectations.creationObserved('rs');
    expect(expectations.satisfied('rs')).toBe(false);
    expectations.creationsFailed('rs', 3);
    expect(expectations.satisfied('rs')).toBe(true);
  });

  it('count a deletion once, whether as update or as deletion', () => {
    const expectations = createExpectations(createManualClock());
    expectations.expectDeletions('rs', ['a', 'b']);
    expectations.deletionObserved('rs', 'a');
    expectations.deletionObserved('rs', 'a');
    expectations.deletionObserved('rs', 'unknown');
    expect(expectations.satisfied('rs')).toBe(false);
    expectations.deletionObserved('rs', 'b');
    expect(expectations.satisfied('rs')).toBe(true);
  });

  it('are given up after five minutes', () => {
    const clock = createManualClock();
    const expectations = createExpectations(clock);
    expectations.expectCreations('rs', 1);
    expect(expectations.waitMs('rs')).toBe(5 * 60_000 + 1);
    clock.advance(5 * 60_000);
    expect(expectations.satisfied('rs')).toBe(false);
    expect(expectations.waitMs('rs')).toBe(1);
    clock.advance(1);
    expect(expectations.satisfied('rs')).toBe(true);
    expect(expectations.waitMs('rs')).toBeUndefined();
  });

  it('are independent between owners', () => {
    const expectations = createExpectations(createManualClock());
    expectations.expectCreations('rs', 1);
    expect(expectations.satisfied('other')).toBe(true);
  });
});

describe('status pace', () => {
  it('lets one write through in 20 ms, and a final one always', () => {
    const clock = createManualClock();
    const pace = createStatusPace(clock);
    expect(pace.delay('rs', { final: false })).toBe(0);
    clock.advance(5);
    expect(pace.delay('rs', { final: false })).toBe(15);
    expect(pace.delay('rs', { final: true })).toBe(0);
    clock.advance(20);
    expect(pace.delay('rs', { final: false })).toBe(0);
  });
});
