import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { until } from '../support/until.ts';

/** A certificate for one name, which a client can be given as its own authority. */
async function certificateFor(name: string) {
  const directory = await mkdtemp(join(tmpdir(), 'midship-ingress-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const files = ['-keyout', join(directory, 'tls.key'), '-out', join(directory, 'tls.crt')];
  const names = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
  const made = await run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
    ...names,
    ...files,
  ]);
  expect(made.code, made.stderr).toBe(0);
  const read = (file: string): Promise<string> => readFile(join(directory, file), 'utf8');
  return { directory, certificate: await read('tls.crt'), key: await read('tls.key') };
}

describe.skipIf(!hasNamespaces)('the commands about apps (needs user namespaces)', () => {
  let cluster: RunningCluster;
  let clone: WorkTree;

  beforeAll(async () => {
    cluster = await startCluster({ args: ['--ingress-http-port', '0', '--ingress-https-port', '0'] });
    clone = await cloneRepository(cluster.endpoints.git, 'apps');
  });
  afterAll(() => cluster?.stop());

  const title = async (text: string): Promise<string> => {
    const path = join(clone.directory, 'apps/storefront/config.yaml');
    await writeFile(path, (await readFile(path, 'utf8')).replace(/title: .*/, `title: ${text}`));
    const sha = await clone.commit(text, {});
    await clone.git('push', '--quiet');
    return sha;
  };

  it('wait for a revision, and list apps and sources with it', async () => {
    const sha = await title('One');
    const waited = await cluster.midship('wait', 'storefront', '--revision', sha, '--timeout', '60s');
    expect(waited.code, waited.stdout + waited.stderr).toBe(0);
    expect(waited.stdout).toContain(sha);
    const apps = await cluster.midship('get', 'apps');
    expect(apps.stdout).toMatch(new RegExp(`flux-system +storefront +True +Healthy +${sha.slice(0, 7)} `));
    const sources = await cluster.midship('get', 'sources');
    expect(sources.stdout).toMatch(new RegExp(`flux-system +flux-system +True +${sha.slice(0, 7)} `));
    expect(sources.stdout).not.toContain('midship:');
  });

  it('wait says an honest no in time', async () => {
    const waited = await cluster.midship('wait', 'storefront', '--revision', 'ffffffff', '--timeout', '300ms');
    expect(waited.code).toBe(1);
  });

  it('sync does a pass now', async () => {
    const synced = await cluster.midship('sync', 'storefront', '--wait', '--timeout', '60s');
    expect(synced.code, synced.stdout + synced.stderr).toBe(0);
    expect(synced.stdout).toMatch(/● storefront +Applied revision/);
  });

  it('suspend holds an app where it is, resume lets it catch up', async () => {
    expect((await cluster.midship('suspend', 'flux-system/storefront', '--reason', 'fair')).code).toBe(0);
    const sha = await title('Two');
    await cluster.midship('wait', 'cache', '--revision', sha, '--timeout', '60s');
    await until(
      async () =>
        /◆ storefront .*Differs .*Suspended by .*: fair; \w{7} changes the app and waits/.test((await cluster.midship('status')).stdout),
      { what: 'status says that the app waits' },
    );
    expect((await cluster.midship('get', 'apps')).stdout).not.toMatch(new RegExp(`storefront .*${sha.slice(0, 7)}`));
    expect((await cluster.midship('resume', 'storefront')).code).toBe(0);
    expect((await cluster.midship('wait', 'storefront', '--revision', sha, '--timeout', '60s')).code).toBe(0);
  });

  it('reach an app by the host of an Ingress in Git, with TLS, until Git has it no more', { timeout: 60_000 }, async () => {
    const { directory, certificate, key } = await certificateFor('secure.example');
    const [, http = '', https = ''] = /Ingress +http:\/\/127\.0\.0\.1:(\d+) +https:\/\/127\.0\.0\.1:(\d+)/.exec(cluster.output()) ?? [];
    const rule = (host: string): string =>
      `{ host: ${host}, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: storefront, port: { number: 8080 } } } }] } }`;
    const manifests = `apiVersion: v1
kind: Secret
metadata: { name: storefront-tls, namespace: web }
type: kubernetes.io/tls
stringData: { tls.crt: ${JSON.stringify(certificate)}, tls.key: ${JSON.stringify(key)} }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: storefront, namespace: web }
spec: { tls: [{ hosts: [secure.example], secretName: storefront-tls }], rules: [${rule('shop.example')}, ${rule('secure.example')}] }
`;
    const sha = await clone.commit('ingress', { 'apps/storefront/ingress.yaml': manifests });
    await clone.git('push', '--quiet');
    expect((await cluster.midship('wait', 'storefront', '--revision', sha, '--timeout', '30s')).code).toBe(0);
    const curl = async (...args: string[]): Promise<string> => (await run('curl', ['-s', '-m', '5', '-o', '/dev/null', ...args])).stdout;
    const status = ['-w', '%{http_code} %{redirect_url}'];
    expect(await curl('-H', 'Host: shop.example', ...status, `http://127.0.0.1:${http}/`)).toBe('200 ');
    expect(await curl('-H', 'Host: secure.example', ...status, `http://127.0.0.1:${http}/x`)).toBe(`308 https://secure.example:${https}/x`);
    const trusted = ['--cacert', join(directory, 'tls.crt'), '--resolve', `secure.example:${https}:127.0.0.1`];
    expect(await curl(...trusted, '-w', '%{http_version} %{http_code}', `https://secure.example:${https}/`)).toBe('2 200');
    await clone.git('revert', '--no-edit', 'HEAD');
    await clone.git('push', '--quiet');
    await until(async () => (await curl('-H', 'Host: shop.example', ...status, `http://127.0.0.1:${http}/`)) === '404 ', {
      what: 'the end of the route',
    });
  });

  it('name the apps there are when one does not exist', async () => {
    const wrong = await cluster.midship('wait', 'shopfront');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toMatch(/no app shopfront.*\n.*storefront.*\n.*midship get apps/);
  });
});
