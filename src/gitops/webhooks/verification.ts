import { createHash, createHmac, type Hmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Receiver, ReceiverSpec } from '../../api/notification/v1/receiver.ts';

/**
 * Verifies that the sender of a request knows the token. The check runs over the bytes of the body as they arrive, so
 * that none is kept.
 */
export interface Verifier {
  update(chunk: Uint8Array): void;
  /** Reason to refuse the request; undefined when it is accepted. It goes to the log, never to the sender. */
  finish(): string | undefined;
  /**
   * Event in the sender's terms: `push`, `Push Hook`; empty when the header is missing. Undefined for senders without
   * such a header.
   */
  readonly event: string | undefined;
}

/** Types of Receiver that can be verified here. */
export const supportedReceiverTypes: readonly ReceiverSpec['type'][] = [
  'generic',
  'generic-hmac',
  'github',
  'gitlab',
  'bitbucket',
  'gitea',
  'gogs',
];

const headerOf = (headers: IncomingHttpHeaders, ...names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = headers[name];
    if (typeof value === 'string') return value;
  }
  return undefined;
};

/** Begins to verify a request. Undefined for a type that is not supported. */
export function verifierOf(type: ReceiverSpec['type'], secret: string, headers: IncomingHttpHeaders): Verifier | undefined {
  // `echo` and editors end a file with a newline. No Git host counts it as part of the token, and no header can hold it.
  const token = secret.replace(/[\r\n]+$/, '');
  switch (type) {
    case 'generic':
      // The path holds the token; nobody else can know it.
      return { update: () => undefined, finish: () => undefined, event: undefined };
    case 'gitlab':
      return {
        update: () => undefined,
        finish: () => (isSame(headerOf(headers, 'x-gitlab-token') ?? '', token) ? undefined : 'X-Gitlab-Token is not the token'),
        event: headerOf(headers, 'x-gitlab-event') ?? '',
      };
    case 'github':
      return {
        ...verifySignature(token, headerOf(headers, 'x-hub-signature-256'), ['sha256']),
        event: headerOf(headers, 'x-github-event') ?? '',
      };
    case 'bitbucket':
      return { ...verifySignature(token, headerOf(headers, 'x-hub-signature'), ['sha256']), event: headerOf(headers, 'x-event-key') ?? '' };
    case 'gitea':
      return verifyPlainDigest(token, headers, ['x-forgejo', 'x-gitea']);
    case 'gogs':
      return verifyPlainDigest(token, headers, ['x-gogs']);
    case 'generic-hmac':
      return { ...verifySignature(token, headerOf(headers, 'x-signature'), ['sha1', 'sha256', 'sha512']), event: undefined };
    default:
      return undefined;
  }
}

/** Hosts of Gogs' family send the digest alone, by HMAC-SHA256. @param prefixes  start of the headers' names, by precedence */
function verifyPlainDigest(token: string, headers: IncomingHttpHeaders, prefixes: readonly string[]): Verifier {
  const find = (name: string): string | undefined => headerOf(headers, ...prefixes.map((prefix) => `${prefix}-${name}`));
  const digest = find('signature');
  return { ...verifySignature(token, digest === undefined ? undefined : `sha256=${digest}`, ['sha256']), event: find('event') ?? '' };
}

/** Verifies a signature such as `sha256=…`: the HMAC of the body, keyed with the token. */
function verifySignature(token: string, signature: string | undefined, algorithms: readonly string[]): Pick<Verifier, 'update' | 'finish'> {
  const [, algorithm = '', digest = ''] = /^(\w+)=([0-9a-f]+)$/i.exec(signature ?? '') ?? [];
  const hmac: Hmac | undefined = algorithms.includes(algorithm) ? createHmac(algorithm, token) : undefined;
  return {
    update: (chunk) => hmac?.update(chunk),
    finish() {
      if (signature === undefined) return 'the signature is missing';
      if (hmac === undefined) return `the signature is none of ${algorithms.join(', ')}`;
      return isSame(digest.toLowerCase(), hmac.digest('hex')) ? undefined : 'the signature does not fit the body';
    },
  };
}

/** Takes the same time wherever the two differ, and however long what was sent is. */
export function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** Flux's path of a Receiver. */
export function webhookPathOf(token: string, { metadata }: Receiver): string {
  return `/hook/${createHash('sha256').update(`${token}${metadata.name}${metadata.namespace}`).digest('hex')}`;
}
