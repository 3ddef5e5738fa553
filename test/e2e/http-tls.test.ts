import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { openPki } from '../../src/base/pki.ts';
import { type Endpoints, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';

let cluster: RunningCluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const simulated = ['--runtime', 'simulated'];

function fetchWith(url: string, ca: string, headers: Readonly<Record<string, string>> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { ca, headers, agent: false }, (response) => {
      void text(response).then(() => resolve(response.statusCode ?? 0), reject);
    })
      .once('error', reject)
      .end();
  });
}

it('serves page, metrics and Git remote by HTTPS with a certificate of the cluster, and its commands trust it', async () => {
  cluster = await startCluster({ command: 'up', args: [...simulated, '--http-tls', '--http-bind-address', '0.0.0.0'] });
  const { midship, output, dataDirectory } = cluster;
  const { http, git, httpCaFile, pageTokenFile } = cluster.endpoints as Endpoints & { readonly httpCaFile: string };
  expect([http, git]).toEqual([expect.stringMatching(/^https:\/\/127\.0\.0\.1:/), expect.stringMatching(/^https:\/\/midship:/)]);
  const ca = await readFile(httpCaFile, 'utf8');
  const Authorization = `Bearer ${(await readFile(pageTokenFile ?? '', 'utf8')).trim()}`;
  expect(await fetchWith(`${http}/metrics`, ca, { Authorization })).toBe(200);
  expect(await fetchWith(`${http}/metrics`, ca)).toBe(401);
  await expect(fetch(`${http.replace('https', 'http')}/healthz`)).rejects.toThrow();

  expect(await midship('status')).toMatchObject({ code: 0, stderr: '' });
  const link = (await midship('page-url')).stdout.trim();
  expect(link).toMatch(/^https:\/\/.*\/login\?token=/);
  await until(() => output().includes('Push to'), { what: () => `addresses; ${output()}` });
  expect(output()).toContain(`git clone -c http.sslCAInfo=${httpCaFile}`);

  // As printed: the option stays with the clone.
  const clone = await temporaryDirectory('tls');
  const script = [
    `git clone --quiet -c http.sslCAInfo=${httpCaFile} ${git} .`,
    'git config user.name Mara && git config user.email mara@example.com && git checkout --quiet -b main',
    "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a, namespace: default}\\n' > a.yaml",
    'git add . && git commit --quiet -m map && git push --quiet origin main',
  ].join('\n');
  expect(await run('bash', ['-euc', script], process.env, clone)).toMatchObject({ code: 0 });
  await until(() => output().includes('created ConfigMap default/a'), { what: () => `the push is applied; ${output()}` });
  expect((await readFile(join(dataDirectory, 'kubeconfig'), 'utf8')).length).toBeGreaterThan(0);
});

it('serves them with a certificate of somebody else, which its commands know by its file', async () => {
  const directory = await temporaryDirectory('authority');
  const authority = await openPki({ directory, authorityName: 'somebody', clock: systemClock });
  await authority.serverCertificate({ name: 'site', commonName: 'site', hosts: ['site.example.com'] });
  const files = ['--http-tls-cert-file', join(directory, 'site.crt'), '--http-tls-private-key-file', join(directory, 'site.key')];
  cluster = await startCluster({ command: 'up', args: [...simulated, ...files] });
  expect(cluster.endpoints.http).toMatch(/^https:/);
  expect(await cluster.midship('status')).toMatchObject({ code: 0, stderr: '' });
  // Another server in its place would not get the token.
  await authority.serverCertificate({ name: 'other', commonName: 'other', hosts: ['site.example.com'] });
  await run('cp', [join(directory, 'other.crt'), join(directory, 'site.crt')]);
  expect(await cluster.midship('status')).toMatchObject({ code: 2, stderr: expect.stringContaining('another certificate') });
});
