import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backup } from '../../../src/cli/backup.ts';
import { temporaryDirectory } from '../../support/git.ts';

/** A file system of its own, which only root may mount. */
const canMount = process.getuid?.() === 0;

describe.skipIf(!canMount)('midship backup on a full disk (needs root)', () => {
  let disk: string;
  beforeAll(async () => {
    disk = await mkdtemp(join(tmpdir(), 'midship-backup-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
  });
  afterAll(async () => {
    execFileSync('umount', [disk]);
    await rm(disk, { recursive: true });
  });

  it('says what to do, keeps the last backup, and leaves nothing of the new one', async () => {
    const file = join(disk, 'cluster.gz');
    await writeFile(file, 'the last good one');
    let closed = 0;
    const result = backup({
      dataDirectory: await temporaryDirectory('cluster'),
      file,
      force: true,
      output: new PassThrough().resume(),
      version: '0.1.0',
      openStopped: async () => ({
        stream: Readable.from(Array.from({ length: 32 }, () => Buffer.alloc(64 * 1024, 1))),
        close: async () => {
          closed += 1;
        },
      }),
    });
    await expect(result).rejects.toMatchObject({
      message: 'the disk is full',
      why: `The backup has no room in ${disk}; what was written of it is removed.`,
      fix: 'Free some space, or name a file on another disk.',
    });
    expect(closed).toBe(1);
    expect(await readdir(disk)).toEqual(['cluster.gz']);
    expect(await readFile(file, 'utf8')).toBe('the last good one');
  });
});
