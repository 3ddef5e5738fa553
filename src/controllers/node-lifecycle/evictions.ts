import type { Node } from '../../api/core/v1/node.ts';
import { labels } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { readyStatusOf, stateOf } from '../../lifecycle/node.facts.ts';
import { createZones } from './zones.ts';

const excludeFromDisruption = 'node.kubernetes.io/exclude-disruption';

/** Decides when pods begin to be moved from a node: zone by zone at a bounded rate, and never while every node seems dead. */
export interface Evictions {
  /** Counts the node in its zone, and lets it wait for its turn when its pods have to be moved. */
  judge(node: Node): void;
  forget(name: string): void;
  /** The turn of the node has come. */
  isDue(name: string): boolean;
  /** The node has its taint. */
  noteTainted(name: string): void;
  /** Gives the nodes whose turn comes now; they are due until they have their taint. */
  takeDue(): readonly string[];
  /** Nobody hears from the node: pods that come to it, or become ready on it, have to be looked at. */
  isUnreachable(name: string): boolean;
  /** No node of the cluster is ready. */
  readonly isCalledOff: boolean;
}

export interface EvictionsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Nodes a second from which pods may begin to be moved. */
  readonly evictionsPerSecond: number;
  /** The whole cluster seems dead, or came back from it: every node is judged by that. */
  onTurn(now: { readonly isCalledOff: boolean }): void;
}

export function createEvictions({ clock, log, evictionsPerSecond, onTurn }: EvictionsOptions): Evictions {
  const zones = createZones({
    clock,
    evictionsPerSecond,
    disruptedEvictionsPerSecond: 0.01,
    largeZoneNodes: 50,
    unhealthyShare: 0.55,
  });
  /** An entry leaves as soon as the taint is set. */
  const due = new Set<string>();
  const unreachable = new Set<string>();
  let isCalledOff = false;
  /** A cluster whose first node is still starting is not a cluster that died. */
  let sawReady = false;

  function noteDisruption(): void {
    if (zones.allDisrupted === isCalledOff) return;
    isCalledOff = zones.allDisrupted;
    if (isCalledOff) {
      if (sawReady) log.warn({}, 'No node was ready, stopped moving pods');
      due.clear();
    } else if (sawReady) log.info({}, 'Some node was ready again, resumed moving pods');
    onTurn({ isCalledOff });
  }

  return {
    judge(node) {
      const { name } = node.metadata;
      const ready = readyStatusOf(node);
      zones.set(name, zoneNameOf(node), {
        ready: ready === 'True',
        counts: node.metadata.labels?.[excludeFromDisruption] === undefined,
      });
      if (ready === 'Unknown') unreachable.add(name);
      else unreachable.delete(name);
      noteDisruption();
      if (ready === 'True') sawReady = true;
      const { eviction } = stateOf(node) as { readonly eviction: string };
      if ((ready === 'False' || ready === 'Unknown') && eviction === 'Keeping' && !isCalledOff) {
        if (!due.has(name)) zones.want(name);
      } else {
        zones.cancel(name);
        due.delete(name);
      }
    },
    forget(name) {
      zones.delete(name);
      due.delete(name);
      unreachable.delete(name);
      noteDisruption();
    },
    isDue: (name) => due.has(name),
    noteTainted: (name) => void due.delete(name),
    takeDue() {
      if (zones.allDisrupted) return [];
      const names = [...zones.takeDue()];
      for (const name of names) due.add(name);
      return names;
    },
    isUnreachable: (name) => unreachable.has(name),
    get isCalledOff() {
      return isCalledOff;
    },
  };
}

/** Region and zone together, as upstream counts them. */
function zoneNameOf(node: Node): string {
  const region = node.metadata.labels?.[labels.region] ?? '';
  const zone = node.metadata.labels?.[labels.zone] ?? '';
  return region === '' && zone === '' ? '' : `${region}:\u0000:${zone}`;
}
