import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Pod, Volume } from '../../../src/api/core/v1/pod.ts';
import type { ConfigSource } from '../../../src/node-agent/config-source.ts';
import type { TokenSource } from '../../../src/node-agent/service-account-tokens.ts';
import type { ClaimedVolumes } from '../../../src/node-agent/volume-claims.ts';
import { createVolumes, type HostPaths, type PreparedVolumes, type Volumes } from '../../../src/node-agent/volumes.ts';

let directory: string;
/** The directory of the machine that pods may mount. */
let machine: string;
let volumes: Volumes;
let data: Record<string, string>;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-volumes-'));
  data = { 'app.conf': 'one', other: 'two' };
  machine = await mkdtemp(join(tmpdir(), 'midship-machine-'));
  volumes = volumesWith({ allowed: [machine], refused: [] });
});
afterEach(async () => {
  for (const path of [directory, machine]) await rm(path, { recursive: true, force: true });
});
const volumesWith = (hostPaths: HostPaths): Volumes =>
  createVolumes({ directory, config, tokens, hostPaths, claims, ownerOf: () => undefined, forContainers: false });

const object = (kind: string, name: string) => ({ apiVersion: 'v1', kind, metadata: { name, namespace: 'shop' } });
const config: ConfigSource = {
  ready: () => Promise.resolve(),
  configMap: (_, name) =>
    name === 'settings' ? { ...object('ConfigMap', name), data, binaryData: { bin: Buffer.from([0, 255]).toString('base64') } } : undefined,
  secret: (_, name) => (name === 'keys' ? { ...object('Secret', name), data: { token: Buffer.from('s3').toString('base64') } } : undefined),
  services: () => [],
  onChange: () => () => undefined,
  releaseUnused: () => undefined,
};
const claims: ClaimedVolumes = { find: () => Promise.reject(new Error('no pod here has a claim')) };
const tokens: TokenSource = {
  tokenOf: async (pod, { audience }) => ({ token: `token of ${pod.metadata.name} for ${audience ?? 'the API'}`, expirationTimestamp: '' }),
  due: () => [],
  forget: () => undefined,
};
const podWith = (...podVolumes: Volume[]): Pod => ({
  ...object('Pod', 'web'),
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', labels: { app: 'web' } },
  spec: { containers: [{ name: 'main' }], volumes: podVolumes },
});
const pathOf = async (source: Partial<Volume>): Promise<string> => (await prepare({ name: 'v', ...source })).get('v')?.path ?? '';
const prepare = (...podVolumes: Volume[]) =>
  volumes.prepare({ pod: podWith(...podVolumes), podIP: '127.64.16.2', hostIP: '127.64.16.1', allocatable: { cpu: '2' } });
const text = async (path: string | undefined, file: string): Promise<string> => readFile(join(path ?? '', file), 'utf8');

describe('a volume', () => {
  it('has the keys of a ConfigMap as files, and is replaced in one step', async () => {
    const path = await pathOf({ configMap: { name: 'settings' } });
    expect(await text(path, 'app.conf')).toBe('one');
    expect([...(await readFile(join(path, 'bin')))]).toEqual([0, 255]);
    expect((await stat(join(path, 'app.conf'))).mode & 0o777).toBe(0o644);
    const first = await readlink(join(path, '..data'));
    await prepare({ name: 'v', configMap: { name: 'settings' } });
    expect(await readlink(join(path, '..data'))).toBe(first);

    data = { 'app.conf': 'changed', added: 'three' };
    await prepare({ name: 'v', configMap: { name: 'settings' } });
    expect(await text(path, 'app.conf')).toBe('changed');
    expect((await readdir(path)).filter((name) => !name.startsWith('..')).sort()).toEqual(['added', 'app.conf', 'bin']);
    expect((await readdir(path)).filter((name) => name.startsWith('..'))).toHaveLength(2);
  });

  it('has the token of a service account next to other projected files', async () => {
    const sources = [
      { serviceAccountToken: { path: 'token' } },
      { configMap: { name: 'settings', items: [{ key: 'app.conf', path: 'ca.crt' }] } },
    ];
    const path = await pathOf({ projected: { sources } });
    expect(await text(path, 'token')).toBe('token of web for the API');
    expect(await text(path, 'ca.crt')).toBe('one');
  });

  it('has the requested files and modes of a Secret', async () => {
    const path = await pathOf({ secret: { secretName: 'keys', defaultMode: 0o400, items: [{ key: 'token', path: 'deep/er/token' }] } });
    expect(await text(path, 'deep/er/token')).toBe('s3');
    expect((await stat(join(path, 'deep/er/token'))).mode & 0o777).toBe(0o400);
  });

  it('projects several sources into one directory', async () => {
    const path = await pathOf({
      projected: {
        sources: [
          { configMap: { name: 'settings', items: [{ key: 'other', path: 'conf/other' }] } },
          { secret: { name: 'keys' } },
          { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
          { configMap: { name: 'absent', optional: true } },
        ],
      },
    });
    expect(await Promise.all(['conf/other', 'token', 'labels'].map((file) => text(path, file)))).toEqual(['two', 's3', 'app="web"']);
  });

  it.each([
    ['configmap "absent" not found', { configMap: { name: 'absent' } }],
    ['secret "absent" not found', { secret: { secretName: 'absent' } }],
    ['references non-existent config key: nope', { configMap: { name: 'settings', items: [{ key: 'nope', path: 'x' }] } }],
    ['invalid path "../x"', { configMap: { name: 'settings', items: [{ key: 'other', path: '../x' }] } }],
    [
      'projected sources of type clusterTrustBundle are not supported',
      { projected: { sources: [{ clusterTrustBundle: { name: 'b', path: 'bundle' } } as never] } },
    ],
    ['volumes of type nfs are not supported', { nfs: { server: 's', path: '/' } }],
  ])('cannot be had: %s', async (message, source: Partial<Volume>) => {
    await expect(prepare({ name: 'v', ...source })).rejects.toMatchObject({
      reason: 'ContainerCreating',
      message: `MountVolume.SetUp failed for volume "v" : ${message}`,
    });
  });

  it('from the host is checked for its type', async () => {
    const file = join(machine, 'file');
    await writeFile(file, '');
    await expect(pathOf({ hostPath: { path: file, type: 'Directory' } })).rejects.toThrow(`${file} is not a directory`);
    const made = join(machine, 'new');
    // Made by the pod, which has the path in its own view.
    expect((await prepare({ name: 'v', hostPath: { path: made, type: 'DirectoryOrCreate' } })).get('v')).toMatchObject({
      path: await realpath(machine),
      inside: 'new',
    });
    expect(existsSync(made)).toBe(false);
  });

  it('from the host is refused where no flag allows it, under any name', async () => {
    await symlink('/etc', join(machine, 'link'));
    await symlink(directory, join(machine, 'data'));
    await expect(pathOf({ hostPath: { path: '/etc' } })).rejects.toThrow(/hostPath \/etc is refused: .*--allow-host-path/);
    await expect(pathOf({ hostPath: { path: join(machine, 'link') } })).rejects.toThrow('is refused');
    await expect(pathOf({ hostPath: { path: join(machine, 'link/new'), type: 'DirectoryOrCreate' } })).rejects.toThrow('is refused');
    await expect(pathOf({ hostPath: { path: `${machine}/../new`, type: 'DirectoryOrCreate' } })).rejects.toThrow('is refused');
    expect(existsSync('/etc/new')).toBe(false);
    volumes = volumesWith({ allowed: [], refused: [] });
    await expect(pathOf({ hostPath: { path: machine } })).rejects.toThrow('--allow-host-path PREFIX allows some');
    const later = join(machine, 'later');
    volumes = volumesWith({ allowed: [later], refused: [] });
    await expect(pathOf({ hostPath: { path: later, type: 'DirectoryOrCreate' } })).rejects.toThrow(`make ${later} first`);
  });

  it('from the host never contains the data directory, and is no part of it', async () => {
    volumes = volumesWith({ allowed: ['/'], refused: [directory] });
    for (const path of [directory, tmpdir(), '/', join(directory, 'pki')]) {
      await expect(pathOf({ hostPath: { path, type: 'DirectoryOrCreate' } })).rejects.toThrow('the data directory of the cluster');
    }
    expect(existsSync(join(directory, 'pki'))).toBe(false);
    // The directory of the kubelet, for drivers of volumes, when a flag names it.
    volumes = volumesWith({ allowed: ['/'], refused: [directory], exempt: [join(directory, 'kubelet')] });
    await pathOf({ hostPath: { path: join(directory, 'kubelet/plugins'), type: 'DirectoryOrCreate' } });
    for (const path of [directory, join(directory, 'kubelet-2'), join(directory, 'kubelet/../pki')])
      await expect(pathOf({ hostPath: { path, type: '' } })).rejects.toThrow('the data directory of the cluster');
    const found = (await prepare({ name: 'v', hostPath: { path: machine } })).get('v');
    expect(`${found?.path}${found?.inside}`).toBe(await realpath(machine));
  });

  it('has directories in a ConfigMap for others that are mounted in it, also after a change', async () => {
    const pod = podWith({ name: 'v', configMap: { name: 'settings' } });
    const mounts = ['/etc/app', '/etc/app/cache/deep', '/etc/app/other', '/etc/application'].map((mountPath, index) => ({
      name: index === 0 ? 'v' : 'e',
      mountPath,
    }));
    const facts = { podIP: '', hostIP: '', allocatable: {} };
    const prepared = { ...facts, pod: { ...pod, spec: { ...pod.spec, containers: [{ name: 'main', volumeMounts: mounts }] } } };
    const path = (await volumes.prepare(prepared)).get('v')?.path ?? '';
    const before = (await stat(join(path, 'cache/deep'))).ino;
    data = { ...data, 'app.conf': 'changed' };
    await volumes.prepare(prepared);
    expect((await stat(join(path, 'cache/deep'))).ino).toBe(before);
    expect(await readFile(join(path, 'other'), 'utf8')).toBe('two');
    expect((await readdir(path)).filter((name) => !name.startsWith('..')).sort()).toEqual(['app.conf', 'bin', 'cache', 'other']);
  });

  it('goes with its pod', async () => {
    await prepare({ name: 'v', emptyDir: {} });
    expect(await volumes.list()).toEqual(['u1']);
    await volumes.remove('u1');
    expect(await volumes.list()).toEqual([]);
  });
});

describe('the mounts of a container', () => {
  const mountsOf = (paths: PreparedVolumes, mount: { subPath?: string; subPathExpr?: string; readOnly?: boolean }) =>
    volumes.mountsOf(
      { name: 'main', volumeMounts: [{ name: 'v', mountPath: '/data', ...mount }] },
      paths,
      (name) => ({ NAME: 'web', UP: '..', ROOT: '/tmp' })[name],
    );

  it('lead to the volume, and name the path in it, which the container finds', async () => {
    const paths = await prepare({ name: 'v', emptyDir: {} });
    const hostPath = paths.get('v')?.path ?? '';
    expect(await mountsOf(paths, {})).toEqual([{ hostPath, containerPath: '/data', readOnly: false }]);
    expect(await mountsOf(paths, { subPathExpr: 'logs/$(NAME)' })).toMatchObject([{ hostPath, subPath: 'logs/web' }]);
  });

  it('are read-only for a ConfigMap, whatever the pod says, and distinguish files from directories', async () => {
    const paths = await prepare({ name: 'v', configMap: { name: 'settings' } });
    expect(await mountsOf(paths, { readOnly: false })).toMatchObject([{ readOnly: true }]);
    expect(await mountsOf(paths, { subPath: 'app.conf' })).toMatchObject([{ readOnly: true, subPath: 'app.conf', subPathIsFile: true }]);
  });

  it.each(['../other', '/etc', 'a/../../b'])('never lead out of the volume: %s', async (subPath) => {
    const paths = await prepare({ name: 'v', emptyDir: {} });
    await expect(mountsOf(paths, { subPath })).rejects.toMatchObject({ reason: 'CreateContainerConfigError' });
  });

  it.each(['$(UP)', '$(ROOT)', 'logs/$(UP)/$(UP)'])('never follow a variable out of the volume: %s', async (subPathExpr) => {
    const paths = await prepare({ name: 'v', emptyDir: {} });
    await expect(mountsOf(paths, { subPathExpr })).rejects.toMatchObject({ reason: 'CreateContainerConfigError' });
  });

  it('need a volume of their name', async () => {
    await expect(mountsOf(new Map(), {})).rejects.toThrow('cannot find volume "v" to mount into container "main"');
  });
});
