import { createSecretKey } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createOidcTokens, type OidcConfiguration } from '../../../src/apiserver/authentication/oidc.ts';
import { ownAudiences, type TokenAuthenticator } from '../../../src/apiserver/authentication/token-authenticator.ts';
import { createLog } from '../../../src/base/log.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import { startTestApi } from '../../support/api.ts';
import { serveTestApi } from '../../support/api-server.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { clientId, configurationPath, keysPath, type OidcIssuer, startOidcIssuer } from '../../support/oidc-issuer.ts';

let directory: string;
let pki: Pki;
let issuer: OidcIssuer;
let clock: ManualClock;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'oidc-'));
  pki = await openPki({ directory, clock: createManualClock(Date.now()) });
  issuer = await startOidcIssuer(await pki.serverCertificate({ name: 'issuer', commonName: 'issuer', hosts: ['127.0.0.1'] }));
});
afterAll(async () => {
  await issuer.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  clock = createManualClock(Date.now());
  issuer.requests.clear();
  issuer.answers.clear();
});

const log = createLog({ level: 'silent' });
const authenticator = (options: Partial<OidcConfiguration> = {}): TokenAuthenticator =>
  createOidcTokens({ issuerUrl: issuer.url, clientId, caCertificate: pki.caCertificate, ...options, clock, log });
const userOf = async (token: string, tokens = authenticator()) => (await tokens.authenticate(token))?.user;
const fetches = (): number => issuer.requests.get(keysPath) ?? 0;

describe('an ID token', () => {
  it('tells the user by its subject, behind the issuer, and his groups', async () => {
    const token = await issuer.token({ sub: 'jane', jti: 'j-1', groups: ['devs', 'ops'] });
    expect(await userOf(token)).toEqual({
      name: `${issuer.url}#jane`,
      groups: ['system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': ['JTI=j-1'] },
    });
    const options = { usernamePrefix: 'oidc:', groupsClaim: 'groups', groupsPrefix: 'oidc:' };
    expect(await userOf(token, authenticator(options))).toMatchObject({
      name: 'oidc:jane',
      groups: ['oidc:devs', 'oidc:ops', 'system:authenticated'],
    });
    expect(await userOf(token, authenticator({ usernamePrefix: '' }))).toMatchObject({ name: `${issuer.url}#jane` });
    expect(await userOf(token, authenticator({ usernamePrefix: '-' }))).toMatchObject({ name: 'jane' });
    expect(await userOf(await issuer.token({ sub: 'jane', groups: 'one' }), authenticator(options))).toMatchObject({
      groups: ['oidc:one', 'system:authenticated'],
    });
  });

  it('names a user by a verified email, without a prefix', async () => {
    const tokens = authenticator({ usernameClaim: 'email' });
    expect(await userOf(await issuer.token({ email: 'a@example', email_verified: true }), tokens)).toMatchObject({ name: 'a@example' });
    expect(await userOf(await issuer.token({ email: 'a@example' }), tokens)).toMatchObject({ name: 'a@example' });
    for (const verified of [false, 'true', null]) {
      expect(await userOf(await issuer.token({ email: 'a@example', email_verified: verified }), tokens)).toBeUndefined();
    }
  });

  it('must have the required claims', async () => {
    const tokens = authenticator({ requiredClaims: { team: 'blue' } });
    expect(await userOf(await issuer.token({ sub: 'a', team: 'blue' }), tokens)).toBeDefined();
    expect(await userOf(await issuer.token({ sub: 'a', team: ['blue'] }), tokens)).toBeUndefined();
    expect(await userOf(await issuer.token({ sub: 'a' }), tokens)).toBeUndefined();
  });

  it('is checked once, and is over when it expires', async () => {
    const tokens = authenticator();
    const token = await issuer.token({ sub: 'a' }, { nowMs: clock.now() });
    expect(await userOf(token, tokens)).toBe(await userOf(token, tokens));
    clock.advance(3_601_000);
    expect(await userOf(token, tokens)).toBeUndefined();
  });

  it('is for this API and for no other audience', async () => {
    const token = await issuer.token({ sub: 'a' });
    const tokens = authenticator();
    expect(await tokens.authenticate(token, ['https://other.example'])).toBeUndefined();
    expect(await tokens.authenticate(token, ['https://other.example', ...ownAudiences])).toMatchObject({ audiences: ownAudiences });
  });
});

describe('a token is refused', () => {
  const parts = (token: string): readonly [string, string, string] => token.split('.') as unknown as [string, string, string];
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

  it('unsigned, or signed with the public key as a shared secret', async () => {
    const [, payload] = parts(await issuer.token({ sub: 'admin' }));
    for (const alg of ['none', 'None', 'NONE']) expect(await userOf(`${part({ alg })}.${payload}.`)).toBeUndefined();
    const secret = createSecretKey(Buffer.from(issuer.publicKey.export({ type: 'spki', format: 'pem' }).toString()));
    const forged = await new SignJWT({ sub: 'admin', iss: issuer.url, aud: clientId, exp: Math.floor(clock.now() / 1_000) + 600 })
      .setProtectedHeader({ alg: 'HS256', kid: 'first' })
      .sign(secret);
    expect(await userOf(forged)).toBeUndefined();
    // Also where somebody lists the algorithm.
    expect(await userOf(forged, authenticator({ signingAlgorithms: ['HS256', 'RS256'] }))).toBeUndefined();
  });

  it('signed by an algorithm that is not among those that are taken', async () => {
    const token = await issuer.token({ sub: 'a' });
    expect(await userOf(token, authenticator({ signingAlgorithms: ['ES256'] }))).toBeUndefined();
  });

  it('changed, or with a key of its own in the header', async () => {
    const token = await issuer.token({ sub: 'a' });
    const [head, payload, signature] = parts(token);
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    expect(await userOf(`${head}.${part({ ...claims, sub: 'admin' })}.${signature}`)).toBeUndefined();
    const other = await startOidcIssuer(await pki.serverCertificate({ name: 'issuer', commonName: 'issuer', hosts: ['127.0.0.1'] }));
    try {
      const jwk = other.publicKey.export({ format: 'jwk' });
      const stolen = parts(await other.token({ sub: 'admin', iss: issuer.url }));
      expect(await userOf(stolen.join('.'))).toBeUndefined();
      expect(
        await userOf([part({ alg: 'RS256', kid: 'first', jwk, jku: `${other.url}${keysPath}` }), stolen[1], stolen[2]].join('.')),
      ).toBeUndefined();
      expect(other.requests.size).toBe(0);
    } finally {
      await other.stop();
    }
  });

  it.each([
    ['for another audience', { aud: 'other' }],
    ['without an audience', { aud: undefined }],
    ['of another issuer', { iss: 'https://other.example' }],
    ['of an issuer that is called almost the same', { iss: `${'ISSUER'}/` }],
    ['expired', { exp: Math.floor(Date.now() / 1_000) - 1 }],
    ['without an end', { exp: undefined }],
    ['not good yet', { nbf: Math.floor(Date.now() / 1_000) + 3_600 }],
    ['without a name', { sub: undefined }],
    ['with an empty name', { sub: '' }],
    ['with a name that is no text', { sub: ['admin'] }],
    ['with groups that are no texts', { groups: [{}] }],
    ['with groups that are kept elsewhere', { groups: undefined, _claim_names: { groups: 'src1' }, _claim_sources: {} }],
    ['with more groups than anybody has', { groups: Array.from({ length: 1_001 }, (_, index) => `g${index}`) }],
  ])('%s', async (_, claims) => {
    const changed = 'iss' in claims && claims.iss === 'ISSUER/' ? { iss: `${issuer.url}/` } : claims;
    const token = await issuer.token({ sub: 'a', ...changed }, { nowMs: clock.now() });
    expect(await userOf(token, authenticator({ groupsClaim: 'groups' }))).toBeUndefined();
  });

  it('that is no token at all, without asking the issuer', async () => {
    const tokens = authenticator();
    for (const text of ['', 'x', 'a.b', 'a.b.c', 'a.b.c.d', `${part({})}.${part(null)}.x`, `${part({})}.${part([])}.x`]) {
      expect(await userOf(text, tokens)).toBeUndefined();
    }
    expect(await userOf(`x.${'y'.repeat(20_000)}.z`, tokens)).toBeUndefined();
    expect(issuer.requests.size).toBe(0);
  });
});

describe('the keys of the issuer', () => {
  it('are asked for once by tokens that name keys which are not there, until a while has passed', async () => {
    const tokens = authenticator();
    await userOf(await issuer.token({ sub: 'a' }), tokens);
    expect(fetches()).toBe(1);
    const flood = await Promise.all(
      Array.from({ length: 50 }, (_, index) => issuer.token({ sub: 'a', n: index }, { keyId: `unknown-${index}` })),
    );
    for (const user of await Promise.all(flood.map((token) => userOf(token, tokens)))) expect(user).toBeUndefined();
    expect(fetches()).toBe(1);
    clock.advance(11_000);
    await Promise.all(flood.map((token) => userOf(token, tokens)));
    expect(fetches()).toBe(2);
  });

  it('are followed when they change', async () => {
    const tokens = authenticator();
    await userOf(await issuer.token({ sub: 'a' }), tokens);
    issuer.rotate('second');
    clock.advance(11_000);
    expect(await userOf(await issuer.token({ sub: 'b' }), tokens)).toMatchObject({ name: `${issuer.url}#b` });
  });

  it('count on while the issuer is away, and not forever', async () => {
    const tokens = authenticator();
    await userOf(await issuer.token({ sub: 'a' }), tokens);
    issuer.answers.set(configurationPath, 'away');
    clock.advance(1_800_000);
    expect(await userOf(await issuer.token({ sub: 'b' }, { nowMs: clock.now() }), tokens)).toBeDefined();
    clock.advance(2_000_000);
    expect(await userOf(await issuer.token({ sub: 'c' }, { nowMs: clock.now() }), tokens)).toBeUndefined();
    issuer.answers.clear();
    clock.advance(11_000);
    expect(await userOf(await issuer.token({ sub: 'd' }, { nowMs: clock.now() }), tokens)).toBeDefined();
  });

  it.each([
    [
      'whose configuration is that of another',
      [configurationPath, { issuer: 'https://other.example', jwks_uri: 'https://127.0.0.1:1/keys' }],
    ],
    ['that names keys without TLS', [configurationPath, { issuer: 'ISSUER', jwks_uri: 'http://127.0.0.1:1/keys' }]],
    ['that answers without end', [keysPath, 'x'.repeat(300_000)]],
    ['that has too many keys', [keysPath, { keys: Array.from({ length: 101 }, () => ({})) }]],
    ['that publishes a shared secret', [keysPath, { keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'first', alg: 'RS256' }] }]],
    ['that answers nonsense', [keysPath, 'null']],
  ] as const)('are not taken from an issuer %s', async (_, [path, answer]) => {
    const given =
      typeof answer === 'object' && 'issuer' in answer && answer.issuer === 'ISSUER' ? { ...answer, issuer: issuer.url } : answer;
    issuer.answers.set(path, given);
    expect(await userOf(await issuer.token({ sub: 'a' }))).toBeUndefined();
  });

  it('are not taken from a server whose certificate is not trusted', async () => {
    const other = await openPki({ directory: join(directory, 'other'), clock });
    expect(await userOf(await issuer.token({ sub: 'a' }), authenticator({ caCertificate: other.caCertificate }))).toBeUndefined();
    expect(fetches()).toBe(0);
  });
});

it('lets its bearer in over HTTP, and TokenReview knows him', async () => {
  const tokens = authenticator({ usernamePrefix: 'oidc:' });
  const cluster = await serveTestApi(await startTestApi({ tokenAuthenticators: [tokens] }));
  try {
    const token = await issuer.token({ sub: 'jane' });
    const kind = { apiVersion: 'authentication.k8s.io/v1' };
    const self = await cluster.fetch('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: { ...kind, kind: 'SelfSubjectReview' },
    });
    // Known, and without any role here.
    expect(self.json.message).toContain('User "oidc:jane" cannot create resource "selfsubjectreviews"');
    const review = await cluster.fetch('/apis/authentication.k8s.io/v1/tokenreviews', {
      method: 'POST',
      body: { ...kind, kind: 'TokenReview', spec: { token } },
    });
    expect(review.json.status).toMatchObject({ authenticated: true, user: { username: 'oidc:jane' } });
  } finally {
    await cluster.stop();
  }
});
