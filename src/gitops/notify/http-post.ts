import { lookup as resolveName } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { readAnswerStart } from '../../base/http-answer.ts';
import { timeLimit } from '../../base/time-limit.ts';
import { ProxyRefusal, wayTo } from '../sources/git-http-client.ts';
import type { RemoteAccess } from '../sources/remote-access.ts';
import type { Message } from './message.ts';

export type Access = Pick<RemoteAccess, 'ca' | 'clientCertificate' | 'proxy'>;

export interface PostOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Trusted authorities, client certificate and proxy of a request. */
  readonly access?: Access;
}

/** A message that was not taken. `retryAfterMs` is the receiver's wish; `isFinal` when trying again would change nothing. */
export class PostError extends Error {
  override readonly name = 'PostError';
  readonly retryAfterMs: number | undefined;
  readonly isFinal: boolean;
  constructor(
    message: string,
    options: { readonly retryAfterMs?: number | undefined; readonly isFinal?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.isFinal = options.isFinal ?? false;
  }
}

/** An answer beyond this is not read on. */
const maxAnswerBytes = 64 * 1024;
const maxRetryAfterMs = 10 * 60_000;
/** The message itself is wrong; everything else may change: a token, a limit, a server that is down. */
const lastingCodes: readonly number[] = [400, 405, 410, 413, 414, 415, 422];

/**
 * Addresses that never get a message, under any name. The machine's own metadata services answer there, which trust
 * everyone who reaches them. Loopback and private networks are allowed, since the receivers of a home or of a company
 * are there.
 */
const forbidden = new BlockList();
forbidden.addSubnet('169.254.0.0', 16, 'ipv4');
forbidden.addSubnet('0.0.0.0', 8, 'ipv4');
forbidden.addSubnet('224.0.0.0', 3, 'ipv4');
forbidden.addSubnet('fe80::', 10, 'ipv6');
forbidden.addSubnet('ff00::', 8, 'ipv6');
// Metadata addresses of the large clouds over IPv6, outside of the link-local range.
forbidden.addAddress('fd00:ec2::254', 'ipv6');
forbidden.addAddress('100.100.100.200', 'ipv4');

/** Also in the form `::ffff:169.254.169.254`, which the list compares as the address that it maps. */
export function isForbidden(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  const plain = mapped ?? address;
  return forbidden.check(plain, isIP(plain) === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Sends one message and reads the answer, both within `timeoutMs`. Redirects are not followed: they would take the token elsewhere. Names
 * are resolved once, and the address that is connected to is the one that was checked. Errors name the host and never the path, which is a
 * secret with some receivers, nor the answer.
 *
 * @throws PostError
 */
export async function post(message: Message, { timeoutMs, signal, access = {} }: PostOptions): Promise<void> {
  const url = new URL(message.url);
  for (const { hostname } of [url, ...(access.proxy === undefined ? [] : [new URL(access.proxy.address)])]) {
    const host = hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) !== 0 && isForbidden(host)) throw new PostError(`${host} is an address that nothing is sent to`, { isFinal: true });
  }
  const limit = timeLimit(signal, timeoutMs);
  const answer = await new Promise<{ readonly code: number; readonly text: string; readonly retryAfter: string | undefined }>(
    (resolve, reject) => {
      const headers = { ...message.headers, 'User-Agent': 'midship', 'Content-Length': Buffer.byteLength(message.body) };
      wayTo(url, { access, signal: limit, idleTimeoutMs: timeoutMs, lookup: checkedLookup }).then((open) => {
        const request = open({ method: 'POST', signal: limit, agent: false, headers }, (response) => {
          readAnswerStart(response, { maxBytes: maxAnswerBytes }).then(
            (text) => resolve({ code: response.statusCode ?? 0, text, retryAfter: response.headers['retry-after'] }),
            reject,
          );
        });
        request.on('error', reject);
        request.end(message.body);
      }, reject);
    },
  ).catch((cause: unknown) => {
    if (signal.aborted) throw signal.reason;
    if (cause instanceof PostError) throw cause;
    const why =
      cause instanceof ProxyRefusal
        ? cause.message
        : limit.aborted
          ? `did not answer within ${timeoutMs} ms`
          : `cannot be reached: ${codeOf(cause)}`;
    throw new PostError(`${url.host} ${why}`, { cause });
  });
  judge(message, url.host, answer);
}

/** The error's code or kind: messages of TLS and HTTP may quote the other side. */
function codeOf(err: unknown): string {
  const { code, name } = (err ?? {}) as { readonly code?: unknown; readonly name?: unknown };
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'unknown error';
}

const checkedLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (err, addresses) => {
    if (err !== null) {
      callback(err, '');
      return;
    }
    const allowed = addresses.filter(({ address }) => !isForbidden(address));
    const [first] = allowed;
    if (first === undefined) callback(new PostError(`${hostname} is an address that nothing is sent to`, { isFinal: true }), '');
    else if (options.all === true) callback(null, allowed);
    else callback(null, first.address, first.family);
  });
};

function judge(
  message: Message,
  host: string,
  { code, text, retryAfter }: { readonly code: number; readonly text: string; readonly retryAfter: string | undefined },
): void {
  if (code >= 200 && code < 300) {
    const refusal = message.check?.(text);
    if (refusal !== undefined) throw new PostError(refusal, { isFinal: true });
    return;
  }
  if (message.isDone?.(code, text) === true) return;
  if (code >= 300 && code < 400) throw new PostError(`${host} answered ${code}: redirects are not followed`, { isFinal: true });
  throw new PostError(`${host} answered ${code}`, { retryAfterMs: waitMsOf(retryAfter), isFinal: lastingCodes.includes(code) });
}

/** Seconds, or a date. @see RFC 9110, 10.2.3 Retry-After */
function waitMsOf(retryAfter: string | undefined): number | undefined {
  if (retryAfter === undefined) return undefined;
  const waitMs = /^\s*\d+\s*$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), maxRetryAfterMs);
}
