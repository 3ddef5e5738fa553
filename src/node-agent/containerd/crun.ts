import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurableFile } from '../../base/durable-file.ts';

const version1 = '/sys/fs/cgroup';
const version2 = `${version1}/unified`;
/** CGROUP2_SUPER_MAGIC of `linux/magic.h` */
const version2Type = 0x63677270;

/**
 * Gives the program that containerd runs as crun. crun refuses machines that have control groups of version 1 with those of version 2
 * beside them. There it gets a view of the machine without version 2, in a mount namespace of each call. Nothing else changes: the
 * mounts of pods stay connected with those of the machine.
 *
 * @param crun  its path
 * @param directory  holds the program that makes the view, where it is needed
 */
export async function prepareCrun(crun: string, directory: string): Promise<string> {
  if (!(await hasVersion2(version2)) || (await hasVersion2(version1))) return crun;
  const path = join(directory, 'crun-on-version-1');
  const view = `mount --make-private ${version1} && umount ${version2} && exec "$0" "$@"`;
  const text = `#!/bin/sh\nexec unshare --mount --propagation unchanged sh -c '${view}' ${JSON.stringify(crun)} "$@"\n`;
  await writeDurableFile(path, text, { mode: 0o700, syncEntry: false });
  return path;
}

const hasVersion2 = async (path: string): Promise<boolean> =>
  statfs(path).then(
    ({ type }) => type === version2Type,
    () => false,
  );
