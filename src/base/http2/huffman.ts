/**
 * Bits of the code of each byte, and of the end of a string, as digits to the base 36. Codes are canonical: they count up within a length
 * in the order of bytes, so that the lengths say everything.
 *
 * @see RFC 7541, appendix B
 */
const codeLengths =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca' +
  'd67777777777777777777777878djde6f56565666577666567655677777fbeds' +
  'kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn' +
  'qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq' +
  'u';
const longest = 30;
const endOfString = 256;

interface CodeTable {
  /** For each number of bits: the first code, and the place of its byte in `bytes`. */
  readonly first: Int32Array;
  readonly placeOf: Int32Array;
  readonly counts: Int32Array;
  /** In the order of codes. */
  readonly bytes: readonly number[];
}

let table: CodeTable | undefined;

function buildTable(): CodeTable {
  const lengths = Array.from(codeLengths, (digit) => Number.parseInt(digit, 36));
  const [first, placeOf, counts] = [new Int32Array(longest + 1), new Int32Array(longest + 1), new Int32Array(longest + 1)];
  const bytes: number[] = [];
  let code = 0;
  for (let bits = 1; bits <= longest; bits += 1) {
    code *= 2;
    first[bits] = code;
    placeOf[bits] = bytes.length;
    for (const [byte, length] of lengths.entries()) if (length === bits) bytes.push(byte);
    const count = bytes.length - (placeOf[bits] as number);
    counts[bits] = count;
    code += count;
  }
  return { first, placeOf, counts, bytes };
}

/**
 * Decodes a string of HPACK.
 *
 * @throws Error for a code that is none, and for padding that is no padding
 */
export function decodeHuffman(encoded: Uint8Array): Buffer {
  table ??= buildTable();
  const { first, placeOf, counts, bytes } = table;
  // The shortest code has five bits.
  const decoded = Buffer.allocUnsafe(Math.floor((encoded.length * 8) / 5));
  let size = 0;
  let code = 0;
  let bits = 0;
  for (const octet of encoded) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      code = code * 2 + ((octet >> bit) & 1);
      bits += 1;
      if (bits > longest) throw new Error('a header has a code that is none');
      const at = code - (first[bits] as number);
      if (at >= (counts[bits] as number)) continue;
      const byte = bytes[(placeOf[bits] as number) + at] as number;
      if (byte === endOfString) throw new Error('a header has the end of a string within it');
      decoded[size] = byte;
      size += 1;
      code = 0;
      bits = 0;
    }
  }
  // The rest is the beginning of the end of a string, which is all ones.
  if (bits > 7 || code !== 2 ** bits - 1) throw new Error('a header has a string that is cut short');
  return decoded.subarray(0, size);
}
