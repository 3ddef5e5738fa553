import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { readEndpoints, tryEndpoints } from '../../../src/cli/data-directory.ts';
import { dataDirectoryExtension, findDataDirectory } from '../../../src/cli/find-cluster.ts';
import { formatKubeconfig } from '../../../src/client/kubeconfig.ts';
import { temporaryDirectory } from '../../support/git.ts';

let home: string;
beforeEach(async () => {
  home = await temporaryDirectory('home');
});

async function directoryOf(...path: readonly string[]): Promise<string> {
  const directory = join(home, ...path);
  await mkdir(directory, { recursive: true });
  return directory;
}

async function clusterIn(...path: readonly string[]): Promise<string> {
  const data = await directoryOf(...path, '.midship');
  await writeFile(join(data, 'network.json'), '{"network":64}');
  return data;
}

async function kubeconfigOf(data: string, name: string): Promise<string> {
  const path = join(home, name);
  const content = {
    name: 'midship',
    server: 'https://127.0.0.1:6443',
    caCertificate: '',
    clientCertificate: { certificate: '', key: '' },
    extensions: { [dataDirectoryExtension]: { path: data } },
  };
  await writeFile(path, formatKubeconfig(content));
  return path;
}

const find = (from: string, environment: NodeJS.ProcessEnv = {}): Promise<string> =>
  findDataDirectory({ environment: { HOME: home, ...environment }, from, machine: join(home, 'no-server') });

it('is found in the directory, in one above, and nearest first', async () => {
  const outer = await clusterIn('site');
  const deep = await directoryOf('site', 'apps', 'web');
  expect([await find(join(home, 'site')), await find(deep)]).toEqual([outer, outer]);
  const inner = await clusterIn('site', 'apps');
  expect(await find(deep)).toBe(inner);
});

it('is the one that MIDSHIP_DATA_DIR names, before any other', async () => {
  await clusterIn('site');
  expect(await find(join(home, 'site'), { MIDSHIP_DATA_DIR: 'elsewhere' })).toBe(join(home, 'site', 'elsewhere'));
});

it('is that of the kubeconfig which kubectl would use, when none is above', async () => {
  const data = await clusterIn('site');
  const clone = await directoryOf('clone', 'apps');
  const kubeconfig = await kubeconfigOf(data, 'admin.yaml');
  expect(await find(clone, { KUBECONFIG: `/nowhere/config:${kubeconfig}` })).toBe(data);
  await directoryOf('.kube');
  await kubeconfigOf(data, '.kube/config');
  expect(await find(clone)).toBe(data);
});

it.each([
  ['of another cluster', 'apiVersion: v1\nkind: Config\n'],
  ['that cannot be read', `${dataDirectoryExtension}: [\n`],
])('is not looked for in a kubeconfig %s', async (_, text) => {
  const clone = await directoryOf('clone');
  await writeFile(join(home, 'kubeconfig'), text);
  expect(await find(clone, { KUBECONFIG: join(home, 'kubeconfig') })).toBe(join(clone, '.midship'));
});

it('is not one whose data is gone', async () => {
  const clone = await directoryOf('clone');
  const kubeconfig = await kubeconfigOf(join(home, 'gone', '.midship'), 'admin.yaml');
  expect(await find(clone, { KUBECONFIG: kubeconfig })).toBe(join(clone, '.midship'));
});

it('finds the server of another user, and says that this user may not read it', async () => {
  const clone = await directoryOf('clone');
  const machine = await clusterIn('machine');
  const closed = { message: `${machine} may not be read by this user`, fix: expect.stringContaining('sudo') };
  // Root reads every directory, so the question is asked as somebody else.
  const isRoot = process.getuid?.() === 0;
  await chmod(machine, isRoot ? 0o700 : 0);
  if (isRoot) process.seteuid?.(65_534);
  try {
    expect(await findDataDirectory({ environment: { HOME: home }, from: clone, machine })).toBe(machine);
    await expect(tryEndpoints(machine)).rejects.toMatchObject(closed);
    await expect(readEndpoints(machine)).rejects.toMatchObject(closed);
  } finally {
    if (isRoot) process.seteuid?.(0);
    else await chmod(machine, 0o700);
  }
});
