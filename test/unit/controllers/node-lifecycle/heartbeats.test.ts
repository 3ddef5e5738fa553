import { describe, expect, it } from 'vitest';
import { createHeartbeats } from '../../../../src/controllers/node-lifecycle/heartbeats.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

function setUp() {
  const clock = createManualClock();
  return { clock, heartbeats: createHeartbeats({ clock, graceMs: 40_000, startupGraceMs: 60_000 }) };
}

describe('heartbeats', () => {
  it('lose a node that neither renews its Lease nor its status', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.heard('a', 'status', '1');
    heartbeats.heard('b', 'status', '1');
    clock.advance(30_000);
    heartbeats.heard('b', 'lease', '2');
    clock.advance(10_000);
    expect(heartbeats.takeLost()).toEqual(['a']);
    expect(heartbeats.takeLost()).toEqual([]);
    expect([heartbeats.isLost('a'), heartbeats.isLost('b')]).toEqual([true, false]);
  });

  it('do not count what was heard already', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.heard('a', 'status', '1');
    clock.advance(39_000);
    heartbeats.heard('a', 'status', '1');
    clock.advance(1_000);
    expect(heartbeats.takeLost()).toEqual(['a']);
  });

  it('tell when a lost node comes back', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.heard('a', 'status', '1');
    clock.advance(40_000);
    heartbeats.takeLost();
    expect(heartbeats.heard('a', 'lease', '5')).toBe(true);
    expect(heartbeats.heard('a', 'lease', '6')).toBe(false);
    expect(heartbeats.isLost('a')).toBe(false);
  });

  it('wait longer for a node that has not reported yet', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.known('a');
    clock.advance(59_999);
    expect(heartbeats.takeLost()).toEqual([]);
    clock.advance(1);
    expect(heartbeats.takeLost()).toEqual(['a']);
  });

  it('find the silent ones among many in order', () => {
    const { clock, heartbeats } = setUp();
    for (let index = 0; index < 5_000; index += 1) heartbeats.heard(`n${index}`, 'status', '1');
    clock.advance(20_000);
    for (let index = 0; index < 5_000; index += 1) if (index % 1_000 !== 7) heartbeats.heard(`n${index}`, 'lease', '2');
    clock.advance(20_000);
    expect(heartbeats.takeLost()).toEqual(['n7', 'n1007', 'n2007', 'n3007', 'n4007']);
  });

  it('start again after this process could not receive them', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.heard('a', 'status', '1');
    clock.advance(40_000);
    heartbeats.takeLost();
    heartbeats.reset();
    expect(heartbeats.isLost('a')).toBe(false);
    for (const expected of [[], [], [], ['a']]) {
      clock.advance(10_000);
      expect(heartbeats.takeLost()).toEqual(expected);
    }
  });

  it('blame no node for a time in which this process was halted', () => {
    const { clock, heartbeats } = setUp();
    heartbeats.heard('a', 'status', '1');
    heartbeats.takeLost();
    clock.advance(3_600_000);
    expect(heartbeats.takeLost()).toEqual([]);
    clock.advance(10_000);
    expect(heartbeats.takeLost()).toEqual([]);
  });
});
