import { type Node, nodes } from '../../api/core/v1/node.ts';
import { labels } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { readAnswer } from '../../base/http-answer.ts';
import type { Log } from '../../base/log.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { KubeletClient } from '../http/kubelet-client.ts';
import {
  type ContainerUsage,
  type MachineRate,
  machineUsageBetween,
  type NodeSamples,
  parseResourceMetrics,
  usageBetween,
} from './usage.ts';

/** Asks the agents of all nodes, again and again, what their containers have used. */
export interface UsageCollector extends Component {
  /** By node; nodes that were looked at once only, or did not answer lately, are not there. */
  usage(): ReadonlyMap<string, NodeUsage>;
}

export interface NodeUsage {
  readonly containers: readonly ContainerUsage[];
  /** Undefined for a node that shares its machine with others: it uses what its containers use. */
  readonly machine: MachineRate | undefined;
  /** Time of the last look in milliseconds since the epoch. */
  readonly at: number;
  /** Since the look before. */
  readonly windowMs: number;
}

export interface UsageCollectorOptions {
  readonly informers: InformerSet;
  /** Closed when the collector stops. */
  readonly kubelet: KubeletClient;
  readonly clock: Clock;
  readonly log: Log;
}

/** Between two looks; a container that was seen once is looked at again soon, since one look alone tells no rate. */
const intervalMs = 15_000;
const firstIntervalMs = 2_000;
/** A node without an answer for this long is left out. */
const maxAgeMs = 60_000;
const timeoutMs = 10_000;
const maxAnswerBytes = 8 * 1024 * 1024;
/** Nodes asked at once. */
const maxConcurrent = 16;

interface Known {
  readonly samples: NodeSamples;
  /** Undefined after the first look. */
  readonly usage: NodeUsage | undefined;
  readonly readAt: number;
}

export function createUsageCollector({ informers, kubelet, clock, log }: UsageCollectorOptions): UsageCollector {
  const informer = informers.get(nodes);
  const known = new Map<string, Known>();
  const stopping = new AbortController();
  let cancel: () => void = () => undefined;

  async function look(): Promise<void> {
    // Simulated nodes run nothing that could be measured.
    const all = [...informer.list()].filter(({ metadata }) => metadata.labels?.[labels.midshipSimulated] !== 'true');
    const names = new Set(all.map(({ metadata }) => metadata.name));
    for (const name of known.keys()) if (!names.has(name)) known.delete(name);
    for (let from = 0; from < all.length; from += maxConcurrent) await Promise.all(all.slice(from, from + maxConcurrent).map(ask));
    if (stopping.signal.aborted) return;
    const isNew = [...known.values()].some(
      ({ samples, usage }) => usage === undefined || samples.containers.size > usage.containers.length,
    );
    cancel = clock.after(isNew || known.size === 0 ? firstIntervalMs : intervalMs, () => void look());
  }

  async function ask(node: Node): Promise<void> {
    const { name } = node.metadata;
    try {
      const samples = parseResourceMetrics(await read(node));
      const before = known.get(name);
      const readAt = clock.monotonicMs();
      const usage =
        before === undefined
          ? undefined
          : {
              containers: usageBetween(before.samples, samples),
              machine: machineUsageBetween(before.samples, samples),
              at: clock.now(),
              windowMs: Math.round(readAt - before.readAt),
            };
      known.set(name, { samples, usage, readAt });
    } catch (err) {
      if (!stopping.signal.aborted) log.debug({ err, node: name }, 'Could not read resource metrics of node');
    }
  }

  async function read(node: Node): Promise<string> {
    const abort = new AbortController();
    const cancelTimeout = clock.after(timeoutMs, () => abort.abort(new Error('timed out')));
    try {
      const signal = AbortSignal.any([abort.signal, stopping.signal]);
      const answer = await kubelet.request(node, { path: '/metrics/resource', signal });
      const text = await readAnswer(answer, { maxBytes: maxAnswerBytes });
      if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
      return text;
    } finally {
      cancelTimeout();
    }
  }

  return {
    name: 'resource-metrics-collector',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      void look();
    },
    async stop() {
      stopping.abort(new Error('the collector stops'));
      cancel();
      known.clear();
      kubelet.close();
    },
    usage() {
      const oldest = clock.monotonicMs() - maxAgeMs;
      return new Map([...known].flatMap(([name, { usage, readAt }]) => (usage === undefined || readAt < oldest ? [] : [[name, usage]])));
    },
  };
}
