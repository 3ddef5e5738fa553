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
  /** Milliseconds since the epoch, by the clock of the server that made it. Only servers of earlier versions read it. */
  readonly at: number;
}

/** A claim without its object, as this server found it first. */
interface Sighting {
  readonly revision: number;
  /** By the monotonic clock of this server, in milliseconds. */
  readonly sinceMs: number;
}

/**
 * A claim without its object is of a write under way, or of a server that died in between. It is void when this server has seen it
 * unchanged for so long. Clocks of servers differ, so the time in the claim decides nothing. Upstream's repair of addresses waits as long.
 */
const graceMs = 60_000;
const maxTries = 4;
/** A sighting that is dropped for a newer one costs its value another time of grace. */
const maxSightings = 4096;

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
  /** By key; the oldest first. */
  readonly #sightings = new Map<string, Sighting>();

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
      if (claim.owner !== owner) {
        // Its object may have been stored by a server that is ahead of this one.
        await freshness.barrier();
        if (holds(claim.owner, String(value))) {
          this.#sightings.delete(key);
          return false;
        }
        if (!this.#isVoid(key, found.revision)) return false;
      }
      // An owner's second claim is written, too: servers that saw the first one without its object wait from its revision on.
      const taken = await storage.update(key, { text }, found.revision);
      if (taken.ok) {
        this.#sightings.delete(key);
        return true;
      }
    }
    return false;
  }

  /** Notes that the claim has no object now, and tells whether it has been so, unchanged, for the time of grace. */
  #isVoid(key: string, revision: number): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    const seen = this.#sightings.get(key);
    if (seen?.revision === revision) return nowMs - seen.sinceMs >= graceMs;
    this.#sightings.delete(key);
    this.#sightings.set(key, { revision, sinceMs: nowMs });
    if (this.#sightings.size > maxSightings) {
      const [oldest = key] = this.#sightings.keys();
      this.#sightings.delete(oldest);
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
      // The claim stays, and is void once a server has seen it for the time of grace.
    }
  }
}
