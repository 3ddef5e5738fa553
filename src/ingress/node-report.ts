import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { conditionOf, transitionTimeOf } from '../machinery/conditions.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';

/** Condition of a Node: True while its machine serves Ingresses. The addresses of such Nodes become those of the Ingresses. */
export const ingressCondition = 'midship.dev/Ingress';

export interface ServingState {
  readonly status: 'True' | 'False';
  readonly reason: 'Serving' | 'Stopped' | 'NoIngressClass' | 'PortNotBindable';
  readonly message: string;
}

/** A Node whose machine this process is, and a client that may write its status. */
export interface ReportedNode {
  readonly name: string;
  readonly client: Client;
}

export interface NodeReportOptions {
  readonly nodes: readonly ReportedNode[];
  readonly recorder: EventRecorder;
  readonly clock: Clock;
  readonly log: Log;
}

/** Says on Nodes whether they serve Ingresses. */
export interface NodeReport {
  /** Writes what differs; never fails. A port that cannot be bound is an Event, too. */
  write(state: ServingState, signal: AbortSignal): Promise<void>;
}

export function createNodeReport({ nodes: reported, recorder, clock, log }: NodeReportOptions): NodeReport {
  async function writeOne({ name, client }: ReportedNode, state: ServingState, signal: AbortSignal): Promise<void> {
    const node = await client.get(nodes, { name }, { signal });
    const before = conditionOf(node.status?.conditions, ingressCondition);
    const { status, reason, message } = state;
    if (before?.status === status && before.reason === reason && before.message === message) return;
    const now = timestampOf(clock.now());
    const condition = {
      type: ingressCondition,
      ...state,
      lastHeartbeatTime: now,
      lastTransitionTime: transitionTimeOf(before, status, now),
    };
    await patchConditions(client, name, condition, signal);
    if (reason === 'PortNotBindable') recorder.record(node, { type: 'Warning', reason, message });
  }

  return {
    async write(state, signal) {
      for (const node of reported) {
        // The Node may be registered again a moment later; the next report comes in any case.
        await writeOne(node, state, signal).catch((err: unknown) => log.warn({ node: node.name, err }, 'Could not report Ingress state'));
      }
    },
  };
}

/** Takes the condition away from a Node whose machine serves no Ingresses any more. */
export async function clearIngressCondition({ name, client }: ReportedNode, signal: AbortSignal): Promise<void> {
  const node: Node | undefined = await client.get(nodes, { name }, { signal }).catch((err: unknown) => {
    if (isNotFound(err)) return undefined;
    throw err;
  });
  if (conditionOf(node?.status?.conditions, ingressCondition) === undefined) return;
  await patchConditions(client, name, { $patch: 'delete', type: ingressCondition }, signal);
}

async function patchConditions(client: Client, name: string, condition: object, signal: AbortSignal): Promise<void> {
  await client.patch(
    nodes,
    { name },
    { type: 'strategic', body: { status: { conditions: [condition] } } },
    { subresource: 'status', signal },
  );
}
