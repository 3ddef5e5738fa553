import { describe, expect, it } from 'vitest';
import { defaultIgnorePatterns, isIgnored, matchesGlob, parseIgnorePatterns } from '../../../../src/gitops/sources/ignore-patterns.ts';

const ignored = (patterns: string, path: string, directory = '', isDirectory = false): boolean =>
  isIgnored(parseIgnorePatterns(patterns, directory === '' ? [] : directory.split('/')), { path: path.split('/'), isDirectory });

describe('patterns of paths to leave out', () => {
  it.each([
    ['*.yaml', 'a.yaml', true],
    ['*.yaml', 'deep/down/a.yaml', true],
    ['secret', 'a/secret/b.yaml', true],
    ['/a.yaml', 'a.yaml', true],
    ['/a.yaml', 'b/a.yaml', false],
    ['a/*.yaml', 'a/x.yaml', true],
    ['a/*.yaml', 'b/a/x.yaml', false],
    ['**/x.yaml', 'b/a/x.yaml', true],
    ['a/**', 'a/b/x.yaml', true],
    ['a/**/x.yaml', 'a/b/c/x.yaml', true],
    ['a/**/x.yaml', 'a/b/c/y.yaml', false],
    ['docs/', 'docs/x.yaml', true],
    ['docs/', 'docs', false],
    ['/*\n!/deploy', 'deploy/x.yaml', false],
    ['/*\n!/deploy', 'other/x.yaml', true],
    ['# comment\n\n', '# comment', false],
    ['\\#a', '#a', true],
    ['[ab].yaml', 'b.yaml', true],
    ['[!ab].yaml', 'b.yaml', false],
    ['a?.yaml', 'ab.yaml', true],
    ['file\\ ', 'file ', true],
    ['file   ', 'file', true],
  ])('%j and %s: %s', (patterns, path, expected) => {
    expect(ignored(patterns, path)).toBe(expected);
  });

  it('hold in the directory they are written in, and below', () => {
    expect(ignored('*.yaml', 'a/x.yaml', 'a')).toBe(true);
    expect(ignored('/x.yaml', 'a/x.yaml', 'a')).toBe(true);
    expect(ignored('*.yaml', 'b/x.yaml', 'a')).toBe(false);
    expect(ignored('*.yaml', 'ab/x.yaml', 'a')).toBe(false);
  });

  it('leave out by default what is no manifest', () => {
    const byDefault = (path: string): boolean => isIgnored(defaultIgnorePatterns, { path: path.split('/'), isDirectory: false });
    for (const path of ['.github/workflows/a.yaml', 'a/logo.png', '.gitlab-ci.yml', 'x/.sops.yaml', 'cloudbuild.yaml']) {
      expect(byDefault(path), path).toBe(true);
    }
    expect(byDefault('apps/web.yaml')).toBe(false);
  });

  it('cost no more than the product of their lengths, however they are made', () => {
    expect(matchesGlob(`${'a*'.repeat(500)}b`, 'a'.repeat(5_000))).toBe(false);
    expect(matchesGlob('*', '')).toBe(true);
    expect(matchesGlob('[a', 'a')).toBe(false);
    expect(() => parseIgnorePatterns('a\n'.repeat(1_001))).toThrow('more than 1000 patterns');
  });
});

it('ends when patterns with many stars meet many long names', () => {
  const patterns = parseIgnorePatterns('*a*a*a*a*a*a*b\n'.repeat(1_000));
  const comparisons = { left: 1_000_000 };
  const judge = (): void => {
    for (let index = 0; index < 50_000; index += 1)
      isIgnored(patterns, { path: [`${'a'.repeat(240)}${index}`], isDirectory: false }, comparisons);
  };
  expect(judge).toThrow('its patterns take too long for the names of a directory');
  expect(isIgnored(patterns, { path: ['aaaaaaab'], isDirectory: false }, { left: 1_000_000 })).toBe(true);
});
