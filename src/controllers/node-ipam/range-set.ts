import { formatAddress, inRange, parseRange } from '../../machinery/addresses.ts';

/** Equal parts of an address range, by who holds them. */
export interface RangeSet {
  /** The part of the owner, or the first that is free; undefined when none is. */
  take(owner: string): string | undefined;
  /** Notes a part that the owner has already, also when another has it too. One outside of the whole is ignored. */
  hold(owner: string, cidr: string): void;
  /** @returns true when the owner had one */
  release(owner: string): boolean;
}

/**
 * @param cidr  the whole, such as `10.42.0.0/16`
 * @param prefixLength  of a part
 * @throws Error for a whole that is smaller than a part
 */
export function createRangeSet(cidr: string, prefixLength: number): RangeSet {
  const whole = parseRange(cidr);
  const size = 2 ** (32 - prefixLength);
  const count = whole.size / size;
  if (count < 1) throw new Error(`${cidr} has no room for a part of /${prefixLength}`);
  const partOf = new Map<string, number>();
  const holders = new Map<number, number>();
  /** No part below it is free, so that a full range is not searched from its start for each owner. */
  let lowestFree = 0;

  function note(owner: string, part: number): void {
    partOf.set(owner, part);
    holders.set(part, (holders.get(part) ?? 0) + 1);
  }

  function release(owner: string): boolean {
    const part = partOf.get(owner);
    if (part === undefined) return false;
    partOf.delete(owner);
    const others = (holders.get(part) ?? 1) - 1;
    if (others > 0) holders.set(part, others);
    else {
      holders.delete(part);
      lowestFree = Math.min(lowestFree, part);
    }
    return true;
  }

  return {
    take(owner) {
      const known = partOf.get(owner);
      if (known !== undefined) return cidrOf(known);
      while (holders.has(lowestFree)) lowestFree += 1;
      if (lowestFree >= count) return undefined;
      note(owner, lowestFree);
      return cidrOf(lowestFree);
    },
    hold(owner, held) {
      const { first } = parseRange(held);
      const part = Math.floor((first - whole.first) / size);
      if (!inRange(whole, first) || partOf.get(owner) === part) return;
      release(owner);
      note(owner, part);
    },
    release,
  };

  function cidrOf(part: number): string {
    return `${formatAddress(whole.first + part * size)}/${prefixLength}`;
  }
}
