import { type IncomingMessage, request as openRequest, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Exchange } from './exchange.ts';
import { sayFailure, type Upstream } from './forward.ts';
import { answeredHeaders, pairsOf, type RequestHead } from './request-head.ts';

export interface UpgradeOptions {
  readonly exchange: Exchange;
  readonly head: RequestHead;
  /** The connection of the client, which the parser has let go. */
  readonly client: Duplex;
  /** Bytes that came after the request. */
  readonly early: Buffer;
  readonly headers: readonly string[];
  readonly upstream: Upstream;
}

const maxTries = 5;

/**
 * Passes on a request that changes the protocol, as to WebSocket. Only the answer 101 joins the two connections; after any other answer
 * the client's connection ends, and bytes that it sent too early are dropped.
 */
export async function forwardUpgrade(options: UpgradeOptions): Promise<void> {
  const tried = new Set<string>();
  for (let tries = 0; tries < maxTries; tries += 1) {
    const endpoint = options.upstream.choose(tried);
    if (endpoint === undefined) break;
    tried.add(`${endpoint.address}:${endpoint.port}`);
    if (await tryUpgrade(options, endpoint)) return;
  }
  if (tried.size === 0) sayFailure(options.exchange, 503, 'no endpoint is ready');
  else sayFailure(options.exchange, 502, 'no endpoint could be reached');
}

/** False when the endpoint could not be reached. */
function tryUpgrade(
  { exchange, head, client, early, headers, upstream: { limits } }: UpgradeOptions,
  endpoint: { readonly address: string; readonly port: number },
): Promise<boolean> {
  return new Promise((resolve) => {
    let isConnected = false;
    let isTimedOut = false;
    const request = openRequest({
      host: endpoint.address,
      port: endpoint.port,
      method: head.method,
      path: head.target,
      headers: [...headers, 'Connection', 'Upgrade', 'Upgrade', head.upgrade ?? ''] as unknown as Record<string, string>,
      // Its connection does not come back to a pool.
      agent: false,
      setHost: false,
    });
    const connecting = setTimeout(() => request.destroy(new Error('connect timeout')), limits.connectMs);
    const onClientClose = (): void => void request.destroy();
    client.once('close', onClientClose);

    request.once('socket', (socket) =>
      socket.once('connect', () => {
        isConnected = true;
        clearTimeout(connecting);
        request.setTimeout(limits.answerMs, () => {
          isTimedOut = true;
          request.destroy(new Error('answer timeout'));
        });
      }),
    );
    request.once('upgrade', (answer, server, rest) => {
      client.off('close', onClientClose);
      client.write(switchingHead(answer));
      if (rest.length > 0) client.write(rest);
      if (early.length > 0) server.write(early);
      join(client as Socket, server as Socket, limits.upgradedIdleMs);
      resolve(true);
    });
    request.once('response', (answer) => {
      const to = exchange.answer(answer.statusCode ?? 502, [...answeredHeaders(answer.rawHeaders), 'Connection', 'close']);
      answer.on('error', () => exchange.abort());
      answer.pipe(to);
      to.once('close', () => resolve(true));
    });
    request.once('error', () => {
      clearTimeout(connecting);
      client.off('close', onClientClose);
      if (!isConnected && !client.destroyed) return resolve(false);
      if (isTimedOut) sayFailure(exchange, 504, 'the server behind the proxy did not answer in time');
      else sayFailure(exchange, 502, 'the server behind the proxy ended the connection');
      resolve(true);
    });
    request.end();
  });
}

function switchingHead({ rawHeaders }: IncomingMessage): string {
  const lines = [`HTTP/1.1 101 ${STATUS_CODES[101]}`, 'Connection: Upgrade'];
  for (const [name, value] of pairsOf(rawHeaders))
    if (!/^(?:connection|keep-alive|transfer-encoding|content-length)$/i.test(name)) lines.push(`${name}: ${value}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Bytes both ways, at the speed of the slower side; the end of one connection is the end of the other. */
function join(client: Socket, server: Socket, idleMs: number): void {
  const end = (): void => {
    client.destroy();
    server.destroy();
  };
  for (const socket of [client, server]) {
    socket.setTimeout(idleMs, end);
    socket.on('error', end);
  }
  client.once('close', () => server.destroySoon());
  server.once('close', () => client.destroySoon());
  client.pipe(server);
  server.pipe(client);
}
