import { describe, expect, it } from 'vitest';
import { createZones } from '../../../../src/controllers/node-lifecycle/zones.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

function setUp({ ready, notReady }: { ready: number; notReady: number }, largeZoneNodes = 50) {
  const clock = createManualClock();
  const zones = createZones({ clock, evictionsPerSecond: 0.1, disruptedEvictionsPerSecond: 0.01, largeZoneNodes, unhealthyShare: 0.55 });
  for (let index = 0; index < ready; index += 1) zones.set(`r${index}`, 'a', { ready: true, counts: true });
  for (let index = 0; index < notReady; index += 1) {
    zones.set(`n${index}`, 'a', { ready: false, counts: true });
    zones.want(`n${index}`);
  }
  return { clock, zones };
}

describe('zones', () => {
  it('evict one node at once and the next ones ten seconds apart', () => {
    const { clock, zones } = setUp({ ready: 10, notReady: 3 });
    expect(zones.takeDue()).toEqual(['n0']);
    clock.advance(9_000);
    expect(zones.takeDue()).toEqual([]);
    clock.advance(1_001);
    expect(zones.takeDue()).toEqual(['n1']);
    clock.advance(60_000);
    expect(zones.takeDue()).toEqual(['n2']);
  });

  it('stop in a small zone of which most nodes are gone', () => {
    const { clock, zones } = setUp({ ready: 2, notReady: 3 });
    clock.advance(600_000);
    expect(zones.takeDue()).toEqual([]);
  });

  it('slow down in a large zone of which most nodes are gone', () => {
    const { clock, zones } = setUp({ ready: 2, notReady: 3 }, 4);
    expect(zones.takeDue()).toEqual(['n0']);
    clock.advance(50_000);
    expect(zones.takeDue()).toEqual([]);
    clock.advance(50_001);
    expect(zones.takeDue()).toEqual(['n1']);
  });

  it('forget a node that is ready again or gone', () => {
    const { zones } = setUp({ ready: 10, notReady: 2 });
    zones.cancel('n0');
    zones.delete('n1');
    expect(zones.takeDue()).toEqual([]);
  });

  it('keep the place of a node that moves to another zone', () => {
    const { zones } = setUp({ ready: 10, notReady: 1 });
    zones.set('n0', 'b', { ready: false, counts: true });
    expect(zones.takeDue()).toEqual(['n0']);
  });

  it('know when no zone has a ready node', () => {
    const { zones } = setUp({ ready: 1, notReady: 1 });
    expect(zones.allDisrupted).toBe(false);
    zones.set('r0', 'a', { ready: false, counts: true });
    expect(zones.allDisrupted).toBe(true);
    zones.set('other', 'b', { ready: true, counts: false });
    expect(zones.allDisrupted).toBe(true);
    zones.set('other', 'b', { ready: true, counts: true });
    expect(zones.allDisrupted).toBe(false);
  });

  it('have nothing to say about no nodes', () => {
    expect(setUp({ ready: 0, notReady: 0 }).zones.allDisrupted).toBe(false);
  });
});
