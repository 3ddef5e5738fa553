import { createHash } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { BoundedMap } from '../../base/bounded-map.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { UserInfo } from '../user.ts';
import { createIssuerKeys, type IssuerKeys } from './oidc-keys.ts';
import { forOwnAudience, type TokenAuthenticator, withAuthenticated } from './token-authenticator.ts';

/** The `--oidc-*` flags of kube-apiserver, with the same meanings. */
export interface OidcConfiguration {
  /** https; exactly as the tokens' `iss`. */
  readonly issuerUrl: string;
  /** Must be among the tokens' `aud`. */
  readonly clientId: string;
  /** Default `sub`. With `email`, only verified addresses count. */
  readonly usernameClaim?: string | undefined;
  /** Default, also when empty: `ISSUER#`, and none where the claim is `email`. `-` is none. */
  readonly usernamePrefix?: string | undefined;
  /** Absent: users are in no groups. */
  readonly groupsClaim?: string | undefined;
  readonly groupsPrefix?: string | undefined;
  /** Claims that must be there with this text. */
  readonly requiredClaims?: Readonly<Record<string, string>> | undefined;
  /** PEM; absent: the authorities of the system. */
  readonly caCertificate?: string | undefined;
  /** Default `RS256`. */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/** Those with a public key; a shared secret would let whoever reads the public key sign. */
const oidcAlgorithms: readonly string[] = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512'];

export interface OidcOptions extends OidcConfiguration {
  readonly clock: Clock;
  readonly log: Log;
}

const maxTokenLength = 16_384;
/** Tokens whose signature was checked; at the bound the oldest is checked again when it comes back. */
const maxVerified = 2_000;
const maxGroups = 1_000;
/** Clocks of issuers may be ahead. */
const notBeforeLeewaySeconds = 300;

/** ID tokens of an OpenID Connect issuer. Its keys are fetched when the first of its tokens comes. */
export function createOidcTokens(options: OidcOptions): TokenAuthenticator {
  const { issuerUrl, clock, log } = options;
  const keys = createIssuerKeys(options);
  const verified = new BoundedMap<string, { readonly user: UserInfo; readonly expiresAtMs: number }>(maxVerified);

  async function verify(token: string, digest: string): Promise<UserInfo | undefined> {
    let claims: JWTPayload;
    try {
      claims = await verifiedClaims(token, keys, options);
    } catch (err) {
      // The bearer of any invalid token gets only 401. The text of the error contains nothing of the token.
      log.debug({ err, issuer: issuerUrl }, 'Refused ID token');
      return undefined;
    }
    const user = tryUser(claims, options);
    if (user === undefined) {
      log.debug({ issuer: issuerUrl }, 'Refused ID token whose claims are not those that are wanted');
      return undefined;
    }
    verified.set(digest, { user, expiresAtMs: (claims.exp ?? 0) * 1_000 });
    return user;
  }

  return {
    authenticate(token, audiences) {
      if (token.length > maxTokenLength || !isFrom(token, issuerUrl)) return undefined;
      const digest = createHash('sha256').update(token).digest('base64');
      const known = verified.get(digest);
      if (known !== undefined) {
        if (clock.now() < known.expiresAtMs) return forOwnAudience(known.user, audiences);
        verified.delete(digest);
        return undefined;
      }
      return verify(token, digest).then((user) => (user === undefined ? undefined : forOwnAudience(user, audiences)));
    },
  };
}

/** True when the unverified token names this issuer. Other tokens need no fetch of keys. */
function isFrom(token: string, issuer: string): boolean {
  const [, payload, , ...rest] = token.split('.');
  if (payload === undefined || rest.length > 0) return false;
  try {
    return (JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as { readonly iss?: unknown } | null)?.iss === issuer;
  } catch {
    // No token of this kind.
    return false;
  }
}

async function verifiedClaims(
  token: string,
  keys: IssuerKeys,
  { issuerUrl, clientId, signingAlgorithms = ['RS256'], clock }: OidcOptions,
): Promise<JWTPayload> {
  const { jwtVerify } = await import('jose');
  const { payload } = await jwtVerify(token, keys.keyOf, {
    algorithms: signingAlgorithms.filter((algorithm) => oidcAlgorithms.includes(algorithm)),
    issuer: issuerUrl,
    audience: clientId,
    requiredClaims: ['exp'],
    clockTolerance: notBeforeLeewaySeconds,
    currentDate: new Date(clock.now()),
  });
  // The tolerance is for the beginning alone.
  if ((payload.exp ?? 0) * 1_000 <= clock.now()) throw new Error('the token has expired');
  return payload;
}

/** Undefined when a claim is missing or is not what is wanted. */
function tryUser(claims: JWTPayload, options: OidcConfiguration): UserInfo | undefined {
  const { issuerUrl, usernameClaim = 'sub', groupsClaim, groupsPrefix = '', requiredClaims = {} } = options;
  const isEmail = usernameClaim === 'email';
  const name = ownClaim(claims, usernameClaim);
  if (typeof name !== 'string' || name === '') return undefined;
  const isVerified = ownClaim(claims, 'email_verified');
  if (isEmail && isVerified !== undefined && isVerified !== true) return undefined;
  for (const [claim, wanted] of Object.entries(requiredClaims)) if (ownClaim(claims, claim) !== wanted) return undefined;
  const groups = groupsClaim === undefined ? [] : tryGroups(claims, groupsClaim);
  if (groups === undefined) return undefined;
  const usernamePrefix = options.usernamePrefix || (isEmail ? '' : `${issuerUrl}#`);
  const id = ownClaim(claims, 'jti');
  return {
    name: `${usernamePrefix === '-' ? '' : usernamePrefix}${name}`,
    groups: withAuthenticated(groups.map((group) => `${groupsPrefix}${group}`)),
    ...(typeof id === 'string' && id !== '' ? { extra: { 'authentication.kubernetes.io/credential-id': [`JTI=${id}`] } } : {}),
  };
}

function tryGroups(claims: JWTPayload, claim: string): readonly string[] | undefined {
  const value = ownClaim(claims, claim);
  if (value === undefined || value === null) {
    // They are kept somewhere else; a user without them would be another one.
    const elsewhere = ownClaim(claims, '_claim_names');
    return typeof elsewhere === 'object' && elsewhere !== null && Object.hasOwn(elsewhere, claim) ? undefined : [];
  }
  const groups = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(groups) || groups.length > maxGroups) return undefined;
  return groups.every((group) => typeof group === 'string') ? (groups as readonly string[]) : undefined;
}

const ownClaim = (claims: JWTPayload, name: string): unknown => (Object.hasOwn(claims, name) ? claims[name] : undefined);
