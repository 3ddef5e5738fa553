import { createHash, randomUUID } from 'node:crypto';
import { type TokenRequest, tokenRequests } from '../api/authentication/v1/token-request.ts';
import { nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { serviceAccounts } from '../api/core/v1/service-account.ts';
import { invalidValue } from '../api/field-errors.ts';
import { labels } from '../api/well-known.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { SigningKey, VerifyingKey } from '../base/pki/signing-key.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import { badRequest, conflict, type FieldError, forbidden, invalid, notFound } from '../machinery/status-error.ts';
import { type AuthenticatedToken, forOwnAudience, ownAudiences, type TokenAuthenticator } from './authentication/token-authenticator.ts';
import type { Registry } from './registry/registry.ts';
import type { UserInfo } from './user.ts';

/** Signed tokens of service accounts: made on request or for a Secret, and good as long as all they name is still there. */
export interface ServiceAccountTokens extends TokenAuthenticator {
  /** @throws StatusError `NotFound`, `Invalid`, `Conflict` (the bound object is another one) */
  issue(account: ObjectRef, request: TokenRequest, options: { readonly dryRun: boolean }): Promise<TokenRequest>;
  /** A token without an end, which is good as long as the Secret of that name holds it. */
  issueForSecret(account: KubeObject, secretName: string): Promise<string>;
  /** Undefined also when its account or the object it is bound to is gone. */
  authenticate(token: string, audiences?: readonly string[]): Promise<AuthenticatedToken | undefined>;
  /** `/.well-known/openid-configuration` */
  configuration(serverUrl: string): unknown;
  /** `/openid/v1/jwks` */
  readonly keys: unknown;
}

export interface ServiceAccountTokensOptions {
  readonly key: SigningKey;
  readonly registry: Pick<Registry, 'get'>;
  readonly clock: Clock;
}

const [serviceAccountIssuer = ''] = ownAudiences;

/** The issuer of tokens that a Secret holds; the same in every cluster. */
const secretIssuer = 'kubernetes/serviceaccount';
const claimPrefix = 'kubernetes.io/serviceaccount';

const minLifetimeSeconds = 600;
const maxLifetimeSeconds = 2 ** 32;
const defaultLifetimeSeconds = 3_600;
/** Tokens whose signature was checked; at the bound the oldest is checked again when it comes back. */
const maxVerified = 2_000;
const maxTokenLength = 16_384;

interface Claims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly nbf: number;
  readonly jti: string;
  readonly 'kubernetes.io': {
    readonly namespace: string;
    readonly serviceaccount: Named;
    readonly pod?: Named;
    readonly secret?: Named;
    readonly node?: Named;
  };
}

interface Named {
  readonly name: string;
  readonly uid: string;
}

/** Claims of a token that a Secret holds. */
interface SecretClaims {
  readonly namespace: string;
  readonly account: Named;
  readonly secretName: string;
}

interface Verified {
  /** Thumbprint of the key that signed it. */
  readonly keyId: string;
  readonly claims: Claims | SecretClaims;
  /** One object a token, so that what is decided for it is remembered. */
  readonly user: UserInfo;
}

export function createServiceAccountTokens({ key, registry, clock }: ServiceAccountTokensOptions): ServiceAccountTokens {
  const verified = new BoundedMap<string, Verified>(maxVerified);

  const trustedKeys = (): readonly VerifyingKey[] => [key, ...key.others(clock.now())];

  const uidOf = (kind: KindDefinition, storeKey: string): string | undefined => registry.get(kind, storeKey)?.metadata.uid;

  function isAlive({ 'kubernetes.io': { namespace, serviceaccount, pod, secret, node } }: Claims): boolean {
    return (
      uidOf(serviceAccounts, `${namespace}/${serviceaccount.name}`) === serviceaccount.uid &&
      (pod === undefined || uidOf(pods, `${namespace}/${pod.name}`) === pod.uid) &&
      (secret === undefined || uidOf(secrets, `${namespace}/${secret.name}`) === secret.uid) &&
      // A pod's node is in the token for information; a token that is bound to the node itself ends with it.
      (node === undefined || pod !== undefined || uidOf(nodes, node.name) === node.uid)
    );
  }

  function isHeld({ namespace, account, secretName }: SecretClaims, token: string): boolean {
    const secret = registry.get(secrets, `${namespace}/${secretName}`) as Secret | undefined;
    const owner = registry.get(serviceAccounts, `${namespace}/${account.name}`)?.metadata;
    if (secret === undefined || secret.metadata.deletionTimestamp !== undefined) return false;
    if (secret.metadata.labels?.[labels.legacyTokenInvalidSince] !== undefined) return false;
    if (owner === undefined || owner.deletionTimestamp !== undefined || owner.uid !== account.uid) return false;
    return Buffer.from(secret.data?.token ?? '', 'base64').equals(Buffer.from(token));
  }

  async function verify(token: string): Promise<Verified | undefined> {
    const digest = createHash('sha256').update(token).digest('base64');
    const trusted = trustedKeys();
    const known = verified.get(digest);
    // A key that was replaced is trusted for a while, and what it signed with it.
    if (known !== undefined && trusted.some(({ id }) => id === known.keyId)) return known;
    // Loaded when the first token is seen: most clusters start without.
    const { jwtVerify } = await import('jose');
    let payload: unknown;
    let keyId = '';
    try {
      ({ payload } = await jwtVerify(
        token,
        ({ kid }) => {
          const signer = trusted.find(({ id }) => id === kid);
          if (signer === undefined) throw new Error('no such key');
          keyId = signer.id;
          return signer.publicKey;
        },
        { algorithms: [key.algorithm], issuer: [serviceAccountIssuer, secretIssuer], currentDate: new Date(clock.now()) },
      ));
    } catch {
      // Every invalid token gets the same answer: the bearer is unknown.
      return undefined;
    }
    const fresh = tryVerified(payload as Readonly<Record<string, unknown>>);
    if (fresh === undefined) return undefined;
    const own = { ...fresh, keyId };
    verified.set(digest, own);
    return own;
  }

  return {
    async issue({ namespace = '', name }, request, { dryRun }) {
      const account = registry.get(serviceAccounts, `${namespace}/${name}`);
      if (account === undefined) throw notFound(serviceAccounts, name);
      checkName(request, namespace, name);
      const { audiences: asked, expirationSeconds: seconds, boundObjectRef } = request.spec ?? {};
      const lifetime = seconds ?? defaultLifetimeSeconds;
      const errors = lifetimeErrors(lifetime);
      if (errors.length > 0) throw invalid({ group: 'authentication.k8s.io', kind: 'TokenRequest' }, '', errors);
      const bound = boundObjectRef ?? undefined;
      const binding = bound === undefined ? {} : boundClaims(registry, account, bound);
      const audiences = (asked ?? []).length === 0 ? ownAudiences : (asked ?? []);
      const issuedAt = Math.floor(clock.now() / 1_000);
      const { uid = '' } = account.metadata;
      const claims: Claims = {
        aud: audiences,
        exp: issuedAt + lifetime,
        iat: issuedAt,
        iss: serviceAccountIssuer,
        jti: randomUUID(),
        'kubernetes.io': { namespace, ...binding, serviceaccount: { name, uid } },
        nbf: issuedAt,
        sub: subjectOf(namespace, name),
      };
      const { uid: _, ...boundTo } = bound ?? {};
      return {
        kind: 'TokenRequest',
        apiVersion: 'authentication.k8s.io/v1',
        metadata: { name, namespace, uid, creationTimestamp: timestampOf(clock.now()) },
        spec: { audiences, expirationSeconds: lifetime, boundObjectRef: bound === undefined ? null : { ...boundTo, ...uidPart(bound) } },
        status: { token: dryRun ? '' : await sign(key, claims), expirationTimestamp: timestampOf(claims.exp * 1_000) },
      } as unknown as TokenRequest;
    },

    async authenticate(token, audiences = ownAudiences) {
      if (token.length > maxTokenLength || token.split('.').length !== 3) return undefined;
      const found = await verify(token);
      if (found === undefined) return undefined;
      const { claims, user } = found;
      if ('secretName' in claims) return isHeld(claims, token) ? forOwnAudience(user, audiences) : undefined;
      const now = clock.now() / 1_000;
      const good = claims.aud.filter((audience) => audiences.includes(audience));
      if (good.length === 0 || now >= claims.exp || now < claims.nbf || !isAlive(claims)) return undefined;
      return { user, audiences: good };
    },

    issueForSecret({ metadata: { namespace = '', name, uid = '' } }, secretName) {
      return sign(key, {
        iss: secretIssuer,
        sub: subjectOf(namespace, name),
        [`${claimPrefix}/namespace`]: namespace,
        [`${claimPrefix}/secret.name`]: secretName,
        [`${claimPrefix}/service-account.name`]: name,
        [`${claimPrefix}/service-account.uid`]: uid,
      });
    },

    configuration: (serverUrl) => ({
      issuer: serviceAccountIssuer,
      jwks_uri: `${serverUrl}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: [key.algorithm],
    }),

    get keys() {
      return { keys: trustedKeys().map(({ id, algorithm, publicJwk }) => ({ use: 'sig', kid: id, alg: algorithm, ...publicJwk })) };
    },
  };
}

const uidPart = ({ uid }: { readonly uid?: string }): { readonly uid?: string } => (uid === undefined || uid === '' ? {} : { uid });

const subjectOf = (namespace: string, name: string): string => `system:serviceaccount:${namespace}:${name}`;

async function sign(key: SigningKey, claims: object): Promise<string> {
  const { SignJWT } = await import('jose');
  return new SignJWT(claims as Record<string, unknown>).setProtectedHeader({ alg: key.algorithm, kid: key.id }).sign(key.privateKey);
}

function checkName({ metadata }: TokenRequest, namespace: string, name: string): void {
  const given = metadata?.name ?? '';
  if (given !== '' && given !== name) {
    throw invalid(tokenRequests, name, [invalidValue('metadata.name', given, 'must match the service account name if specified')]);
  }
  const home = metadata?.namespace ?? '';
  if (home !== '' && home !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
}

function lifetimeErrors(seconds: number): readonly FieldError[] {
  const field = 'spec.expirationSeconds';
  if (seconds < minLifetimeSeconds) return [invalidValue(field, seconds, 'may not specify a duration less than 10 minutes')];
  if (seconds > maxLifetimeSeconds) return [invalidValue(field, seconds, 'may not specify a duration larger than 2^32 seconds')];
  return [];
}

type BoundRef = NonNullable<TokenRequest['spec']['boundObjectRef']>;

/** The claims that name the bound object; it must exist, and be the one that is meant. */
function boundClaims(
  registry: Pick<Registry, 'get'>,
  account: KubeObject,
  { apiVersion = '', kind = '', name = '', uid = '' }: BoundRef,
): Partial<Claims['kubernetes.io']> {
  const { namespace = '', name: accountName } = account.metadata;
  const find = (definition: KindDefinition, key: string): KubeObject => {
    const object = registry.get(definition, key);
    if (object === undefined) throw notFound(definition, name);
    if (uid !== '' && uid !== object.metadata.uid) {
      throw conflict(
        { group: '', resource: definition.kind },
        name,
        `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
      );
    }
    return object;
  };
  const named = ({ metadata }: KubeObject): Named => ({ name: metadata.name, uid: metadata.uid ?? '' });
  switch (apiVersion === 'v1' ? kind : '') {
    case 'Pod': {
      const pod = find(pods, `${namespace}/${name}`) as Pod;
      if (pod.spec.serviceAccountName !== accountName) {
        throw badRequest(
          `cannot bind token for serviceaccount ${JSON.stringify(accountName)} to pod running with different serviceaccount name.`,
        );
      }
      const node = registry.get(nodes, pod.spec.nodeName ?? '');
      return { ...(node === undefined ? {} : { node: named(node) }), pod: named(pod) };
    }
    case 'Secret':
      return { secret: named(find(secrets, `${namespace}/${name}`)) };
    case 'Node':
      return { node: named(find(nodes, name)) };
    default:
      throw badRequest(`cannot bind token to object of type ${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}, Kind=${kind}`);
  }
}

/** A payload that this server signed; undefined for one of another shape, made by whoever else had the key. */
function tryVerified(payload: Readonly<Record<string, unknown>>): Omit<Verified, 'keyId'> | undefined {
  if (payload.iss === secretIssuer) {
    const text = (name: string): string => String(payload[`${claimPrefix}/${name}`] ?? '');
    const namespace = text('namespace');
    const account = { name: text('service-account.name'), uid: text('service-account.uid') };
    const secretName = text('secret.name');
    if ([namespace, account.uid, secretName].includes('') || payload.sub !== subjectOf(namespace, account.name)) return undefined;
    const { uid } = account;
    const groups = [...serviceAccountGroups(namespace), 'system:authenticated'];
    return { claims: { namespace, account, secretName }, user: { name: subjectOf(namespace, account.name), uid, groups } };
  }
  const claims = tryClaims(payload);
  return claims === undefined ? undefined : { claims, user: userOf(claims) };
}

function tryClaims(payload: unknown): Claims | undefined {
  const claims = payload as Claims;
  if (typeof claims.exp !== 'number' || typeof claims.nbf !== 'number' || claims.aud === undefined) return undefined;
  const own = claims['kubernetes.io'] as Claims['kubernetes.io'] | undefined;
  if (typeof own?.namespace !== 'string' || typeof own.serviceaccount?.name !== 'string') return undefined;
  if (claims.sub !== subjectOf(own.namespace, own.serviceaccount.name)) return undefined;
  return { ...claims, aud: [claims.aud].flat() };
}

function userOf({ jti, sub, 'kubernetes.io': { namespace, serviceaccount, pod, node } }: Claims): UserInfo {
  const prefix = 'authentication.kubernetes.io';
  return {
    name: sub,
    uid: serviceaccount.uid,
    groups: [...serviceAccountGroups(namespace), 'system:authenticated'],
    extra: {
      [`${prefix}/credential-id`]: [`JTI=${jti}`],
      ...(node === undefined ? {} : { [`${prefix}/node-name`]: [node.name], [`${prefix}/node-uid`]: [node.uid] }),
      ...(pod === undefined ? {} : { [`${prefix}/pod-name`]: [pod.name], [`${prefix}/pod-uid`]: [pod.uid] }),
    },
  };
}

export const serviceAccountGroups = (namespace: string): readonly string[] => [
  'system:serviceaccounts',
  `system:serviceaccounts:${namespace}`,
];

interface NodeTokenRequest {
  readonly user: UserInfo;
  readonly account: ObjectRef;
  readonly wanted: TokenRequest;
}

/**
 * NodeRestriction: a node gets tokens only for pods that run on it, bound to them.
 *
 * @throws StatusError `Forbidden`
 */
export function checkNodeTokenRequest(registry: Pick<Registry, 'get'>, { user, account, wanted }: NodeTokenRequest): void {
  if (!user.groups.includes('system:nodes') || !user.name.startsWith('system:node:')) return;
  const { kind, name = '', uid = '' } = wanted.spec?.boundObjectRef ?? {};
  const refuse = (why: string) => forbidden({ group: '', resource: 'serviceaccounts/token' }, account.name, why);
  if (kind !== 'Pod' || uid === '') throw refuse('node requested token not bound to a pod');
  const pod = registry.get(pods, `${account.namespace ?? ''}/${name}`) as Pod | undefined;
  if (pod === undefined || pod.metadata.uid !== uid || pod.spec.nodeName !== user.name.slice('system:node:'.length)) {
    throw refuse('node requested token bound to a pod scheduled on a different node');
  }
}
