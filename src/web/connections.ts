import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionBounds {
  readonly max: number;
  /** Bound for one remote address. */
  readonly maxOfAddress: number;
  /** Requests that end by themselves and are never cut off: their handlers know the client and bound what they do for it. */
  isKept(request: IncomingMessage): boolean;
}

interface Connection {
  readonly socket: Socket;
  readonly client: string;
  requests: number;
  /** Requests under way that are never cut off. */
  kept: number;
  /** A request that is kept was answered well: the client may send the next part of its conversation. */
  isKnown: boolean;
}

export interface BoundConnections {
  /** Closes connections without a request now, and each other one when its requests are answered. Browsers keep some open. */
  end(): void;
}

/**
 * Bounds the connections of a server without ever turning a new one away. When an address has too many, or all together are too many,
 * the address that has most loses one. So idle connections keep nobody out. Idle ones go first, the longest idle before
 * the others, then those that read an answer.
 */
export function boundConnections(server: Server, { max, maxOfAddress, isKept }: ConnectionBounds): BoundConnections {
  /** By address, the longest idle first. */
  const byAddress = new Map<string, Set<Connection>>();
  /** By address and port of the client: with TLS a request comes in on another socket than the connection. */
  const byClient = new Map<string, Connection>();
  let isEnding = false;
  // Sockets that were destroyed count until the turn of the event loop is over.
  server.maxConnections = 2 * max;

  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const connection: Connection = { socket, client: clientOf(socket), requests: 0, kept: 0, isKnown: false };
    const ofAddress = byAddress.get(address) ?? new Set();
    byAddress.set(address, ofAddress.add(connection));
    byClient.set(connection.client, connection);
    socket.once('close', () => remove(connection, address));
    if (ofAddress.size > maxOfAddress) drop(ofAddress, connection, address);
    else if (byClient.size > max) {
      const [crowded, connections] = mostCrowded();
      drop(connections, connection, crowded);
    }
  });

  server.on('request', (request, response) => {
    const connection = byClient.get(clientOf(request.socket));
    if (connection === undefined) return;
    const kept = isKept(request);
    // A request that was destroyed has no socket when its answer closes.
    const { remoteAddress = '' } = request.socket;
    connection.requests += 1;
    if (kept) connection.kept += 1;
    response.once('close', () => {
      connection.requests -= 1;
      if (kept) connection.kept -= 1;
      if (kept && response.statusCode < 400) connection.isKnown = true;
      // The server takes it for idle once this turn of the event loop is over.
      if (isEnding) setImmediate(() => server.closeIdleConnections());
      // To the end of the line.
      const ofAddress = byAddress.get(remoteAddress);
      if (ofAddress?.delete(connection) === true) ofAddress.add(connection);
    });
  });

  return {
    end() {
      isEnding = true;
      for (const { socket, requests } of byClient.values()) if (requests === 0) socket.destroy();
    },
  };

  function mostCrowded(): [string, Set<Connection>] {
    let most: [string, Set<Connection>] = ['', new Set()];
    for (const entry of byAddress) if (entry[1].size > most[1].size) most = entry;
    return most;
  }

  function drop(connections: ReadonlySet<Connection>, newest: Connection, address: string): void {
    const victim =
      find(connections, (each) => each !== newest && each.requests === 0 && !each.isKnown) ??
      find(connections, (each) => each !== newest && each.kept === 0) ??
      newest;
    remove(victim, address);
    victim.socket.destroy();
  }

  function remove(connection: Connection, address: string): void {
    if (byClient.get(connection.client) === connection) byClient.delete(connection.client);
    const ofAddress = byAddress.get(address);
    ofAddress?.delete(connection);
    if (ofAddress?.size === 0) byAddress.delete(address);
  }
}

const clientOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

function find(connections: Iterable<Connection>, fits: (connection: Connection) => boolean): Connection | undefined {
  for (const connection of connections) if (fits(connection)) return connection;
  return undefined;
}
