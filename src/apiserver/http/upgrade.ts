import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { badRequest } from '../../machinery/status-error.ts';
import type { ApiRequest } from './api-request.ts';

/** The connection of a request that asks to go on in another protocol. */
export interface Upgrade {
  readonly socket: Duplex;
  /** Bytes that arrived after the request. */
  readonly head: Buffer;
}

/** Largest message; clients send pieces of some dozens of KiB. */
const maxMessageBytes = 1024 * 1024;

/** The negotiated protocol. `ws` itself would refuse `SPDY/3.1+portforward.k8s.io`, which is no HTTP token. */
const chosen = new WeakMap<IncomingMessage, string>();
const webSockets = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  maxPayload: maxMessageBytes,
  perMessageDeflate: false,
});
webSockets.on('headers', (headers, request) => {
  const protocol = chosen.get(request);
  if (protocol !== undefined) headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
});

/**
 * The first of `protocols` that the client offers.
 *
 * @throws StatusError 400 when the client asks for no WebSocket, or offers none of them
 */
export function negotiateProtocol({ raw, upgrade }: ApiRequest, protocols: readonly string[]): string {
  const wanted = raw.headers.upgrade?.toLowerCase();
  if (upgrade === undefined || wanted === undefined) throw badRequest('Upgrade request required');
  if (wanted !== 'websocket') {
    throw badRequest(`unable to upgrade to ${wanted.slice(0, 40)}: use a client that speaks WebSocket (kubectl 1.31 or later)`);
  }
  const offered = String(raw.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/);
  const protocol = protocols.find((known) => offered.includes(known));
  if (protocol === undefined) throw badRequest(`unable to upgrade: none of the protocols [${offered.join(' ')}] is spoken here`);
  return protocol;
}

/**
 * Completes the upgrade. The WebSocket is paused until its listener resumes it. Undefined when the client is gone, or
 * sent an invalid request and was refused.
 */
export function acceptWebSocket({ raw, response, upgrade }: ApiRequest, protocol: string): Promise<WebSocket | undefined> {
  if (upgrade === undefined) return Promise.resolve(undefined);
  const { socket, head } = upgrade;
  chosen.set(raw, protocol);
  delete raw.headers['sec-websocket-protocol'];
  return new Promise((resolve) => {
    socket.once('close', () => resolve(undefined));
    webSockets.handleUpgrade(raw, socket, head, (webSocket) => {
      // For the log and the metrics; the answer itself is written already.
      response.statusCode = 101;
      webSocket.pause();
      webSocket.on('error', () => undefined);
      resolve(webSocket);
    });
  });
}
