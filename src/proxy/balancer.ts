import type { EndpointAddress } from '../api/discovery/v1/serving-endpoints.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';
import { type Forward, forwardKey } from './table.ts';

/** Chooses the endpoint of each connection: one after the other, or the one a client had before. */
export interface Balancer {
  /** Undefined when all endpoints are in `tried`, or there is none. */
  choose(client: string, tried: ReadonlySet<string>): EndpointAddress | undefined;
  /** Takes new endpoints; clients keep theirs as long as it is there. */
  update(forward: Forward): void;
}

/** Clients remembered; the one that came first is forgotten, and may then get another endpoint. */
const maxClients = 65_535;

export function createBalancer(initial: Forward, clock: Clock): Balancer {
  let { endpoints, affinityMs } = initial;
  let next = 0;
  const clients = new BoundedMap<string, { readonly endpoint: string; readonly until: number }>(maxClients);

  function remembered(client: string): EndpointAddress | undefined {
    const known = clients.get(client);
    if (known === undefined || known.until < clock.monotonicMs()) return undefined;
    return endpoints.find((endpoint) => forwardKey(endpoint) === known.endpoint);
  }

  return {
    choose(client, tried) {
      if (affinityMs !== undefined) {
        const sticky = remembered(client);
        if (sticky !== undefined && !tried.has(forwardKey(sticky))) return remember(sticky);
      }
      for (let count = 0; count < endpoints.length; count += 1) {
        const endpoint = endpoints[next % endpoints.length];
        next = (next + 1) % endpoints.length;
        if (endpoint !== undefined && !tried.has(forwardKey(endpoint))) return affinityMs === undefined ? endpoint : remember(endpoint);
      }
      return undefined;

      function remember(endpoint: EndpointAddress): EndpointAddress {
        clients.set(client, { endpoint: forwardKey(endpoint), until: clock.monotonicMs() + (affinityMs ?? 0) });
        return endpoint;
      }
    },
    update(forward) {
      ({ endpoints, affinityMs } = forward);
      if (next >= endpoints.length) next = 0;
      if (affinityMs === undefined) clients.clear();
    },
  };
}
