import { type Node, nodes, type Taint } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import { unknownConditions } from '../../lifecycle/node.facts.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { isPodReady } from '../pod-conditions.ts';
import { inBatches } from '../slow-start.ts';

/** Writes of the node controller. Those of a node give it as the server then has it. */
export interface NodeWrites {
  /** Sets the conditions of a node that nobody hears from to Unknown. */
  writeUnknown(node: Node, signal: AbortSignal): Promise<Node>;
  writeTaints(node: Node, taints: readonly Taint[], signal: AbortSignal): Promise<Node>;
  /** Takes ready pods out of service. */
  markNotReady(here: readonly Pod[], signal: AbortSignal): Promise<void>;
}

export interface NodeWritesOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly recorder: EventRecorder;
}

export function createNodeWrites({ client, clock, recorder }: NodeWritesOptions): NodeWrites {
  return {
    writeUnknown(node, signal) {
      const conditions = unknownConditions(node, timestampOf(clock.now()));
      return client.update(nodes, { ...node, status: { ...node.status, conditions } }, { subresource: 'status', signal });
    },
    async writeTaints(node, taints, signal) {
      if (taints === node.spec?.taints || (taints.length === 0 && node.spec?.taints === undefined)) return node;
      return client.update(nodes, { ...node, spec: { ...node.spec, taints } }, { signal });
    },
    async markNotReady(here, signal) {
      const now = timestampOf(clock.now());
      await inBatches(here.filter(isPodReady), async (pod) => {
        const conditions = (pod.status?.conditions ?? []).map((condition) =>
          condition.type === 'Ready' ? { ...condition, status: 'False', lastTransitionTime: now } : condition,
        );
        try {
          await client.update(pods, { ...pod, status: { ...pod.status, conditions } }, { subresource: 'status', signal });
          recorder.record(pod, { type: 'Warning', reason: 'NodeNotReady', message: 'Node is not ready' });
        } catch (err) {
          // Gone, or written meanwhile: the change brings this node back when the pod still counts as ready.
          if (!isNotFound(err) && !isConflict(err)) throw err;
        }
      });
    },
  };
}
