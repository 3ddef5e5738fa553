import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Lease, leases } from '../../../src/api/coordination/v1/lease.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics, type Metrics } from '../../../src/base/metrics.ts';
import type { Client } from '../../../src/client/client.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import {
  createLeaderElectionMetrics,
  createLeaderElector,
  guardByLeadership,
  type LeaderElectionOptions,
  type LeaderElector,
  type Leadership,
  LeadershipLost,
} from '../../../src/reconcile/leader-election.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { createRandom } from '../../support/random.ts';
import { createVirtualWorld, type Passage, type VirtualProcess, type VirtualWorld } from '../../support/virtual-processes.ts';

const log = createLog({ level: 'silent' });
const never = new AbortController().signal;
let api: TestApi;
let server: Client;
let world: VirtualWorld;
let runs = 0;

beforeAll(async () => {
  api = await startTestApi();
  server = api.clientFor();
  await server.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'work' } });
});
afterAll(() => api.stop());
beforeEach(newElection);

interface Candidate {
  readonly elector: LeaderElector;
  readonly metrics: Metrics;
  readonly holders: readonly string[];
  leadership: Leadership | undefined;
  /** Acquires, in the background. */
  stand(): void;
}

interface CandidateOptions extends Partial<LeaderElectionOptions> {
  readonly process?: VirtualProcess;
}

/** A lease of its own for each test; candidates of one test share it. */
let leaseName = '';
function newElection(): void {
  runs += 1;
  leaseName = `lease-${runs}`;
  world = createVirtualWorld(server);
}

function candidate(identity: string, { process = world.process(), ...options }: CandidateOptions = {}): Candidate {
  const metrics = createMetrics();
  const holders: string[] = [];
  const elector = createLeaderElector({
    client: process.client,
    lease: { namespace: 'work', name: leaseName },
    identity,
    metrics: createLeaderElectionMetrics(metrics),
    clock: process.clock,
    log,
    random: () => 0,
    onStandby: (holder) => holders.push(holder),
    ...options,
  });
  const self: Candidate = {
    elector,
    metrics,
    holders,
    leadership: undefined,
    stand: () =>
      void elector.acquire({ signal: never }).then((leadership) => {
        self.leadership = leadership;
      }),
  };
  return self;
}

/** One that leads from the first moment on. */
async function leader(identity: string, options: CandidateOptions = {}): Promise<Candidate> {
  const self = candidate(identity, options);
  self.stand();
  await world.pass(100);
  return self;
}

const readLease = async (): Promise<Lease> => server.get(leases, { namespace: 'work', name: leaseName });
const leads = ({ leadership }: Candidate): boolean => leadership !== undefined && !leadership.signal.aborted;
const refused = (): StatusError => new StatusError({ code: 500, reason: 'InternalError', message: 'etcd is away' });

/** A client whose next answers a test chooses. */
function faulty(process: VirtualProcess): { client: Client; failure: StatusError | undefined; readonly requests: string[] } {
  const requests: string[] = [];
  const state = { client: process.client, failure: undefined as StatusError | undefined, requests };
  const around =
    <A extends unknown[], T>(name: string, act: (...args: A) => Promise<T>) =>
    (...args: A): Promise<T> => {
      requests.push(name);
      return state.failure === undefined ? act(...args) : Promise.reject(state.failure);
    };
  state.client = {
    ...process.client,
    get: around('get', process.client.get) as Client['get'],
    create: around('create', process.client.create) as Client['create'],
    update: around('update', process.client.update) as Client['update'],
  };
  return state;
}

describe('a leader', () => {
  it('writes the record that client-go writes', async () => {
    const a = candidate('a');
    expect(await a.metrics.text()).toContain(`leader_election_master_status{name="${leaseName}"} 0`);
    a.stand();
    await world.pass(100);
    expect(leads(a)).toBe(true);
    const { spec } = await readLease();
    expect(spec).toEqual({
      holderIdentity: 'a',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.100000Z',
      renewTime: '2026-01-01T00:00:00.100000Z',
      leaseTransitions: 0,
    });
    expect(await a.metrics.text()).toContain(`leader_election_master_status{name="${leaseName}"} 1`);
  });

  it('renews every two seconds, with one request, and keeps the time it became leader', async () => {
    const api = faulty(world.process());
    const a = candidate('a', { client: api.client });
    a.stand();
    await world.pass(60_000);
    expect(leads(a)).toBe(true);
    expect(api.requests.slice(0, 3)).toEqual(['get', 'create', 'update']);
    expect(api.requests.filter((name) => name === 'get')).toHaveLength(1);
    expect(api.requests.filter((name) => name === 'update').length).toBeGreaterThanOrEqual(27);
    const { spec } = await readLease();
    expect(spec).toMatchObject({ acquireTime: '2026-01-01T00:00:00.100000Z', leaseTransitions: 0 });
    expect(spec?.renewTime?.slice(0, 17)).toBe('2026-01-01T00:00:');
    expect(Number(spec?.renewTime?.slice(17, 19))).toBeGreaterThanOrEqual(56);
  });

  it('tries again after failures, and goes on when one try succeeds in time', async () => {
    const api = faulty(world.process());
    const a = await leader('a', { client: api.client });
    api.failure = refused();
    await world.pass(7_900);
    expect(leads(a)).toBe(true);
    api.failure = undefined;
    await world.pass(20_000);
    expect(leads(a)).toBe(true);
  });

  it('stops leading ten seconds after the last renewal that was answered', async () => {
    const api = faulty(world.process());
    const a = await leader('a', { client: api.client });
    api.failure = refused();
    await world.pass(9_800);
    expect(leads(a)).toBe(true);
    a.leadership?.check();
    await world.pass(200);
    expect(a.leadership?.signal.aborted).toBe(true);
    expect(a.leadership?.signal.reason).toBeInstanceOf(LeadershipLost);
    expect(a.leadership?.signal.reason.message).toBe(`lease work/${leaseName} was not renewed within 10 s`);
    expect(() => a.leadership?.check()).toThrow(LeadershipLost);
    expect(await a.metrics.text()).toContain(`leader_election_master_status{name="${leaseName}"} 0`);
  });

  it('stops leading when the server does not answer at all', async () => {
    let silent = false;
    const process = world.process({ passage: () => ({ toServerMs: silent ? 3_600_000 : 0, toClientMs: 0 }) });
    const a = await leader('a', { process });
    silent = true;
    await world.pass(10_000);
    expect(a.leadership?.signal.aborted).toBe(true);
  });

  it('does not write by a lease that ended while the process was halted, before any timer has fired', async () => {
    let haltedMs = 0;
    const process = world.process();
    const clock = { ...process.clock, monotonicMs: () => process.clock.monotonicMs() + haltedMs };
    const a = await leader('a', { process, clock });
    a.leadership?.check();
    haltedMs = 10_000;
    expect(leads(a)).toBe(true);
    expect(() => a.leadership?.check()).toThrow(LeadershipLost);
    expect(leads(a)).toBe(false);
  });

  it('goes on when something beside the record was changed, and counts the longer way', async () => {
    const a = await leader('a');
    const lease = await readLease();
    await server.update(leases, { ...lease, metadata: { ...lease.metadata, labels: { team: 'x' } } });
    await world.pass(20_000);
    expect(leads(a)).toBe(true);
    expect((await readLease()).metadata.labels).toEqual({ team: 'x' });
    expect(await a.metrics.text()).toContain(`leader_election_slowpath_total{name="${leaseName}"} 1`);
  });

  it('has lost as soon as it finds the name of another one', async () => {
    const a = await leader('a');
    const lease = await readLease();
    await server.update(leases, { ...lease, spec: { ...lease.spec, holderIdentity: 'b' } });
    await world.pass(2_100);
    expect(a.leadership?.signal.reason?.message).toBe(`lease work/${leaseName} is held by b`);
    expect((await readLease()).spec?.holderIdentity).toBe('b');
  });

  it('creates the lease again when it was deleted', async () => {
    const a = await leader('a');
    await server.delete(leases, { namespace: 'work', name: leaseName });
    await world.pass(2_100);
    expect(leads(a)).toBe(true);
    expect((await readLease()).spec?.holderIdentity).toBe('a');
  });

  it('leaves the lease to the next one, and can compete again', async () => {
    const a = await leader('a');
    await a.leadership?.release();
    expect((await readLease()).spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1, leaseTransitions: 0 });
    expect(() => a.leadership?.check()).toThrow('was released');
    expect(world.clock.pending).toBe(0);
    a.stand();
    await world.pass(100);
    expect(leads(a)).toBe(true);
    expect((await readLease()).spec?.leaseTransitions).toBe(1);
  });

  it('keeps the lease when an earlier leadership of the same process is released once more', async () => {
    const a = await leader('a');
    const earlier = a.leadership;
    await earlier?.release();
    a.stand();
    await world.pass(100);
    await earlier?.release();
    expect(leads(a)).toBe(true);
    expect((await readLease()).spec?.holderIdentity).toBe('a');
  });

  it('releases the lease although the last renewal was cut off and had been done', async () => {
    let lost: Passage['lost'];
    const process = world.process({ passage: () => ({ toServerMs: 0, toClientMs: 0, lost }) });
    const a = await leader('a', { process });
    lost = 'answer';
    await world.pass(2_100);
    lost = undefined;
    await a.leadership?.release();
    expect((await readLease()).spec?.holderIdentity).toBe('');
  });

  it('does not take the lease from its successor when it releases late', async () => {
    const api = faulty(world.process());
    const a = candidate('a', { client: api.client });
    const b = candidate('b');
    a.stand();
    await world.pass(100);
    b.stand();
    await world.pass(100);
    api.failure = refused();
    await world.pass(25_000);
    expect([leads(a), leads(b)]).toEqual([false, true]);
    api.failure = undefined;
    await a.leadership?.release();
    expect((await readLease()).spec?.holderIdentity).toBe('b');
  });
});

describe('a process that waits for the lease', () => {
  it.each([
    ['an hour ago', -3_600_000],
    ['in an hour', 3_600_000],
  ])('waits for a record that does not change, even when that says it was renewed %s', async (_, offsetMs) => {
    const halts = [{ fromMs: 5_000, untilMs: 3_600_000 }];
    const a = candidate('a', { process: world.process({ offsetMs, halts }) });
    const b = candidate('b');
    a.stand();
    await world.pass(100);
    b.stand();
    // The last renewal comes before the halt, at 4 s.
    await world.pass(18_500);
    expect(leads(b)).toBe(false);
    expect(b.holders).toEqual(['a']);
    await world.pass(3_000);
    expect(leads(b)).toBe(true);
    expect((await readLease()).spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  });

  it('counts from when it saw the record, not from what an earlier one saw', async () => {
    await leader('a', { process: world.process({ halts: [{ fromMs: 200, untilMs: 3_600_000 }] }) });
    await world.pass(60_000);
    const b = candidate('b');
    b.stand();
    await world.pass(14_900);
    expect(leads(b)).toBe(false);
    await world.pass(2_200);
    expect(leads(b)).toBe(true);
  });

  it('follows a lease that another program made, with the duration that it says', async () => {
    await server.create(leases, {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { namespace: 'work', name: leaseName },
      spec: { holderIdentity: 'go', leaseDurationSeconds: 40, leaseTransitions: 7 },
    });
    const b = candidate('b');
    b.stand();
    await world.pass(39_000);
    expect(leads(b)).toBe(false);
    await world.pass(3_500);
    expect(leads(b)).toBe(true);
    expect((await readLease()).spec).toMatchObject({ holderIdentity: 'b', leaseDurationSeconds: 15, leaseTransitions: 8 });
  });

  it('takes a lease that was released at its next try', async () => {
    const a = candidate('a');
    const b = candidate('b');
    a.stand();
    await world.pass(100);
    b.stand();
    await world.pass(1_000);
    await a.leadership?.release();
    await world.pass(2_000);
    expect(leads(b)).toBe(true);
  });

  it('takes a lease that it sees released, at once, and asks no more while it sees renewals', async () => {
    const listeners = new Set<(lease: Lease | undefined) => void>();
    const followed = {
      onChange(listener: (lease: Lease | undefined) => void) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      pauseMs: () => 0,
    };
    const tell = async (): Promise<void> => {
      const lease = await readLease();
      for (const listener of listeners) listener(lease);
    };
    const a = await leader('a');
    const api = faulty(world.process());
    const b = candidate('b', { client: api.client, followed });
    b.stand();
    for (let second = 0; second < 40; second += 1) {
      await world.pass(1_000);
      await tell();
    }
    expect(leads(b)).toBe(false);
    // The first try, and one when the pause of a try was over before a renewal was seen.
    expect(api.requests.length).toBeLessThanOrEqual(2);
    await a.leadership?.release();
    await tell();
    await world.pass(100);
    expect(leads(b)).toBe(true);
  });

  it('takes a lease that it follows when that ends, also when it sees no change at all', async () => {
    await leader('a', { process: world.process({ halts: [{ fromMs: 200, untilMs: 3_600_000 }] }) });
    const b = candidate('b', { followed: { onChange: () => () => undefined, pauseMs: () => 0 } });
    b.stand();
    await world.pass(14_800);
    expect(leads(b)).toBe(false);
    await world.pass(400);
    expect(leads(b)).toBe(true);
  });

  it('tries after the retry period, lengthened by up to 1.2 times as much', async () => {
    await leader('a');
    const triesIn = async (random: () => number, ms: number): Promise<number> => {
      const api = faulty(world.process());
      candidate('b', { client: api.client, random }).stand();
      await world.pass(ms);
      return api.requests.length;
    };
    expect(await triesIn(() => 0, 9_950)).toBe(5);
    expect(await triesIn(() => 0.999_999, 9_950)).toBe(3);
  });

  it('says at once that it may not, and keeps trying when it could before', async () => {
    const may = faulty(world.process());
    may.failure = new StatusError({ code: 403, reason: 'Forbidden', message: 'leases is forbidden' });
    const b = candidate('b', { client: may.client });
    await expect(b.elector.acquire({ signal: never })).rejects.toMatchObject({ reason: 'Forbidden' });
    may.failure = undefined;
    const a = await leader('a');
    b.stand();
    await world.pass(100);
    may.failure = refused();
    await a.leadership?.release();
    await world.pass(10_000);
    expect(leads(b)).toBe(false);
    may.failure = undefined;
    await world.pass(2_100);
    expect(leads(b)).toBe(true);
  });

  it('ends its wait when its signal is aborted', async () => {
    await leader('a');
    const abort = new AbortController();
    const waits = candidate('b').elector.acquire({ signal: abort.signal });
    await world.pass(500);
    abort.abort(new Error('stop was requested'));
    await expect(waits).rejects.toThrow('stop was requested');
  });

  it('wins or loses as a whole when two try at once', async () => {
    const all = ['a', 'b', 'c', 'd'].map((identity) => candidate(identity));
    for (const each of all) each.stand();
    await world.pass(5_000);
    expect(all.filter(leads)).toHaveLength(1);
  });
});

it('timing that would let two lead is refused', () => {
  expect(() => candidate('a', { timing: { leaseDurationMs: 10_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000 } })).toThrow('invariant');
  expect(() => candidate('a', { timing: { leaseDurationMs: 15_000, renewDeadlineMs: 2_000, retryPeriodMs: 2_000 } })).toThrow('invariant');
});

describe('a client guarded by a leadership', () => {
  it('reads always, and writes only while the process leads', async () => {
    const a = await leader('a');
    const leadership = a.leadership as Leadership;
    const client = guardByLeadership(server, leadership);
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'work', name: leaseName } } as const;
    await client.create(configMaps, map);
    await leadership.release();
    const ref = map.metadata;
    expect((await client.get(configMaps, ref)).metadata.name).toBe(leaseName);
    await expect(client.update(configMaps, { ...map, data: { a: '1' } })).rejects.toBeInstanceOf(LeadershipLost);
    await expect(client.patch(configMaps, ref, { type: 'merge', body: {} })).rejects.toBeInstanceOf(LeadershipLost);
    await expect(client.delete(configMaps, ref)).rejects.toBeInstanceOf(LeadershipLost);
    await expect(client.deleteCollection(configMaps, { namespace: 'work' })).rejects.toBeInstanceOf(LeadershipLost);
  });

  it('breaks off a write that is under way', async () => {
    const a = await leader('a');
    const leadership = a.leadership as Leadership;
    const hanging: Client = {
      ...server,
      create: (_resource, _object, { signal } = {}) =>
        new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    };
    const write = guardByLeadership(hanging, leadership).create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { namespace: 'work', name: 'x' },
    });
    await Promise.all([expect(write).rejects.toBeInstanceOf(LeadershipLost), leadership.release()]);
  });
});

describe('never do two lead at once', () => {
  const halt = fc.record({ fromMs: fc.integer({ min: 0, max: 60_000 }), forMs: fc.integer({ min: 100, max: 40_000 }) });
  const life = fc.record({
    rate: fc.double({ min: 0.85, max: 1.2, noNaN: true }),
    offsetMs: fc.integer({ min: -86_400_000, max: 86_400_000 }),
    maxDelayMs: fc.constantFrom(0, 500, 8_000),
    lossRate: fc.constantFrom(0, 0.1, 0.5),
    halts: fc.array(halt, { maxLength: 2 }),
    cutOff: halt,
    releaseAtMs: fc.integer({ min: 0, max: 120_000 }),
    seed: fc.nat(),
  });

  /** A leadership that was lost is released while its process acquires the Lease once more. */
  const releasedWhileItAcquires: (typeof life extends fc.Arbitrary<infer Life> ? Life : never)[] = [
    {
      ...{ rate: 0.85, offsetMs: 0, maxDelayMs: 0, lossRate: 0.5, halts: [], cutOff: { fromMs: 0, forMs: 100 } },
      ...{ releaseAtMs: 0, seed: 432402571 },
    },
    {
      ...{ rate: 0.8928571428571428, offsetMs: 0, maxDelayMs: 500, lossRate: 0.5, halts: [], cutOff: { fromMs: 572, forMs: 7_744 } },
      ...{ releaseAtMs: 11_401, seed: 1714558301 },
    },
  ];

  it('under any clocks, delays, losses and halts; and one leads once they are over', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 2, maxLength: 3 }), async (lives) => {
        newElection();
        const endMs = 100_000;
        const abort = new AbortController();
        const members = lives.map((each, index) => {
          const random = createRandom(each.seed);
          const process = world.process({
            rate: each.rate,
            offsetMs: each.offsetMs,
            halts: each.halts.map(({ fromMs, forMs }) => ({ fromMs, untilMs: fromMs + forMs })),
            passage(atMs) {
              if (atMs > endMs) return { toServerMs: 0, toClientMs: 0 };
              // Requests of a cut-off process arrive after that: late, and perhaps no longer wanted.
              const isCutOff = atMs >= each.cutOff.fromMs && atMs < each.cutOff.fromMs + each.cutOff.forMs;
              return {
                toServerMs: random() * each.maxDelayMs + (isCutOff ? each.cutOff.fromMs + each.cutOff.forMs - atMs : 0),
                toClientMs: random() * each.maxDelayMs,
                lost: random() < each.lossRate ? (random() < 0.5 ? 'request' : 'answer') : undefined,
              };
            },
          });
          return { process, candidate: candidate(`${leaseName}-${index}`, { process, random }), releaseAtMs: each.releaseAtMs };
        });
        const stood = members.map(async ({ candidate: self, process }) => {
          while (!abort.signal.aborted) {
            try {
              const leadership = await self.elector.acquire({ signal: abort.signal });
              self.leadership = leadership;
              // It may be over by now, and then no event comes.
              if (!leadership.signal.aborted)
                await new Promise<void>((resolve) => leadership.signal.addEventListener('abort', () => resolve()));
            } catch {
              await new Promise<void>((resolve) => process.clock.after(1_000, resolve));
            }
          }
        });
        const mayWrite = ({ candidate: { leadership }, process }: (typeof members)[number]): boolean => {
          if (leadership === undefined || process.isHalted()) return false;
          try {
            leadership.check();
            return true;
          } catch {
            return false;
          }
        };
        let before = 0;
        const look = (): void => {
          const now = world.clock.monotonicMs();
          for (const member of members)
            if (before < member.releaseAtMs && member.releaseAtMs <= now) void member.candidate.leadership?.release();
          before = now;
          expect(members.filter(mayWrite).length).toBeLessThanOrEqual(1);
        };
        await world.pass(endMs, look);
        await world.pass(60_000, look);
        expect(members.filter(mayWrite)).toHaveLength(1);
        abort.abort(new Error('over'));
        for (const { candidate: each } of members) void each.leadership?.release();
        await world.pass(5_000);
        await Promise.all(stood);
      }),
      { numRuns: 25, examples: [[releasedWhileItAcquires]] },
    );
  });
});
