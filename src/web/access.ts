import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';
import type { HttpClientOptions } from '../client/http-client.ts';

/** A user of the API. Every read and write for the user carries these credentials, so the API decides about each. */
export interface Identity {
  /** As the API names the user. */
  readonly name: string;
  readonly credentials: Pick<HttpClientOptions, 'token' | 'clientCertificate'>;
}

export interface Session {
  /** Milliseconds of the monotonic clock. */
  readonly endsAt: number;
  /** Absent: the session reads what the page shows everybody who may see it. */
  readonly identity: Identity | undefined;
  /** The secret of its forms. Other sites cannot read it, so a form without it is not from this page. */
  readonly formToken: string;
}

/** Knows who may read the page and the metrics of a port that asks for a login, and who acts as which user. */
export interface Access {
  /** True when the `Authorization` header carries the token. */
  hasToken(authorization: string | undefined): boolean;
  /** True when it carries the token of the owner of the data directory. */
  hasOwnerToken(authorization: string | undefined): boolean;
  /** A secret for the address `/login?token=…` that is good for one login, as `identity` when there is one. */
  newLink(identity?: Identity): string;
  /** Takes the secret of a link, and gives the id of a session; undefined when it is none, was used, or is too old. */
  logIn(secret: string, address: string): string | undefined;
  /** Gives the id of a new session. */
  openSession(identity: Identity, address: string): string;
  /** The session that a browser at `address` has. */
  session(cookies: string | undefined, address: string): Session | undefined;
  logOut(cookies: string | undefined): void;
  /** Counts a wrong token or link; true when the address has had too many. */
  failed(address: string): boolean;
}

export interface AccessOptions {
  /** Absent: the port does not ask for a login. */
  readonly token?: string | undefined;
  /** Absent: no program makes links of the owner. */
  readonly ownerToken?: string | undefined;
  readonly clock: Clock;
  port(): number;
}

export const sessionMs = 24 * 3_600_000;
/** A session that acts as a user lasts a working day. */
export const identitySessionMs = 8 * 3_600_000;
const linkMs = 3_600_000;
const maxSessions = 256;
/** Bound for one user of the API: no user ends the sessions of others by opening more and more. */
const maxSessionsOfUser = 16;
const maxLinks = 64;
const failureWindowMs = 60_000;
const maxFailures = 20;
const maxAddresses = 1_024;

/** A cookie goes to every port of a host, so its name says which one it is for. */
export const cookieName = (port: number): string => `midship-session-${port}`;

interface Opened {
  readonly address: string;
  readonly identity: Identity | undefined;
  readonly formToken: string;
}

/**
 * Links and sessions are kept by their digest: how long a search takes says nothing about them. A session belongs to the address it was
 * opened from, since a browser shows its cookie to every other port of this host. A right token passes whatever an address did wrong
 * before: nobody locks out others at the same address.
 */
export function createAccess({ token, ownerToken, clock, port }: AccessOptions): Access {
  const links = createExpiringMap<{ readonly identity: Identity | undefined }>(clock, maxLinks);
  const sessions = createExpiringMap<Opened>(clock, maxSessions);
  const failures = createExpiringMap<{ count: number }>(clock, maxAddresses);

  function open(identity: Identity | undefined, address: string): string {
    const id = randomBytes(32).toString('base64url');
    if (identity !== undefined) sessions.keep(maxSessionsOfUser - 1, (other) => other.identity?.name === identity.name);
    const lifeMs = identity === undefined ? sessionMs : identitySessionMs;
    sessions.set(keyOf(id), { address, identity, formToken: randomBytes(24).toString('base64url') }, lifeMs);
    return id;
  }

  return {
    hasToken: createBearerCheck(token),
    hasOwnerToken: createBearerCheck(ownerToken),
    newLink(identity) {
      const secret = randomBytes(24).toString('base64url');
      links.set(keyOf(secret), { identity }, linkMs);
      return secret;
    },
    logIn(secret, address) {
      const key = keyOf(secret);
      const link = links.get(key);
      if (link === undefined) return undefined;
      links.delete(key);
      return open(link.value.identity, address);
    },
    openSession: open,
    session(cookies, address) {
      const id = cookieOf(cookies, cookieName(port()));
      const found = id === undefined ? undefined : sessions.get(keyOf(id));
      if (found?.value.address !== address) return undefined;
      const { identity, formToken } = found.value;
      return { endsAt: found.endsAt, identity, formToken };
    },
    logOut(cookies) {
      const id = cookieOf(cookies, cookieName(port()));
      if (id !== undefined) sessions.delete(keyOf(id));
    },
    failed(address) {
      const known = failures.get(address)?.value;
      if (known === undefined) failures.set(address, { count: 1 }, failureWindowMs);
      else known.count += 1;
      return (known?.count ?? 1) > maxFailures;
    },
  };
}

/** Compares in constant time. Without a token nothing fits. */
function createBearerCheck(token: string | undefined): (authorization: string | undefined) => boolean {
  if (token === undefined) return () => false;
  const wanted = sha256(token);
  return (authorization = '') => {
    const [, given = ''] = /^bearer +(\S+)$/i.exec(authorization) ?? [];
    return timingSafeEqual(sha256(given), wanted);
  };
}

/** True for the secret of the session's forms; compares in constant time. */
export const isFormToken = ({ formToken }: Session, given: unknown): boolean =>
  typeof given === 'string' && timingSafeEqual(sha256(given), sha256(formToken));

interface ExpiringMap<V> {
  get(key: string): { readonly value: V; readonly endsAt: number } | undefined;
  set(key: string, value: V, lifeMs: number): void;
  delete(key: string): void;
  /** Deletes the oldest entries that `fits` names, but for `count` of them. */
  keep(count: number, fits: (value: V) => boolean): void;
}

/** Entries last for their `lifeMs`; the oldest makes room for a new one. */
function createExpiringMap<V>(clock: Clock, max: number): ExpiringMap<V> {
  const entries = new BoundedMap<string, { readonly value: V; readonly endsAt: number }>(max);
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry !== undefined && entry.endsAt > clock.monotonicMs()) return entry;
      entries.delete(key);
      return undefined;
    },
    set(key, value, lifeMs) {
      entries.set(key, { value, endsAt: clock.monotonicMs() + lifeMs });
    },
    delete: (key) => void entries.delete(key),
    keep(count, fits) {
      const named = [...entries].filter(([, { value }]) => fits(value));
      for (const [key] of named.slice(0, Math.max(0, named.length - count))) entries.delete(key);
    },
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
