import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { backup } from '../../../src/cli/backup.ts';
import { packBackup } from '../../../src/cli/backup-lines.ts';
import { bundlePath } from '../../../src/cli/backup-snapshot.ts';
import { openStoppedBackup } from '../../../src/cli/compose/stopped-cluster.ts';
import { startStoreFill } from '../../../src/cli/compose/store-fill.ts';
import { filesOf } from '../../../src/cli/configuration.ts';
import { restore } from '../../../src/cli/restore.ts';
import { createBundle } from '../../../src/gitops/sources/bundle.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';

/** A file system of its own, which only root may mount. */
const canMount = process.getuid?.() === 0;
const output = new PassThrough().resume();
/** Twice what the disk takes, and nothing compresses it. */
const tooMuch = randomBytes(2 * 1024 * 1024).toString('base64');

describe.skipIf(!canMount)('a full disk (needs root)', () => {
  let disk: string;
  beforeEach(async () => {
    disk = await mkdtemp(join(tmpdir(), 'midship-backup-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
  });
  afterEach(async () => {
    execFileSync('umount', [disk]);
    await rm(disk, { recursive: true });
  });

  it('ends midship backup with what to do; the last backup is kept, and nothing of the new one', async () => {
    const file = join(disk, 'cluster.gz');
    await writeFile(file, 'the last good one');
    let closed = 0;
    const result = backup({
      dataDirectory: await temporaryDirectory('cluster'),
      file,
      force: true,
      output,
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

  it.each(['store', 'repository'])('ends it where the copy of the %s has no room, and leaves the cluster as it was', async (part) => {
    const dataDirectory = await temporaryDirectory('cluster');
    const files = filesOf(dataDirectory);
    const storage = await openSqliteStorage({ path: files.database });
    await storage.create('core/configmaps/default/a', { text: part === 'store' ? tooMuch : '{}' });
    await storage.close();
    await writeFile(files.network, '{"network":90,"kind":"loopback"}\n');
    for (const directory of [join(files.pki, 'front-proxy'), dirname(files.repository), files.backup])
      await mkdir(directory, { recursive: true });
    const tree = await newRepository('backup', { 'large.txt': part === 'repository' ? tooMuch : 'small' });
    execFileSync('git', ['clone', '--quiet', '--bare', tree.directory, files.repository]);
    execFileSync('mount', ['--bind', disk, files.backup]);
    onTestFinished(() => void execFileSync('umount', [files.backup]));
    const before = await readdir(dataDirectory, { recursive: true });
    const file = join(await temporaryDirectory('backup'), 'cluster.gz');
    await expect(
      backup({ dataDirectory, file, force: false, output, version: '0.1.0', openStopped: openStoppedBackup }),
    ).rejects.toMatchObject({
      message: 'the disk is full',
      why: `The copies that a backup is made of have no room in ${files.backup}; they are removed, and no backup was made.`,
      fix: 'Free some space on the disk of the data directory: the copies need as much as the store and the repository.',
    });
    expect(await readdir(dirname(file))).toEqual([]);
    expect((await readdir(dataDirectory, { recursive: true })).sort()).toEqual(before.sort());
    execFileSync('git', ['--git-dir', files.repository, 'fsck', '--strict'], { stdio: 'ignore' });
    const again = await openSqliteStorage({ path: files.database });
    expect((await again.get('core/configmaps/default/a'))?.text).toHaveLength(part === 'store' ? tooMuch.length : 2);
    await again.close();
  });

  it('is reported as a full disk although git names another cause', async () => {
    const tree = await newRepository('backup', { 'a.txt': 'a' });
    await writeFile(join(disk, 'others'), Buffer.alloc(1024 * 1024));
    const bundle = createBundle({ gitdir: join(tree.directory, '.git'), file: join(disk, 'cluster.bundle') });
    await expect(bundle).rejects.toMatchObject({ code: 'ENOSPC', message: expect.not.stringMatching(/No space left|Out of diskspace/) });
    expect(await readdir(disk)).toEqual(['others']);
  });

  it.each(['objects', 'files', 'repository'])('ends midship restore while it writes %s, and leaves nothing', async (part) => {
    const tree = await newRepository('backup', { 'large.txt': part === 'repository' ? tooMuch.slice(0, 700_000) : 'small' });
    const bundle = join(await temporaryDirectory('backup'), 'cluster.bundle');
    await tree.git('bundle', 'create', '--quiet', bundle, '--all');
    async function* contents() {
      for (const path of ['network.json', 'pki/ca.crt', 'pki/ca.key']) yield { path, content: Buffer.from('{}') };
      if (part === 'files') yield { path: 'pki/large.crt', content: Buffer.from(tooMuch) };
      yield { path: bundlePath, content: await readFile(bundle) };
    }
    async function* pages() {
      yield [{ key: 'core/configmaps/default/a', revision: 1, text: part === 'objects' ? tooMuch : '{}' }];
    }
    const file = join(await temporaryDirectory('backup'), 'cluster.gz');
    const about = { version: '0.1.0', revision: 1, createdAt: '2026-01-01T00:00:00Z' };
    await pipeline(packBackup(about, { files: contents(), pages: pages() }), createWriteStream(file));
    let begun = 0;
    await expect(
      restore({
        file,
        dataDirectory: join(disk, 'data'),
        output,
        store: undefined,
        startFill: (options) => {
          begun += 1;
          return startStoreFill({ ...options, store: undefined, token: undefined });
        },
      }),
    ).rejects.toMatchObject({
      name: 'Failure',
      message: 'the disk is full',
      why: `The content of the backup has no room in ${disk}. Nothing was changed.`,
      fix: 'Free some space, or name a directory on another disk with --data-dir DIR.',
    });
    expect(await readdir(disk)).toEqual([]);
    // An etcd is not begun before all files have found room.
    expect(begun).toBe(part === 'objects' ? 1 : 0);
  });
});
