import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import type { New } from '../../../src/client/client.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { createClaimedVolumes } from '../../../src/node-agent/volume-claims.ts';
import { startTestNode, type TestNode, testNodeName } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const finalizer = 'external-provisioner.volume.kubernetes.io/finalizer';
let node: TestNode;
let storage: string;
beforeAll(async () => {
  node = await startTestNode({ hasStorage: true });
  storage = join(node.directory, 'storage');
});
afterAll(() => node.stop());

/** A claim with its volume, as the provisioner and the binder leave them. */
async function bound(name: string, changes: { readonly spec?: object; readonly node?: string } = {}): Promise<string> {
  const claim = await node.client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  } as New<PersistentVolumeClaim>);
  const { uid } = claim.metadata;
  const volumeName = `pvc-${uid}`;
  const nodeName = changes.node ?? testNodeName;
  await node.client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: volumeName,
      labels: { 'midship.dev/storage-node': nodeName },
      annotations: { 'pv.kubernetes.io/provisioned-by': 'rancher.io/local-path' },
      finalizers: [finalizer],
    },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Delete',
      claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid },
      hostPath: { path: join(storage, `${volumeName}_${namespace}_${name}`), type: 'DirectoryOrCreate' },
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [nodeName] }] }] },
      },
      ...changes.spec,
    },
  } as New<PersistentVolume>);
  await node.client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body: { spec: { volumeName } } });
  const body = { status: { phase: 'Bound' } };
  await node.client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body }, { subresource: 'status' });
  await node.client.patch(persistentVolumes, { name: volumeName }, { type: 'merge', body }, { subresource: 'status' });
  return volumeName;
}

const run = (name: string, claimName: string, script: string, volume: object = {}): Promise<Pod> =>
  node.run({
    name,
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 1,
    containers: [
      { name: 'main', image: 'host/sh', command: ['/bin/sh', '-c', script], volumeMounts: [{ name: 'data', mountPath: '/data' }] },
    ],
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName, ...volume } }],
  } as never);

const isOver = (name: string): Promise<Pod> =>
  node.pod(name, `pod ${name} is over`, ({ status }) => status?.phase === 'Succeeded' || status?.phase === 'Failed');

/** Does the part of the binder and the provisioner after the end of the claim. */
async function release(name: string): Promise<void> {
  const body = { status: { phase: 'Released' } };
  await node.client.patch(persistentVolumes, { name }, { type: 'merge', body }, { subresource: 'status' });
  await node.client.patch(persistentVolumes, { name }, { type: 'merge', body: { metadata: { finalizers: [finalizer] } } });
  await node.client.delete(persistentVolumes, { name });
}

const isGone = (name: string): Promise<boolean> =>
  node.client.get(persistentVolumes, { name }).then(
    () => false,
    (err: unknown) => isNotFound(err),
  );

const warningOf = (name: string): Promise<string> =>
  until(
    async () => {
      const { items } = await node.client.list(events, {});
      return items.find(({ involvedObject, type }) => involvedObject.name === name && type === 'Warning')?.message;
    },
    { what: `a warning about ${name}` },
  );

describe('[sig-storage] a claim of the class local-path', () => {
  it('keeps its files from pod to pod, and each pod sees them as its own', async () => {
    const volumeName = await bound('kept');
    expect(existsSync(storage) ? readdirSync(storage) : []).toEqual([]);
    await run('writer', 'kept', 'echo one >/data/file && mkdir /data/sub && chmod 700 /data/sub');
    expect((await isOver('writer')).status?.phase).toBe('Succeeded');
    const path = join(storage, `${volumeName}_default_kept`);
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('one\n');
    // The second pod has another id on the machine.
    await run('appender', 'kept', 'echo two >>/data/file && touch /data/sub/x && stat -c %u:%a /data/sub');
    expect((await isOver('appender')).status?.phase).toBe('Succeeded');
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('one\ntwo\n');
    for (const name of ['writer', 'appender']) await node.client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });
    for (const name of ['writer', 'appender']) await node.gone(name);
    expect(existsSync(path)).toBe(true);
  });

  it('is shared by pods that run at the same time', async () => {
    await bound('shared');
    const wait = 'for i in $(seq 100); do [ -e /data/b ] && break; sleep 0.1; done; echo a >>/data/b';
    await run('first', 'shared', `touch /data/a; ${wait}`);
    await run(
      'second',
      'shared',
      'for i in $(seq 100); do [ -e /data/a ] && break; sleep 0.1; done; echo b >>/data/b; for i in $(seq 100); do grep -q a /data/b && exit 0; sleep 0.1; done; exit 1',
    );
    expect((await isOver('first')).status?.phase).toBe('Succeeded');
    expect((await isOver('second')).status?.phase).toBe('Succeeded');
  });

  it.skipIf(process.getuid?.() !== 0)('goes to each next pod where mounts cannot map ids (needs root)', async () => {
    await bound('given');
    const ids = new Map([
      ['p1', 70_001],
      ['p2', 70_002],
    ]);
    const claimed = createClaimedVolumes({
      client: node.client,
      nodeName: testNodeName,
      storageDirectory: storage,
      ownerOf: (uid) => ids.get(uid) ?? 70_000,
      canMapOwners: () => Promise.resolve(false),
    });
    const volume = { name: 'data', persistentVolumeClaim: { claimName: 'given' } };
    for (const [uid, id] of ids) {
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: uid, namespace, uid }, spec: { containers: [] } };
      const { directory } = await claimed.find(pod, volume);
      expect(directory?.owner).toBeUndefined();
      if (uid === 'p1') await writeFile(join(directory?.path ?? '', 'file'), '');
      expect((await stat(join(directory?.path ?? '', uid === 'p1' ? '' : 'file'))).uid).toBe(id);
    }
  });

  it('is read-only for a pod that asks for it', async () => {
    await bound('read');
    await run('reader', 'read', 'touch /data/file 2>/dev/null && exit 1; exit 0', { readOnly: true });
    expect((await isOver('reader')).status?.phase).toBe('Succeeded');
  });

  it('is mounted again by the next agent', async () => {
    await bound('restart');
    await run('stays', 'restart', 'echo $$ >>/data/starts; sleep 60');
    await node.pod('stays', 'pod stays runs', ({ status }) => status?.phase === 'Running');
    await node.crash();
    await node.pod('stays', 'pod stays still runs', ({ status }) => status?.phase === 'Running');
    await run('after', 'restart', 'grep -c . /data/starts >/data/count; [ "$(cat /data/count)" = 1 ]');
    expect((await isOver('after')).status?.phase).toBe('Succeeded');
    await node.client.delete(pods, { namespace, name: 'stays' }, { gracePeriodSeconds: 0 });
  });

  it('loses its directory when the volume is deleted', async () => {
    const name = await bound('doomed');
    await run('user', 'doomed', 'mkdir -p /data/a/b && chmod 0 /data/a && ln -s / /data/root');
    await isOver('user');
    await release(name);
    await until(() => isGone(name), { what: `volume ${name} to be gone` });
    expect(readdirSync(storage).filter((entry) => entry.includes(name))).toEqual([]);
    expect(existsSync('/etc/passwd')).toBe(true);
  });
});

describe('the directories of volumes are never removed', () => {
  it('when the path of the volume is another one', async () => {
    const victim = join(node.directory, 'victim');
    await mkdir(victim);
    await writeFile(join(victim, 'file'), 'precious');
    for (const [claim, path] of [
      ['edited', victim],
      ['parent', storage],
    ] as const) {
      const name = await bound(claim, { spec: { hostPath: { path } } });
      await release(name);
      expect(await warningOf(name)).toContain('is left as it is');
      expect(await isGone(name)).toBe(false);
    }
    await expect(bound('climbs', { spec: { hostPath: { path: `${storage}/x/../../victim` } } })).rejects.toThrow("must not contain '..'");
    expect(await readFile(join(victim, 'file'), 'utf8')).toBe('precious');
    expect(existsSync(storage)).toBe(true);
  });

  it('when a link is in their place', async () => {
    const elsewhere = join(node.directory, 'elsewhere');
    await mkdir(elsewhere);
    await writeFile(join(elsewhere, 'file'), 'precious');
    const name = await bound('linked');
    await mkdir(storage, { recursive: true });
    await symlink(elsewhere, join(storage, `${name}_default_linked`));
    await release(name);
    await until(() => isGone(name), { what: `volume ${name} to be gone` });
    expect(await readFile(join(elsewhere, 'file'), 'utf8')).toBe('precious');
  });

  it('when the volume is kept, bound, or of another node', async () => {
    const paths: string[] = [];
    for (const [claim, changes] of [
      ['retained', { spec: { persistentVolumeReclaimPolicy: 'Retain' } }],
      ['foreign', { node: 'node-b' }],
    ] as const) {
      const name = await bound(claim, changes);
      const path = join(storage, `${name}_default_${claim}`);
      await mkdir(path, { recursive: true });
      paths.push(path);
      await release(name);
    }
    const inUse = await bound('in-use');
    const path = join(storage, `${inUse}_default_in-use`);
    await mkdir(path, { recursive: true });
    await node.client.delete(persistentVolumes, { name: inUse });
    // One that goes meanwhile: by then the others have been looked at.
    const last = await bound('last');
    await release(last);
    await until(() => isGone(last), { what: `volume ${last} to be gone` });
    for (const kept of [...paths, path]) expect(existsSync(kept), kept).toBe(true);
  });
});

describe('a pod whose claim cannot be mounted', () => {
  it.each([
    ['absent', (): Promise<unknown> => Promise.resolve(), 'failed to fetch PVC from API server'],
    [
      'unbound',
      async (): Promise<unknown> => {
        return node.client.create(persistentVolumeClaims, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name: 'unbound', namespace },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        } as New<PersistentVolumeClaim>);
      },
      'error processing PVC default/unbound: PVC is not bound',
    ],
    [
      'missing',
      (): Promise<unknown> => bound('missing', { spec: { hostPath: undefined, local: { path: '/absent/disk' } } }),
      'path "/absent/disk" does not exist',
    ],
    ['elsewhere', (): Promise<unknown> => bound('elsewhere', { node: 'node-b' }), 'no matching NodeSelectorTerms'],
    ['host', (): Promise<unknown> => bound('host', { spec: { hostPath: { path: '/etc' } } }), 'hostPath /etc is refused'],
    [
      'driver',
      (): Promise<unknown> => bound('driver', { spec: { hostPath: undefined, csi: { driver: 'd.example', volumeHandle: 'h' } } }),
      'driver name d.example not found in the list of registered CSI drivers',
    ],
  ] as const)('says why: %s', async (claim, prepare, why) => {
    await prepare();
    await run(`pod-${claim}`, claim, 'true');
    const message = await until(async () => (await node.messagesOf(`pod-${claim}`)).find((text) => text.startsWith('FailedMount')), {
      what: 'the Event FailedMount',
    });
    expect(message).toContain('MountVolume.SetUp failed for volume "data"');
    expect(message).toContain(why);
    await node.client.delete(pods, { namespace, name: `pod-${claim}` }, { gracePeriodSeconds: 0 });
  });
});

it('tells the provisioner where the directories of the node are', async () => {
  const { metadata } = await node.client.get(nodes, { name: testNodeName });
  expect(metadata.annotations?.['midship.dev/storage-directory']).toBe(storage);
});
