import type { IncomingHttpHeaders } from 'node:http';

export interface RequestFacts {
  readonly headers: IncomingHttpHeaders;
  /** Address of this machine that the request came in on. */
  readonly localAddress: string | undefined;
  /** Scheme of this server, and so of the origin of its pages. */
  readonly scheme?: 'http' | 'https' | undefined;
  /** Further names of this machine, in lower case. */
  readonly names?: readonly string[] | undefined;
}

/**
 * Reason to refuse a request, or undefined when it may pass.
 *
 * A page of a foreign site can make its own name point to 127.0.0.1 (DNS rebinding) and then read what is served here. It can also send
 * requests here from its own origin. The first is seen by the Host header, which then carries the foreign name, the second by Origin.
 * The port is not compared: it differs behind a forwarded port, and no attacker can choose the host part.
 */
export function refusalOf({ headers, localAddress, scheme = 'http', names = [] }: RequestFacts): string | undefined {
  const { host, origin } = headers;
  const name = hostnameOf(`http://${host ?? ''}`);
  if (host === undefined || name === undefined || !(isOwnName(name, localAddress) || names.includes(name))) {
    return `This server does not answer to the host name ${JSON.stringify(host ?? '')}. Open it by its address or as localhost, or start with --tls-san and the name.`;
  }
  if (origin !== undefined && origin !== `${scheme}://${host}`) return 'Requests from other origins are not answered.';
  return undefined;
}

/**
 * Reason to refuse a form, or undefined when a page of this server sent it. Browsers name the origin of every form; a request without one
 * is of a program, which has the API. `Sec-Fetch-Site` says the same in a second way. `refusalOf` has compared the origin before.
 */
export function formRefusalOf(headers: IncomingHttpHeaders): string | undefined {
  const site = headers['sec-fetch-site'];
  if (headers.origin === undefined || (site !== undefined && site !== 'same-origin')) {
    return 'Only the pages of this server send its forms. A program calls the API, or midship.';
  }
  return undefined;
}

function isOwnName(name: string, localAddress: string | undefined): boolean {
  if (name === 'localhost') return true;
  return localAddress !== undefined && name === withoutMapping(localAddress);
}

/** An IPv4 client of a socket that listens on `::` has an address such as `::ffff:127.0.0.1`. */
const withoutMapping = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/, '');

function hostnameOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, username, password, pathname, search, hash } = new URL(url);
  // `a@b` and `a/b` parse, but no client sends them as a host.
  if (username !== '' || password !== '' || pathname !== '/' || search !== '' || hash !== '') return undefined;
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
