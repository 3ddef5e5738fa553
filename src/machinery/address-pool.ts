import { type AddressRange, formatAddress, inRange, parseRange, tryAddress } from './addresses.ts';

/** Addresses for load balancers, in the order in which they are given out. */
export interface AddressPool {
  /** As it was written, for messages. */
  readonly text: string;
  has(address: string): boolean;
  /** All addresses, lowest of the first range first. */
  addresses(): Iterable<string>;
  /** True when one of its addresses is in the range. */
  overlaps(range: AddressRange): boolean;
}

/** Bound of one pool: a search for a free address looks at each of them. */
const maxAddresses = 65_536;

/**
 * Reads `192.168.1.240-192.168.1.250`, `192.168.2.0/28` or several of them with commas between them.
 *
 * @throws Error that says what is wrong with which part
 */
export function parseAddressPool(text: string): AddressPool {
  const ranges = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(parsePart);
  const count = ranges.reduce((sum, { size }) => sum + size, 0);
  if (count === 0) throw new Error('it names no address');
  if (count > maxAddresses) throw new Error(`it has ${count} addresses, and ${maxAddresses} are the most`);
  return {
    text,
    has(address) {
      const value = tryAddress(address);
      return value !== undefined && ranges.some((range) => inRange(range, value));
    },
    *addresses() {
      for (const { first, size } of ranges) for (let offset = 0; offset < size; offset += 1) yield formatAddress(first + offset);
    },
    overlaps: (other) => ranges.some(({ first, size }) => first < other.first + other.size && other.first < first + size),
  };
}

function parsePart(part: string): AddressRange {
  if (!part.includes('-')) return parseRange(part.includes('/') ? part : `${part}/32`);
  const [from = '', to = '', ...rest] = part.split('-').map((address) => address.trim());
  const [first, last] = [tryAddress(from), tryAddress(to)];
  if (first === undefined || last === undefined || rest.length > 0)
    throw new Error(`${part} is not a range such as 192.168.1.240-192.168.1.250`);
  if (last < first) throw new Error(`${part} ends before it begins`);
  return { first, size: last - first + 1 };
}
