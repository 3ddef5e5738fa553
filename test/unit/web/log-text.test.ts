import { describe, expect, it } from 'vitest';
import { createLineCutter, plainLog } from '../../../src/web/log-text.ts';

describe('text of logs', () => {
  it('loses colours, titles and moves of the cursor, and keeps the words', () => {
    expect(plainLog('\u001b[31mred\u001b[0m \u001b[1;38;5;9mbold\u001b[m\r\nnext\u001b[2K\u001b]0;title\u0007 \u001b[?25lend\ttab')).toBe(
      'red bold\nnext end\ttab',
    );
    expect(plainLog('a\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\ \u202eb')).toBe('alink  b');
    expect(plainLog('half \u001b[31')).not.toContain('\u001b');
  });

  it('comes as whole lines, and a line without an end in parts', () => {
    const cut = createLineCutter();
    expect(cut('one\ntw')).toEqual(['one']);
    expect(cut('o\n\nthree')).toEqual(['two', '']);
    const parts = cut('x'.repeat(40_000));
    expect(parts.map(({ length }) => length)).toEqual([16_384, 16_384]);
    expect(cut('\n')[0]).toHaveLength(40_005 - 2 * 16_384);
  });
});
