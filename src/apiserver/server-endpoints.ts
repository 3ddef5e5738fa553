import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { type Endpoints, endpoints } from '../api/core/v1/endpoints.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import type { Informer } from '../client/informer.ts';
import { deepEqual, keyOf } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import { ensure } from './ensure.ts';

/** The place at which an API server answers. */
export interface ServerAddress {
  readonly address: string;
  readonly port: number;
}

const service = { namespace: 'default', name: 'kubernetes' } as const;
export const identityLabel = 'apiserver.kubernetes.io/identity';

/** Servers that start at the same moment with other ports may take the same name. */
const maxTries = 3;

/** Adds a server to the endpoints of the Service `kubernetes`. Clients in the cluster reach it from then on. */
export async function addServer(client: Client, server: ServerAddress): Promise<void> {
  for (let tries = 1; tries <= maxTries; tries += 1) {
    const slices = await slicesOf(client);
    if (slices.flatMap(serversIn).some((known) => idOf(known) === idOf(server))) break;
    await writeSlice(client, server, nameFor(server, slices));
  }
  await writeEndpoints(client);
}

/** A slice has one port for all its addresses. The first keeps its name forever, since clients look for it. */
function nameFor({ port }: ServerAddress, slices: readonly EndpointSlice[]): string {
  const ownName = `${service.name}-${port}`;
  const first = slices.find(({ metadata }) => metadata.name === service.name);
  const hasOwn = slices.some(({ metadata }) => metadata.name === ownName);
  const isFirst = first === undefined || portOf(first) === port || (first.endpoints.length === 0 && !hasOwn);
  return isFirst ? service.name : ownName;
}

async function writeSlice(client: Client, { address, port }: ServerAddress, name: string): Promise<void> {
  const ports = [{ name: 'https', port, protocol: 'TCP' }];
  await ensure<EndpointSlice>(client, endpointSlices, {
    object: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: service.namespace, name, labels: { [labels.serviceName]: service.name } },
      addressType: 'IPv4',
      endpoints: [endpointOf(address)],
      ports,
    },
    change(stored) {
      // A server with another port came first.
      if (stored.endpoints.length > 0 && portOf(stored) !== port) return stored;
      const all = new Set([...stored.endpoints.flatMap(({ addresses }) => addresses), address]);
      return { ...stored, endpoints: [...all].sort().map(endpointOf), ports };
    },
  });
}

/**
 * Takes servers out of the endpoints of the Service `kubernetes`. The last one stays: an address that may answer again is better than none.
 */
export async function removeServers(client: Client, isGone: (server: ServerAddress) => boolean): Promise<void> {
  const slices = await slicesOf(client);
  const all = slices.flatMap(serversIn);
  if (all.every(isGone)) return;
  for (const slice of slices) {
    const port = portOf(slice);
    const left = slice.endpoints.filter(({ addresses: [address = ''] }) => !isGone({ address, port }));
    if (left.length === slice.endpoints.length) continue;
    try {
      if (left.length > 0 || slice.metadata.name === service.name) await client.update(endpointSlices, { ...slice, endpoints: left });
      else await client.delete(endpointSlices, slice.metadata);
    } catch (err) {
      // Another server changed it at the same time; the next look follows.
      if (!isConflict(err) && !isNotFound(err)) throw err;
    }
  }
  await writeEndpoints(client);
}

const endpointOf = (address: string) => ({ addresses: [address], conditions: { ready: true } });
const portOf = ({ ports }: EndpointSlice): number => ports?.[0]?.port ?? 0;
const serversIn = (slice: EndpointSlice): readonly ServerAddress[] =>
  slice.endpoints.map(({ addresses: [address = ''] }) => ({ address, port: portOf(slice) }));

async function slicesOf(client: Client): Promise<readonly EndpointSlice[]> {
  const { items } = await client.list(endpointSlices, {
    namespace: service.namespace,
    labelSelector: `${labels.serviceName}=${service.name}`,
  });
  return items;
}

/** The older form of the same, for clients that read no slices. */
async function writeEndpoints(client: Client): Promise<void> {
  const slices = await slicesOf(client);
  const subsets = slices
    .filter(({ endpoints: own }) => own.length > 0)
    .map((slice) => ({
      addresses: serversIn(slice).map(({ address }) => ({ ip: address })),
      ports: [{ name: 'https', port: portOf(slice), protocol: 'TCP' }],
    }));
  await ensure<Endpoints>(client, endpoints, {
    object: {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { ...service, labels: { [labels.endpointSliceSkipMirror]: 'true' } },
      subsets,
    },
    change: (stored) => (deepEqual(stored.subsets, subsets) ? stored : { ...stored, subsets }),
  });
}

export interface ServerEndpointsKeeperOptions {
  readonly client: Client;
  /** The cache of Leases. */
  readonly leases: Informer<Lease>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Without a change of its Lease for so long a server counts as gone. */
const goneMs = 15_000;
const lookMs = 2_500;

/**
 * Takes servers whose Lease does not change any more out of the endpoints of the Service `kubernetes`. It measures by its own clock how
 * long that is, since clocks of servers differ. One server of a cluster does this.
 */
export function createServerEndpointsKeeper({ client, leases: known, clock, log }: ServerEndpointsKeeperOptions): Component {
  /** Each Lease as it was seen last, and since when it is so. */
  const seen = new Map<string, { readonly version: string; readonly sinceMs: number }>();
  let cancel: () => void = () => undefined;
  let looking: Promise<void> = Promise.resolve();
  let startedMs = 0;
  let isStopped = false;

  async function look(): Promise<void> {
    const nowMs = clock.monotonicMs();
    const alive = new Set<string>();
    const gone: Lease[] = [];
    const present = new Set<string>();
    for (const lease of known.list({ namespace: 'kube-system' })) {
      const address = serverOf(lease);
      if (address === undefined) continue;
      const key = keyOf(lease);
      const version = lease.metadata.resourceVersion ?? '';
      present.add(key);
      const before = seen.get(key);
      if (before?.version !== version) seen.set(key, { version, sinceMs: nowMs });
      if (before?.version === version && nowMs - before.sinceMs > goneMs) gone.push(lease);
      else alive.add(idOf(address));
    }
    for (const key of seen.keys()) if (!present.has(key)) seen.delete(key);
    // A keeper that has just begun has not given others the time to renew.
    if (nowMs - startedMs > goneMs && alive.size > 0) await removeServers(client, (server) => !alive.has(idOf(server)));
    for (const { metadata } of gone) {
      log.info({ lease: `${metadata.namespace}/${metadata.name}` }, 'Removed server that gave no sign of life');
      await client.delete(leases, metadata).catch((err: unknown) => {
        if (!isNotFound(err)) throw err;
      });
    }
  }

  function round(): void {
    looking = look()
      .catch((err: unknown) => log.warn({ err }, 'Could not keep endpoints of servers'))
      .finally(() => {
        if (!isStopped) cancel = clock.after(lookMs, round);
      });
  }

  return {
    name: 'server-endpoints',
    async start() {
      await known.whenSynced;
      startedMs = clock.monotonicMs();
      round();
    },
    async stop() {
      isStopped = true;
      cancel();
      await looking;
    },
  };
}

const idOf = ({ address, port }: ServerAddress): string => `${address}:${port}`;

/** The address in the Lease of a server; undefined for any other Lease. */
function serverOf({ metadata }: Lease): ServerAddress | undefined {
  if (metadata.labels?.[identityLabel] === undefined) return undefined;
  const address = metadata.annotations?.[annotations.serverAddress] ?? '';
  const port = Number(metadata.annotations?.[annotations.serverPort]);
  return address !== '' && Number.isInteger(port) && port > 0 ? { address, port } : undefined;
}
