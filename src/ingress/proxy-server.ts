import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { Server as NetServer, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { DEFAULT_CIPHERS, type SecureContext } from 'node:tls';
import { type Exchange, http1Exchange, http2Exchange, isEnding } from './exchange.ts';
import type { Limits } from './limits.ts';

/** A port on which clients are served. */
export interface ProxyPort {
  readonly port: number;
  readonly openConnections: number;
  /** Takes no more connections, lets requests end, and then closes what is left. */
  close(): Promise<void>;
}

export interface Handlers {
  request(exchange: Exchange): void;
  upgrade(exchange: Exchange, client: Duplex, early: Buffer): void;
}

export interface PortOptions {
  /** Addresses of this machine. */
  readonly addresses: readonly string[];
  /** 0: any free one. */
  readonly port: number;
  readonly limits: Limits;
  readonly handlers: Handlers;
  /** Absent: plain HTTP. */
  readonly tls?: PortTls;
}

export interface PortTls {
  /** PEM: for clients that name no host, or one without a certificate. */
  readonly fallback: { readonly certificate: string; readonly key: string };
  contextFor(host: string): SecureContext | undefined;
}

const checkEveryMs = 1_000;
const closeEveryMs = 50;

/** An HTTP server of either kind. */
type Closable = NetServer & { closeIdleConnections(): void };

/** @throws the error of the bind: `EACCES`, `EADDRINUSE`, `EADDRNOTAVAIL` */
export async function openPort(options: PortOptions): Promise<ProxyPort> {
  const servers: { readonly server: Closable; readonly sockets: Set<Socket> }[] = [];
  const sessions = new Set<{ close(): void }>();
  const { limits } = options;
  let { port } = options;
  try {
    for (const address of options.addresses) {
      const server = options.tls === undefined ? plainServer(options) : secureServer(options, options.tls, sessions);
      const sockets = new Set<Socket>();
      server.maxConnections = limits.connections;
      server.on('connection', (socket: Socket) => {
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
      });
      server.listen({ host: address, port, backlog: 511 });
      await once(server, 'listening');
      // EMFILE and the like: the connection is lost, the port stays open.
      server.on('error', () => undefined);
      servers.push({ server, sockets });
      const bound = server.address();
      if (bound !== null && typeof bound === 'object') port = bound.port;
    }
  } catch (err) {
    for (const { server } of servers) server.close();
    throw err;
  }
  return {
    port,
    get openConnections() {
      return servers.reduce((sum, { sockets }) => sum + sockets.size, 0);
    },
    async close() {
      const closed = Promise.all(servers.map(({ server }) => new Promise((resolve) => server.close(resolve))));
      for (const session of sessions) session.close();
      // Connections become idle one by one, as their requests end.
      const idle = setInterval(() => {
        for (const { server } of servers) server.closeIdleConnections();
      }, closeEveryMs);
      const last = setTimeout(() => {
        for (const { sockets } of servers) for (const socket of sockets) socket.destroy();
      }, limits.drainMs);
      await closed;
      clearInterval(idle);
      clearTimeout(last);
    },
  };
}

function plainServer({ limits, handlers }: PortOptions): Closable {
  const server = createHttpServer({
    maxHeaderSize: limits.headBytes,
    headersTimeout: limits.headMs,
    // Bodies may take their time; the idle timeout bounds them.
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: checkEveryMs,
    requireHostHeader: false,
    noDelay: true,
  });
  server.setTimeout(limits.idleMs);
  server.on('request', (request, response) => {
    if (!isEnding(request)) handlers.request(http1Exchange(request, response));
  });
  server.on('upgrade', (request, client, early) => takeUpgrade(handlers, { request, client, early }));
  return server;
}

/**
 * Node's ciphers, those for ECDSA first, and the server's order counts. A connection to a host with an ECDSA certificate has the RSA
 * certificate of other hosts, too. TLS 1.2 chooses between them by the cipher, and TLS 1.3 prefers ECDSA by itself.
 */
const preferEcdsa = [...DEFAULT_CIPHERS.split(':')].sort((a, b) => Number(b.includes('-ECDSA-')) - Number(a.includes('-ECDSA-'))).join(':');

function secureServer({ limits, handlers }: PortOptions, { fallback, contextFor }: PortTls, sessions: Set<{ close(): void }>): Closable {
  const server = createSecureServer({
    allowHTTP1: true,
    minVersion: 'TLSv1.2',
    handshakeTimeout: limits.headMs,
    settings: { maxConcurrentStreams: limits.streams, maxHeaderListSize: limits.headBytes, enablePush: false },
    maxSessionRejectedStreams: 50,
    cert: fallback.certificate,
    key: fallback.key,
    ciphers: preferEcdsa,
    SNICallback: (name, done) => done(null, contextFor(name.toLowerCase())),
  });
  // Node reads these of the server itself for its HTTP/1 connections, as those of an HTTP server.
  Object.assign(server, {
    headersTimeout: limits.headMs,
    requestTimeout: 0,
    connectionsCheckingInterval: checkEveryMs,
    keepAliveTimeout: limits.keepAliveMs,
    maxHeaderSize: limits.headBytes,
    requireHostHeader: false,
  });
  server.setTimeout(limits.idleMs);
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => undefined);
    // A session without streams ends, whatever frames come: also a head that never gets whole.
    let open = 0;
    const end = (): void => {
      session.close();
      setTimeout(() => session.destroy(), limits.drainMs).unref();
    };
    let idle = setTimeout(end, limits.headMs);
    session.on('stream', (stream) => {
      open += 1;
      clearTimeout(idle);
      stream.setTimeout(limits.idleMs, () => stream.close());
      stream.once('close', () => {
        open -= 1;
        if (open === 0) idle = setTimeout(end, limits.keepAliveMs);
      });
    });
    session.once('close', () => clearTimeout(idle));
  });
  server.on('request', (request, response) => {
    if (request.httpVersionMajor === 2) handlers.request(http2Exchange(request));
    else {
      // Types of Node name HTTP/2 alone; with `allowHTTP1` these are what an HTTP server gives.
      const http1 = request as unknown as IncomingMessage;
      if (!isEnding(http1)) handlers.request(http1Exchange(http1, response as unknown as ServerResponse));
    }
  });
  server.on('upgrade', (request: IncomingMessage, client: Duplex, early: Buffer) => takeUpgrade(handlers, { request, client, early }));
  server.on('tlsClientError', (_, socket) => socket.destroy());
  server.on('sessionError', () => undefined);
  // Node has this method for HTTP/1 connections, and its types do not.
  return server as typeof server & Closable;
}

interface TakenUpgrade {
  readonly request: IncomingMessage;
  readonly client: Duplex;
  readonly early: Buffer;
}

/** The parser has let the connection go: an ordinary answer on it ends it. */
function takeUpgrade(handlers: Handlers, { request, client, early }: TakenUpgrade): void {
  if (isEnding(request)) return;
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  client.on('error', () => undefined);
  response.assignSocket(client as Socket);
  response.once('finish', () => (client as Socket).destroySoon());
  handlers.upgrade(http1Exchange(request, response), client, early);
}
