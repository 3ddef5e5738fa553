import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ensureBareRepository, isEmptyRepository, seedRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { runGit } from '../../../src/gitops/sources/git-command.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';

describe('the repository of the built-in remote', () => {
  let gitdir: string;
  let commit: string;
  const git = (...args: string[]): Promise<string> => runGit({ args: ['--git-dir', gitdir, ...args] });

  beforeEach(async () => {
    gitdir = join(await temporaryDirectory('bare'), 'git', 'cluster.git');
    expect(await ensureBareRepository(gitdir)).toEqual([]);
    const seed = await newRepository('seed', { 'a.yaml': 'kind: A\n' });
    await seedRepository({ gitdir, directory: seed.directory });
    commit = await git('rev-parse', 'refs/heads/main');
  });

  it('says that the disk is full where git leaves out the reason', async () => {
    const bin = await temporaryDirectory('bin');
    const words = 'error: failed to write new configuration file /x/config.lock';
    await writeFile(join(bin, 'git'), `#!/bin/sh\necho '${words}' >&2\nexit 128\n`, { mode: 0o755 });
    await expect(runGit({ args: ['init'], env: { PATH: `${bin}:${process.env.PATH}` } })).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  it('is made whole or not at all', async () => {
    const other = join(await temporaryDirectory('bare'), 'cluster.git');
    // A power cut in the middle of an earlier start left this.
    await mkdir(`${other}.new/objects`, { recursive: true });
    await ensureBareRepository(other);
    expect(await isEmptyRepository(other)).toBe(true);
    expect(await readdir(join(other, '..'))).toEqual(['cluster.git']);
  });

  it.each([
    ['HEAD', ''],
    ['HEAD', '\0'.repeat(23)],
    ['HEAD', undefined],
    ['config', ''],
    ['config', 'not [ a config'],
    ['config', undefined],
  ])('gets its %s again when it is %j, and keeps its commits', async (name, content) => {
    if (content === undefined) await rm(join(gitdir, name));
    else await writeFile(join(gitdir, name), content);
    expect(await ensureBareRepository(gitdir)).toEqual([`${join(gitdir, name)} was missing or could not be read, and was made again.`]);
    expect(await git('rev-parse', 'refs/heads/main')).toBe(commit);
    expect(await git('rev-parse', '--is-bare-repository')).toBe('true');
    expect(await git('symbolic-ref', 'HEAD')).toBe('refs/heads/main');
    expect(await ensureBareRepository(gitdir)).toEqual([]);
  });

  it.each(['', '\0'.repeat(41)])('lets a branch be pushed again whose file is %j', async (content) => {
    await writeFile(join(gitdir, 'refs/heads/main'), content);
    expect(await ensureBareRepository(gitdir)).toEqual([
      `${join(gitdir, 'refs/heads/main')} named no commit and was set aside; push the branch again.`,
    ]);
    await git('update-ref', 'refs/heads/main', commit, '0'.repeat(40));
    expect(await ensureBareRepository(gitdir)).toEqual([]);
  });

  it('keeps what is in a ref that names no commit, and forgets locks of a git that is gone', async () => {
    await writeFile(join(gitdir, 'refs/heads/other'), `${commit.slice(0, 17)}`);
    await writeFile(join(gitdir, 'refs/heads/main.lock'), '');
    await writeFile(join(gitdir, 'packed-refs.lock'), '');
    expect(await ensureBareRepository(gitdir)).toHaveLength(1);
    expect(await readFile(join(gitdir, 'broken/refs/heads/other'), 'utf8')).toBe(commit.slice(0, 17));
    await git('update-ref', 'refs/heads/main', commit);
    await git('pack-refs', '--all');
  });

  it('is not taken for empty when git cannot read it', async () => {
    expect(await isEmptyRepository(gitdir)).toBe(false);
    await writeFile(join(gitdir, 'packed-refs'), 'garbage\n');
    expect(await isEmptyRepository(gitdir)).toBe(false);
  });
});
