import { nodes } from '../../api/core/v1/node.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';

export interface PodRangeOptions {
  readonly client: Client;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const lookEveryMs = 200;
const sayAfterMs = 10_000;

/** Waits until the cluster has given the Node its part of the pods' addresses, such as `10.42.3.0/24`. */
export async function waitForPodRange({ client, nodeName, clock, log, signal }: PodRangeOptions): Promise<string> {
  const startedAt = clock.monotonicMs();
  for (let isSaid = false; ; ) {
    const { spec } = await client.get(nodes, { name: nodeName }, { signal });
    if (spec?.podCIDR !== undefined && spec.podCIDR !== '') return spec.podCIDR;
    if (!isSaid && clock.monotonicMs() - startedAt > sayAfterMs) {
      isSaid = true;
      log.warn({ node: nodeName }, 'The Node has no podCIDR yet; the server gives it one, unless its --cluster-cidr is used up');
    }
    await sleep(clock, lookEveryMs, signal);
  }
}
