import type { Clock } from '../../base/clock.ts';

/**
 * Rate at which pods may be moved away from nodes, by zone. Pods of one dead node move at once. When half of a zone
 * seems dead, the network is the likelier cause, and moving everything would do the damage.
 *
 * @see Kubernetes concepts, "Nodes", "Rate limits on eviction"
 */
export interface Zones {
  /** `counts: false` for nodes that are excluded from disruption checks. */
  set(node: string, zone: string, options: { readonly ready: boolean; readonly counts: boolean }): void;
  delete(node: string): void;
  /** The node waits for its turn to be evicted, first come first served in its zone. */
  want(node: string): void;
  cancel(node: string): void;
  /** Nodes whose turn it is now. */
  takeDue(): readonly string[];
  /** Every zone is without a ready node: nothing is evicted. */
  readonly allDisrupted: boolean;
}

type ZoneState = 'Normal' | 'PartialDisruption' | 'FullDisruption';

export interface ZoneOptions {
  readonly clock: Clock;
  /** Nodes a second that may begin to be evicted in a healthy zone. */
  readonly evictionsPerSecond: number;
  /** The same in a large zone of which most nodes are not ready; a small one stops. */
  readonly disruptedEvictionsPerSecond: number;
  /** Zones with more nodes are large. */
  readonly largeZoneNodes: number;
  /** Share of nodes not ready from which a zone counts as partially disrupted. */
  readonly unhealthyShare: number;
}

interface Zone {
  ready: number;
  notReady: number;
  readonly waiting: Set<string>;
  /** Whole evictions that may begin; at most one is saved up. */
  tokens: number;
  filledAt: number;
}

interface Member {
  readonly zone: string;
  readonly ready: boolean;
  readonly counts: boolean;
}

export function createZones(options: ZoneOptions): Zones {
  const { clock } = options;
  const zones = new Map<string, Zone>();
  const members = new Map<string, Member>();

  function zoneOf(name: string): Zone {
    let zone = zones.get(name);
    if (zone === undefined) {
      zone = { ready: 0, notReady: 0, waiting: new Set(), tokens: 1, filledAt: clock.monotonicMs() };
      zones.set(name, zone);
    }
    return zone;
  }

  function count({ zone: name, ready, counts }: Member, sign: 1 | -1): void {
    if (!counts) return;
    const zone = zoneOf(name);
    if (ready) zone.ready += sign;
    else zone.notReady += sign;
  }

  function remove(node: string): void {
    const member = members.get(node);
    if (member === undefined) return;
    count(member, -1);
    members.delete(node);
    const zone = zones.get(member.zone);
    zone?.waiting.delete(node);
    if (zone !== undefined && zone.ready + zone.notReady === 0 && zone.waiting.size === 0) zones.delete(member.zone);
  }

  function disruptionOf({ ready, notReady }: Zone): ZoneState {
    if (ready === 0 && notReady > 0) return 'FullDisruption';
    if (notReady > 2 && notReady / (ready + notReady) >= options.unhealthyShare) return 'PartialDisruption';
    return 'Normal';
  }

  function rateOf(zone: Zone): number {
    if (disruptionOf(zone) !== 'PartialDisruption') return options.evictionsPerSecond;
    return zone.ready + zone.notReady > options.largeZoneNodes ? options.disruptedEvictionsPerSecond : 0;
  }

  return {
    set(node, zone, { ready, counts }) {
      const known = members.get(node);
      if (known?.zone === zone && known.ready === ready && known.counts === counts) return;
      const waits = known !== undefined && zones.get(known.zone)?.waiting.has(node) === true;
      if (known?.zone !== zone) remove(node);
      else count(known, -1);
      const member = { zone, ready, counts };
      members.set(node, member);
      count(member, 1);
      if (waits) zoneOf(zone).waiting.add(node);
    },
    delete: remove,
    want(node) {
      const member = members.get(node);
      if (member !== undefined) zoneOf(member.zone).waiting.add(node);
    },
    cancel(node) {
      const member = members.get(node);
      if (member !== undefined) zones.get(member.zone)?.waiting.delete(node);
    },
    takeDue() {
      const due: string[] = [];
      const now = clock.monotonicMs();
      for (const zone of zones.values()) {
        zone.tokens = Math.min(1, zone.tokens + ((now - zone.filledAt) * rateOf(zone)) / 1_000);
        zone.filledAt = now;
        // A zone that evicts nothing now does not use up what it saved, but does not act on it either.
        if (rateOf(zone) === 0) continue;
        for (const node of zone.waiting) {
          if (zone.tokens < 1) break;
          zone.tokens -= 1;
          zone.waiting.delete(node);
          due.push(node);
        }
      }
      return due;
    },
    get allDisrupted() {
      let any = false;
      for (const zone of zones.values()) {
        if (zone.ready + zone.notReady === 0) continue;
        if (disruptionOf(zone) !== 'FullDisruption') return false;
        any = true;
      }
      return any;
    },
  };
}
