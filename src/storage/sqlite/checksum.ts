import { crc32 } from 'node:zlib';

/**
 * The checksum of a log row: `head.whole`, two CRC-32 in decimal. `head` covers revision and key, `whole` these and the
 * text. A row with a damaged text therefore still identifies its key. 2 µs for a row of 4 KB.
 */
export function rowSum(revision: number, key: string, text: string | null): string {
  const head = crc32(`${revision}/${key}`);
  return `${head}.${wholeOf(head, text)}`;
}

/** A deletion differs from an empty text. */
const wholeOf = (head: number, text: string | null): number => (text === null ? ~head >>> 0 : crc32(text, head));

/** True when a sum that does not fit its row still fits revision and key. */
export function headFits(sum: string | null, revision: number, key: string): boolean {
  return typeof sum === 'string' && sum.startsWith(`${crc32(`${revision}/${key}`)}.`);
}

/** The sum of a row of `meta`. */
export const metaSum = (name: string, value: number): string => String(crc32(`${name}=${value}`));
