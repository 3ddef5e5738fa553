/** Things that only one Service may have, such as an address or a port, by who has them. */
export interface Claims {
  /** The other Service that has it; undefined: nobody else does. */
  otherHolderOf(thing: string, key: string): string | undefined;
  /** Things of the Service are these from now on. One that another Service has stays there. */
  set(key: string, things: readonly string[]): void;
  of(key: string): readonly string[];
  isFree(thing: string): boolean;
}

export function createClaims(): Claims {
  const holders = new Map<string, string>();
  const held = new Map<string, readonly string[]>();
  return {
    otherHolderOf(thing, key) {
      const holder = holders.get(thing);
      return holder === key ? undefined : holder;
    },
    set(key, things) {
      for (const thing of held.get(key) ?? []) holders.delete(thing);
      const mine = things.filter((thing) => !holders.has(thing));
      for (const thing of mine) holders.set(thing, key);
      if (mine.length === 0) held.delete(key);
      else held.set(key, mine);
    },
    of: (key) => held.get(key) ?? [],
    isFree: (thing) => !holders.has(thing),
  };
}
