import { BlockList, connect, createServer, type Socket } from 'node:net';
import type { EndpointAddress } from '../api/discovery/v1/serving-endpoints.ts';
import type { Clock } from '../base/clock.ts';
import { type Balancer, createBalancer } from './balancer.ts';
import { type Forward, forwardKey } from './table.ts';

/** One address and port that is listened on. */
export interface Listener {
  update(forward: Forward): void;
  /** Stops listening; connections that are open stay until their ends close them. */
  close(): void;
}

export interface ListenerOptions {
  readonly forward: Forward;
  readonly connections: ConnectionPool;
  readonly clock: Clock;
}

/** The connections of all listeners: their number is bounded, and they end with the proxy. */
export interface ConnectionPool {
  /** False when there are too many: the connection is then refused. */
  admit(client: Socket): boolean;
  count(result: ConnectionResult): void;
}

export type ConnectionResult = 'forwarded' | 'no_endpoints' | 'unreachable' | 'limit' | 'forbidden';

const connectTimeoutMs = 3_000;
/** Endpoints tried for one connection. */
const maxTries = 4;
/** Nothing was sent either way for this long. */
const idleTimeoutMs = 60 * 60_000;
const backlog = 511;

/** @throws the error of the bind: `EACCES`, `EADDRINUSE`, `EADDRNOTAVAIL` */
export function listen({ forward, connections, clock }: ListenerOptions): Promise<Listener> {
  const balancer = createBalancer(forward, clock);
  let sources = sourcesOf(forward);
  // Paused: nothing is read from the client before there is someone to give it to.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true, keepAlive: true }, (client) => {
    if (sources !== undefined && !sources.check(client.remoteAddress ?? '', 'ipv4')) {
      connections.count('forbidden');
      client.resetAndDestroy();
      return;
    }
    if (!connections.admit(client)) {
      connections.count('limit');
      client.resetAndDestroy();
      return;
    }
    accept(client, balancer, connections);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: forward.address, port: forward.port, backlog }, () => {
      server.off('error', reject);
      // EMFILE and the like: the connection is lost, the listener goes on.
      server.on('error', () => connections.count('limit'));
      resolve({
        update(changed) {
          balancer.update(changed);
          sources = sourcesOf(changed);
        },
        close: () => server.close(),
      });
    });
  });
}

/** Undefined: everybody may connect. */
function sourcesOf({ sources }: Forward): BlockList | undefined {
  if (sources === undefined) return undefined;
  const list = new BlockList();
  for (const range of sources) {
    const [address = '', bits] = range.split('/');
    list.addSubnet(address, Number(bits), 'ipv4');
  }
  return list;
}

/**
 * Connects to an endpoint, and to the next one when the first does not answer. An endpoint that is just going refuses before the table
 * knows. Once connected bytes are passed on as they are, and nothing is repeated.
 */
function accept(client: Socket, balancer: Balancer, connections: ConnectionPool): void {
  const tried = new Set<string>();
  const from = client.remoteAddress ?? '';
  client.on('error', () => undefined);

  const next = (): void => {
    const endpoint = tried.size < maxTries ? balancer.choose(from, tried) : undefined;
    if (client.destroyed) return;
    if (endpoint === undefined) {
      connections.count(tried.size === 0 ? 'no_endpoints' : 'unreachable');
      client.resetAndDestroy();
      return;
    }
    tried.add(forwardKey(endpoint));
    dial(endpoint);
  };

  const dial = ({ address, port }: EndpointAddress): void => {
    const upstream = connect({ host: address, port, allowHalfOpen: true, noDelay: true, keepAlive: true });
    const giveUp = (): void => {
      upstream.destroy();
    };
    client.once('close', giveUp);
    upstream.setTimeout(connectTimeoutMs, giveUp);
    upstream.on('error', () => undefined);
    upstream.once('close', () => {
      client.off('close', giveUp);
      next();
    });
    upstream.once('connect', () => {
      upstream.removeAllListeners('close');
      upstream.removeAllListeners('timeout');
      upstream.setTimeout(0);
      client.off('close', giveUp);
      connections.count('forwarded');
      join(client, upstream);
    });
  };

  next();
}

/** Bytes both ways, at the speed of the slower side. An end is passed on alone, since the other way may still have something to say. */
function join(client: Socket, upstream: Socket): void {
  client.setTimeout(idleTimeoutMs, () => {
    client.destroy();
    upstream.destroy();
  });
  client.once('close', () => upstream.destroy());
  upstream.once('close', (failed) => {
    if (failed) client.resetAndDestroy();
    else client.destroySoon();
  });
  client.pipe(upstream);
  upstream.pipe(client);
}
