import { describe, expect, it } from 'vitest';
import type { Secret } from '../../../src/api/core/v1/secret.ts';
import { credentialsFor, parseImageName } from '../../../src/node-agent/registry-credentials.ts';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64');
const secretOf = (auths: Record<string, unknown>): Secret => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'pull' },
  type: 'kubernetes.io/dockerconfigjson',
  data: { '.dockerconfigjson': encode({ auths }) },
});
const login = (username: string) => ({ username, password: 'p' });
const usersFor = (image: string, auths: Record<string, unknown>): readonly string[] =>
  credentialsFor(image, [secretOf(auths)]).map(({ username }) => username);

describe('names of images', () => {
  it.each([
    ['nginx', 'docker.io', 'library/nginx'],
    ['nginx:1.2', 'docker.io', 'library/nginx'],
    ['team/app@sha256:00', 'docker.io', 'team/app'],
    ['index.docker.io/nginx', 'docker.io', 'library/nginx'],
    ['localhost/app:1', 'localhost', 'app'],
    ['127.0.0.1:5000/a/b:1@sha256:00', '127.0.0.1:5000', 'a/b'],
    ['ghcr.io/team/app', 'ghcr.io', 'team/app'],
  ])('%s is of %s and is %s there', (image, registry, repository) => {
    expect(parseImageName(image)).toEqual({ registry, repository });
  });
});

describe('credentials of pull secrets', () => {
  it('are those of the registry, the longest path first, and of no other', () => {
    const auths = {
      'https://ghcr.io': login('host'),
      'ghcr.io/team': login('team'),
      'ghcr.io/other': login('other'),
      'ghcr.io:5000': login('port'),
      'quay.io': login('quay'),
      'ghcr.io/te': login('prefix'),
    };
    expect(usersFor('ghcr.io/team/app:1', auths)).toEqual(['team', 'host']);
    expect(usersFor('ghcr.io.example.com/team/app', auths)).toEqual([]);
    expect(usersFor('evil.example/ghcr.io/team/app', auths)).toEqual([]);
  });

  it('take * for any text in one part of the host', () => {
    expect(usersFor('eu.registry.example.com/app', { '*.registry.example.com': login('any') })).toEqual(['any']);
    expect(usersFor('a.b.registry.example.com/app', { '*.registry.example.com': login('any') })).toEqual([]);
    expect(usersFor(`${'a'.repeat(63)}.io/app`, { [`${'*a'.repeat(30)}b.io`]: login('slow') })).toEqual([]);
  });

  it('know the default registry by its old address', () => {
    expect(usersFor('nginx', { 'https://index.docker.io/v1/': login('old') })).toEqual(['old']);
    expect(usersFor('team/app', { 'docker.io/team': login('path') })).toEqual(['path']);
    expect(usersFor('quay.io/nginx', { 'https://index.docker.io/v1/': login('old') })).toEqual([]);
  });

  it('are read from auth, which may hold a colon in the password, and from the older format', () => {
    const auth = Buffer.from('me:a:b').toString('base64');
    expect(credentialsFor('quay.io/app', [secretOf({ 'quay.io': { auth } })])).toEqual([
      { username: 'me', password: 'a:b', identityToken: '' },
    ]);
    const older = { ...secretOf({}), type: 'kubernetes.io/dockercfg', data: { '.dockercfg': encode({ 'quay.io': login('older') }) } };
    expect(credentialsFor('quay.io/app', [older]).map(({ username }) => username)).toEqual(['older']);
  });

  it('are none where a secret is of another type or cannot be read', () => {
    const broken = { ...secretOf({}), data: { '.dockerconfigjson': Buffer.from('{').toString('base64') } };
    const opaque = { ...secretOf({ 'quay.io': login('a') }), type: 'Opaque' };
    expect(credentialsFor('quay.io/app', [broken, opaque, secretOf({ 'quay.io': 'text', 'quay.io/app': {} })])).toEqual([]);
  });
});
