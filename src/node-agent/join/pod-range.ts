import { nodes } from '../../api/core/v1/node.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { untilObject } from '../../client/until-object.ts';

export interface PodRangeOptions {
  readonly client: Client;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const sayAfterMs = 10_000;

/** Waits until the cluster has given the Node its part of the pods' addresses, such as `10.42.3.0/24`. */
export async function waitForPodRange({ client, nodeName, clock, log, signal }: PodRangeOptions): Promise<string> {
  const cancel = clock.after(sayAfterMs, () =>
    log.warn({ node: nodeName }, 'The Node has no podCIDR yet; the server gives it one, unless its --cluster-cidr is used up'),
  );
  try {
    return await untilObject({ client, resource: nodes, ref: { name: nodeName }, clock, signal }, ({ spec }) => spec?.podCIDR || undefined);
  } finally {
    cancel();
  }
}
