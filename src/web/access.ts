import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';

/** Knows who may read the page and the metrics of a port that asks for a login. */
export interface Access {
  /** True when the `Authorization` header carries the token. */
  hasToken(authorization: string | undefined): boolean;
  /** A secret for the address `/login?token=…` that is good for one login. */
  newLink(): string;
  /** Takes the secret of a link, and gives the id of a session; undefined when it is none, was used, or is too old. */
  logIn(secret: string, address: string): string | undefined;
  /** When the session ends that a browser at `address` has, in milliseconds of the monotonic clock; undefined: it has none. */
  sessionEnd(cookies: string | undefined, address: string): number | undefined;
  /** Counts a wrong token or link; true when the address has had too many. */
  failed(address: string): boolean;
}

export const sessionMs = 24 * 3_600_000;
const linkMs = 3_600_000;
const maxSessions = 256;
const maxLinks = 64;
const failureWindowMs = 60_000;
const maxFailures = 20;
const maxAddresses = 1_024;

/** A cookie goes to every port of a host, so its name says which one it is for. */
export const cookieName = (port: number): string => `midship-session-${port}`;

/**
 * Links and sessions are kept by their digest: how long a search takes says nothing about them. A session belongs to the address it was
 * opened from, since a browser shows its cookie to every other port of this host. A right token passes whatever an address did wrong
 * before: nobody locks out others at the same address.
 */
export function createAccess({ token, clock, port }: { readonly token: string; readonly clock: Clock; port(): number }): Access {
  const wanted = sha256(token);
  const links = createExpiringMap<true>(clock, maxLinks, linkMs);
  const sessions = createExpiringMap<string>(clock, maxSessions, sessionMs);
  const failures = createExpiringMap<{ count: number }>(clock, maxAddresses, failureWindowMs);
  return {
    hasToken(authorization = '') {
      const [, given = ''] = /^bearer +(\S+)$/i.exec(authorization) ?? [];
      return timingSafeEqual(sha256(given), wanted);
    },
    newLink() {
      const secret = randomBytes(24).toString('base64url');
      links.set(keyOf(secret), true);
      return secret;
    },
    logIn(secret, address) {
      const key = keyOf(secret);
      if (links.get(key) === undefined) return undefined;
      links.delete(key);
      const id = randomBytes(32).toString('base64url');
      sessions.set(keyOf(id), address);
      return id;
    },
    sessionEnd(cookies, address) {
      const id = cookieOf(cookies, cookieName(port()));
      if (id === undefined) return undefined;
      const session = sessions.get(keyOf(id));
      return session?.value === address ? session.endsAt : undefined;
    },
    failed(address) {
      const known = failures.get(address)?.value;
      if (known === undefined) failures.set(address, { count: 1 });
      else known.count += 1;
      return (known?.count ?? 1) > maxFailures;
    },
  };
}

interface ExpiringMap<V> {
  get(key: string): { readonly value: V; readonly endsAt: number } | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
}

/** Entries last for `lifeMs`; the oldest makes room for a new one. */
function createExpiringMap<V>(clock: Clock, max: number, lifeMs: number): ExpiringMap<V> {
  const entries = new BoundedMap<string, { readonly value: V; readonly endsAt: number }>(max);
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry !== undefined && entry.endsAt > clock.monotonicMs()) return entry;
      entries.delete(key);
      return undefined;
    },
    set(key, value) {
      entries.set(key, { value, endsAt: clock.monotonicMs() + lifeMs });
    },
    delete: (key) => void entries.delete(key),
  };
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const keyOf = (secret: string): string => sha256(secret).toString('base64');

function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const part of (header ?? '').split(';')) {
    const [key = '', value] = part.trim().split('=', 2);
    if (key === name) return value;
  }
  return undefined;
}
