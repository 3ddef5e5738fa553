import type { IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import tls from 'node:tls';
import type { GitHttpRequest, GitHttpResponse, HttpClient } from 'isomorphic-git';
import type { ProxyAccess, RemoteAccess } from './remote-access.ts';

export interface GitHttpClientOptions {
  readonly signal: AbortSignal;
  /** Silence longer than this ends the request. */
  readonly idleTimeoutMs: number;
  /** Longest answer that is read. */
  readonly maxBytes: number;
  readonly access?: RemoteAccess;
}

/** isomorphic-git's HTTP plugin with what the packaged one lacks: cancellation, limits of time and size, certificates, and proxies. */
export function createGitHttpClient({ signal, idleTimeoutMs, maxBytes, access = {} }: GitHttpClientOptions): HttpClient {
  return {
    async request({ url, method = 'GET', headers = {}, body }: GitHttpRequest): Promise<GitHttpResponse> {
      const target = new URL(url);
      const open = await wayTo(target, { access, signal, idleTimeoutMs });
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = open({ method, headers, signal }, resolve);
        request.setTimeout(idleTimeoutMs, () => request.destroy(silence(idleTimeoutMs)));
        request.on('error', reject);
        sendBody(request, body).catch(reject);
      });
      const { location } = response.headers;
      if (location !== undefined && redirects.includes(response.statusCode ?? 0)) {
        response.destroy();
        throw new Redirected(response.statusCode ?? 0, URL.canParse(location, url) ? new URL(location, url) : undefined);
      }
      return {
        url,
        method,
        statusCode: response.statusCode ?? 0,
        statusMessage: response.statusMessage ?? '',
        headers: Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
        body: bounded(response, maxBytes),
      };
    },
  };
}

const redirects: readonly number[] = [301, 302, 303, 307, 308];

/** A redirect. The caller decides about it by the credentials of the request, so nothing is followed here. */
export class Redirected extends Error {
  readonly location: URL | undefined;
  constructor(statusCode: number, location: URL | undefined) {
    super(`HTTP ${statusCode}`);
    this.location = location;
  }
}

const silence = (idleTimeoutMs: number): Error => new Error(`no answer within ${idleTimeoutMs / 1_000} s`);

export type OpenRequest = (options: http.RequestOptions, onResponse: (response: IncomingMessage) => void) => http.ClientRequest;

export interface Way {
  readonly access: RemoteAccess;
  readonly signal: AbortSignal;
  readonly idleTimeoutMs: number;
  /** Finds the address of a name that is connected to: of the server, or of the proxy. */
  readonly lookup?: LookupFunction;
}

/** Sends requests to a server: directly, or by a proxy that forwards or tunnels. */
export async function wayTo(target: URL, { access, signal, idleTimeoutMs, lookup }: Way): Promise<OpenRequest> {
  const { ca, clientCertificate, proxy } = access;
  const connect = lookup === undefined ? {} : { lookup };
  const secure = {
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
  };
  if (proxy === undefined) {
    return target.protocol === 'https:'
      ? (options, onResponse) => https.request(target, { ...options, ...connect, ...secure }, onResponse)
      : (options, onResponse) => http.request(target, { ...options, ...connect }, onResponse);
  }
  const through = new URL(proxy.address);
  const client = through.protocol === 'https:' ? https : http;
  const authorization = proxyAuthorization(proxy);
  if (target.protocol === 'http:') {
    // A proxy takes the whole address of a plain request in its first line.
    return ({ headers, ...options }, onResponse) =>
      client.request(
        through,
        {
          ...options,
          ...connect,
          path: target.href,
          headers: { ...(headers as http.OutgoingHttpHeaders), host: target.host, ...authorization },
        },
        onResponse,
      );
  }
  const port = target.port === '' ? '443' : target.port;
  const socket = await tunnel({
    client,
    through,
    to: `${target.hostname}:${port}`,
    headers: authorization,
    signal,
    idleTimeoutMs,
    connect,
  });
  return (options, onResponse) =>
    https.request(
      target,
      {
        ...options,
        // In place of an agent, which would connect by itself. An address is no server name; the certificate is compared with `host`.
        createConnection: () =>
          tls.connect({ socket, host: target.hostname, ...(isIP(target.hostname) ? {} : { servername: target.hostname }), ...secure }),
      },
      onResponse,
    );
}

function proxyAuthorization({ username, password = '' }: ProxyAccess): Record<string, string> {
  if (username === undefined) return {};
  return { 'proxy-authorization': `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
}

interface Tunnel {
  readonly client: typeof http | typeof https;
  readonly through: URL;
  readonly to: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
  readonly idleTimeoutMs: number;
  readonly connect: { readonly lookup?: LookupFunction };
}

/** A connection through a proxy, which then sees no more than where it goes. @see RFC 9110, 9.3.6 CONNECT */
function tunnel({ client, through, to, headers, signal, idleTimeoutMs, connect }: Tunnel): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const request = client.request(through, {
      ...connect,
      method: 'CONNECT',
      path: to,
      headers: { host: to, ...headers },
      signal,
      agent: false,
    });
    request.setTimeout(idleTimeoutMs, () => request.destroy(silence(idleTimeoutMs)));
    request.on('error', reject);
    request.on('response', (response) => {
      response.destroy();
      reject(new ProxyRefusal(response.statusCode ?? 0));
    });
    request.on('connect', (response, socket) => {
      socket.setTimeout(0);
      if (response.statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(new ProxyRefusal(response.statusCode ?? 0));
      }
    });
    request.end();
  });
}

/** The proxy did not open the way. */
export class ProxyRefusal extends Error {
  readonly statusCode: number;
  constructor(statusCode: number) {
    super(`the proxy answered HTTP ${statusCode}`);
    this.statusCode = statusCode;
  }
}

async function sendBody(request: http.ClientRequest, body: GitHttpRequest['body']): Promise<void> {
  if (body !== undefined) for await (const chunk of body as AsyncIterable<Uint8Array>) request.write(chunk);
  request.end();
}

async function* bounded(response: IncomingMessage, maxBytes: number): AsyncIterableIterator<Uint8Array> {
  let received = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    received += chunk.byteLength;
    if (received > maxBytes) {
      response.destroy();
      throw new Error(`the answer is larger than ${maxBytes} bytes`);
    }
    yield chunk;
  }
}
