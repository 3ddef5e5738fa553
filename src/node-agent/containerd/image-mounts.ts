import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { ImageMounts } from '../container-runtime.ts';
import type { Ctr } from './containerd-service.ts';
import { isMountPoint, unmountBelow } from './sub-path.ts';

const run = promisify(execFile);
const timeoutMs = 2 * 60_000;

/**
 * Images as directories. The interface of container runtimes mounts them since containerd 2.1, and 1.7 is in use, so the program of
 * containerd does it. It makes a view of the image, whose key is the path. The view holds the layers for as long as it is there.
 *
 * Nothing in such a directory can be changed or run: files of an image are its author's.
 *
 * @see KEP-4639
 */
export function createImageMounts({ ctr, socketPath }: Ctr): ImageMounts {
  const runCtr = (...args: readonly string[]) =>
    run(ctr, ['--address', socketPath, '--namespace', 'k8s.io', ...args], { timeout: timeoutMs });
  /** Views outlive the machine's mounts. */
  const removeView = async (directory: string): Promise<void> => {
    for (const kind of ['snapshots', 'leases']) {
      await runCtr(kind, 'rm', directory).catch((err: Error) => {
        if (!/not found|does not exist/.test(err.message)) throw err;
      });
    }
  };

  const unmount = async (directory: string): Promise<void> => {
    await unmountBelow(directory);
    await removeView(directory);
  };

  return {
    async mount(image, directory) {
      if (await isMountPoint(directory)) return;
      await removeView(directory);
      await mkdir(directory, { recursive: true, mode: 0o755 });
      await runCtr('images', 'mount', image, directory);
      try {
        // Its lease ends after a day.
        await runCtr('snapshots', 'label', directory, 'containerd.io/gc.root=volume');
        await run('mount', ['-c', '-o', 'remount,bind,ro,noexec,nosuid,nodev', directory], { timeout: timeoutMs });
      } catch (err) {
        await unmount(directory);
        throw err;
      }
    },
    unmount,
  };
}
