import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { beforeEach, expect, it } from 'vitest';
import { dataDirectoryExtension } from '../../../src/cli/find-cluster.ts';
import { mergeKubeconfig } from '../../../src/cli/merge-kubeconfig.ts';
import { formatKubeconfig, loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { temporaryDirectory } from '../../support/git.ts';

let home: string;
let data: string;

const ownKubeconfig = (directory: string, server: string): string =>
  formatKubeconfig({
    name: 'midship',
    server,
    caCertificate: 'ca',
    clientCertificate: { certificate: 'crt', key: 'key' },
    extensions: { [dataDirectoryExtension]: { path: directory } },
  });

beforeEach(async () => {
  home = await temporaryDirectory('home');
  data = join(home, '.midship');
  await mkdir(data);
  await writeFile(join(data, 'kubeconfig'), ownKubeconfig(data, 'https://127.0.0.1:6443'));
});

const merge = (environment: NodeJS.ProcessEnv = {}, options: { readonly name?: string; readonly dataDirectory?: string } = {}) =>
  mergeKubeconfig({
    dataDirectory: data,
    name: 'midship',
    ...options,
    environment: { HOME: home, ...environment },
    output: new PassThrough(),
  });

const other = `apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- name: prod
  cluster: {server: "https://prod.example.com", proxy-url: "http://proxy"}
users:
- name: prod
  user: {token: "0123"}
contexts:
- name: prod
  context: {cluster: prod, user: prod, namespace: shop}
current-context: prod
`;

it('makes ~/.kube/config, for its owner alone', async () => {
  expect(await merge()).toBe(0);
  const path = join(home, '.kube', 'config');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadKubeconfig(path)).toMatchObject({ server: 'https://127.0.0.1:6443', caCertificate: 'ca' });
});

it('keeps every other entry and the former file, and renews its own', async () => {
  const path = join(home, 'config');
  await writeFile(path, other, { mode: 0o644 });
  await merge({ KUBECONFIG: `${path}:/nowhere` });
  expect(await readFile(`${path}.bak`, 'utf8')).toBe(other);
  await writeFile(join(data, 'kubeconfig'), ownKubeconfig(data, 'https://127.0.0.1:7443'));
  await merge({ KUBECONFIG: path });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadKubeconfig(path)).toMatchObject({ server: 'https://127.0.0.1:7443' });
  const text = await readFile(path, 'utf8');
  for (const kept of ['proxy-url: http://proxy', 'token: "0123"', 'namespace: shop', 'colors: true']) expect(text).toContain(kept);
  expect(text.match(/name: midship$/gm)).toHaveLength(3);
});

it('takes the place of no other cluster, and of no file that it cannot read', async () => {
  const path = join(home, 'config');
  await merge({ KUBECONFIG: path });
  const second = join(home, 'second');
  await mkdir(second);
  await writeFile(join(second, 'kubeconfig'), ownKubeconfig(second, 'https://127.0.0.1:8443'));
  await expect(merge({ KUBECONFIG: path }, { dataDirectory: second })).rejects.toMatchObject({
    exitCode: 2,
    fix: expect.stringContaining('--name'),
  });
  await merge({ KUBECONFIG: path }, { dataDirectory: second, name: 'second' });
  expect(await loadKubeconfig(path, 'midship')).toMatchObject({ server: 'https://127.0.0.1:6443' });
  expect(await loadKubeconfig(path)).toMatchObject({ server: 'https://127.0.0.1:8443' });
  await writeFile(path, 'clusters: [\n');
  await expect(merge({ KUBECONFIG: path })).rejects.toMatchObject({ message: expect.stringContaining('is not a kubeconfig') });
  expect(await readFile(path, 'utf8')).toBe('clusters: [\n');
  await expect(merge({ KUBECONFIG: join(data, 'kubeconfig') })).rejects.toMatchObject({ message: expect.stringContaining('already') });
});
