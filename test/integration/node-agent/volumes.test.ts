import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Pod, Volume } from '../../../src/api/core/v1/pod.ts';
import type { ConfigSource } from '../../../src/node-agent/config-source.ts';
import type { TokenSource } from '../../../src/node-agent/service-account-tokens.ts';
import { createVolumes, type Volumes } from '../../../src/node-agent/volumes.ts';

let directory: string;
let volumes: Volumes;
let data: Record<string, string>;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-volumes-'));
  data = { 'app.conf': 'one', other: 'two' };
  volumes = createVolumes({ directory, config, tokens });
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const object = (kind: string, name: string) => ({ apiVersion: 'v1', kind, metadata: { name, namespace: 'shop' } });
const config: ConfigSource = {
  ready: () => Promise.resolve(),
  configMap: (_, name) =>
    name === 'settings' ? { ...object('ConfigMap', name), data, binaryData: { bin: Buffer.from([0, 255]).toString('base64') } } : undefined,
  secret: (_, name) => (name === 'keys' ? { ...object('Secret', name), data: { token: Buffer.from('s3').toString('base64') } } : undefined),
  services: () => [],
  onChange: () => () => undefined,
};
const tokens: TokenSource = {
  tokenOf: async (pod, { audience }) => `token of ${pod.metadata.name} for ${audience ?? 'the API'}`,
  due: () => [],
  forget: () => undefined,
};
const podWith = (...podVolumes: Volume[]): Pod => ({
  ...object('Pod', 'web'),
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', labels: { app: 'web' } },
  spec: { containers: [{ name: 'main' }], volumes: podVolumes },
});
const prepare = (...podVolumes: Volume[]) =>
  volumes.prepare({ pod: podWith(...podVolumes), podIP: '127.64.16.2', hostIP: '127.64.16.1', allocatable: { cpu: '2' } });
const text = async (path: string | undefined, file: string): Promise<string> => readFile(join(path ?? '', file), 'utf8');

describe('a volume', () => {
  it('of a ConfigMap has its keys as files, and is replaced in one step', async () => {
    const path = (await prepare({ name: 'v', configMap: { name: 'settings' } })).get('v') ?? '';
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

  it('of a service account has its token beside what else is projected', async () => {
    const sources = [
      { serviceAccountToken: { path: 'token' } },
      { configMap: { name: 'settings', items: [{ key: 'app.conf', path: 'ca.crt' }] } },
    ];
    const path = (await prepare({ name: 'v', projected: { sources } })).get('v');
    expect(await text(path, 'token')).toBe('token of web for the API');
    expect(await text(path, 'ca.crt')).toBe('one');
  });

  it('of a Secret has the files and modes that are asked for', async () => {
    const path = (
      await prepare({ name: 'v', secret: { secretName: 'keys', defaultMode: 0o400, items: [{ key: 'token', path: 'deep/er/token' }] } })
    ).get('v');
    expect(await text(path, 'deep/er/token')).toBe('s3');
    expect((await stat(join(path ?? '', 'deep/er/token'))).mode & 0o777).toBe(0o400);
  });

  it('projects several sources into one directory', async () => {
    const path = (
      await prepare({
        name: 'v',
        projected: {
          sources: [
            { configMap: { name: 'settings', items: [{ key: 'other', path: 'conf/other' }] } },
            { secret: { name: 'keys' } },
            { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
            { configMap: { name: 'absent', optional: true } },
          ],
        },
      })
    ).get('v');
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
      reason: 'CreateContainerConfigError',
      message: `MountVolume.SetUp failed for volume "v" : ${message}`,
    });
  });

  it('of the host is checked for its type', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    await expect(prepare({ name: 'v', hostPath: { path: file, type: 'Directory' } })).rejects.toThrow(`${file} is not a directory`);
    expect((await prepare({ name: 'v', hostPath: { path: join(directory, 'new'), type: 'DirectoryOrCreate' } })).get('v')).toBe(
      join(directory, 'new'),
    );
  });

  it('goes with its pod', async () => {
    await prepare({ name: 'v', emptyDir: {} });
    expect(await volumes.list()).toEqual(['u1']);
    await volumes.remove('u1');
    expect(await volumes.list()).toEqual([]);
  });
});

describe('the mounts of a container', () => {
  const mountsOf = (paths: ReadonlyMap<string, string>, mount: { subPath?: string; subPathExpr?: string; name?: string }) =>
    volumes.mountsOf(
      { name: 'main', volumeMounts: [{ name: 'v', mountPath: '/data', ...mount }] },
      paths,
      (name) => ({ NAME: 'web' })[name],
    );

  it('lead to the volume, or to a path in it that is made when it is missing', async () => {
    const paths = await prepare({ name: 'v', emptyDir: {} });
    const root = paths.get('v') ?? '';
    expect(await mountsOf(paths, {})).toEqual([{ hostPath: root, containerPath: '/data', readOnly: false }]);
    expect(await mountsOf(paths, { subPathExpr: 'logs/$(NAME)' })).toMatchObject([{ hostPath: join(root, 'logs/web') }]);
    expect((await stat(join(root, 'logs/web'))).isDirectory()).toBe(true);
  });

  it('of one file of a ConfigMap lead to the file as it is now', async () => {
    const paths = await prepare({ name: 'v', configMap: { name: 'settings' } });
    const [mount] = await mountsOf(paths, { subPath: 'app.conf' });
    expect(await readFile(mount?.hostPath ?? '', 'utf8')).toBe('one');
  });

  it.each(['../other', '/etc', 'a/../../b', 'link', 'link/passwd', 'dangling'])('never lead out of the volume: %s', async (subPath) => {
    const paths = await prepare({ name: 'v', emptyDir: {} });
    const root = paths.get('v') ?? '';
    await mkdir(join(root, 'a'));
    await symlink('/etc', join(root, 'link'));
    await symlink('nowhere', join(root, 'dangling'));
    await expect(mountsOf(paths, { subPath })).rejects.toMatchObject({ reason: 'CreateContainerConfigError' });
  });

  it('need a volume of their name', async () => {
    await expect(mountsOf(new Map(), {})).rejects.toThrow('cannot find volume "v" to mount into container "main"');
  });
});
