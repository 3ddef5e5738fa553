import type { Clock } from '../../base/clock.ts';

/**
 * The time of each node's last heartbeat, by the clock of this process, since clocks of nodes may differ. Entries are
 * in order of time: the search for silent nodes visits only these. A heartbeat of one of 5,000 nodes costs two map
 * operations.
 */
export interface Heartbeats {
  /**
   * Records a heartbeat when `stamp` (the time that the node wrote) differs from the last one of its `source`. The
   * first sight of a node counts as a heartbeat.
   *
   * @returns true when a lost node has come back
   */
  heard(node: string, source: 'lease' | 'status', stamp: string): boolean;
  /** The node exists; it has `graceMs` from now to send its first heartbeat. */
  known(node: string): void;
  forget(node: string): void;
  /**
   * Nodes that became silent since the last call: without a heartbeat for their grace period. If the last call was long
   * ago, this process was halted and could not receive heartbeats. Then no node is lost, and the grace period of all
   * begins again.
   */
  takeLost(): readonly string[];
  isLost(node: string): boolean;
  /** Counts a heartbeat of every node now, since this process was unable to receive them. */
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
