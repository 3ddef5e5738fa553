import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unifiedDiff } from '../../../src/machinery/text-diff.ts';

const lines = (...text: string[]): string => text.join('\n');

describe('unifiedDiff', () => {
  it('shows changes with three lines around them, near ones together', () => {
    const before = lines('1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15', '16', '17');
    const after = lines('1', '2', '3', '4', 'five', '6', '8', '9', '10', '11', '12', '13', '14', '15', '16', '17', '18');
    expect(unifiedDiff(before, after)).toBe(
      lines(
        '@@ -2,9 +2,8 @@',
        ' 2',
        ' 3',
        ' 4',
        '-5',
        '+five',
        ' 6',
        '-7',
        ' 8',
        ' 9',
        ' 10',
        '@@ -15,3 +14,4 @@',
        ' 15',
        ' 16',
        ' 17',
        '+18',
        '',
      ),
    );
  });

  it('is empty for equal texts and for texts beyond the bound', () => {
    expect(unifiedDiff('a\nb', 'a\nb')).toBe('');
    expect(unifiedDiff('a\n'.repeat(50), 'b', 20)).toBe('');
  });

  it('names an empty range by the line before it', () => {
    expect(unifiedDiff('', 'a')).toBe('@@ -1 +1 @@\n-\n+a\n');
    expect(unifiedDiff('a', 'a\nb')).toBe('@@ -1 +1,2 @@\n a\n+b\n');
  });

  it('keeps every line of both texts, in order', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c', '{', '}'), { maxLength: 30 }).map((list) => list.join('\n'));
    fc.assert(
      fc.property(text, text, (before, after) => {
        // With a hunk for everything, the diff would be both texts; here what it shows has to be found in them in order.
        const shown = unifiedDiff(before, after)
          .split('\n')
          .slice(0, -1)
          .filter((line) => !line.startsWith('@@'));
        expect(
          isSubsequence(
            shown.filter((line) => !line.startsWith('+')).map((line) => line.slice(1)),
            before.split('\n'),
          ),
        ).toBe(true);
        expect(
          isSubsequence(
            shown.filter((line) => !line.startsWith('-')).map((line) => line.slice(1)),
            after.split('\n'),
          ),
        ).toBe(true);
        expect(shown.length === 0).toBe(before === after);
      }),
    );
  });
});

function isSubsequence(part: readonly string[], whole: readonly string[]): boolean {
  let at = 0;
  for (const line of whole) if (at < part.length && part[at] === line) at += 1;
  return at === part.length;
}
