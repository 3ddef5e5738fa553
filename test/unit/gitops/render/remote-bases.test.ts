import { describe, expect, it } from 'vitest';
import { createGitBases } from '../../../../src/gitops/render/git-bases.ts';
import { isRemote, mountOf, parseRemoteAddress } from '../../../../src/gitops/render/kustomize/remote-bases.ts';

describe('the address of a remote base', () => {
  it.each([
    ['https://github.com/o/r//a/b?ref=v1', 'https://github.com/o/r', 'a/b'],
    ['https://github.com/o/r/a/b/?ref=v1', 'https://github.com/o/r', 'a/b'],
    ['https://github.com/o/r?ref=v1', 'https://github.com/o/r', ''],
    ['https://github.com/o/r.git/a?ref=v1', 'https://github.com/o/r.git', 'a'],
    ['github.com/o/r/a?ref=v1', 'https://github.com/o/r', 'a'],
    ['https://git.example.com:8443/x/y/z//a?ref=v1&timeout=10s', 'https://git.example.com:8443/x/y/z', 'a'],
    ['https://git.example.com/x/y.git?version=v1', 'https://git.example.com/x/y.git', ''],
    ['https://git.example.com/x/../y//a?ref=v1', 'https://git.example.com/y', 'a'],
  ])('is read from %s', (text, repository, path) => {
    expect(isRemote(text)).toBe(true);
    expect(parseRemoteAddress(text)).toEqual({ repository, path, ref: 'v1' });
  });

  it.each([
    ['git@github.com:o/r.git//a?ref=v1', 'not supported: remote resource'],
    ['file:///etc//a?ref=v1', 'not supported: remote resource'],
    ['git::https://github.com/o/r?ref=v1', 'not supported: remote resource'],
    ['https://git.example.com/o/r/a?ref=v1', 'does not say where the repository ends'],
    ['https://raw.example.com/o/r/main/a.yaml', 'names no ref'],
  ])('is refused for %s', (text, problem) => {
    expect(isRemote(text)).toBe(true);
    expect(() => parseRemoteAddress(text)).toThrow(problem);
  });

  it('leads into a mount or stays outside of all', () => {
    expect(['remote:x@v1', 'remote:x@v1/a', 'a/remote:x', ''].map(mountOf)).toEqual(['remote:x@v1', 'remote:x@v1', undefined, undefined]);
  });

  it.each([
    ['https://github.com/example', 'https://github.com/example/charts', true],
    ['https://github.com/example/', 'https://github.com/example/charts.git', true],
    ['https://github.com/example/charts', 'https://github.com/example/charts.git', true],
    ['https://github.com/example', 'https://github.com/example-evil/charts', false],
    ['https://github.com', 'https://github.com.evil.net/example/charts', false],
    ['https://github.com/example', 'http://github.com/example/charts', false],
  ])('under %s decide about %s: %s', async (allowed, repository, isAllowed) => {
    const asked: string[] = [];
    const bases = createGitBases({
      allowed: [allowed],
      async openSource(url) {
        asked.push(url);
        throw new Error('not here');
      },
    });
    await expect(async () => bases.open({ repository, path: '', ref: 'v1' }, { signal: undefined })).rejects.toThrow(
      isAllowed ? 'not here' : 'are not allowed',
    );
    expect(asked).toEqual(isAllowed ? [repository] : []);
  });
});
