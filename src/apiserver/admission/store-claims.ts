import type { Clock } from '../../base/clock.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Registry } from '../registry/registry.ts';

/**
 * Values of which each may belong to one object only, where several servers give them out: addresses and node ports of Services. The memory
 * of a server knows what is stored, and not what another server is about to store. So a value is claimed in the store before its
 * object is, by a key that can be made once.
 */
export interface StoreClaims {
  /** Gives true when `value` belongs to `owner` from now on, false when it is another's. */
  take(value: string | number, owner: string): Promise<boolean>;
  /** Gives the value back unless the stored `owner` has it. Failures are left to whoever wants the value later. */
  release(value: string | number, owner: string): Promise<void>;
}

export interface StoreClaimsOptions {
  readonly registry: Pick<Registry, 'storage' | 'freshness'>;
  readonly clock: Clock;
  /** `cluster-ips` */
  readonly what: string;
  /** True when the object in memory has the value. An owner is one object, by its uid: the next one of its name is another. */
  holds(owner: string, value: string): boolean;
}

interface Claim {
  readonly owner: string;
  /** Milliseconds since the epoch, by the clock of the server that made it. */
  readonly at: number;
}

/**
 * A claim without its object is of a write under way, or of a server that died in between. Upstream's repair of addresses waits as long.
 * Clocks of servers differ by less.
 */
const graceMs = 60_000;
const maxTries = 4;

/** Undefined where this server alone writes to the store: what is taken is then in its memory. */
export function createStoreClaims({ registry, clock, what, holds }: StoreClaimsOptions): StoreClaims | undefined {
  const { storage, freshness } = registry;
  return storage.isShared ? new SharedClaims({ storage, freshness, clock, what, holds }) : undefined;
}

interface SharedParts extends Omit<StoreClaimsOptions, 'registry'> {
  readonly storage: Storage;
  readonly freshness: Registry['freshness'];
}

class SharedClaims implements StoreClaims {
  readonly #parts: SharedParts;

  constructor(parts: SharedParts) {
    this.#parts = parts;
  }

  /** The prefix is no resource's, so neither readers nor watchers of objects see it. */
  #keyOf = (value: string | number): string => `midship/claims/${this.#parts.what}/${value}`;

  async take(value: string | number, owner: string): Promise<boolean> {
    const { storage, freshness, clock, holds } = this.#parts;
    const key = this.#keyOf(value);
    for (let tries = 0; tries < maxTries; tries += 1) {
      const text = JSON.stringify({ owner, at: clock.now() } satisfies Claim);
      const made = await storage.create(key, { text });
      if (made.ok) return true;
      const found = await storage.get(key);
      if (found === undefined) continue;
      const claim = JSON.parse(found.text) as Claim;
      if (claim.owner === owner) return true;
      if (clock.now() - claim.at < graceMs) return false;
      // Its object may have been stored by a server that is ahead of this one.
      await freshness.barrier();
      if (holds(claim.owner, String(value))) return false;
      const taken = await storage.update(key, { text }, found.revision);
      if (taken.ok) return true;
    }
    return false;
  }

  async release(value: string | number, owner: string): Promise<void> {
    const { storage, freshness, holds } = this.#parts;
    if (holds(owner, String(value))) return;
    try {
      const found = await storage.get(this.#keyOf(value));
      if (found === undefined || (JSON.parse(found.text) as Claim).owner !== owner) return;
      await freshness.barrier();
      if (!holds(owner, String(value))) await storage.delete(this.#keyOf(value), found.revision);
    } catch {
      // The claim stays, and is void after its time of grace.
    }
  }
}
