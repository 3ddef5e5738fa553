import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Passes bytes to another port until it is asked to break what is open. */
export interface BreakingProxy {
  readonly host: string;
  readonly port: number;
  /** Breaks every connection, in the middle of what it carries. New ones pass. */
  cut(): void;
  /** Breaks every connection, and new ones too, until it is called with false. */
  block(isBlocked: boolean): void;
  stop(): void;
}

export async function startBreakingProxy(target: { readonly host: string; readonly port: number }): Promise<BreakingProxy> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  let refuses = false;
  const server = createServer({ noDelay: true }, (client) => {
    if (refuses) {
      client.destroy();
      return;
    }
    const upstream = connect({ ...target, noDelay: true });
    keep(client);
    keep(upstream);
    client.pipe(upstream);
    upstream.pipe(client);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    cut,
    block(isBlocked) {
      refuses = isBlocked;
      if (isBlocked) cut();
    },
    stop() {
      server.close();
      cut();
    },
  };
}
