import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { APIService } from '../../api/apiregistration/v1/api-service.ts';
import type { Clock } from '../../base/clock.ts';
import type { KeyPair } from '../../base/pki/key-pair.ts';
import type { UserInfo } from '../user.ts';
import type { RemoteEndpoint } from './remote-endpoint.ts';

/** Sends requests to extension servers over TLS, with the certificate by which they know that `X-Remote-*` headers are true. */
export interface RemoteTransport {
  /**
   * Resolves with the head of the answer, whose body the caller reads or destroys.
   *
   * @throws Error of the connection, of TLS, or `context deadline exceeded` when no head came in time
   */
  send(target: RemoteTarget, request: RemoteRequest): Promise<RemoteAnswer>;
  /** Cuts what is under way. */
  close(): void;
}

export interface RemoteTarget {
  readonly apiService: APIService;
  readonly endpoint: Extract<RemoteEndpoint, { readonly type: 'endpoint' }>;
}

export interface RemoteRequest {
  readonly method: string;
  readonly path: string;
  readonly user: UserInfo;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Buffer | undefined;
  /** Until the head of the answer is there. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface RemoteAnswer {
  readonly message: IncomingMessage;
  /** Present when the server has changed the protocol: the connection, and what of it came with the head. */
  readonly upgraded?: { readonly socket: Duplex; readonly head: Buffer };
}

/** Requests under way, of all extension servers together; watches count. */
const maxRequests = 1_000;

export function createRemoteTransport({ frontProxy, clock }: { readonly frontProxy: KeyPair; readonly clock: Clock }): RemoteTransport {
  // Connections are not kept: one that the server closes meanwhile would lose a write that nobody may repeat. Sessions are.
  const agent = new Agent({ keepAlive: false });
  const cuts = new Set<() => void>();
  return {
    send({ apiService, endpoint }, { method, path, user, headers, body, timeoutMs, signal }) {
      if (cuts.size >= maxRequests) return Promise.reject(new Error(`${maxRequests} requests are under way already`));
      return new Promise((resolve, reject) => {
        const request = httpsRequest({
          host: endpoint.address,
          port: endpoint.port,
          servername: endpoint.serverName,
          ...trustOf(apiService),
          agent,
          // Read for each connection, so that a renewed certificate is used at once.
          cert: frontProxy.certificate,
          key: frontProxy.key,
          method,
          path,
          headers: { ...headers, ...identityHeaders(user), host: `${endpoint.address}:${endpoint.port}` },
          signal,
        });
        const cut = (): void => void request.destroy(new Error('the server is shutting down'));
        cuts.add(cut);
        const cancelTimeout = clock.after(timeoutMs, () => request.destroy(new Error('context deadline exceeded')));
        request.once('close', () => {
          cancelTimeout();
          cuts.delete(cut);
        });
        request.once('response', (message) => {
          cancelTimeout();
          resolve({ message });
        });
        request.once('upgrade', (message, socket, head) => {
          cancelTimeout();
          const cutSocket = (): void => void socket.destroy();
          cuts.add(cutSocket);
          socket.once('close', () => cuts.delete(cutSocket));
          resolve({ message, upgraded: { socket, head } });
        });
        request.on('error', reject);
        request.end(body);
      });
    },
    close() {
      for (const cut of cuts) cut();
      agent.destroy();
    },
  };
}

function trustOf({ spec }: APIService): { readonly ca?: Buffer; readonly rejectUnauthorized: boolean } {
  const { caBundle = '', insecureSkipTLSVerify } = spec ?? {};
  if (insecureSkipTLSVerify === true) return { rejectUnauthorized: false };
  return caBundle === '' ? { rejectUnauthorized: true } : { rejectUnauthorized: true, ca: Buffer.from(caBundle, 'base64') };
}

/**
 * Identity of the requester for extension servers. Only these headers carry it: the proxy drops those that a client
 * sends.
 */
export function identityHeaders({ name, uid, groups, extra = {} }: UserInfo): OutgoingHttpHeaders {
  return {
    'x-remote-user': headerText(name),
    ...(uid === undefined ? {} : { 'x-remote-uid': headerText(uid) }),
    'x-remote-group': groups.map(headerText),
    ...Object.fromEntries(Object.entries(extra).map(([key, values]) => [`x-remote-extra-${headerKey(key)}`, values.map(headerText)])),
  };
}

/**
 * Letters beyond ASCII go as the bytes of UTF-8, as Go sends them.
 *
 * @throws Error for what would be another name at the other end, where spaces around a value and what ends a header do not count
 */
function headerText(text: string): string {
  if (/\p{Cc}/u.test(text) || text !== text.trim()) throw new Error('the name of the user cannot be said in a header');
  return Buffer.from(text).toString('latin1');
}

/** Keys hold what a header's name may not, `/` above all. */
const headerKey = (key: string): string =>
  [...Buffer.from(key.toLowerCase())]
    .map((byte) => {
      const letter = String.fromCharCode(byte);
      return /[a-z0-9!#$&'*+\-.^_`|~]/.test(letter) ? letter : `%${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
