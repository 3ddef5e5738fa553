import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { restore } from '../../../src/cli/restore.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { createRandom } from '../../support/random.ts';
import { type TarEntry, tarOf } from '../../support/tar.ts';

const contents: Readonly<Record<string, string | Buffer>> = {
  'state.db': Buffer.alloc(700_000, 'store '),
  'network.json': '{"network":70}\n',
  'git-token': 'token\n',
  'page-token': 'other token\n',
  'pki/ca.crt': 'root certificate',
  'pki/ca.key': 'private key of the tests',
  'pki/encryption.yaml': 'kind: EncryptionConfiguration\n',
  'pki/front-proxy/ca.crt': 'other certificate',
};
const about = { version: '0.1.0', revision: 42, createdAt: '2026-01-01T00:00:00Z' };

const startFill = (): never => {
  throw new Error('the archive has a database');
};

describe('restore of an archive that an earlier version made', () => {
  let directory: string;
  let file: string;
  let target: string;

  beforeEach(async () => {
    directory = await temporaryDirectory('backup');
    file = join(directory, 'backup.tar');
    target = join(directory, 'data');
  });

  const restoreIt = async (dataDirectory = target): Promise<string> => {
    const output = new PassThrough();
    await restore({ file, dataDirectory, output, store: undefined, startFill });
    output.end();
    return text(output);
  };
  const pack = async (files: Readonly<Record<string, string | Buffer>> = contents): Promise<void> => {
    await writeFile(file, tarOf([manifestOf(files), ...entriesOf(files)]));
  };
  const manifestOf = (files: Readonly<Record<string, string | Buffer>>, more: object = {}): TarEntry => ({
    path: 'manifest.json',
    content: JSON.stringify({
      format: 1,
      ...about,
      files: Object.entries(files).map(([path, content]) => ({
        path,
        size: Buffer.from(content).length,
        sha256: createHash('sha256').update(content).digest('hex'),
      })),
      ...more,
    }),
  });
  const small = { 'state.db': 'store', 'network.json': '{}', 'pki/ca.crt': 'c', 'pki/ca.key': 'k' };
  const entriesOf = (files: Readonly<Record<string, string | Buffer>>): readonly TarEntry[] =>
    Object.entries(files).map(([path, content]) => ({ path, content }));
  /** Refused with a message, and nothing is left. */
  const refuses = async (message: RegExp | string): Promise<void> => {
    await expect(restoreIt()).rejects.toMatchObject({ message: `${file} cannot be restored`, why: expect.stringMatching(message) });
    expect(await readdir(directory)).toEqual(['backup.tar']);
  };

  it('puts every file in its place, readable by its owner alone', async () => {
    await pack();
    expect(await restoreIt()).toBe(
      `restored revision 42 of 2026-01-01T00:00:00Z, made by Midship 0.1.0\nStart it with: midship up --data-dir ${target}\n`,
    );
    for (const [path, content] of Object.entries(contents)) {
      expect((await readFile(join(target, path))).equals(Buffer.from(content)), path).toBe(true);
      expect((await stat(join(target, path))).mode & 0o777).toBe(0o600);
      expect((await stat(dirname(join(target, path)))).mode & 0o777).toBe(0o700);
    }
    expect(await readdir(target)).not.toContain('manifest.json');
    expect((await readdir(directory)).sort()).toEqual(['backup.tar', 'data']);
  });

  it('takes an empty directory, and no other', async () => {
    await pack();
    await mkdir(target);
    await restoreIt();
    await expect(restoreIt()).rejects.toThrow('is not empty');
    const other = join(directory, 'other');
    await mkdir(other);
    await writeFile(join(other, 'letter'), 'mine');
    await expect(restoreIt(other)).rejects.toThrow('is not empty');
    expect(await readdir(other)).toEqual(['letter']);
  });

  it('refuses a flipped bit in any file by its name, and leaves nothing', async () => {
    await pack();
    const good = await readFile(file);
    for (const path of Object.keys(contents)) {
      const content = Buffer.from(contents[path] ?? '');
      const at = good.indexOf(content.subarray(0, 400), path === 'state.db' ? 4_096 : 0) + Math.floor(content.length / 2);
      const damaged = Buffer.from(good);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x10, at);
      await writeFile(file, damaged);
      await refuses(`^${path} is damaged`);
    }
  });

  it('refuses a flipped bit anywhere, or restores the same when it was in no content', async () => {
    const files = { ...contents, 'state.db': Buffer.alloc(3_000, 'store ') };
    await pack(files);
    const good = await readFile(file);
    const random = createRandom(20_260_101);
    let refused = 0;
    for (let flip = 0; flip < 200; flip += 1) {
      const at = Math.floor(random() * good.length);
      const damaged = Buffer.from(good);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << Math.floor(random() * 8)), at);
      await writeFile(file, damaged);
      const dataDirectory = join(directory, `data-${flip}`);
      const failure: unknown = await restoreIt(dataDirectory).then(
        () => undefined,
        (err: unknown) => err,
      );
      if (failure === undefined) {
        for (const [path, content] of Object.entries(files)) {
          expect((await readFile(join(dataDirectory, path))).equals(Buffer.from(content)), `bit of byte ${at}, ${path}`).toBe(true);
        }
      } else {
        refused += 1;
        expect(failure, `bit of byte ${at}`).toMatchObject({ message: `${file} cannot be restored` });
        expect(await readdir(directory)).not.toContain(`data-${flip}`);
      }
    }
    expect(refused).toBeGreaterThan(60);
    expect((await readdir(directory)).filter((name) => name.includes('.restore-'))).toEqual([]);
  });

  it('refuses a file that was cut at any place', async () => {
    await pack();
    const good = await readFile(file);
    for (const length of [0, 100, 512, 1_500, 5_000, 300_000, good.length - 3_000]) {
      await writeFile(file, good.subarray(0, length));
      await refuses(/./);
    }
  });

  it.each<[string, readonly TarEntry[], RegExp]>([
    ['a path that leads out', [{ path: '../outside', content: 'x' }], /"\.\.\/outside" is not in its manifest/],
    ['an absolute path', [{ path: '/tmp/midship-outside', content: 'x' }], /is not in its manifest/],
    ['a symbolic link', [{ path: 'pki/ca.crt', type: '2', link: '/etc/passwd' }], /"pki\/ca\.crt" is a SymbolicLink/],
    ['a hard link', [{ path: 'pki/ca.crt', type: '1', link: '/etc/passwd' }], /"pki\/ca\.crt" is a Link/],
    ['a directory', [{ path: 'pki/', type: '5' }], /is a Directory/],
    ['a device', [{ path: 'state.db', type: '3' }], /is a CharacterDevice/],
    ['a file twice', [...entriesOf(small), { path: 'state.db', content: 'store' }], /comes twice/],
    ['a file of another size', [{ path: 'state.db', content: 'storehouse' }], /has 10 bytes, and 5 by the manifest/],
    ['a file that is too few', entriesOf(small).slice(1), /state\.db is missing/],
  ])('refuses %s', async (_, entries, message) => {
    await writeFile(file, tarOf([manifestOf(small), ...entries]));
    await refuses(message);
  });

  it.each<[string, TarEntry, RegExp]>([
    ['a path that leads out', manifestOf({ ...small, '../outside': 'x' }), /a backup has no place for "\.\.\/outside"/i],
    ['a place that a backup does not have', manifestOf({ ...small, 'git/hooks/post-receive': 'x' }), /a backup has no place for/i],
    ['too little', manifestOf({ 'state.db': 'store' }), /lacks network\.json/],
    ['a newer format', manifestOf(small, { format: 2, version: '9.0.0' }), /a newer version of Midship has made \(9\.0\.0\)/],
    ['no files', manifestOf(small, { files: 'all' }), /does not have the fields/],
    ['too many files', manifestOf(small, { files: Array.from({ length: 1_001 }, () => ({})) }), /more than 1000 files/],
    ['more than there is room for', { path: 'manifest.json', content: 'x'.repeat(1_048_577) }, /longer than 1048576 bytes/],
    ['no JSON', { path: 'manifest.json', content: '{' }, /is not JSON/],
  ])('refuses a manifest with %s', async (_, manifest, message) => {
    await writeFile(file, tarOf([manifest, ...entriesOf(small)]));
    await refuses(message);
  });

  it('refuses files that are no backup, among them compressed ones that would unpack to more', async () => {
    for (const content of ['', 'a letter', tarOf(entriesOf(small))]) {
      await writeFile(file, content);
      await refuses(/not a backup of Midship/);
    }
    await writeFile(file, gzipSync(tarOf([manifestOf(small), ...entriesOf(small)])));
    await refuses(/ends too early/);
    file = join(directory, 'absent.tar');
    await expect(restoreIt()).rejects.toMatchObject({ message: `there is no ${file}` });
  });

  it('holds no extended header of 64 MiB in memory', async () => {
    const path = 'x'.repeat(64 * 1024 * 1024);
    await writeFile(
      file,
      tarOf([manifestOf(small), { path: 'PaxHeader', type: 'x', content: `${path.length} path=${path}\n` }, ...entriesOf(small)]),
    );
    await refuses(/is a ExtendedHeader/);
  });
});
