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
  /** Passes nothing on from now on, of old and of new connections, and breaks none: a network that loses every packet. */
  hold(): void;
  /** Holds once requests have contained these texts, one after the other. The last one is passed on, and its answer is held. */
  holdAfter(...texts: readonly string[]): void;
  /** The same for answers alone: requests arrive. */
  holdAnswers(): void;
  /** Passes on again, with what was held. */
  release(): void;
  stop(): void;
}

export interface ProxyTarget {
  readonly host: string;
  readonly port: number;
  /** In each chunk of an answer the first text becomes the second, which is as long. */
  readonly edit?: readonly [string, string];
}

/** @param target  looked at for each new connection */
export async function startBreakingProxy(target: ProxyTarget): Promise<BreakingProxy> {
  const sockets = new Set<Socket>();
  const upstreams = new Set<Socket>();
  let isHeld = false;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  let refuses = false;
  let awaited: readonly string[] = [];
  const hold = (): void => {
    isHeld = true;
    for (const socket of sockets) socket.pause();
  };
  const server = createServer({ noDelay: true }, (client) => {
    if (refuses) {
      client.destroy();
      return;
    }
    const { host, port, edit } = target;
    const upstream = connect({ host, port, noDelay: true });
    keep(client);
    keep(upstream);
    upstreams.add(upstream);
    client.pipe(upstream);
    client.on('data', (chunk: Buffer) => {
      const [text] = awaited;
      if (text === undefined || !chunk.includes(text)) return;
      awaited = awaited.slice(1);
      if (awaited.length === 0) hold();
    });
    if (edit === undefined) upstream.pipe(client);
    else upstream.on('data', (chunk: Buffer) => client.write(chunk.toString('latin1').replaceAll(edit[0], edit[1]), 'latin1'));
    if (isHeld) for (const socket of [client, upstream]) socket.pause();
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => {
      upstreams.delete(upstream);
      client.destroy();
    });
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
    hold,
    holdAfter(...texts) {
      awaited = texts;
    },
    holdAnswers() {
      for (const socket of upstreams) socket.pause();
    },
    release() {
      isHeld = false;
      for (const socket of sockets) socket.resume();
    },
    stop() {
      server.close();
      cut();
    },
  };
}
