import { describe, expect, it } from 'vitest';
import { createStoreClaims, type StoreClaims } from '../../../../src/apiserver/admission/store-claims.ts';
import type { Storage } from '../../../../src/storage/storage.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';

const hourMs = 3_600_000;
const startMs = Date.parse('2026-01-01T00:00:00Z');
const port = 30_080;

interface Server {
  readonly clock: ManualClock;
  readonly claims: StoreClaims;
}

/** Two servers on one store; the clock of the second is `aheadMs` ahead of that of the first. */
function servers(aheadMs: number, objects: ReadonlySet<string> = new Set()): readonly [Server, Server] {
  const storage = keyedStorage();
  const server = (clock: ManualClock): Server => {
    const registry = { storage, freshness: { barrier: () => Promise.resolve() } } as never;
    const claims = createStoreClaims({ registry, clock, what: 'node-ports', holds: (owner) => objects.has(owner) });
    if (claims === undefined) throw new Error('the store is shared');
    return { clock, claims };
  };
  return [server(createManualClock(startMs)), server(createManualClock(startMs + aheadMs))];
}

/** Create, update and delete by compare, as the etcd store has them. */
function keyedStorage(): Storage {
  const rows = new Map<string, { readonly text: string; readonly revision: number }>();
  let revision = 0;
  const write = (key: string, text: string) => {
    revision += 1;
    rows.set(key, { text, revision });
    return Promise.resolve({ ok: true, revision });
  };
  const lost = (key: string) => Promise.resolve({ ok: false, revision: rows.get(key)?.revision ?? 0 });
  return {
    isShared: true,
    get: (key: string) => Promise.resolve(rows.get(key)),
    create: (key: string, { text }: { text: string }) => (rows.has(key) ? lost(key) : write(key, text)),
    update: (key: string, { text }: { text: string }, expected: number) =>
      rows.get(key)?.revision === expected ? write(key, text) : lost(key),
    delete: (key: string, expected: number) => {
      if (rows.get(key)?.revision !== expected) return lost(key);
      rows.delete(key);
      return Promise.resolve({ ok: true, revision: ++revision });
    },
  } as unknown as Storage;
}

describe('claims of servers whose clocks differ', () => {
  for (const [title, aheadMs] of [
    ['an hour ahead', hourMs],
    ['an hour behind', -hourMs],
  ] as const) {
    it(`leaves a write under way its value, and voids the claim of a dead one after a minute, by a clock ${title}`, async () => {
      const [first, second] = servers(aheadMs);
      expect(await first.claims.take(port, 'a')).toBe(true);
      expect(await second.claims.take(port, 'b')).toBe(false);
      second.clock.advance(59_999);
      expect(await second.claims.take(port, 'b')).toBe(false);
      second.clock.advance(1);
      expect(await second.claims.take(port, 'b')).toBe(true);
      expect(await first.claims.take(port, 'a')).toBe(false);
    });
  }

  it('waits from the last change of a claim', async () => {
    const [first, second] = servers(0);
    await first.claims.take(port, 'a');
    expect(await second.claims.take(port, 'b')).toBe(false);
    second.clock.advance(59_000);
    expect(await first.claims.take(port, 'a')).toBe(true);
    second.clock.advance(1_000);
    expect(await second.claims.take(port, 'b')).toBe(false);
    second.clock.advance(60_000);
    expect(await second.claims.take(port, 'b')).toBe(true);
  });

  it('waits from the moment at which the claim has no object any more', async () => {
    const objects = new Set<string>();
    const [first, second] = servers(0, objects);
    await first.claims.take(port, 'a');
    expect(await second.claims.take(port, 'b')).toBe(false);
    objects.add('a');
    second.clock.advance(60_000);
    expect(await second.claims.take(port, 'b')).toBe(false);
    objects.clear();
    expect(await second.claims.take(port, 'b')).toBe(false);
    second.clock.advance(60_000);
    expect(await second.claims.take(port, 'b')).toBe(true);
  });
});
