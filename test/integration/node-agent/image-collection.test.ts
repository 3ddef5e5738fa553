import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { openContainerdRuntime } from '../../../src/node-agent/containerd/containerd-runtime.ts';
import { createCriClient } from '../../../src/node-agent/containerd/cri-client.ts';
import { imageArchive } from '../../../src/node-agent/containerd/image-archive.ts';
import { openQosCgroups } from '../../../src/node-agent/containerd/qos-cgroups.ts';
import { RuntimeFixture } from '../../support/container-runtime.ts';
import { busyboxImage, ContainerdFixture, whyNoContainerd } from '../../support/containerd.ts';
import { type ImageRegistry, startImageRegistry } from '../../support/image-registry.ts';

let containerd: ContainerdFixture;
let registry: ImageRegistry;
let fixture: RuntimeFixture;
/** Added to the time of the machine. */
let laterMs = 0;

beforeAll(async () => {
  if (whyNoContainerd !== undefined) return;
  containerd = await ContainerdFixture.start('10.12.241.0/24');
  const files = [{ name: 'app', content: Buffer.alloc(64 * 1024), mode: 0o755 }];
  const archive = imageArchive({ name: 'app:1', architecture: process.arch === 'x64' ? 'amd64' : process.arch, config: {}, files });
  registry = await startImageRegistry({ images: { 'app:1': archive } });
  const directory = await mkdtemp(join(tmpdir(), 'midship-images-'));
  const runtime = await openContainerdRuntime({
    client: createCriClient({ socketPath: containerd.service.socketPath, clock: systemClock }),
    cgroups: await openQosCgroups(),
    cluster: 1,
    directory: join(directory, 'runtime'),
    seccompDirectory: join(directory, 'seccomp'),
    // A disk without room, whatever is removed.
    imageSpace: async () => ({ sizeBytes: 1024 ** 4, availableBytes: 0 }),
    nodeName: 'node-images',
    ctr: containerd.service.ctr,
    clock: { ...systemClock, now: () => systemClock.now() + laterMs },
    log: createLog({ level: 'silent' }),
  });
  fixture = await RuntimeFixture.create({ open: async () => runtime, image: busyboxImage });
  await rm(directory, { recursive: true, force: true });
});
afterAll(async () => {
  await fixture?.end();
  await registry?.close();
  await containerd?.stop();
});

it.skipIf(whyNoContainerd !== undefined)(
  `an image goes from a full disk when no container has it, and one of an archive stays (skipped where containers cannot run: ${whyNoContainerd ?? 'they can here'})`,
  async () => {
    const { runtime } = fixture;
    const image = `${registry.host}/app:1`;
    await runtime.pullImage?.(image);
    const isThere = async (name: string): Promise<boolean> => (await runtime.findImage(name)) !== undefined;
    const sandbox = await fixture.sandbox({ hostNetwork: true });
    const container = await runtime.createContainer(sandbox, fixture.containerConfig('true', { image }));

    expect(await runtime.collectImages?.()).toContain('only found 0 bytes');
    laterMs += 5 * 60_000;
    await runtime.collectImages?.();
    expect([await isThere(image), await isThere(busyboxImage)]).toEqual([true, true]);

    await runtime.removeContainer(container);
    expect(await runtime.collectImages?.()).toMatch(/only found [1-9]\d* bytes/);
    expect([await isThere(image), await isThere(busyboxImage)]).toEqual([false, true]);
  },
);

it.skipIf(whyNoContainerd !== undefined)(
  'an image is a directory that nobody writes to and that runs nothing, also for a container, and stays while it is mounted (needs containerd)',
  async () => {
    const { runtime } = fixture;
    const image = `${registry.host}/app:1`;
    const reference = (await runtime.pullImage?.(image))?.reference ?? '';
    const place = await mkdtemp(join(tmpdir(), 'midship-image-volume-'));
    const path = join(place, 'volume');
    try {
      await runtime.images?.mount(reference, path);
      await runtime.images?.mount(reference, path);
      expect((await stat(join(path, 'app'))).size).toBe(64 * 1024);
      await expect(writeFile(join(path, 'new'), '')).rejects.toThrow('EROFS');
      const sandbox = await fixture.sandbox({ hostNetwork: true });
      const script =
        'ls /image; touch /image/new; /image/app; touch /image/app; mount | grep " /image " | grep -o noexec; ls /part; echo end';
      const container = await fixture.run(sandbox, `exec 2>&1; ${script}`, {
        mounts: [
          { hostPath: path, containerPath: '/image', readOnly: false },
          { hostPath: path, containerPath: '/part', readOnly: false, subPath: 'app' },
        ],
      });
      const output = await fixture.printed(container, 'end');
      expect(output.split('\n').filter((line) => line !== '')).toEqual([
        'app',
        'touch: /image/new: Read-only file system',
        expect.stringContaining('/image/app: Permission denied'),
        'touch: /image/app: Read-only file system',
        'noexec',
        '/part',
        'end',
      ]);
      laterMs += 5 * 60_000;
      await runtime.collectImages?.(new Set([reference]));
      expect(await runtime.findImage(image)).toBeDefined();
      await runtime.removePodSandbox(sandbox);
      // The machine was started again: the mount is gone, and the view is there.
      await promisify(execFile)('umount', [path]);
      await runtime.images?.mount(reference, path);
      expect((await stat(join(path, 'app'))).size).toBe(64 * 1024);
    } finally {
      await runtime.images?.unmount(path);
      await rm(place, { recursive: true, force: true });
    }
    const { ctr = '', socketPath = '' } = containerd.service.ctr ?? {};
    for (const kind of ['snapshots', 'leases']) {
      const { stdout } = await promisify(execFile)(ctr, ['--address', socketPath, '--namespace', 'k8s.io', kind, 'ls']);
      expect(stdout).not.toContain(path);
    }
  },
);
