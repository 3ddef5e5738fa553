import { describe, expect, it } from 'vitest';
import { tryParseServerToken } from '../../../src/cli/server-token.ts';

describe('a token of servers', () => {
  it('names the cluster and has the secret', () => {
    const hash = 'a'.repeat(64);
    expect(tryParseServerToken(`K10${hash}::server:0123456789abcdef\n`)).toEqual({ authorityHash: hash, secret: '0123456789abcdef' });
  });

  it('may be a secret of 16 characters that a person chose', () => {
    expect(tryParseServerToken('correct-horse-battery')).toEqual({ authorityHash: undefined, secret: 'correct-horse-battery' });
  });

  it.each([
    ['a short secret', 'short'],
    ['a secret with a space', 'correct horse battery'],
    ['a token of agents', `K10${'a'.repeat(64)}::abcdef.0123456789abcdef`],
    ['the second half of a token of agents', 'abcdef.0123456789abcdef'],
    ['a token that lost its end', `K10${'a'.repeat(64)}::server:`],
    ['nothing', ''],
  ])('is not %s', (_, text) => {
    expect(tryParseServerToken(text)).toBeUndefined();
  });
});
