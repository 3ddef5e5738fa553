import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { exportJWK, SignJWT } from 'jose';
import type { KeyPair } from '../../src/base/pki/key-pair.ts';

/** An OpenID Connect issuer on a free port of this machine, with TLS. */
export interface OidcIssuer {
  readonly url: string;
  /** Requests so far, by path. */
  readonly requests: Map<string, number>;
  /** Other answers by path; a string is sent unchanged. */
  readonly answers: Map<string, unknown>;
  /** Id of the key that signs now. */
  readonly publicKey: KeyObject;
  /** A new key signs from now on, and the old one is forgotten. */
  rotate(id: string): void;
  /** An ID token with these claims, besides `iss`, `aud`, `iat` and `exp` of an hour. */
  token(claims: Readonly<Record<string, unknown>>, options?: { readonly nowMs?: number; readonly keyId?: string }): Promise<string>;
  stop(): Promise<void>;
}

export const clientId = 'midship-tests';
export const configurationPath = '/.well-known/openid-configuration';
export const keysPath = '/keys';

export async function startOidcIssuer(tls: KeyPair): Promise<OidcIssuer> {
  let key = { id: 'first', ...generateKeyPairSync('rsa', { modulusLength: 2048 }) };
  const requests = new Map<string, number>();
  const answers = new Map<string, unknown>();
  const server: Server = createServer({ cert: tls.certificate, key: tls.key }, (request, response) => {
    const path = request.url ?? '';
    requests.set(path, (requests.get(path) ?? 0) + 1);
    void answerOf(path).then((answer) => {
      response.statusCode = answer === undefined ? 404 : 200;
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer ?? {}));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function answerOf(path: string): Promise<unknown> {
    if (answers.has(path)) return answers.get(path);
    if (path === configurationPath) return { issuer: url, jwks_uri: `${url}${keysPath}` };
    if (path === keysPath) return { keys: [{ ...(await exportJWK(key.publicKey)), kid: key.id, alg: 'RS256', use: 'sig' }] };
    return undefined;
  }

  return {
    url,
    requests,
    answers,
    get publicKey() {
      return key.publicKey;
    },
    rotate(id) {
      key = { id, ...generateKeyPairSync('rsa', { modulusLength: 2048 }) };
    },
    token(claims, { nowMs = Date.now(), keyId = key.id } = {}) {
      const issuedAt = Math.floor(nowMs / 1_000);
      return new SignJWT({ iss: url, aud: clientId, iat: issuedAt, exp: issuedAt + 3_600, ...claims })
        .setProtectedHeader({ alg: 'RS256', kid: keyId })
        .sign(key.privateKey);
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
