import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import { createBundle, restoreBundle } from '../../../src/gitops/sources/bundle.ts';
import { runGit } from '../../../src/gitops/sources/git-command.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';

const refsOf = (gitdir: string): Promise<string> =>
  runGit({ args: ['--git-dir', gitdir, 'for-each-ref', '--format=%(refname) %(contents:subject)'] });

/** Moves the branch to and fro, for as long as somebody reads. */
function* moves(...shas: readonly (string | undefined)[]): Generator<string> {
  for (;;) for (const sha of shas) yield `start\nupdate refs/heads/main ${sha}\ncommit\n`;
}

describe('the bundle of a repository', () => {
  it('has every branch and tag, also those that move while it is made', async () => {
    const tree = await newRepository('bundle', { 'a.txt': '0\n' });
    const [first, second] = [await tree.git('rev-parse', 'HEAD'), await tree.commit('second', { 'a.txt': '1\n' })];
    await tree.git('branch', 'still', first);
    await tree.git('tag', '-a', 'v1', '-m', 'v1', first);
    const gitdir = join(tree.directory, '.git');
    const directory = await temporaryDirectory('bundle');

    const pushes = spawn('git', ['--git-dir', gitdir, 'update-ref', '--stdin'], { stdio: ['pipe', 'ignore', 'inherit'] });
    const exited = once(pushes, 'exit');
    // It is killed below while it still has some to read.
    const ended = pipeline(moves(first, second), pushes.stdin).catch(() => undefined);
    try {
      for (let round = 0; round < 20; round += 1) {
        const file = join(directory, `${round}.bundle`);
        expect(await createBundle({ gitdir, file })).toBe(true);
        expect(await runGit({ args: ['bundle', 'list-heads', file] })).toContain(' refs/heads/main\n');
      }
    } finally {
      pushes.kill();
      await Promise.all([exited, ended]);
    }
    const target = join(directory, 'restored.git');
    await restoreBundle({ gitdir: target, file: join(directory, '0.bundle') });
    expect(await refsOf(target)).toMatch(/^refs\/heads\/main (?:first|second)\nrefs\/heads\/still first\nrefs\/tags\/v1 v1$/);
    expect((await readdir(directory)).filter((name) => name.endsWith('.refs'))).toEqual([]);
  });

  it('is not made of a repository without a commit', async () => {
    const directory = await temporaryDirectory('bundle');
    const gitdir = join(directory, 'empty.git');
    await runGit({ args: ['init', '--quiet', '--bare', gitdir] });
    expect(await createBundle({ gitdir, file: join(directory, 'empty.bundle') })).toBe(false);
    expect(await readdir(directory)).toEqual(['empty.git']);
  });
});
