import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { shellWord } from '../../../src/base/shell-word.ts';

describe('a word of the shell', () => {
  it.each(["it's", 'a b', '$HOME `id` $(id)', '', '-n', 'two\nlines', '"', '\\'])('means exactly %j', (text) => {
    expect(execFileSync('/bin/sh', ['-c', `printf '%s|' ${shellWord(text)}`], { encoding: 'utf8' })).toBe(`${text}|`);
  });
});
