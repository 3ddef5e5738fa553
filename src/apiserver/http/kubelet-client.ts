import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import type { Node } from '../../api/core/v1/node.ts';
import { labels } from '../../api/well-known.ts';
import { networkErrorText } from '../../base/network-error.ts';
import type { KeyPair } from '../../base/pki/key-pair.ts';
import { notImplemented, StatusError } from '../../machinery/status-error.ts';

/** Reaches the agents of nodes on their kubelet port, with a client certificate that they know. */
export interface KubeletClient {
  /**
   * Asks the agent of `node`; resolves with the head of the answer, whose body the caller reads or destroys.
   *
   * @throws StatusError 500 when the node has no address, does not answer or is not who it should be; 501 when it is simulated
   */
  request(node: Node, request: KubeletRequest): Promise<IncomingMessage>;
  /**
   * Opens a WebSocket to the agent of `node`. It is paused: the caller resumes it when it listens.
   *
   * @throws KubeletRefusal when the agent answers otherwise; StatusError 429 when too many are open, 500 and 501 as above
   */
  openSocket(node: Node, options: SocketRequest): Promise<WebSocket>;
  /**
   * Opens a SPDY connection to the agent of `node`; `head` is what of it came with the answer.
   *
   * @throws as `openSocket`
   */
  openSpdy(node: Node, options: Omit<SocketRequest, 'protocols'>): Promise<{ readonly socket: Duplex; readonly head: Buffer }>;
  /** Cuts what is still open. */
  close(): void;
}

export interface KubeletRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | undefined;
  readonly signal: AbortSignal;
}

export interface SocketRequest {
  readonly path: string;
  readonly protocols: readonly string[];
  readonly signal: AbortSignal;
}

/** An agent's answer where a connection was wanted. The body is the caller's to read or destroy. */
export class KubeletRefusal extends Error {
  readonly answer: IncomingMessage;
  constructor(answer: IncomingMessage) {
    super(`agent answered ${answer.statusCode}`);
    this.name = 'KubeletRefusal';
    this.answer = answer;
  }
}

export interface KubeletClientOptions {
  /** Signed the agents' serving certificates. */
  readonly caCertificate: string;
  /** Read for each connection, so that a renewed one is used at once. */
  readonly clientCertificate: KeyPair;
}

const defaultPort = 10_250;
const connectTimeoutMs = 10_000;
/** Connections that are streams, of all nodes together. */
const maxStreams = 1_000;
/** Largest message. Agents send pieces of 64 KiB. */
const maxMessageBytes = 1024 * 1024;

export function createKubeletClient({ caCertificate, clientCertificate }: KubeletClientOptions): KubeletClient {
  const credentials = () => ({ ca: caCertificate, cert: clientCertificate.certificate, key: clientCertificate.key });
  const cuts = new Set<() => void>();
  /** Counts a stream until it is closed. */
  const track = (stream: { once(event: 'close', listener: () => void): unknown }, cut: () => void): void => {
    cuts.add(cut);
    stream.once('close', () => cuts.delete(cut));
  };
  const checkRoom = (): void => {
    if (cuts.size < maxStreams) return;
    const message = `${maxStreams} streams are open already, please try again later.`;
    throw new StatusError({ code: 429, reason: 'TooManyRequests', message, details: { retryAfterSeconds: 1 } });
  };
  // The credentials are part of what makes two connections alike, so a kept one with an older certificate is not used again.
  const agent = new Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 4 });
  return {
    async request(node, { method = 'GET', path, headers = {}, body, signal }) {
      const { host, port } = addressOf(node);
      return new Promise((resolve, reject) => {
        const request = httpsRequest({ host, port, path, method, headers, agent, signal, ...credentials() });
        // Only until the head is there: a followed log may be silent for hours.
        request.setTimeout(connectTimeoutMs, () => request.destroy(new Error('i/o timeout')));
        request.once('response', (response) => {
          request.setTimeout(0);
          resolve(response);
        });
        request.once('error', (err) => reject(unreachable({ host, port, path }, err)));
        request.end(body);
      });
    },

    async openSocket(node, { path, protocols, signal }) {
      checkRoom();
      const { host, port } = addressOf(node);
      return new Promise((resolve, reject) => {
        const socket = new WebSocket(`wss://${host}:${port}${path}`, [...protocols], {
          ...credentials(),
          agent: false,
          handshakeTimeout: connectTimeoutMs,
          maxPayload: maxMessageBytes,
          perMessageDeflate: false,
          followRedirects: false,
        });
        track(socket, () => socket.terminate());
        const onAbort = (): void => socket.terminate();
        signal.addEventListener('abort', onAbort, { once: true });
        socket.once('unexpected-response', (request, answer) => {
          answer.once('close', () => request.destroy());
          reject(new KubeletRefusal(answer));
        });
        socket.once('open', () => {
          signal.removeEventListener('abort', onAbort);
          socket.pause();
          resolve(socket);
        });
        // Stays, since a connection that breaks later says so too; who uses it hears `close`.
        socket.on('error', (err) => reject(unreachable({ host, port, path }, err)));
      });
    },

    async openSpdy(node, { path, signal }) {
      checkRoom();
      const { host, port } = addressOf(node);
      const headers = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'portforward.k8s.io' };
      return new Promise((resolve, reject) => {
        const request = httpsRequest({ host, port, path, method: 'POST', headers, agent: false, ...credentials(), signal });
        request.setTimeout(connectTimeoutMs, () => request.destroy(new Error('i/o timeout')));
        request.once('upgrade', (_answer, socket, head) => {
          socket.setTimeout(0);
          track(socket, () => socket.destroy());
          resolve({ socket, head });
        });
        request.once('response', (answer) => reject(new KubeletRefusal(answer)));
        request.once('error', (err) => reject(unreachable({ host, port, path }, err)));
        request.end();
      });
    },

    close() {
      agent.destroy();
      for (const cut of cuts) cut();
    },
  };
}

function addressOf({ metadata, status }: Node): { readonly host: string; readonly port: number } {
  if (metadata.labels?.[labels.midshipSimulated] === 'true') {
    throw notImplemented(`node ${metadata.name} is simulated: no programs run in its pods`);
  }
  const host = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  if (host === undefined || host === '') {
    throw new StatusError({ code: 500, reason: 'InternalError', message: 'no preferred addresses found; known addresses: []' });
  }
  return { host, port: status?.daemonEndpoints?.kubeletEndpoint?.Port ?? defaultPort };
}

const unreachable = (
  { host, port, path }: { readonly host: string; readonly port: number; readonly path: string },
  cause: Error,
): StatusError =>
  new StatusError({
    code: 500,
    reason: 'InternalError',
    message: `Get "https://${host}:${port}${path}": ${networkErrorText(cause)}`,
    cause,
  });
