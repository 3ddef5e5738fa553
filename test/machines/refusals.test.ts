import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { removeContainerdState, startContainerd } from '../../src/node-agent/containerd/containerd-service.ts';
import { program, run, startCluster } from '../support/cluster.ts';
import { busyboxArchive } from '../support/containerd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';
import { whyNot } from './containers/world.ts';

const here = whyNot ?? 'they can here';
const nobody = 65_534;

/** Runs `up` with containers on a data directory until it gives up. */
const refusalOf = async (dataDirectory: string, before: readonly string[], ...args: readonly string[]) => {
  const up = ['up', '--runtime', 'containerd', '--api-port', '0', '--http-port', '0', '--data-dir', dataDirectory, ...args];
  const [command = '', ...rest] = [...before, process.execPath, program, ...up];
  const { code, stderr } = await run(command, rest);
  return { code, stderr };
};

/** Processes, mounts and directories of a data directory that are still there. */
async function leftoversOf(dataDirectory: string): Promise<readonly string[]> {
  const processes = await run('pgrep', ['-fa', dataDirectory]);
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(dataDirectory));
  const state = join('/run/midship', createHash('sha256').update(join(dataDirectory, 'containerd')).digest('hex').slice(0, 12));
  const isThere = await stat(state).then(
    () => [state],
    () => [],
  );
  return [...processes.stdout.split('\n').filter((line) => line !== '' && !line.includes('pgrep')), ...mounts, ...isThere];
}

it.skipIf(whyNot !== undefined)(
  `a machine that cannot run containers says why, and nothing of the try stays (skipped where containers cannot run: ${here})`,
  async () => {
    const directory = await temporaryDirectory('refusals');
    await chmod(directory, 0o755);
    const ofNobody = join(directory, 'of-nobody');
    await mkdir(ofNobody);
    await chown(ofNobody, nobody, nobody);
    const socket = join(directory, 'runtime.sock');
    const server = createServer().listen(socket);
    const programs = join(directory, 'programs');
    await mkdir(programs);
    await writeFile(join(programs, 'containerd'), '#!/bin/sh\necho "level=fatal msg=too-old" >&2\nexit 1\n');
    await chmod(join(programs, 'containerd'), 0o755);
    const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
    const withoutPlugins = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /usr/lib/cni && exec "$@"', 'sh'];
    const withOldContainerd = ['env', `PATH=${programs}:${process.env.PATH}`];
    try {
      await chmod(socket, 0o600);
      const cases = [
        [
          'of-nobody/data',
          asNobody,
          [`--container-runtime-endpoint=unix://${socket}`],
          /No container runtime answers at \S+: .*EACCES.*\n {2}Start as a user that may open/,
        ],
        [
          'plugins',
          withoutPlugins,
          [],
          /The CNI plugins ptp, host-local, portmap, loopback were not found in .*\n {2}Install the CNI plugins/,
        ],
        ['old', withOldContainerd, [], /containerd ended; its last lines: level=fatal msg=too-old\.\n {2}Install containerd 1\.7 or later/],
      ] as const;
      await Promise.all(
        cases.map(async ([name, before, args, words]) => {
          const place = join(directory, name);
          const { code, stderr } = await refusalOf(place, before, ...args);
          expect({ name, code, stderr }).toEqual({ name, code: 2, stderr: expect.stringMatching(words) });
          expect(stderr).toMatch(/^✗ containers cannot run here\n {2}[^\n]+\n {2}[^\n]+\n$/);
          expect([name, await leftoversOf(place)]).toEqual([name, []]);
        }),
      );
      expect((await run('nft', ['list', 'tables'])).stdout).not.toContain(directory);
    } finally {
      server.close();
    }
  },
);

it.skipIf(whyNot !== undefined)(
  `a kernel without nf_tables leaves Services to the program, and an Event says so (skipped where containers cannot run: ${here})`,
  async () => {
    const programs = await temporaryDirectory('programs');
    await writeFile(join(programs, 'nft'), '#!/bin/sh\necho "Error: Could not process rule: Operation not supported" >&2\nexit 1\n');
    await chmod(join(programs, 'nft'), 0o755);
    const path = process.env.PATH;
    // The program that is started inherits it.
    process.env.PATH = `${programs}:${path}`;
    const cluster = await startCluster({ command: 'up', args: ['--runtime', 'containerd'] }).finally(() => {
      process.env.PATH = path;
    });
    try {
      const shown = ['get', 'events', '--field-selector', 'reason=NftablesUnavailable', '-o', 'jsonpath={.items[*].message}'];
      const message = await until(async () => (await cluster.kubectl(...shown)).stdout || undefined, { what: 'the Event' });
      expect(message).toMatch(/Services go through a program of this node, .*Operation not supported.*Install nftables/);
      const labelled = await cluster.kubectl('get', 'nodes', '-l', 'midship.dev/service-proxy=userspace', '-o', 'name');
      expect(labelled.stdout).toBe('node/node-a\n');
    } finally {
      await cluster.midship('down', '--purge', '--yes');
    }
  },
);

it.skipIf(whyNot !== undefined)(
  `a full disk refuses an image, and keeps no part of it (skipped where containers cannot run: ${here})`,
  async () => {
    const directory = await temporaryDirectory('full');
    await run('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'full-by-test', directory]);
    const log = createLog({ level: 'silent' });
    const service = await startContainerd({ directory, searchPath: process.env.PATH ?? '', clock: systemClock, log });
    try {
      const archive = join(await temporaryDirectory('archive'), 'big.tar');
      await writeFile(archive, await busyboxArchive());
      await run('dd', ['if=/dev/zero', `of=${join(directory, 'filler')}`, 'bs=64k']);
      await expect(service.importImage(archive)).rejects.toMatchObject({
        message: expect.stringContaining('no space left on device'),
        fix: expect.stringMatching(/^Make room on the disk/),
      });
      await run('rm', [join(directory, 'filler')]);
      const images = await run('ctr', ['-a', service.socketPath, '-n', 'k8s.io', 'images', 'ls', '-q']);
      expect(images.code).toBe(0);
      expect(images.stdout).not.toContain('midship-test-busybox');
      await service.importImage(archive);
    } finally {
      await service.stop();
      await removeContainerdState(directory);
      await run('umount', [directory]);
    }
  },
);
