import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '../../support/cluster.ts';
import { busyboxImage } from '../../support/containerd.ts';
import { CsiDriverProcess } from '../../support/csi-driver.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

/** Volumes, seen from inside of containers. */
export function volumeTests(world: ContainerWorld): void {
  const { kubectl, apply, outputsOf, eventsOf, fieldOf } = world;

  it('find keys and fields in files with the modes that they ask for, as root and as others', async () => {
    const labels = { labels: { team: 'a' }, annotations: { note: 'first' } };
    const fields = {
      items: [
        { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
        { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
        { path: 'name', fieldRef: { fieldPath: 'metadata.name' }, mode: 0o400 },
        ...['requests.cpu', 'limits.cpu', 'requests.memory', 'limits.memory'].map((resource) => ({
          path: resource,
          resourceFieldRef: { containerName: 'main', resource },
        })),
      ],
    };
    const items = [{ key: 'KEY', path: 'deep/key', mode: 0o400 }];
    const optional = { name: 'comes-later', optional: true };
    await kubectl('create', 'secret', 'generic', 'keys', '--from-literal=KEY=secret');
    await kubectl('create', 'secret', 'generic', 'keys', '--from-literal=KEY=elsewhere', '--namespace', 'kube-public');
    await kubectl('create', 'configmap', 'keys', '--from-literal=KEY=map');
    const volumes = [
      { name: 'map', configMap: { name: 'keys' } },
      { name: 'map-mode', configMap: { name: 'keys', defaultMode: 0o440 } },
      { name: 'map-items', configMap: { name: 'keys', items } },
      { name: 'secret', secret: { secretName: 'keys' } },
      { name: 'secret-mode', secret: { secretName: 'keys', defaultMode: 0o440 } },
      { name: 'secret-items', secret: { secretName: 'keys', items } },
      { name: 'fields', downwardAPI: fields },
      {
        name: 'all',
        projected: {
          defaultMode: 0o440,
          sources: [{ configMap: { name: 'keys', items } }, { secret: { name: 'keys' } }, { downwardAPI: fields }],
        },
      },
      { name: 'optional', configMap: optional },
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ];
    const container = {
      resources: { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '500m', memory: '64Mi' } },
      volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/v/${name}` })),
    };
    const show = [
      'cd /v; stat -c "%n %a" disk memory; ls optional | wc -l',
      'for f in map/KEY map-mode/KEY map-items/deep/key secret/KEY secret-mode/KEY secret-items/deep/key fields/name all/deep/key all/KEY all/labels; do stat -L -c "%n %a" $f; done',
      'cat map/KEY secret/KEY all/KEY fields/labels fields/requests.cpu fields/limits.cpu fields/requests.memory fields/limits.memory; echo',
      'for d in disk memory; do for m in 644 666 777; do echo x > $d/$m && chmod $m $d/$m && stat -c "%n %a %u" $d/$m; done; done',
    ].join('; ');
    const script = `${show}; until grep -q second fields/annotations && grep -q "team=.b" fields/labels && [ -e optional/new ]; do sleep 0.1; done; echo updated; until [ ! -e optional/new ]; do sleep 0.1; done; echo gone`;
    const running = outputsOf(
      { name: 'files-of-root', script, spec: { volumes }, container, metadata: labels },
      {
        name: 'files-of-others',
        script,
        spec: { volumes, securityContext: { runAsUser: 1000, fsGroup: 1001 } },
        container,
        metadata: labels,
      },
    );
    const printed = async (text: string): Promise<void> => {
      for (const name of ['files-of-root', 'files-of-others'])
        await until(async () => (await world.cluster.kubectl('logs', name)).stdout.includes(text), {
          what: `${name} prints ${text}`,
          timeoutMs: 40_000,
        });
    };
    await printed('memory/777');
    await kubectl('create', 'configmap', 'comes-later', '--from-literal=new=1');
    await kubectl('label', '--overwrite', 'pod', 'files-of-root', 'files-of-others', 'team=b');
    await kubectl('annotate', '--overwrite', 'pod', 'files-of-root', 'files-of-others', 'note=second');
    await printed('updated');
    await kubectl('delete', 'configmap', 'comes-later');
    const seen = await running;
    const modes = (mode: string, itemMode: string, user: number, directory: string): string[] => [
      `disk ${directory}`,
      `memory ${directory}`,
      '0',
      'map/KEY 644',
      `map-mode/KEY ${mode}`,
      `map-items/deep/key ${itemMode}`,
      'secret/KEY 644',
      `secret-mode/KEY ${mode}`,
      `secret-items/deep/key ${itemMode}`,
      `fields/name ${itemMode}`,
      `all/deep/key ${itemMode}`,
      `all/KEY ${mode}`,
      `all/labels ${mode}`,
      `mapsecretsecretteam="a"1133554432${64 * 1024 * 1024}`,
      ...['disk', 'memory'].flatMap((place) => ['644', '666', '777'].map((each) => `${place}/${each} ${each} ${user}`)),
      'updated',
      'gone',
      '',
    ];
    expect(seen['files-of-root']?.split('\n')).toEqual(modes('440', '400', 0, '777'));
    // The group of the pod may read what its owner may.
    expect(seen['files-of-others']?.split('\n')).toEqual(modes('440', '440', 1000, '2777'));
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  it('have volumes in memory with their size, of their group, of parts that variables name, and of the machine', async () => {
    await kubectl('create', 'secret', 'generic', 'key', '--from-literal=key=secret of the pod');
    const seen = await outputsOf({
      name: 'volumes',
      script: [
        'grep " /memory " /proc/mounts',
        'dd if=/dev/zero of=/memory/big bs=1024 count=2000 2>&1 | grep -o "No space left on device"',
        'stat -c "%g %a" /memory /scratch',
        'touch /scratch/of-group && stat -c %g /scratch/of-group',
        'cat /key/key; echo',
        'echo x > /part/file && ls /scratch',
        'echo appended >> /machine.txt',
        'stat -c %F /made /device',
        'exec 2>&1; cat /image/etc/passwd; /image/bin/busybox true; cat /accounts',
      ].join('; '),
      spec: {
        securityContext: { runAsUser: 1234, fsGroup: 4567, runAsNonRoot: true },
        volumes: [
          { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
          { name: 'scratch', emptyDir: {} },
          { name: 'key', secret: { secretName: 'key', defaultMode: 0o400 } },
          { name: 'file', hostPath: { path: join(world.hostDirectory, 'file.txt'), type: 'File' } },
          { name: 'made', hostPath: { path: join(world.hostDirectory, 'made.txt'), type: 'FileOrCreate' } },
          { name: 'device', hostPath: { path: '/dev/zero', type: 'CharDevice' } },
          { name: 'image', image: { reference: busyboxImage, pullPolicy: 'IfNotPresent' } },
        ],
      },
      container: {
        env: [{ name: 'PART', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
        volumeMounts: [
          { name: 'memory', mountPath: '/memory' },
          { name: 'scratch', mountPath: '/scratch' },
          { name: 'scratch', mountPath: '/part', subPathExpr: 'of-$(PART)' },
          { name: 'key', mountPath: '/key' },
          { name: 'file', mountPath: '/machine.txt' },
          { name: 'made', mountPath: '/made' },
          { name: 'device', mountPath: '/device' },
          { name: 'image', mountPath: '/image' },
          { name: 'image', mountPath: '/accounts', subPath: 'etc/passwd' },
        ],
      },
    });
    expect(seen.volumes?.split('\n')).toEqual([
      expect.stringMatching(/^tmpfs \/memory tmpfs rw.*size=1024k.*gid=4567/),
      'No space left on device',
      '4567 2777',
      '4567 2777',
      '4567',
      'secret of the pod',
      'of-group',
      'of-volumes',
      'regular empty file',
      'character special file',
      'root:x:0:0:root:/root:/bin/sh',
      expect.stringContaining('/image/bin/busybox: Permission denied'),
      'root:x:0:0:root:/root:/bin/sh',
      '',
    ]);
    await kubectl('delete', 'pod', 'volumes');
    await until(async () => !/volumes\/memory|images\/image/.test(await readFile('/proc/self/mountinfo', 'utf8')), {
      what: 'the end of its memory and its image',
    });
  });

  it('start once the variable of a subPathExpr, which led out of the volume, has another value', async () => {
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'expanded', annotations: { part: '/tmp' } },
      spec: {
        restartPolicy: 'Never',
        volumes: [{ name: 'e', emptyDir: {} }],
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'touch /part/file && ls /e'],
            env: [{ name: 'PART', valueFrom: { fieldRef: { fieldPath: "metadata.annotations['part']" } } }],
            volumeMounts: [
              { name: 'e', mountPath: '/e' },
              { name: 'e', mountPath: '/part', subPathExpr: '$(PART)' },
            ],
          },
        ],
      },
    });
    const waiting = '.status.containerStatuses[0].state.waiting.reason';
    await until(async () => (await fieldOf('expanded', waiting)) === 'CreateContainerConfigError', {
      what: async () => `the refusal: ${await fieldOf('expanded', '.status.containerStatuses')}`,
    });
    await kubectl('annotate', '--overwrite', 'pod', 'expanded', 'part=below');
    await kubectl('wait', 'pod/expanded', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=40s');
    expect(await kubectl('logs', 'expanded')).toBe('below\n');
    await kubectl('delete', 'pod', 'expanded', '--wait=false');
  });

  it('keep the files of claims from pod to pod, with the group of the pod, and never leave the volume', async () => {
    const claimOf = (name: string, volumeType: string) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, annotations: { volumeType } },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    });
    const volumesOf = (...names: string[]) => names.map((name) => ({ name, persistentVolumeClaim: { claimName: name } }));
    const mountsOf = (...names: string[]) => names.map((name) => ({ name, mountPath: `/${name}` }));
    await apply(claimOf('kept', 'hostPath'), claimOf('grouped', 'local'), {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'keeper' },
      spec: {
        terminationGracePeriodSeconds: 0,
        volumes: volumesOf('kept'),
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'echo start >> /kept/starts; ln -s /etc /kept/out; sleep 1000'],
            volumeMounts: mountsOf('kept'),
          },
        ],
      },
    });
    await kubectl('wait', 'pod/keeper', '--for=condition=Ready', '--timeout=60s');
    const seen = await outputsOf(
      {
        name: 'grouped',
        script: 'stat -c "%g %a" /grouped; touch /grouped/file; stat -c %g /grouped/file; cat /kept/starts; touch /kept/x 2>&1',
        spec: {
          securityContext: { runAsUser: 1234, fsGroup: 4567, runAsNonRoot: true },
          volumes: [...volumesOf('grouped'), { name: 'kept', persistentVolumeClaim: { claimName: 'kept', readOnly: true } }],
        },
        container: { volumeMounts: mountsOf('grouped', 'kept') },
      },
      {
        name: 'again',
        script: 'stat -c %g /grouped/file 2>/dev/null || echo none; cat /part/starts',
        spec: { volumes: volumesOf('grouped', 'kept') },
        container: {
          volumeMounts: [...mountsOf('grouped'), { name: 'kept', mountPath: '/part/starts', subPath: 'starts' }],
        },
      },
    );
    expect(seen.grouped?.split('\n')).toEqual(['4567 2777', '4567', 'start', 'touch: /kept/x: Read-only file system', '']);
    expect(seen.again).toMatch(/^(?:4567|none)\nstart\n$/);
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'escapes' },
      spec: {
        volumes: volumesOf('kept'),
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            volumeMounts: [{ name: 'kept', mountPath: '/out', subPath: 'out' }],
            command: ['ls', '/out'],
          },
        ],
      },
    });
    await until(async () => (await eventsOf('escapes')).includes('leaves its volume'), { what: 'the refusal of a link' });
    await kubectl('delete', 'pod', 'grouped', 'again', 'escapes', '--wait=false');
  });

  it('have volumes of a driver (CSI), from the claim to the mount', async () => {
    const volumes = join(world.cluster.dataDirectory, 'driver');
    await mkdir(volumes);
    world.driver = await CsiDriverProcess.start({ kubelet: join(world.cluster.dataDirectory, 'kubelet'), volumes });
    const provisioner = 'test.csi.example';
    await apply(
      { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: provisioner }, spec: { fsGroupPolicy: 'File' } },
      { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'driven' }, provisioner },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'driven' },
        spec: { storageClassName: 'driven', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'driven' },
        spec: {
          terminationGracePeriodSeconds: 0,
          securityContext: { runAsUser: 1234, fsGroup: 4567 },
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'driven' } }],
          containers: [
            {
              name: 'main',
              image: busyboxImage,
              command: ['sh', '-c', 'stat -c "%g %a" /data; echo mine > /data/file; sleep 1000'],
              volumeMounts: [{ name: 'data', mountPath: '/data' }],
            },
          ],
        },
      },
    );
    // The part of the driver's controller: its provisioner and its attacher.
    const asked = 'jsonpath={.metadata.annotations.volume\\.kubernetes\\.io/storage-provisioner} {.metadata.uid}';
    const claim = await until(
      async () => {
        const [by, uid] = (await kubectl('get', 'pvc', 'driven', '-o', asked)).split(' ');
        return by === provisioner ? uid : undefined;
      },
      { what: 'a claim for the provisioner' },
    );
    await apply({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'driven' },
      spec: {
        storageClassName: 'driven',
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { namespace: 'default', name: 'driven', uid: claim },
        csi: { driver: provisioner, volumeHandle: 'handle' },
      },
    });
    const attachment = await until(async () => (await kubectl('get', 'volumeattachments', '-o', 'name')).trim() || undefined, {
      what: 'an attachment',
    });
    const attached = '{"status":{"attached":true}}';
    await kubectl('patch', attachment, '--subresource', 'status', '--type', 'merge', '-p', attached);
    await kubectl('wait', 'pod/driven', '--for=condition=Ready', '--timeout=60s');
    expect(await kubectl('logs', 'driven')).toBe('4567 2777\n');
    expect(await readFile(join(volumes, 'handle', 'file'), 'utf8')).toBe('mine\n');
    expect(world.driver.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume']);
  });

  it('see mounts of the machine as they come, and give theirs to it, where they ask for that', async () => {
    await mkdir(join(world.hostDirectory, 'shared'), { recursive: true });
    await run('mount', ['-t', 'tmpfs', 'shared-by-test', join(world.hostDirectory, 'shared')]);
    try {
      await run('mount', ['--make-shared', join(world.hostDirectory, 'shared')]);
      await mkdir(join(world.hostDirectory, 'shared', 'sub'));
      const volumeMounts = [{ name: 'shared', mountPath: '/shared', mountPropagation: 'Bidirectional' }];
      const seen = await outputsOf({
        name: 'mounter',
        script: 'mount -t tmpfs of-the-pod /shared/sub && echo mounted; mount -t tmpfs x /private && echo own',
        spec: {
          volumes: [
            { name: 'shared', hostPath: { path: join(world.hostDirectory, 'shared') } },
            { name: 'private', emptyDir: {} },
          ],
        },
        container: { securityContext: { privileged: true }, volumeMounts: [...volumeMounts, { name: 'private', mountPath: '/private' }] },
      });
      expect(seen.mounter).toBe('mounted\nown\n');
      const mounts = await readFile('/proc/self/mountinfo', 'utf8');
      expect(mounts).toMatch(new RegExp(`${world.hostDirectory}/shared/sub .* of-the-pod `));
      expect(mounts).not.toContain('volumes/private');
    } finally {
      await run('umount', ['-R', join(world.hostDirectory, 'shared')]);
      await kubectl('delete', 'pod', 'mounter', '--ignore-not-found');
    }
  });
}
