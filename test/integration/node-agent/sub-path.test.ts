import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { mountSubPath, removeWithMounts } from '../../../src/node-agent/containerd/sub-path.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { swapEndlessly } from '../../support/pod-attacks.ts';
import { until } from '../../support/until.ts';

/** Without one of the checks a try finds a link with a chance of about one in five. */
const tries = 30;

it.skipIf(process.getuid?.() !== 0)(
  'a subPath is mounted from its volume, whatever links take its place meanwhile (needs root)',
  async () => {
    const directory = await temporaryDirectory('sub-path');
    const [volume, outside, target] = ['volume', 'outside', 'mounts'].map((name) => join(directory, name)) as [string, string, string];
    await mkdir(join(volume, 's'), { recursive: true });
    await mkdir(outside);
    await writeFile(join(volume, 's', 'own'), '');
    await writeFile(join(outside, 'secret'), '');
    for (const [index, leads] of [outside, '../outside'].entries()) await symlink(leads, join(volume, `link${index}`));
    const attacker = spawn(process.execPath, ['-e', swapEndlessly, volume, 's', '2'], { stdio: 'ignore' });
    const seen = new Set<string>();
    try {
      await until(() => existsSync(join(volume, 'begun')), { what: 'the begin of the attack' });
      for (let index = 0; index < tries; index += 1) {
        try {
          await mountSubPath({ volume, subPath: 's', target: join(target, 's') });
          for (const name of await readdir(join(target, 's'))) seen.add(name);
        } catch (err) {
          const { message } = err as Error;
          // The directory was open, and removed before the mount.
          seen.add(/move_mount\(\) failed: No such file/.test(message) ? 'was removed' : message.replace('subPath "s" ', ''));
        }
        await removeWithMounts(target);
      }
    } finally {
      attacker.kill('SIGKILL');
      await removeWithMounts(target);
      await rm(directory, { recursive: true });
    }
    const refusals = [
      'was removed',
      'leaves its volume',
      'leaves its volume by a link',
      'was changed by another program while it was mounted',
    ];
    expect([...seen].filter((each) => each !== 'own' && !refusals.includes(each))).toEqual([]);
    expect(seen).toContain('own');
    expect(seen).toContain('leaves its volume by a link');
  },
);
