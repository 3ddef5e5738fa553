import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { writePodNetwork } from '../../src/node-agent/containerd/cni-config.ts';
import { openContainerdRuntime } from '../../src/node-agent/containerd/containerd-runtime.ts';
import {
  addressDirectory,
  type ContainerdService,
  findContainerdPrograms,
  removeContainerdState,
  startContainerd,
} from '../../src/node-agent/containerd/containerd-service.ts';
import { createCriClient } from '../../src/node-agent/containerd/cri-client.ts';
import { imageArchive } from '../../src/node-agent/containerd/image-archive.ts';
import { openQosCgroups } from '../../src/node-agent/containerd/qos-cgroups.ts';
import { measureFileSystem } from '../../src/node-agent/disk-pressure.ts';
import type { RuntimeUnderTest } from './container-runtime.ts';

const log = createLog({ level: 'silent' });
const searchPath = process.env.PATH ?? '';
const busybox = '/bin/busybox';

export const busyboxImage = 'localhost/midship-test-busybox:1';

const applets = ['sh', 'cat', 'echo', 'env', 'false', 'head', 'hostname', 'id', 'kill', 'ls', 'mkdir', 'mount', 'nc', 'ps', 'pwd'];
const moreApplets = [
  'rm',
  'sleep',
  'tar',
  'stty',
  'touch',
  'true',
  'tty',
  'wc',
  'wget',
  'httpd',
  'ip',
  'ping',
  'nslookup',
  'grep',
  'stat',
  'dd',
];

/** An image with a shell and the usual programs, made of this machine's static busybox. */
export const busyboxArchive = async (name = busyboxImage, config: Readonly<Record<string, unknown>> = { Cmd: ['sh'] }): Promise<Buffer> =>
  imageArchive({
    name,
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    config: { Env: ['PATH=/bin'], ...config },
    files: [
      { name: 'bin/busybox', content: await readFile(busybox), mode: 0o755 },
      ...[...applets, ...moreApplets].map((name) => ({ name: `bin/${name}`, content: Buffer.alloc(0), mode: 0o777, target: 'busybox' })),
      { name: 'usr/bin/env', content: Buffer.alloc(0), mode: 0o777, target: '/bin/busybox' },
      { name: 'etc/passwd', content: Buffer.from('root:x:0:0:root:/root:/bin/sh\n'), mode: 0o644 },
      { name: 'tmp/.keep', content: Buffer.alloc(0), mode: 0o644 },
    ],
  });

async function whyNot(): Promise<string | undefined> {
  if (!existsSync(busybox)) return 'busybox-static is not installed';
  return findContainerdPrograms(searchPath).then(
    () => undefined,
    (err: Error) => err.message,
  );
}

/** The reason for which this machine runs no containers; undefined where it does. */
export const whyNoContainerd = await whyNot();

/** A containerd for tests, with the busybox image; one for each test file, since its start takes a second. */
export class ContainerdFixture {
  readonly directory: string;
  readonly service: ContainerdService;

  private constructor(directory: string, service: ContainerdService) {
    this.directory = directory;
    this.service = service;
  }

  static async start(podCidr: string): Promise<ContainerdFixture> {
    const directory = await mkdtemp(join(tmpdir(), 'midship-containerd-'));
    const place = join(directory, 'containerd');
    await mkdir(place);
    const service = await startContainerd({ directory: place, searchPath, clock: systemClock, log });
    const name = `test-${process.pid}`;
    await writePodNetwork(service.cniDirectory, { podCidr, name, masquerade: true, addressDirectory: addressDirectory(place) });
    const archive = join(directory, 'busybox.tar');
    await writeFile(archive, await busyboxArchive());
    await service.importImage(archive);
    return new ContainerdFixture(directory, service);
  }

  async stop(): Promise<void> {
    await this.service.stop();
    await removeContainerdState(join(this.directory, 'containerd'));
    await rm(this.directory, { recursive: true, force: true });
  }
}

let shared: Promise<ContainerdFixture> | undefined;

/** The containerd runtime; all of its instances share one containerd, and know their pods by the name of their node. */
export const containerdRuntime: RuntimeUnderTest = {
  name: 'containerd',
  runsPrograms: true,
  skip: whyNoContainerd,
  async open(directory) {
    shared ??= ContainerdFixture.start('10.12.240.0/24');
    const { service } = await shared;
    return openContainerdRuntime({
      client: createCriClient({ socketPath: service.socketPath, clock: systemClock }),
      cgroups: await openQosCgroups(),
      cluster: 1,
      directory: join(directory, 'runtime'),
      seccompDirectory: join(directory, 'seccomp'),
      imageSpace: () => measureFileSystem(directory),
      nodeName: `node-${directory.slice(-6)}`,
      clock: systemClock,
      log,
    });
  },
  async close() {
    await (await shared)?.stop();
    shared = undefined;
  },
  image: busyboxImage,
  badImage: 'not an image',
  survivesRestart: true,
  hasContainers: true,
  hasVolumes: true,
  isFirstProcess: true,
  seesEndBehindChild: false,
  listener(_address, port) {
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const listening = `cat /proc/net/tcp /proc/net/tcp6 | grep -q ":${hex} .* 0A "`;
    return ['sh', '-c', `nc -ll -p ${port} -e echo -n hello & until ${listening}; do sleep 0.05; done; echo listening; wait`];
  },
};
