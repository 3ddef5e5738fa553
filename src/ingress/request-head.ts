import { isIP, isIPv6 } from 'node:net';
import { hopByHopHeaders } from '../base/hop-by-hop.ts';
import { routingPath } from './request-path.ts';

/** The head of a request as it arrived. */
export interface ReceivedHead {
  readonly version: '1.0' | '1.1' | '2.0';
  readonly method: string;
  /** The request target of HTTP/1, or `:path`. */
  readonly target: string;
  /** `:authority`; undefined for HTTP/1. */
  readonly authority: string | undefined;
  /** Names and values in turn, without pseudo-headers. */
  readonly rawHeaders: readonly string[];
  /** HTTP/2: the stream has a body. HTTP/1 says so in headers. */
  readonly hasBody: boolean;
}

/** The side of a connection that the proxy knows itself. */
export interface Arrival {
  readonly clientAddress: string;
  readonly protocol: 'http' | 'https';
  /** The port by which clients reach the proxy. */
  readonly port: number;
}

/** A request that is one, and that every server reads alike. */
export interface RequestHead {
  readonly method: string;
  /** Lower case, without a port; empty when HTTP/1.0 names none. */
  readonly host: string;
  /** The host as it is passed on, with its port. */
  readonly authority: string;
  /** For the routing table. */
  readonly path: string;
  /** Path and query, as the client wrote them. */
  readonly target: string;
  /** End-to-end headers in order, without `Host`, framing and what names the client. */
  readonly headers: readonly string[];
  readonly hasBody: boolean;
  /** Undefined: the length is not known, or there is no body. */
  readonly contentLength: string | undefined;
  /** The protocol of `Upgrade`, when the connection is to change to it. */
  readonly upgrade: string | undefined;
}

/** A request that is not passed on. */
export interface Refusal {
  readonly status: number;
  readonly why: string;
}

const badRequest = (why: string): Refusal => ({ status: 400, why });

/** Headers by which servers learn who asks: only the proxy may set them. Also with underscores, which CGI and WSGI do not tell apart. */
const isOfProxy = (name: string): boolean => {
  const dashed = name.replaceAll('_', '-');
  return dashed.startsWith('x-forwarded-') || ofProxy.has(dashed);
};
const ofProxy: ReadonlySet<string> = new Set(['forwarded', 'x-real-ip', 'x-original-forwarded-for', 'x-scheme']);

/** `Connection` may not take these away: without them the next server reads another request. */
const kept: ReadonlySet<string> = new Set(['host', 'content-length', 'cookie', 'authorization']);

/**
 * Judges the head of a request and takes away what is not for the server behind the proxy. A head that two servers could read in two ways
 * is refused: two lengths, a length beside chunks, two hosts, unusual transfer encodings.
 *
 * @see RFC 9112, sections 3.2, 6.1, 6.3 and 11.2; RFC 9113, section 8.2
 */
export function readRequestHead(received: ReceivedHead): RequestHead | Refusal {
  const { version, method, rawHeaders } = received;
  if (method === 'CONNECT' || method === 'TRACE') return { status: 405, why: `method ${method} is not served` };
  const values = new Map<string, string[]>();
  for (const [name, value] of pairsOf(rawHeaders)) {
    const known = values.get(name.toLowerCase());
    if (known === undefined) values.set(name.toLowerCase(), [value]);
    else known.push(value);
  }
  const framing = readFraming(received, values);
  if ('why' in framing) return framing;
  const place = readTarget(received, values);
  if ('why' in place) return place;
  const named = new Set(tokensOf(values.get('connection')));
  const upgrade = version === '1.1' && named.has('upgrade') ? values.get('upgrade')?.join(', ').trim() : undefined;
  const headers: string[] = [];
  const cookies: string[] = [];
  for (const [name, value] of pairsOf(rawHeaders)) {
    const lower = name.toLowerCase();
    if (lower === 'host' || lower === 'content-length' || lower === 'expect') continue;
    if (hopByHopHeaders.has(lower) || isOfProxy(lower) || (named.has(lower) && !kept.has(lower))) continue;
    // HTTP/2 may send a cookie in pieces (RFC 9113, 8.2.3).
    if (lower === 'cookie' && version === '2.0') cookies.push(value);
    else headers.push(name, value);
  }
  if (cookies.length > 0) headers.push('cookie', cookies.join('; '));
  return { method, ...place, headers, ...framing, upgrade: upgrade === '' ? undefined : upgrade };
}

function readFraming(
  { version, hasBody }: ReceivedHead,
  values: ReadonlyMap<string, readonly string[]>,
): Pick<RequestHead, 'hasBody' | 'contentLength'> | Refusal {
  const lengths = values.get('content-length') ?? [];
  const encodings = values.get('transfer-encoding') ?? [];
  const [length] = lengths;
  if (lengths.length > 1) return badRequest('it has several lengths');
  if (length !== undefined && !/^\d{1,15}$/.test(length)) return badRequest('its length is no number');
  if (version === '2.0') {
    if (encodings.length > 0 || values.has('connection')) return badRequest('it has headers that HTTP/2 forbids');
    return { hasBody, contentLength: length };
  }
  if (encodings.length === 0) return { hasBody: length !== undefined && Number(length) > 0, contentLength: length };
  if (length !== undefined) return badRequest('it has a length and chunks');
  if (version === '1.0') return badRequest('HTTP/1.0 has no chunks');
  if (encodings.length > 1 || encodings[0]?.toLowerCase() !== 'chunked') return { status: 501, why: 'its transfer encoding is not known' };
  return { hasBody: true, contentLength: undefined };
}

function readTarget(
  { version, method, target: given, authority: pseudo }: ReceivedHead,
  values: ReadonlyMap<string, readonly string[]>,
): Pick<RequestHead, 'host' | 'authority' | 'path' | 'target'> | Refusal {
  const hosts = values.get('host') ?? [];
  if (hosts.length > 1) return badRequest('it has several hosts');
  let authority = pseudo ?? hosts[0] ?? '';
  if (pseudo !== undefined && hosts[0] !== undefined && hosts[0].toLowerCase() !== pseudo.toLowerCase())
    return badRequest('Host and :authority differ');
  let target = given;
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target);
  if (absolute !== null && version !== '2.0') {
    // The target counts and Host is replaced (RFC 9112, 3.2.2).
    const [, named = '', rest = ''] = absolute;
    authority = named;
    target = rest.startsWith('/') ? rest : `/${rest}`;
  }
  if (authority === '' && version !== '1.0') return badRequest('it names no host');
  const host = authority === '' ? '' : hostOf(authority);
  if (host === undefined) return badRequest('its host is none');
  if (target === '*' && method === 'OPTIONS') return { host, authority, path: '/', target };
  const mark = target.indexOf('?');
  const path = routingPath(mark < 0 ? target : target.slice(0, mark));
  // The query is sent on as it is, and has to fit in a request line.
  if (path === undefined || /[#\s]|\p{Cc}/u.test(target)) return badRequest('its path is none');
  return { host, authority, path, target };
}

/** The host of `HOST:PORT`, in lower case; undefined for anything else. */
export function hostOf(authority: string): string | undefined {
  const [, bracketed, name, port = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]{1,253}))(?::(\d{0,5}))?$/.exec(authority) ?? [];
  if (Number(port) > 65_535) return undefined;
  if (bracketed !== undefined) return isIPv6(bracketed) ? bracketed.toLowerCase() : undefined;
  if (name === undefined) return undefined;
  const host = name.toLowerCase().replace(/\.$/, '');
  return host === '' || host.includes('..') || host.startsWith('.') ? undefined : host;
}

export function* pairsOf(rawHeaders: readonly string[]): Iterable<readonly [string, string]> {
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) yield [rawHeaders[index] ?? '', rawHeaders[index + 1] ?? ''];
}

const tokensOf = (values: readonly string[] = []): readonly string[] =>
  values.flatMap((value) => value.split(',')).map((token) => token.trim().toLowerCase());

/** The head that a server behind the proxy gets, names and values in turn. */
export function forwardedHeaders(head: RequestHead, { clientAddress, protocol, port }: Arrival): string[] {
  const { authority, headers, hasBody, contentLength, method } = head;
  const address = clientAddress.startsWith('::ffff:') && isIP(clientAddress.slice(7)) === 4 ? clientAddress.slice(7) : clientAddress;
  const sent = ['Host', authority, ...headers];
  sent.push('X-Forwarded-For', address, 'X-Forwarded-Host', authority, 'X-Forwarded-Port', String(port));
  sent.push('X-Forwarded-Proto', protocol, 'X-Real-IP', address);
  if (contentLength !== undefined) sent.push('Content-Length', contentLength);
  else if (hasBody) sent.push('Transfer-Encoding', 'chunked');
  // Without it the length of the body would be left to the method.
  else if (method !== 'GET' && method !== 'HEAD') sent.push('Content-Length', '0');
  return sent;
}

/** Headers of an answer that are for the client, names and values in turn. */
export function answeredHeaders(rawHeaders: readonly string[]): string[] {
  const named = new Set<string>();
  for (const [name, value] of pairsOf(rawHeaders))
    if (name.toLowerCase() === 'connection') for (const token of tokensOf([value])) named.add(token);
  const sent: string[] = [];
  for (const [name, value] of pairsOf(rawHeaders)) {
    const lower = name.toLowerCase();
    const isKept = lower === 'proxy-authenticate' || !hopByHopHeaders.has(lower);
    if (isKept && (!named.has(lower) || lower === 'content-length')) sent.push(name, value);
  }
  return sent;
}

/** Changing to HTTP/2 in clear text would take the connection out of the routing table's sight. */
export const mayUpgradeTo = (protocol: string): boolean => !/(?:^|[\s,])(?:h2c?|http|tls)(?:$|[\s,/])/i.test(protocol);
