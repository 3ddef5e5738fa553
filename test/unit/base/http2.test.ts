import { describe, expect, it } from 'vitest';
import { encodeHeader, HeaderDecoder } from '../../../src/base/http2/hpack.ts';

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const decode = (hex: string) => new HeaderDecoder().decode(bytesOf(hex), 100_000);

describe('headers of HTTP/2', () => {
  it('are decoded as in the examples of the standard, with Huffman codes and evictions', () => {
    // RFC 7541, C.6, after a change of the table to the 256 bytes that the example has.
    const decoder = new HeaderDecoder();
    const [location, cache] = [
      ['location', 'https://www.example.com'],
      ['cache-control', 'private'],
    ];
    const first =
      '3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 ' +
      'e9ae 82ae 43d3';
    expect(decoder.decode(bytesOf(first), 1_000)).toEqual([[':status', '302'], cache, ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'], location]);
    expect(decoder.decode(bytesOf('4883 640e ffc1 c0bf'), 1_000)).toEqual([
      [':status', '307'],
      cache,
      ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
      location,
    ]);
    const third =
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 ' +
      'd5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07';
    expect(decoder.decode(bytesOf(third), 1_000)).toEqual([
      [':status', '200'],
      cache,
      ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
      location,
      ['content-encoding', 'gzip'],
      ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
    ]);
  });

  it('are decoded as they were encoded, long ones too', () => {
    const long = 'v'.repeat(20_000);
    const block = Buffer.from(encodeHeader(':path', '/a.B/C') + encodeHeader('token', long) + encodeHeader('x'.repeat(127), ''), 'latin1');
    expect(new HeaderDecoder().decode(block, 100_000)).toEqual([
      [':path', '/a.B/C'],
      ['token', long],
      ['x'.repeat(127), ''],
    ]);
    expect(() => encodeHeader('token', 'two\r\nlines')).toThrow('token');
  });

  it.each([
    ['an entry that is none', 'be'],
    ['entry 0', '80'],
    ['a literal without its value', '4003 666f6f'],
    ['a value beyond the end', '0003 666f6f 05 62'],
    ['a number without an end', 'ff ff ff ff ff ff ff'],
    ['a table larger than allowed', '3f e2 1f'],
    ['padding of more than a byte', '4883 6402 ff'],
    ['padding with zeros', '4881 60'],
    ['the end of a string within it', '4884 ffff ffff'],
  ])('are refused with %s', (_, hex) => {
    expect(() => decode(hex)).toThrow(/header|cut short/);
  });
});
