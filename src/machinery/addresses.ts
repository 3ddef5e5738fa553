/** IPv4 ranges, as numbers. */
export interface AddressRange {
  readonly first: number;
  readonly size: number;
}

/** @throws Error for what is not `a.b.c.d/n` */
export function parseRange(cidr: string): AddressRange {
  const [address = '', bits = ''] = cidr.split('/');
  const value = tryAddress(address);
  const length = Number(bits);
  if (value === undefined || !/^[0-9]{1,2}$/.test(bits) || length > 32)
    throw new Error(`${cidr} is not an IPv4 range such as 127.64.0.0/20`);
  const size = 2 ** (32 - length);
  return { first: value - (value % size), size };
}

/** Undefined for a range of another family. */
export const tryRange = (cidr: string): AddressRange | undefined => (cidr.includes(':') ? undefined : parseRange(cidr));

export function tryAddress(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

export const formatAddress = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

export const inRange = ({ first, size }: AddressRange, value: number): boolean => value >= first && value < first + size;

export const containsRange = (outer: AddressRange, inner: AddressRange): boolean =>
  inRange(outer, inner.first) && inRange(outer, inner.first + inner.size - 1);
