import type { Clock } from '../../base/clock.ts';

/**
 * When each node was last heard of, by the clock of this process: clocks of nodes may differ. Kept in order of time, so that looking for
 * silent nodes costs only those that are silent, and a heartbeat of one of 5,000 nodes costs two map operations.
 */
export interface Heartbeats {
  /**
   * The node sent a heartbeat, when `stamp` (the time it wrote itself) differs from the last one of its `source`. A node that is seen for
   * the first time counts as heard of now.
   *
   * @returns true when the node had been lost and is heard of again
   */
  heard(node: string, source: 'lease' | 'status', stamp: string): boolean;
  /** The node exists; it has `graceMs` from now to send its first heartbeat. */
  known(node: string): void;
  forget(node: string): void;
  /**
   * Nodes that became silent since the last call: not heard of for their grace period. When that call was long ago this process stood
   * still, and with it whatever would have delivered the heartbeats: then nobody is lost and all begin anew.
   */
  takeLost(): readonly string[];
  isLost(node: string): boolean;
  /** All count as heard of now: it was we who could not hear. */
  reset(): void;
}

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Silence after which a node that has reported counts as lost. */
  readonly graceMs: number;
  /** The same for a node that has never reported its status. */
  readonly startupGraceMs: number;
}

export function createHeartbeats({ clock, graceMs, startupGraceMs }: HeartbeatOptions): Heartbeats {
  // Insertion order is order of time: a heartbeat takes its node out and puts it in at the end.
  const starting = new Map<string, number>();
  const reporting = new Map<string, number>();
  const lost = new Set<string>();
  let lookedAt: number | undefined;
  const stamps = new Map<string, { lease: string; status: string }>();

  function touch(node: string, hasReported: boolean): boolean {
    const wasLost = lost.delete(node);
    const reported = hasReported || reporting.has(node);
    starting.delete(node);
    reporting.delete(node);
    (reported ? reporting : starting).set(node, clock.monotonicMs());
    return wasLost;
  }

  function silent(times: Map<string, number>, limitMs: number): string[] {
    const names: string[] = [];
    const before = clock.monotonicMs() - limitMs;
    for (const [node, at] of times) {
      if (at > before) break;
      names.push(node);
      times.delete(node);
      lost.add(node);
    }
    return names;
  }

  function reset(): void {
    for (const node of [...lost, ...starting.keys(), ...reporting.keys()]) touch(node, (stamps.get(node)?.status ?? '') !== '');
  }

  return {
    heard(node, source, stamp) {
      let known = stamps.get(node);
      if (known === undefined) {
        known = { lease: '', status: '' };
        stamps.set(node, known);
      }
      if (known[source] === stamp) return false;
      known[source] = stamp;
      return touch(node, known.status !== '');
    },
    known(node) {
      if (!starting.has(node) && !reporting.has(node) && !lost.has(node)) touch(node, false);
    },
    forget(node) {
      starting.delete(node);
      reporting.delete(node);
      lost.delete(node);
      stamps.delete(node);
    },
    takeLost() {
      const now = clock.monotonicMs();
      const stoodStill = lookedAt !== undefined && now - lookedAt > graceMs / 2;
      lookedAt = now;
      if (stoodStill) {
        reset();
        return [];
      }
      return [...silent(starting, startupGraceMs), ...silent(reporting, graceMs)];
    },
    isLost: (node) => lost.has(node),
    reset,
  };
}
