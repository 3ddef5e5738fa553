import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { type AccessFlags, oidcSettingsOf, withAccessFlags } from '../../../src/cli/access-flags.ts';

const parse = (...flags: readonly string[]): AccessFlags =>
  withAccessFlags(new Command('up').exitOverride().configureOutput({ writeErr: () => undefined }))
    .parse([...flags], { from: 'user' })
    .opts();

const issuer = ['--oidc-issuer-url', 'https://login.example/realm', '--oidc-client-id', 'midship'];

describe('--oidc flags', () => {
  it('mean what they mean to kube-apiserver', () => {
    expect(oidcSettingsOf(parse())).toBeUndefined();
    expect(
      oidcSettingsOf(
        parse(...issuer, '--oidc-required-claim', 'a=b=c', '--oidc-required-claim', 'd=', '--oidc-signing-algs', 'RS256,ES256'),
      ),
    ).toMatchObject({
      issuerUrl: 'https://login.example/realm',
      clientId: 'midship',
      usernameClaim: undefined,
      requiredClaims: { a: 'b=c', d: '' },
      signingAlgorithms: ['RS256', 'ES256'],
    });
  });

  it.each([
    ['an issuer without TLS', ['--oidc-issuer-url', 'http://login.example']],
    ['an issuer with a query', ['--oidc-issuer-url', 'https://login.example/?a']],
    ['a claim without a value', [...issuer, '--oidc-required-claim', 'team']],
    ['a shared secret', [...issuer, '--oidc-signing-algs', 'RS256,HS256']],
    ['no signature', [...issuer, '--oidc-signing-algs', 'none']],
  ])('refuse %s', (_, flags) => {
    expect(() => parse(...flags)).toThrow();
  });

  it.each([[issuer.slice(0, 2)], [issuer.slice(2)], [['--oidc-groups-claim', 'groups']]])('belong together: %j', (flags) => {
    expect(() => oidcSettingsOf(parse(...flags))).toThrow(/missing flag: --oidc-(issuer-url|client-id)/);
  });
});
