import type { JWSHeaderParameters, JWTVerifyGetKey } from 'jose';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { fetchJson } from './fetch-json.ts';

/** The public keys of an OpenID Connect issuer, fetched by discovery when they are needed. */
export interface IssuerKeys {
  /** The key that signed a token with this header. @throws Error when the issuer has none, or cannot be asked */
  readonly keyOf: JWTVerifyGetKey;
}

export interface IssuerKeysOptions {
  readonly issuerUrl: string;
  readonly caCertificate?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const timeoutMs = 10_000;
const maxBytes = 256 * 1024;
const maxKeys = 100;
/** Older keys are fetched again; the old ones stay valid meanwhile. */
const maxAgeMs = 600_000;
/** Between two attempts, however many tokens name a key that is not known. */
const cooldownMs = 10_000;
/** Keys of an issuer that cannot be reached any more count this long. */
const maxStaleMs = 3_600_000;

type KeySet = (header: JWSHeaderParameters) => ReturnType<JWTVerifyGetKey>;

export function createIssuerKeys({ issuerUrl, caCertificate, clock, log }: IssuerKeysOptions): IssuerKeys {
  let known: { readonly set: KeySet; readonly fetchedAt: number } | undefined;
  let attemptedAt: number | undefined;
  let fetching: Promise<void> | undefined;

  const get = (url: string): Promise<unknown> => fetchJson(url, { caCertificate, timeoutMs, maxBytes });

  async function fetchKeys(): Promise<void> {
    const discovered = (await get(`${issuerUrl.replace(/\/$/, '')}/.well-known/openid-configuration`)) as {
      readonly issuer?: unknown;
      readonly jwks_uri?: unknown;
    } | null;
    if (discovered?.issuer !== issuerUrl) throw new Error(`the configuration of ${issuerUrl} is that of another issuer`);
    if (typeof discovered.jwks_uri !== 'string') throw new Error(`the configuration of ${issuerUrl} names no jwks_uri`);
    const jwks = (await get(discovered.jwks_uri)) as { readonly keys?: unknown } | null;
    if (!Array.isArray(jwks?.keys) || jwks.keys.length > maxKeys)
      throw new Error(`${discovered.jwks_uri} has no list of at most ${maxKeys} keys`);
    // A shared secret in a public place is none.
    const keys = jwks.keys.filter((key) => key?.kty === 'RSA' || key?.kty === 'EC');
    const { createLocalJWKSet } = await import('jose');
    known = { set: createLocalJWKSet({ keys }), fetchedAt: clock.monotonicMs() };
    log.info({ issuer: issuerUrl, keys: keys.length }, 'Fetched keys of OIDC issuer');
  }

  /** Never rejects; at most one attempt at a time and one in a while. */
  function refresh(): Promise<void> {
    const now = clock.monotonicMs();
    if (fetching === undefined && (attemptedAt === undefined || now - attemptedAt >= cooldownMs)) {
      attemptedAt = now;
      fetching = fetchKeys()
        .catch((err) => log.warn({ err, issuer: issuerUrl }, 'Could not fetch keys of OIDC issuer'))
        .finally(() => {
          fetching = undefined;
        });
    }
    return fetching ?? Promise.resolve();
  }

  const ageMs = (): number => (known === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - known.fetchedAt);

  return {
    async keyOf(header) {
      if (ageMs() > maxStaleMs) await refresh();
      else if (ageMs() > maxAgeMs) void refresh();
      if (known === undefined || ageMs() > maxStaleMs) throw new Error(`the keys of ${issuerUrl} are not known`);
      try {
        return await known.set(header);
      } catch (err) {
        // It may have a new one.
        const before = known;
        await refresh();
        if (known === before) throw err;
        return known.set(header);
      }
    },
  };
}
