import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removeTree } from '../../../src/base/remove-tree.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-remove-'));
});
afterEach(() => removeTree(directory));

it('removes a tree that is nested deeper than a path can be long', async () => {
  const top = join(directory, 'top');
  await mkdir(top);
  const before = process.cwd();
  process.chdir(top);
  try {
    for (let depth = 0; depth < 40; depth += 1) {
      await mkdir('d'.repeat(200));
      process.chdir('d'.repeat(200));
      await writeFile('file', '');
    }
  } finally {
    process.chdir(before);
  }
  await removeTree(top);
  expect(existsSync(top)).toBe(false);
});

it('removes directories that are closed to their owner', async () => {
  const top = join(directory, 'top');
  await mkdir(join(top, 'closed'), { recursive: true });
  await writeFile(join(top, 'closed', 'file'), '');
  await chmod(join(top, 'closed'), 0o000);
  await removeTree(top);
  expect(existsSync(top)).toBe(false);
});

it('removes links and not what they lead to, and nothing where nothing is', async () => {
  const [kept, top] = [join(directory, 'kept'), join(directory, 'top')];
  await mkdir(top);
  await writeFile(kept, 'text');
  await symlink(kept, join(top, 'link'));
  await removeTree(top);
  await removeTree(top);
  expect(await readFile(kept, 'utf8')).toBe('text');
});
