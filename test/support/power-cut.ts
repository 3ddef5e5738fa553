import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './cluster.ts';
import { until } from './until.ts';

/** Directory of the second version of cgroups; undefined where this user may not make groups that can be killed as a whole. */
function cgroupRoot(): string | undefined {
  const mounts = existsSync('/proc/mounts') ? readFileSync('/proc/mounts', 'utf8') : '';
  return /^\S+ (\S+) cgroup2 rw/m.exec(mounts)?.[1];
}

/** Reason why power cuts cannot be simulated here; undefined when they can. */
export async function whyNoPowerCuts(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'they need root, for a loop device';
  if (cgroupRoot() === undefined) return 'they need cgroups of version 2';
  if (!existsSync('/dev/loop-control') || (await run('losetup', ['--version'])).code !== 0) return 'they need loop devices';
  if ((await run('mkfs.ext4', ['-V'])).code !== 0) return 'they need mkfs.ext4';
  return undefined;
}

/**
 * A file system of its own on a loop device. The image behind the device has the writes that reached the "disk".
 * Unsynced writes of programs are only in the page cache above the device. A copy of the image lacks them, as a
 * disk does after a power cut.
 *
 * The mount options expose a missing sync: no timer writes the journal, and a rename does not write the file.
 */
export interface Disk {
  readonly directory: string;
  /** Runs a program on it; it and all that it starts is in one group. */
  spawn(program: string, args: readonly string[], onOutput: (text: string) => void): Promise<{ readonly exited: Promise<number | null> }>;
  /** Ends all programs at once and gives a disk with what was written until then. This one is gone. */
  cutPower(): Promise<Disk>;
  close(): Promise<void>;
}

const sizeMiB = 192;
const mountOptions = 'commit=300,noauto_da_alloc';

export async function createDisk(directory: string): Promise<Disk> {
  const image = join(directory, 'disk-0.img');
  await must('truncate', ['-s', `${sizeMiB}M`, image]);
  await must('mkfs.ext4', ['-q', '-F', image]);
  return mountDisk(directory, 0);
}

async function mountDisk(base: string, number: number): Promise<Disk> {
  const image = join(base, `disk-${number}.img`);
  const directory = join(base, `mount-${number}`);
  const device = await must('losetup', ['--find', '--show', image]);
  await mkdir(directory);
  await must('mount', ['-o', mountOptions, device, directory]);
  const group = join(cgroupRoot() ?? '', `midship-power-cut-${process.pid}-${number}`);
  await mkdir(group, { recursive: true });
  const processes = join(group, 'cgroup.procs');

  async function endAll(): Promise<void> {
    await writeFile(join(group, 'cgroup.kill'), '1');
    await until(async () => (await readFile(processes, 'utf8')).trim() === '', { intervalMs: 2, what: 'all programs are gone' });
  }

  async function close(): Promise<void> {
    await endAll();
    // The mount namespaces of containers that were ended go a moment later than their processes.
    await until(async () => (await run('umount', [directory])).code === 0, { intervalMs: 20, what: `umount ${directory}` });
    await must('losetup', ['--detach', device]);
    await rm(image);
    await rmdir(directory);
    await rmdir(group).catch(() => undefined);
  }

  /** Reads and writes that the device has done and has under way. The same before and after a copy means that the copy is of one moment. */
  async function writesOf(): Promise<string> {
    const fields = (await readFile(`/sys/block/${device.replace('/dev/', '')}/stat`, 'utf8')).trim().split(/\s+/);
    return `${fields[4]} ${fields[8]}`;
  }

  return {
    directory,
    async spawn(program, args, onOutput) {
      // The shell moves itself into the group, so that nothing is started outside of it.
      const script = 'echo $$ > "$0" && exec "$@"';
      const child = spawn('/bin/sh', ['-c', script, processes, program, ...args], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, NO_COLOR: '1' },
      });
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onOutput);
      return { exited: new Promise((resolve) => child.once('exit', resolve)) };
    },
    async cutPower() {
      await writeFile(join(group, 'cgroup.kill'), '1');
      const next = join(base, `disk-${number + 1}.img`);
      await until(
        async () => {
          const before = await writesOf();
          await must('cp', ['--sparse=always', image, next]);
          return (await writesOf()) === before && before.endsWith(' 0');
        },
        { intervalMs: 1, what: 'a copy of the disk while nothing is written to it' },
      );
      await close();
      // As at a boot: plays the journal back and checks the file system. 1: something was put right.
      const { code, stdout, stderr } = await run('e2fsck', ['-fy', next]);
      if (code > 1) throw new Error(`the copy is no file system (${code}):\n${stdout}${stderr}`);
      return mountDisk(base, number + 1);
    },
    close,
  };
}

async function must(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout.trim();
}
