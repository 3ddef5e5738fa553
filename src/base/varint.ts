/**
 * Bytes of a number in messages of protobuf: seven bits each, the lowest first.
 *
 * @param value  not negative, an integer up to 2^53
 * @see Protocol Buffers documentation, "Encoding"
 */
export function varintOf(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return bytes;
}
