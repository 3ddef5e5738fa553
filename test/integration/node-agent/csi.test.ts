import { existsSync } from 'node:fs';
import { chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { type CSIDriver, csiDrivers } from '../../../src/api/storage/v1/csi-driver.ts';
import { csiNodes } from '../../../src/api/storage/v1/csi-node.ts';
import { type VolumeAttachment, volumeAttachments } from '../../../src/api/storage/v1/volume-attachment.ts';
import { GrpcError, grpcCodes } from '../../../src/base/grpc.ts';
import type { New } from '../../../src/client/client.ts';
import { attachmentNameOf } from '../../../src/lifecycle/csi-volume.ts';
import { unmountBelow } from '../../../src/node-agent/containerd/sub-path.ts';
import { summaryOf } from '../../../src/node-agent/stats-summary.ts';
import { CsiDriverProcess } from '../../support/csi-driver.ts';
import { startTestNode, type TestNode, testNodeName } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const driverName = 'test.csi.example';
const isRoot = process.getuid?.() === 0;

let node: TestNode;
let place: string;
let kubelet: string;
let volumes: string;
const drivers: CsiDriverProcess[] = [];

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'midship-csi-'));
  kubelet = join(place, 'kubelet');
  volumes = join(place, 'volumes');
  await mkdir(volumes);
  node = await startTestNode({ hasStorage: true, agent: { kubeletDirectory: kubelet } });
});
afterAll(async () => {
  await node.stop();
  for (const driver of drivers) await driver.stop();
  await unmountBelow(place);
  await rm(place, { recursive: true, force: true });
});
afterEach(async () => {
  for (const driver of drivers.splice(0)) await driver.stop();
});

async function startDriver(options: Partial<Parameters<typeof CsiDriverProcess.start>[0]> = {}): Promise<CsiDriverProcess> {
  const driver = await CsiDriverProcess.start({ kubelet, volumes, ...options });
  drivers.push(driver);
  return driver;
}

const isAnswered = (driver: CsiDriverProcess): Promise<string> =>
  until(async () => driver.statuses.at(-1), { what: 'an answer to the registrar' });

/** The driver's object in the API, in place of the one before. */
async function describeDriver(spec: Partial<CSIDriver['spec']>): Promise<void> {
  await node.client.delete(csiDrivers, { name: driverName }).catch(() => undefined);
  const object = { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: driverName }, spec };
  await node.client.create(csiDrivers, object as New<CSIDriver>);
}

/** A claim with its volume, as the provisioner and the binder leave them. */
async function bound(name: string, { csi = {}, ...spec }: Record<string, unknown> & { readonly csi?: object } = {}): Promise<void> {
  const claim = await node.client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  } as New<PersistentVolumeClaim>);
  const volumeName = `pv-${name}`;
  await node.client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volumeName },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid: claim.metadata.uid },
      csi: { driver: driverName, volumeHandle: `handle-${name}`, ...csi },
      ...spec,
    },
  } as New<PersistentVolume>);
  await node.client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body: { spec: { volumeName } } });
  const body = { status: { phase: 'Bound', capacity: { storage: '1Gi' } } };
  await node.client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body }, { subresource: 'status' });
}

const runWith = (name: string, volume: object, script: string, spec: object = {}) =>
  node.run({
    name,
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 1,
    containers: [
      { name: 'main', image: 'host/sh', command: ['/bin/sh', '-c', script], volumeMounts: [{ name: 'data', mountPath: '/data' }] },
    ],
    volumes: [{ name: 'data', ...volume }],
    ...spec,
  } as never);
const run = (name: string, claimName: string, script: string) => runWith(name, { persistentVolumeClaim: { claimName } }, script);
const isRunning = (name: string) => node.pod(name, `pod ${name} runs`, ({ status }) => status?.phase === 'Running');
const isOver = (name: string) => node.pod(name, `pod ${name} is over`, ({ status }) => /Succeeded|Failed/.test(status?.phase ?? ''));
const end = async (name: string): Promise<void> => {
  await node.client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });
  await node.gone(name);
};
const said = (name: string, words: string): Promise<string> =>
  until(async () => (await node.messagesOf(name)).find((message) => message.includes(words)), { what: `"${words}" about ${name}` });
const inUse = async (): Promise<readonly string[]> => (await node.client.get(nodes, { name: testNodeName })).status?.volumesInUse ?? [];

describe.skipIf(!isRoot)('[sig-storage] a driver of volumes, CSI (needs root)', () => {
  it('registers by a socket in plugins_registry, and is in the API for as long as the socket is there', async () => {
    const first = await node.client.get(csiNodes, { name: testNodeName });
    expect(first.metadata.ownerReferences).toMatchObject([{ kind: 'Node', name: testNodeName }]);
    const driver = await startDriver({
      node: { maxVolumesPerNode: 12, accessibleTopology: { segments: { 'topology.test.example/zone': 'z1' } } },
    });
    expect(await isAnswered(driver)).toBe('');
    expect((await node.client.get(csiNodes, { name: testNodeName })).spec?.drivers).toEqual([
      { name: driverName, nodeID: 'machine-1', topologyKeys: ['topology.test.example/zone'], allocatable: { count: 12 } },
    ]);
    const { metadata } = await node.client.get(nodes, { name: testNodeName });
    expect(metadata.annotations?.['csi.volume.kubernetes.io/nodeid']).toBe(`{"${driverName}":"machine-1"}`);
    expect(metadata.labels?.['topology.test.example/zone']).toBe('z1');
    await driver.stop();
    await until(async () => ((await node.client.get(csiNodes, { name: testNodeName })).spec?.drivers ?? []).length === 0, {
      what: 'a CSINode without drivers',
    });
    expect(
      (await node.client.get(nodes, { name: testNodeName })).metadata.annotations?.['csi.volume.kubernetes.io/nodeid'],
    ).toBeUndefined();
  });

  it.each([
    ['a name that leads elsewhere', { name: '../../etc' }, 'CSI driver "../../etc" failed. Its name must be a DNS subdomain'],
    ['a name too long', { name: 'a'.repeat(64) }, 'of at most 63 characters'],
    ['another type', { info: { type: 'DevicePlugin' } }, 'no handler registered for plugin type: DevicePlugin'],
    ['no version', { info: { supportedVersions: [] } }, 'Plugin returned an empty list for supported versions'],
    [
      'versions of another time',
      { info: { supportedVersions: ['0.3.0', '2.0'] } },
      'Its versions ["0.3.0","2.0"] are not supported, only 1.x is',
    ],
    ['an endpoint that leads elsewhere', { info: { endpoint: '/run/../etc/x.sock' } }, 'Its endpoint must be an absolute path'],
    ['no name for the node', { node: { nodeId: '' } }, 'driverNodeID must not be empty'],
    ['a name for the node beyond the bound', { node: { nodeId: 'x'.repeat(257) } }, 'its node id has more than 256 bytes'],
    [
      'a zone that the node is not in',
      { node: { accessibleTopology: { segments: { 'kubernetes.io/hostname': 'other' } } } },
      'detected topology value collision: driver reported "kubernetes.io/hostname":"other"',
    ],
  ])('is refused with %s, and named', async (_, options, words) => {
    const driver = await startDriver({ socketName: 'hostile', ...options });
    expect(await isAnswered(driver)).toContain(words);
    expect((await node.client.get(csiNodes, { name: testNodeName })).spec?.drivers ?? []).toEqual([]);
  });

  it('keeps its name from a second socket, and works beside a socket that never answers', async () => {
    await startDriver({ socketName: 'a-mute', isMute: true });
    const first = await startDriver();
    expect(await isAnswered(first)).toBe('');
    const second = await startDriver({ socketName: 'z-second' });
    expect(await isAnswered(second)).toContain(
      `CSI driver "${driverName}" failed. Another driver with the same name is already registered at socket ${first.registrationSocket}`,
    );
  });

  it('stages and publishes the volume of a claim once it is attached, and takes it back when its last pod is gone', async () => {
    await describeDriver({ attachRequired: true, podInfoOnMount: true });
    const driver = await startDriver({ capabilities: ['STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS'] });
    await node.client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'key', namespace },
      data: { word: Buffer.from('open').toString('base64') },
    });
    await bound('kept', {
      csi: { volumeAttributes: { size: 'big' }, nodeStageSecretRef: { name: 'key', namespace } },
      mountOptions: ['noatime'],
    });
    await run('writer', 'kept', 'echo one >/data/file; exec sleep 1000');
    // The controller must not detach it from now on.
    await until(async () => (await inUse())[0] === `kubernetes.io/csi/${driverName}^handle-kept`, { what: 'a volume in use' });
    expect(driver.methods()).toEqual([]);
    const name = attachmentNameOf({ driver: driverName, volumeHandle: 'handle-kept', nodeName: testNodeName });
    await node.client.create(volumeAttachments, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name },
      spec: { attacher: driverName, nodeName: testNodeName, source: { persistentVolumeName: 'pv-kept' } },
    } as New<VolumeAttachment>);
    const status = { attached: true, attachmentMetadata: { device: '/dev/x' } };
    await node.client.patch(volumeAttachments, { name }, { type: 'merge', body: { status } }, { subresource: 'status' });
    const { metadata } = await isRunning('writer');
    expect(driver.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume']);
    expect(await node.messagesOf('writer')).not.toContainEqual(expect.stringContaining('FailedMount'));
    expect(driver.called('NodeStageVolume')).toMatchObject({
      volumeId: 'handle-kept',
      publishContext: { device: '/dev/x' },
      secrets: { word: 'open' },
      volumeContext: { size: 'big' },
      volumeCapability: { mount: { mountFlags: ['noatime'] }, accessMode: { mode: 'SINGLE_NODE_WRITER' } },
    });
    const usage = { availableBytes: 60, capacityBytes: 100, usedBytes: 40, inodesFree: 7, inodes: 9, inodesUsed: 2 };
    const summary = summaryOf(testNodeName, node.agent.pods(), { stats: [], at: 0 }, await node.agent.volumeStats());
    expect(summary).toMatchObject({
      pods: [{ podRef: { name: 'writer' }, volume: [{ ...usage, name: 'data', pvcRef: { name: 'kept', namespace } }] }],
    });
    const { targetPath: volumePath, stagingTargetPath } = driver.called('NodePublishVolume') ?? {};
    expect(driver.measured).toEqual([{ volumeId: 'handle-kept', volumePath, stagingTargetPath }]);
    expect(driver.called('NodePublishVolume')).toMatchObject({
      targetPath: join(kubelet, 'pods', metadata.uid ?? '', 'volumes/kubernetes.io~csi/pv-kept/mount'),
      stagingTargetPath: driver.called('NodeStageVolume')?.stagingTargetPath,
      volumeContext: {
        size: 'big',
        'csi.storage.k8s.io/pod.name': 'writer',
        'csi.storage.k8s.io/pod.namespace': namespace,
        'csi.storage.k8s.io/pod.uid': metadata.uid,
        'csi.storage.k8s.io/serviceAccount.name': 'default',
        'csi.storage.k8s.io/ephemeral': 'false',
      },
    });

    // A second pod gets it published, not staged, and a restart of the agent changes nothing.
    await run('reader', 'kept', 'cat /data/file; exec sleep 1000');
    await isRunning('reader');
    await node.crash();
    await until(async () => driver.statuses.length === 2, { what: 'another registration' });
    await isRunning('writer');
    expect(driver.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume', 'NodePublishVolume']);
    expect(await readFile(join(volumes, 'handle-kept/file'), 'utf8')).toBe('one\n');

    await end('writer');
    await until(async () => driver.methods().includes('NodeUnpublishVolume'), { what: 'an unpublished volume' });
    expect(driver.methods()).not.toContain('NodeUnstageVolume');
    await end('reader');
    await until(async () => driver.methods().includes('NodeUnstageVolume'), { what: 'an unstaged volume' });
    await until(async () => (await inUse()).length === 0, { what: 'no volume in use' });
    expect(await readdir(join(kubelet, 'pods'))).toEqual([]);
    expect(existsSync(driver.called('NodeUnstageVolume')?.stagingTargetPath ?? '')).toBe(false);
    expect(await readFile(join(volumes, 'handle-kept/file'), 'utf8')).toBe('one\n');
  });

  it('gets its volume back from a pod that has ended and is kept, and from one that ended without an agent', async () => {
    await describeDriver({ attachRequired: false });
    const driver = await startDriver();
    await bound('short');
    await run('job', 'short', 'echo done >/data/file');
    await isOver('job');
    await until(async () => driver.methods().at(-1) === 'NodeUnstageVolume', { what: 'an unstaged volume' });
    await bound('lost');
    await run('lost', 'lost', 'exec sleep 1000');
    await isRunning('lost');
    const before = driver.calls.length;
    await node.crash(() => node.client.delete(pods, { namespace, name: 'lost' }, { gracePeriodSeconds: 0 }));
    await until(async () => driver.methods().at(-1) === 'NodeUnstageVolume', { what: 'an unstaged volume' });
    expect(driver.methods().slice(before)).toEqual(['NodeUnpublishVolume', 'NodeUnstageVolume']);
    expect(await readdir(join(kubelet, 'pods'))).toEqual([]);
  });

  it('mounts the own volume of a pod, where its object allows that, read-only if asked', async () => {
    await describeDriver({ attachRequired: false, volumeLifecycleModes: ['Persistent'] });
    const driver = await startDriver();
    const csi = { driver: driverName, readOnly: true, volumeAttributes: { a: 'b' } };
    await runWith('refused', { csi }, 'true');
    await said('refused', `volume mode "Ephemeral" not supported by driver ${driverName} (only supports ["Persistent"])`);
    await end('refused');
    await describeDriver({ attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: ['Ephemeral'] });
    await runWith('inline', { csi }, 'touch /data/x 2>/dev/null && exit 3; exit 0');
    expect((await isOver('inline')).status?.phase).toBe('Succeeded');
    expect(driver.methods()).not.toContain('NodeStageVolume');
    expect(driver.called('NodePublishVolume')).toMatchObject({
      volumeId: expect.stringMatching(/^csi-[0-9a-f]{64}$/),
      readonly: true,
      volumeContext: { a: 'b', 'csi.storage.k8s.io/ephemeral': 'true' },
    });
  });

  it('gives the files to the group of the pod where its policy says so, and lets no link lead elsewhere', async () => {
    await describeDriver({ attachRequired: false, fsGroupPolicy: 'File' });
    await startDriver();
    await bound('grouped');
    const source = join(volumes, 'handle-grouped');
    await mkdir(source);
    const outside = join(place, 'outside');
    await mkdir(outside);
    await symlink(outside, join(source, 'link'));
    await runWith('grouped', { persistentVolumeClaim: { claimName: 'grouped' } }, 'true', { securityContext: { fsGroup: 4567 } });
    await isOver('grouped');
    expect((await stat(source)).gid).toBe(4567);
    expect((await stat(outside)).gid).not.toBe(4567);

    // A file that came with another group: OnRootMismatch looks at the top alone.
    await writeFile(join(source, 'file'), '');
    await chown(join(source, 'file'), 0, 0);
    for (const [fsGroupChangePolicy, group] of [
      ['OnRootMismatch', 0],
      ['Always', 4567],
    ] as const) {
      const name = fsGroupChangePolicy.toLowerCase();
      const securityContext = { fsGroup: 4567, fsGroupChangePolicy };
      await runWith(name, { persistentVolumeClaim: { claimName: 'grouped' } }, 'true', { securityContext });
      await isOver(name);
      expect((await stat(join(source, 'file'))).gid).toBe(group);
    }
  });

  it('grows the file system of a volume that its controller made larger, and says so in the claim', async () => {
    await describeDriver({ attachRequired: false });
    const driver = await startDriver({ capabilities: ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME'] });
    await bound('grown', { capacity: { storage: '2Gi' } });
    const waiting = { status: { conditions: [{ type: 'FileSystemResizePending', status: 'True' }] } };
    const ref = { namespace, name: 'grown' };
    await node.client.patch(persistentVolumeClaims, ref, { type: 'merge', body: waiting }, { subresource: 'status' });
    await run('grown', 'grown', 'exec sleep 1000');
    await isRunning('grown');
    expect(driver.called('NodeExpandVolume')).toMatchObject({ volumeId: 'handle-grown', capacityRange: { requiredBytes: 2 ** 31 } });
    const { status } = await node.client.get(persistentVolumeClaims, ref);
    expect(status?.capacity?.storage).toBe('2Gi');
    expect(status?.conditions ?? []).toEqual([]);
    await said('grown', `FileSystemResizeSuccessful: MountVolume.NodeExpandVolume succeeded for volume "pv-grown" ${testNodeName}`);
    await end('grown');
  });

  it('is named when it fails, and a pod that waits for it is tried as soon as it is there', async () => {
    await describeDriver({ attachRequired: false });
    await bound('late');
    await run('late', 'late', 'true');
    await said(
      'late',
      `MountVolume.SetUp failed for volume "data" : driver name ${driverName} not found in the list of registered CSI drivers`,
    );
    const driver = await startDriver();
    driver.instead.set('NodePublishVolume', async () => {
      driver.instead.delete('NodePublishVolume');
      throw new GrpcError(grpcCodes.permissionDenied, 'no such tenant');
    });
    await said('late', 'rpc error: code = PermissionDenied desc = no such tenant');
    await end('late');
  });

  it('starts no pod when it mounts nothing, or leads elsewhere by a link', async () => {
    await describeDriver({ attachRequired: false });
    const driver = await startDriver();
    await bound('linked');
    driver.instead.set('NodePublishVolume', async ({ targetPath = '' }) => symlink('/etc', targetPath));
    await run('linked', 'linked', 'true');
    await said('linked', `driver ${driverName} mounted nothing at`);
    driver.instead.set('NodeUnpublishVolume', async ({ targetPath = '' }) => rm(targetPath));
    await end('linked');
    expect(existsSync('/etc/passwd')).toBe(true);
  });
});
