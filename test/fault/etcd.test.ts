import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/base/log.ts';
import { openEtcdStorage } from '../../src/storage/etcd/storage.ts';
import type { Storage, StorageEvent } from '../../src/storage/storage.ts';
import { type BreakingProxy, startBreakingProxy } from '../support/breaking-proxy.ts';
import { type Etcd, hasEtcd, startEtcd } from '../support/etcd.ts';
import { createRandom } from '../support/random.ts';
import { until } from '../support/until.ts';

/**
 * Writers and readers of a store in a real etcd, while connections break and etcd is killed and halted. Every acknowledged write has to be
 * where it says, and to replace what it expected. Every answer has to be true at some moment of its call. The store numbers its writes, so
 * that needs no search.
 */
const runs = Number(process.env.MIDSHIP_STORE_RUNS ?? 4);
const firstSeed = Number(process.env.MIDSHIP_SEED ?? 1);
const writers = 8;
const runMs = 4_000;
const keys = Array.from({ length: 6 }, (_, n) => `core/configmaps/default/k${n}`);

interface Call {
  readonly type: 'create' | 'update' | 'delete' | 'get';
  readonly key: string;
  readonly text: string;
  readonly expected: number;
  /** Everything acknowledged up to here was known before the call began. */
  readonly after: number;
  /** Undefined: the outcome was not known. */
  outcome?: { readonly ok: boolean; readonly revision: number; readonly text?: string | undefined };
  /** Everything that the answer may show had been delivered at its end, or its own revision says so. */
  before: number;
}

describe.skipIf(!hasEtcd)('a store in etcd among faults (needs etcd)', () => {
  let etcd: Etcd;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(async () => await etcd.stop());

  it.each(Array.from({ length: runs }, (_, n) => firstSeed + n))('loses, doubles and invents nothing (seed %i)', async (seed) => {
    const random = createRandom(seed);
    const proxy = await startBreakingProxy(etcd.endpoints[0] as { host: string; port: number });
    const log = createLog({ level: 'silent' });
    const common = { tls: undefined, login: undefined, prefix: `/fault-${seed}`, serverId: `s${seed}`, log };
    const storage = await openEtcdStorage({ ...common, endpoints: [proxy] });
    const base = storage.currentRevision;
    const seen: StorageEvent[] = [];
    const errors: Error[] = [];
    const abort = new AbortController();
    await storage.watch({
      prefix: '',
      afterRevision: base,
      signal: abort.signal,
      onEvents: (events) => void seen.push(...events),
      onEnd: (err) => errors.push(err),
    });
    const calls: Call[] = [];
    const counts = { cut: 0, killed: 0, halted: 0, unknown: 0 };
    const deadline = performance.now() + runMs;
    await Promise.all([
      ...Array.from({ length: writers }, () => traffic(storage, { random, calls, deadline, counts })),
      faults({ random, proxy, etcd, deadline, counts }),
    ]);
    // The truth, from a store that saw none of it.
    const clean = await openEtcdStorage({ ...common, endpoints: etcd.endpoints });
    const truth: StorageEvent[] = [];
    await clean.watch({
      prefix: '',
      afterRevision: base,
      signal: abort.signal,
      onEvents: (events) => void truth.push(...events),
      onEnd: (err) => errors.push(err),
    });
    const last = await lastRevision(clean);
    await until(() => (truth.at(-1)?.revision ?? 0) >= last && (seen.at(-1)?.revision ?? 0) >= last, {
      what: 'every change was delivered',
    });
    const watched = seen.map(({ key, revision, type }) => ({ key, revision, type }));
    expect(watched, `seed ${seed}`).toEqual(truth.map(({ key, revision, type }) => ({ key, revision, type })));
    expect(errors).toEqual([]);
    expect(wrongCalls(calls, truth), `seed ${seed}, ${JSON.stringify(counts)}`).toEqual([]);
    expect(calls.length).toBeGreaterThan(10);
    expect(counts.cut + counts.killed + counts.halted).toBeGreaterThan(0);
    abort.abort();
    await clean.close();
    await storage.close();
    proxy.stop();
  });
});

interface Run {
  readonly random: () => number;
  readonly calls: Call[];
  readonly deadline: number;
  readonly counts: { cut: number; killed: number; halted: number; unknown: number };
}

/** A client: reads a key, and writes what it has read, or something older. */
async function traffic(storage: Storage, { random, calls, deadline, counts }: Run): Promise<void> {
  for (let n = 0; performance.now() < deadline; n += 1) {
    const key = keys[Math.floor(random() * keys.length)] as string;
    const read: Call = { type: 'get', key, text: '', expected: 0, after: storage.currentRevision, before: 0 };
    const found = await storage.get(key).catch(() => undefined);
    const current = found?.revision ?? 0;
    if (found !== undefined) {
      read.outcome = { ok: true, revision: found.revision, text: found.text };
      read.before = Number.POSITIVE_INFINITY;
      calls.push(read);
    }
    const type = current === 0 ? 'create' : random() < 0.35 ? 'delete' : 'update';
    const call: Call = { type, key, text: `${key} ${calls.length} ${n}`, expected: current, after: storage.currentRevision, before: 0 };
    calls.push(call);
    try {
      const result =
        type === 'create'
          ? await storage.create(key, { text: call.text })
          : type === 'update'
            ? await storage.update(key, { text: call.text }, current)
            : await storage.delete(key, current);
      call.outcome = { ok: result.ok, revision: result.ok ? result.revision : result.currentRevision };
      call.before = storage.currentRevision;
    } catch {
      counts.unknown += 1;
    }
  }
}

async function faults({ random, proxy, etcd, deadline, counts }: Omit<Run, 'calls'> & { proxy: BreakingProxy; etcd: Etcd }): Promise<void> {
  while (performance.now() < deadline) {
    await sleep(50 + random() * 400);
    const drawn = random();
    if (drawn < 0.75) {
      counts.cut += 1;
      proxy.cut();
    } else if (drawn < 0.9) {
      counts.halted += 1;
      await etcd.signal(0, 'SIGSTOP');
      await sleep(random() * 1_500);
      await etcd.signal(0, 'SIGCONT');
    } else {
      counts.killed += 1;
      await etcd.signal(0, 'SIGKILL');
      await etcd.restart(0);
    }
  }
}

async function lastRevision(storage: Storage): Promise<number> {
  const probe = await storage.create('core/configmaps/default/last', { text: 'last' });
  if (!probe.ok) throw new Error('the last write was lost');
  return probe.revision;
}

/** Calls whose answer fits no moment between their begin and their end. */
function wrongCalls(calls: readonly Call[], truth: readonly StorageEvent[]): readonly string[] {
  const at = new Map(truth.map((event) => [event.revision, event]));
  const histories = new Map<string, { readonly revision: number; readonly exists: boolean }[]>();
  for (const { key, revision, type } of truth) {
    const history = histories.get(key) ?? [];
    history.push({ revision, exists: type === 'put' });
    histories.set(key, history);
  }
  const acknowledged = new Set<number>();
  const written = new Set(truth.map((event) => (event.type === 'put' ? event.value.text : undefined)));
  return calls.flatMap((call) => {
    const { type, key, text, expected, after, outcome, before } = call;
    if (outcome === undefined) return [];
    const describeCall = (why: string): string[] => [`${type} ${key} at ${expected}: ${JSON.stringify(outcome)}: ${why}`];
    if (outcome.ok && type !== 'get') {
      const event = at.get(outcome.revision);
      if (event?.key !== key) return describeCall('no such write');
      if (type === 'delete') return event.type === 'delete' ? [] : describeCall('not a deletion');
      if (event.type !== 'put' || event.value.text !== text) return describeCall('another write');
      if (acknowledged.has(outcome.revision)) return describeCall('acknowledged twice');
      acknowledged.add(outcome.revision);
      const previous = previousOf(histories.get(key) ?? [], outcome.revision);
      return previous === expected ? [] : describeCall(`replaced ${previous}`);
    }
    if (!outcome.ok && type !== 'delete' && written.has(text)) return describeCall('refused, and written');
    if (type === 'get') {
      const event = at.get(outcome.revision);
      if (event?.type !== 'put' || event.value.text !== outcome.text) return describeCall('no such value');
    }
    return wasCurrent(histories.get(key) ?? [], { revision: outcome.revision, after, before })
      ? []
      : describeCall(`not current in ${after} to ${before}`);
  });
}

type History = readonly { readonly revision: number; readonly exists: boolean }[];

/** The revision of the value before a write; 0 when there was none. */
function previousOf(history: History, revision: number): number {
  const before = history[history.findIndex((each) => each.revision === revision) - 1];
  return before?.exists === true ? before.revision : 0;
}

/** True when the key had this revision, or was absent for 0, at some moment after `after` was known and before `before`. */
function wasCurrent(history: History, { revision, after, before }: { revision: number; after: number; before: number }): boolean {
  const states = [{ revision: 0, exists: false }, ...history];
  return states.some((state, index) => {
    const from = state.revision;
    const to = states[index + 1]?.revision ?? Number.POSITIVE_INFINITY;
    const value = state.exists ? state.revision : 0;
    return value === revision && to > after && from <= before;
  });
}
