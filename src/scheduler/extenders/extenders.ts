import type { Log } from '../../base/log.ts';
import type { NodeRecord } from '../cache.ts';
import type { PodRecord } from '../pod-record.ts';
import type { Victims } from '../victims.ts';
import type { Asked, AskedToBind, AskedToPreempt, Extender } from './extender.ts';

/** Nodes that all extenders left, and the reasons for the others. */
export interface Narrowed {
  readonly nodes: readonly NodeRecord[];
  /** Number of nodes for each reason. */
  readonly reasons: ReadonlyMap<string, number>;
  /** Nodes that an extender left out and that fit once pods are removed. */
  readonly resolvable: readonly NodeRecord[];
}

/** The extenders that a pod concerns, asked one after the other in the order of the configuration. */
export interface PodExtenders {
  /** @throws Error when one fails that is not ignorable */
  filter(feasible: readonly NodeRecord[], signal: AbortSignal): Promise<Narrowed>;
  /** Points of a node, of all of them. One that fails gives none: that spoils the choice a little, and no more. */
  prioritize(feasible: readonly NodeRecord[], signal: AbortSignal): Promise<(node: NodeRecord) => number>;
  /** @throws Error when one fails that is not ignorable */
  preempt(candidates: readonly Victims[], signal: AbortSignal): Promise<readonly Victims[]>;
}

export interface Extenders {
  /** Undefined when none has anything to do with the choice of a node for the pod. */
  of(pod: PodRecord): PodExtenders | undefined;
  /** Binds the pod by an extender that does such things; undefined when none does. An ignorable one that fails leaves it to the next. */
  bind(pod: PodRecord, nodeName: string, signal: AbortSignal): Promise<boolean> | undefined;
}

/** In the list of plugins that rejected a pod when extenders did: any change may turn their answer. */
export const extenderName = 'Extender';

export function createExtenders(all: readonly Extender[], log: Log): Extenders {
  function onFailure(extender: Extender, pod: PodRecord, err: unknown): void {
    if (!extender.isIgnorable) throw err;
    log.warn({ pod: pod.key, extender: extender.name, err }, 'Left out extender that failed');
  }

  async function filter(extenders: readonly Extender[], pod: PodRecord, { feasible, signal }: Asked): Promise<Narrowed> {
    let left = feasible;
    const reasons = new Map<string, number>();
    const resolvable: NodeRecord[] = [];
    for (const extender of extenders) {
      if (left.length === 0) break;
      try {
        const result = await extender.filter?.(pod, left, signal);
        if (result === undefined) continue;
        const byName = new Map(left.map((node) => [node.name, node]));
        for (const [name, reason] of [...result.failed, ...result.unresolvable]) {
          const node = byName.get(name);
          // Each node once, even when both maps name it: the stricter one counts.
          if (node === undefined || (result.failed.get(name) === reason && result.unresolvable.has(name))) continue;
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
          if (!result.unresolvable.has(name)) resolvable.push(node);
        }
        left = result.nodes;
      } catch (err) {
        onFailure(extender, pod, err);
      }
    }
    return { nodes: left, reasons, resolvable };
  }

  async function prioritize(extenders: readonly Extender[], pod: PodRecord, { feasible, signal }: Asked) {
    const sums = new Map<string, number>();
    await Promise.all(
      extenders.map(async (extender) => {
        try {
          const points = await extender.prioritize?.(pod, feasible, signal);
          for (const [name, score] of points ?? []) sums.set(name, (sums.get(name) ?? 0) + score);
        } catch (err) {
          signal.throwIfAborted();
          log.warn({ pod: pod.key, extender: extender.name, err }, 'Scored nodes without extender that failed');
        }
      }),
    );
    return ({ name }: NodeRecord) => sums.get(name) ?? 0;
  }

  async function preempt(extenders: readonly Extender[], pod: PodRecord, { candidates, signal }: AskedToPreempt) {
    let left = candidates;
    for (const extender of extenders) {
      if (left.length === 0) break;
      try {
        left = (await extender.preempt?.(pod, left, signal)) ?? left;
      } catch (err) {
        onFailure(extender, pod, err);
      }
    }
    return left;
  }

  async function bind(binders: readonly Extender[], pod: PodRecord, { nodeName, signal }: AskedToBind): Promise<boolean> {
    for (const extender of binders) {
      try {
        await extender.bind?.(pod, nodeName, signal);
        return true;
      } catch (err) {
        onFailure(extender, pod, err);
      }
    }
    return false;
  }

  return {
    of(pod) {
      const extenders = all.filter(
        (one) => (one.filter !== undefined || one.prioritize !== undefined || one.preempt !== undefined) && one.isInterested(pod),
      );
      if (extenders.length === 0) return undefined;
      return {
        filter: (feasible, signal) => filter(extenders, pod, { feasible, signal }),
        prioritize: (feasible, signal) => prioritize(extenders, pod, { feasible, signal }),
        preempt: (candidates, signal) => preempt(extenders, pod, { candidates, signal }),
      };
    },
    bind(pod, nodeName, signal) {
      const binders = all.filter((one) => one.bind !== undefined && one.isInterested(pod));
      return binders.length === 0 ? undefined : bind(binders, pod, { nodeName, signal });
    },
  };
}
