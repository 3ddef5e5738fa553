import { expect, it } from 'vitest';
import { bootstrapSecretOf, formatJoinToken, tryParseJoinToken } from '../../../src/api/join-token.ts';
import { authorityHashOf, newBootstrapToken } from '../../../src/api/join-token-secrets.ts';

const authorityHash = authorityHashOf('-----BEGIN CERTIFICATE-----\n');

it('reads the token that it writes, with a line break at its end', () => {
  const token = { authorityHash, bootstrapToken: newBootstrapToken() };
  expect(tryParseJoinToken(`${formatJoinToken(token)}\n`)).toEqual(token);
});

it.each([
  ['a token without the hash of the authority', 'abcdef.0123456789abcdef'],
  ['a hash that is too short', `K10${authorityHash.slice(1)}::abcdef.0123456789abcdef`],
  ['the password of another distribution', `K10${authorityHash}::server:secret`],
  ['capital letters', `K10${authorityHash}::ABCDEF.0123456789abcdef`],
  ['two tokens', `K10${authorityHash}::abcdef.0123456789abcdef K10`],
])('refuses %s', (_, text) => {
  expect(tryParseJoinToken(text)).toBeUndefined();
});

it('keeps a bootstrap token in the Secret by which the API server knows it', () => {
  const secret = bootstrapSecretOf('abcdef.0123456789abcdef', { description: 'of a test', expiration: '2026-12-02T00:00:00Z' });
  const data = Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]);
  expect(secret).toMatchObject({
    metadata: { name: 'bootstrap-token-abcdef', namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
  });
  expect(Object.fromEntries(data)).toEqual({
    'token-id': 'abcdef',
    'token-secret': '0123456789abcdef',
    'usage-bootstrap-authentication': 'true',
    description: 'of a test',
    expiration: '2026-12-02T00:00:00Z',
  });
});

it('makes tokens that differ', () => {
  const tokens = new Set(Array.from({ length: 100 }, newBootstrapToken));
  expect(tokens.size).toBe(100);
  for (const token of tokens) expect(token).toMatch(/^[a-z0-5]{6}\.[a-z0-5]{16}$/);
});
