import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDurableDirectory, writeDurableFile } from '../../../src/base/durable-file.ts';

describe('writeDurableFile', () => {
  let directory = '';
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'midship-durable-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('replaces the content and sets the mode that the umask would narrow', async () => {
    const path = join(directory, 'file');
    await writeFile(path, 'old', { mode: 0o600 });
    await writeDurableFile(path, 'new', { mode: 0o666 });
    expect(await readFile(path, 'utf8')).toBe('new');
    expect((await stat(path)).mode & 0o777).toBe(0o666);
    expect(await readdir(directory)).toEqual(['file']);
  });

  it('keeps the old content and leaves no temporary file when the write fails', async () => {
    const path = join(directory, 'taken');
    await makeDurableDirectory(join(path, 'inside'));
    await expect(writeDurableFile(path, 'new')).rejects.toThrow(/EISDIR|ENOTEMPTY/);
    expect(await readdir(directory)).toEqual(['taken']);
  });

  it('narrows the mode of a temporary file that a crash left open to others', async () => {
    const path = join(directory, 'secret');
    const left = `${path}.${process.pid}.tmp`;
    await writeFile(left, '');
    await chmod(left, 0o666);
    await writeDurableFile(path, 'content');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });
});
