import { describe, expect, it } from 'vitest';
import { plain, plainLines, printable } from '../../../src/base/plain-text.ts';

/** Clears the screen, moves up, sets the title and clipboard, asks for an answer, in both encodings; turns text around. */
const attacks = [
  '\u001b[2J',
  '\u001b[1A',
  '\u001b]0;title\u0007',
  '\u001b]52;c;aGk=\u001b\\',
  '\u001b[6n',
  '\u001bc',
  '\u001bP+q544e\u001b\\',
  '\u009b2J',
  '\u009d0;title\u009c',
  '\u001b\u001b[2J',
  '\u001b[99999999999m',
  '\r',
  '\b',
  '\u0000',
  '\u007f',
  '\u0085',
  '\u202e',
  '\u2066',
];
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const forbidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

describe('texts of others', () => {
  it('lose everything that a terminal acts on', () => {
    for (const attack of attacks) {
      for (const clean of [plain, plainLines, printable]) {
        expect(clean(`a${attack}b`), JSON.stringify(attack)).not.toMatch(forbidden);
        expect(clean(`a${attack}b`)).toMatch(/^a.*b$/);
      }
    }
  });

  it('keep letters of all languages, and line ends and tabs where there may be lines', () => {
    const text = 'Grüße, 你好, ✓ ▲ 👍\n\tb';
    expect(plain(text)).toBe('Grüße, 你好, ✓ ▲ 👍  b');
    expect(plainLines(text)).toBe(text);
    expect(printable(text)).toBe(text);
  });

  it('keep the colours of a command', () => {
    expect(printable('\u001b[31m✗\u001b[39m \u001b[1;32mgood\u001b[0m')).toBe('\u001b[31m✗\u001b[39m \u001b[1;32mgood\u001b[0m');
    expect(plain('\u001b[31mred')).toBe(' [31mred');
  });
});
