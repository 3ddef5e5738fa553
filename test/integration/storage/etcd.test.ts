import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openPki } from '../../../src/base/pki.ts';
import { isExpired, isInsufficientStorage } from '../../../src/machinery/status-error.ts';
import { createEtcdClient } from '../../../src/storage/etcd/client.ts';
import { startEtcdFill } from '../../../src/storage/etcd/fill.ts';
import { createLiveWatch } from '../../../src/storage/etcd/live-watch.ts';
import { type EtcdStorageOptions, openEtcdStorage } from '../../../src/storage/etcd/storage.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { startBreakingProxy } from '../../support/breaking-proxy.ts';
import { type Etcd, hasEtcd, startEtcd } from '../../support/etcd.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const run = promisify(execFile);

let ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

async function start(options: Parameters<typeof startEtcd>[0] = {}): Promise<Etcd> {
  const etcd = await startEtcd(options);
  ends.push(() => etcd.stop());
  return etcd;
}

async function open(etcd: Pick<Etcd, 'endpoints'>, options: Partial<EtcdStorageOptions> = {}): Promise<Storage> {
  const storage = await openEtcdStorage({
    endpoints: etcd.endpoints,
    tls: undefined,
    login: undefined,
    prefix: '/midship',
    serverId: 'one',
    log: createLog({ level: 'silent' }),
    ...options,
  });
  ends.push(() => storage.close());
  return storage;
}

/** All keys of etcd, each with its text and revision. */
async function everything({ endpoints, tls, login }: Pick<Etcd, 'endpoints'> & Partial<Pick<EtcdStorageOptions, 'tls' | 'login'>>) {
  const client = createEtcdClient({ endpoints, tls, login, clock: systemClock });
  const { entries } = await client.range({ key: '/', rangeEnd: '0', limit: 100 });
  client.close();
  return entries;
}

describe.skipIf(!hasEtcd)('the store in etcd (needs etcd)', () => {
  it('writes on when a member of three is killed, the leader too', async () => {
    const etcd = await start({ members: 3 });
    const storage = await open(etcd);
    const seen: number[] = [];
    await storage.watch({
      prefix: '',
      afterRevision: storage.currentRevision,
      signal: new AbortController().signal,
      onEvents: (events) => seen.push(...events.map(({ revision }) => revision)),
      onEnd: () => undefined,
    });
    const revisions: number[] = [];
    for (let member = 0; member < 3; member += 1) {
      for (let n = 0; n < 5; n += 1) {
        const result = await storage.create(`k${member}-${n}`, { text: 'x' });
        if (n === 1) await etcd.signal(member, 'SIGKILL');
        revisions.push(result.ok ? result.revision : 0);
      }
      await etcd.restart(member);
    }
    for (const [at, first] of etcd.endpoints.entries()) {
      const endpoints = [first, ...etcd.endpoints.filter((other) => other !== first)];
      const client = createEtcdClient({ endpoints, tls: undefined, login: undefined, clock: systemClock });
      ends.push(async () => client.close());
      const led = (await client.status()).isLeader;
      const live = createLiveWatch({ client, key: '/live/', rangeEnd: '/live0', clock: systemClock, log: createLog({ level: 'silent' }) });
      ends.push(async () => live.stop(new Error('the test is over')));
      const delivered: number[] = [];
      live.subscribe({ onEvents: (events) => delivered.push(...events.map(({ revision }) => revision)), onEnd: () => undefined });
      const put = async (): Promise<number> => {
        const { revision } = await client.txn({ compare: [], success: { put: { key: '/live/a', text: 'x' } }, read: '/live/a' });
        await live.reach(revision);
        return revision;
      };
      live.start((await client.range({ key: '/live/a' })).revision);
      const before = await put();
      expect(await client.preferLeader()).toBe(!led);
      expect((await client.status()).isLeader).toBe(true);
      if (led) continue;
      // The watch is at the member of before, which sends nothing more. A broken ping would move it after 8 s.
      await etcd.signal(at, 'SIGSTOP');
      const begunAt = performance.now();
      live.reopen();
      const after = await put();
      expect(performance.now() - begunAt).toBeLessThan(4_000);
      expect(live.failure).toBeUndefined();
      await etcd.signal(at, 'SIGCONT');
      expect(delivered).toEqual([before, after]);
    }
    expect((await storage.range({ prefix: 'k' })).entries).toHaveLength(15);
    await until(() => seen.length === 15, { what: 'all writes were delivered' });
    expect(seen).toEqual(revisions);
  });

  it('neither opens nor writes without a quorum, nor opens where nothing listens, and says what to check', async () => {
    const etcd = await start({ members: 3 });
    const running = await open(etcd, { prefix: '/running' });
    const made = await running.create('a', { text: 'before' });
    const last = made.ok ? made.revision : 0;
    const refusal = {
      name: 'StorageError',
      message: expect.stringMatching(/^etcd at 127\.33\.\S+:2379,\S+ does not answer$/),
      why: expect.stringMatching(/^The last try ended with: .+\.$/),
      hint: 'Check that etcd runs there and has a quorum: etcdctl endpoint status --cluster. With TLS it needs --store-ca.',
    };
    const unknown = {
      code: 504,
      reason: 'Timeout',
      message: expect.stringMatching(
        /^etcd gave no answer within 10 s, and whether the object was written is not known: .+\. Check that more than half of its members run: etcdctl endpoint status --cluster$/,
      ),
    };
    await etcd.signal(0, 'SIGKILL');
    await etcd.signal(1, 'SIGKILL');
    const dead = etcd.endpoints.slice(0, 2);
    await Promise.all([
      expect(open(etcd)).rejects.toMatchObject(refusal),
      expect(open({ endpoints: dead })).rejects.toMatchObject(refusal),
      expect(running.update('a', { text: 'meanwhile' }, last)).rejects.toMatchObject(unknown),
      expect(running.create('b', { text: 'meanwhile' })).rejects.toMatchObject(unknown),
      expect(running.latest?.()).rejects.toThrow(/no leader|no answer|refused|ECONNREFUSED|timed out/),
    ]);
    expect(running.failure).toBeDefined();
    await Promise.all([0, 1].map((member) => etcd.restart(member)));
    // Neither try to open has written anything: no format, no object. A write may be done late, and once.
    await until(async () => (await running.create('c', { text: 'after' })).ok, { timeoutMs: 20_000, what: 'writes go on' });
    expect(running.failure).toBeUndefined();
    const client = createEtcdClient({ endpoints: etcd.endpoints, tls: undefined, login: undefined, clock: systemClock });
    ends.push(async () => client.close());
    const { entries } = await client.range({ key: '/', rangeEnd: '0', limit: 10 });
    expect(entries.filter(({ key }) => key.startsWith('/midship/'))).toEqual([]);
    const { text = '', revision } = (await running.get('a')) ?? { revision: 0 };
    expect(['before', 'meanwhile']).toContain(text);
    expect(await running.update('a', { text: 'later' }, revision)).toMatchObject({ ok: true });
  });

  it('reaches etcd by certificates alone', async () => {
    const directory = await temporaryDirectory('etcd-pki');
    ends.push(() => rm(directory, { recursive: true, force: true }));
    const pki = await openPki({ directory, clock: systemClock });
    const write = async (name: string, text: string): Promise<string> => {
      await writeFile(join(directory, name), text);
      return join(directory, name);
    };
    const ca = await write('etcd-ca.pem', pki.caCertificate);
    const etcd = await start({
      tls: async (host) => {
        const { certificate, key } = await pki.serverCertificate({ name: 'etcd', commonName: 'etcd', hosts: [host] });
        return { ca, certificate: await write('etcd.pem', certificate), key: await write('etcd.key', key) };
      },
    });
    const client = await pki.clientCertificate({ name: 'etcd-client', commonName: 'midship' });
    const tls = { ca: await readFile(ca, 'utf8'), certificate: client.certificate, key: client.key };
    const storage = await open(etcd, { tls });
    expect((await storage.create('a', { text: '1' })).ok).toBe(true);
    const stranger = await openPki({ directory: await temporaryDirectory('stranger-pki'), clock: systemClock });
    const foreign = await stranger.clientCertificate({ name: 'etcd-client', commonName: 'midship' });
    const before = await everything({ ...etcd, tls });
    for (const [wrong, words] of [
      [{ ...tls, ca: stranger.caCertificate }, 'tls: failed to verify certificate: x509: certificate signed by unknown authority'],
      [{ ...tls, certificate: undefined, key: undefined }, 'remote error: tls: certificate required'],
      [{ ...tls, certificate: foreign.certificate, key: foreign.key }, 'remote error: tls: unknown certificate authority'],
    ] as const) {
      await expect(open(etcd, { tls: wrong, prefix: '/other' }), words).rejects.toMatchObject({
        message: expect.stringMatching(/^etcd at 127\.33\.[\d.]+:2379 and this server do not trust each other$/),
        why: `One of them refuses the certificate of the other: ${words}.`,
        hint: 'Check --store-ca against the certificate of etcd, and --store-cert and --store-key against its --trusted-ca-file.',
      });
    }
    expect(await everything({ ...etcd, tls })).toEqual(before);
  });

  it('opens no members of two clusters, and writes to neither', async () => {
    const [one, two] = await Promise.all([start(), start()]);
    await expect(open({ endpoints: [...one.endpoints, ...two.endpoints] })).rejects.toMatchObject({
      name: 'StorageError',
      message: expect.stringMatching(/^etcd at \S+:\d+ and at \S+:\d+ are of different clusters$/),
      hint: 'Name members of one cluster in --store. `etcdctl member list` shows them.',
    });
    expect([await everything(one), await everything(two)]).toEqual([[], []]);
  });

  it('logs in, and says what a user may not do', async () => {
    const etcd = await start();
    const [{ host, port }] = etcd.endpoints as [{ host: string; port: number }];
    const etcdctl = (...args: string[]) => run('etcdctl', ['--endpoints', `http://${host}:${port}`, ...args]);
    await etcdctl('user', 'add', 'root:rootword');
    await etcdctl('user', 'grant-role', 'root', 'root').catch(() => undefined);
    await etcdctl('user', 'add', 'midship:secret');
    await etcdctl('role', 'add', 'midship');
    await etcdctl('role', 'grant-permission', 'midship', 'readwrite', '--prefix=true', '/midship/');
    await etcdctl('user', 'grant-role', 'midship', 'midship');
    await etcdctl('role', 'add', 'root').catch(() => undefined);
    await etcdctl('user', 'grant-role', 'root', 'root').catch(() => undefined);
    await etcdctl('auth', 'enable');
    const login = { user: 'midship', password: 'secret' };
    const storage = await open(etcd, { login });
    expect((await storage.create('a', { text: '1' })).ok).toBe(true);
    const asRoot = { ...etcd, login: { user: 'root', password: 'rootword' } };
    const before = await everything(asRoot);
    const where = `etcd at ${host}:${port}`;
    for (const wrong of [
      { ...login, password: 'wrong' },
      { ...login, user: 'stranger' },
    ]) {
      await expect(open(etcd, { login: wrong })).rejects.toMatchObject({
        message: `${where} refuses the login`,
        why: 'It says: etcdserver: authentication failed, invalid user ID or password.',
        hint: 'Check --store-user and --store-password-file.',
      });
    }
    await expect(open(etcd)).rejects.toMatchObject({
      message: `${where} refuses the login`,
      why: 'It says: etcdserver: user name is empty.',
    });
    await expect(open(etcd, { login, prefix: '/other' })).rejects.toMatchObject({
      message: `${where} refuses the prefix /other`,
      why: 'The user may not read and write it: etcdserver: permission denied.',
      hint: 'Give the user the right to read and write it: etcdctl role grant-permission ROLE readwrite --prefix=true /other/',
    });
    expect(await everything(asRoot)).toEqual(before);
  });

  it('refuses a later format and an etcd that is too old, and writes to neither', async () => {
    const etcd = await start();
    await open(etcd);
    const client = createEtcdClient({ endpoints: etcd.endpoints, tls: undefined, login: undefined, clock: systemClock });
    ends.push(async () => client.close());
    await client.txn({
      compare: [],
      success: { put: { key: '/newer/meta/format', text: JSON.stringify({ written: 9, oldestReader: 9 }) } },
      read: '/newer/meta/format',
    });
    const before = await everything(etcd);
    await expect(open(etcd, { prefix: '/newer' })).rejects.toMatchObject({
      message: 'the store in etcd is of format 9, which this version cannot read',
      why: 'A later version of Midship wrote it; this one reads formats up to 1.',
      hint: 'Start the version of Midship that wrote it, or a later one.',
    });
    // The version is four bytes of an answer, and an old etcd says so in the same place.
    const proxy = await startBreakingProxy({ ...(etcd.endpoints[0] as { host: string; port: number }), edit: ['3.5.', '3.4.'] });
    ends.push(async () => proxy.stop());
    const old = {
      message: expect.stringMatching(/^etcd 3\.4\.\d+ is too old$/),
      why: 'Before 3.5.8 it loses changes of watches (etcd-io/etcd#15220).',
      hint: 'Upgrade etcd to 3.5.8 or later.',
    };
    await expect(open({ endpoints: [proxy] }, { prefix: '/old' })).rejects.toMatchObject(old);
    const fill = { endpoints: [proxy], tls: undefined, login: undefined, prefix: '/old', above: 0 };
    await expect(startEtcdFill(fill)).rejects.toMatchObject(old);
    expect(await everything(etcd)).toEqual(before);
  });

  it.each([{ by: 'this server' }, { by: 'another one' }])('does not claim a deletion by $by when its answer was lost', async ({ by }) => {
    const isOwn = by === 'this server';
    const etcd = await start();
    const proxy = await startBreakingProxy(etcd.endpoints[0] as { host: string; port: number });
    ends.push(async () => proxy.stop());
    const [near, far] = [await open(etcd), await open({ endpoints: [proxy] }, { serverId: 'two' })];
    const first = await near.create('k', { text: '1' });
    const created = first.ok ? first.revision : 0;
    await until(() => far.currentRevision >= created, { what: 'the second server has seen the key' });
    if (isOwn) proxy.holdAnswers();
    else proxy.hold();
    const deleted = far.delete('k', created);
    if (!isOwn) await near.delete('k', created);
    await until(async () => (await near.get('k')) === undefined, { what: 'the key is gone' });
    await near.create('k', { text: '2' });
    proxy.release();
    proxy.cut();
    await expect(deleted).rejects.toMatchObject({ code: 504, message: expect.stringContaining('does not say by which request') });
    expect(await near.get('k')).toMatchObject({ text: '2' });
  });

  it('reads the changes of the past to their end when connections break meanwhile', async () => {
    const etcd = await start();
    const direct = await open(etcd);
    // More than the buffers of a connection hold, so that etcd is still sending when it breaks.
    const text = 'x'.repeat(300_000);
    const written: number[] = [];
    for (let n = 0; n < 40; n += 1) {
      const result = await direct.create(`k${n}`, { text });
      written.push(result.ok ? result.revision : 0);
    }
    const proxy = await startBreakingProxy(etcd.endpoints[0] as { host: string; port: number });
    ends.push(async () => proxy.stop());
    const client = createEtcdClient({ endpoints: [proxy], tls: undefined, login: undefined, clock: systemClock });
    ends.push(async () => client.close());
    const seen: number[] = [];
    let cuts = 0;
    const request = { key: '/midship/', rangeEnd: '/midship0', startRevision: written[0] as number, withBefore: false };
    for await (const { created, events } of client.past(request, AbortSignal.timeout(20_000))) {
      seen.push(...events.map(({ revision }) => revision));
      if ((seen.at(-1) ?? 0) >= (written.at(-1) as number)) break;
      if (created && cuts < 2) {
        cuts += 1;
        proxy.cut();
      }
    }
    expect(cuts).toBe(2);
    expect(seen.filter((revision) => written.includes(revision))).toEqual(written);
  });

  it('ends its watches when others have compacted what it has not seen', async () => {
    const etcd = await start();
    const storage = await open(etcd);
    const first = await storage.create('a', { text: '1' });
    for (let n = 0; n < 5; n += 1) await storage.create(`b${n}`, { text: '1' });
    const client = createEtcdClient({ endpoints: etcd.endpoints, tls: undefined, login: undefined, clock: systemClock });
    ends.push(async () => client.close());
    await client.compact(storage.currentRevision, false);
    const errors: Error[] = [];
    await storage.watch({
      prefix: '',
      afterRevision: first.ok ? first.revision : 0,
      signal: new AbortController().signal,
      onEvents: () => undefined,
      onEnd: (err) => errors.push(err),
    });
    await until(() => errors.length === 1, { what: 'the watch ended' });
    expect(isExpired(errors[0])).toBe(true);
  });

  it('gets as far as the writes below another prefix, of which none is its own', async () => {
    const etcd = await start();
    const [own, other] = [await open(etcd), await open(etcd, { prefix: '/other' })];
    const made = await own.create('a', { text: '1' });
    let seen = made.ok ? made.revision : 0;
    await own.watch({
      prefix: '',
      afterRevision: seen,
      signal: new AbortController().signal,
      onEvents: () => undefined,
      onProgress: (revision) => (seen = revision),
      onEnd: () => undefined,
    });
    await other.create('b', { text: '1' });
    const latest = await own.latest();
    expect(latest).toBeGreaterThan(seen);
    // A server that is not as far for 3 s refuses reads, and after 10 s all of its work ends.
    await until(() => seen >= latest, { timeoutMs: 2_500, what: 'the watch has got as far' });
  });

  it('knows what another server has compacted, and compacts where none does', async () => {
    const etcd = await start();
    const [first, second] = [await open(etcd), await open(etcd, { serverId: 'two' })];
    for (let n = 0; n < 6; n += 1) await first.create(`k${n}`, { text: '1' });
    const target = first.currentRevision - 3;
    await until(() => second.currentRevision >= target + 3, { what: 'the second has seen all' });
    await first.compact(target);
    await until(() => second.compactedRevision === target, { what: 'the second knows of the compaction' });
    const watch = { prefix: '', signal: new AbortController().signal, onEvents: () => undefined, onEnd: () => undefined };
    await expect(second.watch({ ...watch, afterRevision: target - 1 })).rejects.toMatchObject({ reason: 'Expired' });
    // Both want to at once: one of them does.
    await Promise.all([first.compact(target + 1), second.compact(target + 2)]);
    await until(() => first.compactedRevision > target && first.compactedRevision === second.compactedRevision, { what: 'both agree' });
    await second.compact(target + 3);
    expect(second.compactedRevision).toBe(target + 3);
  });

  it('says what to do when etcd is full, still deletes and compacts, and goes on when it has room', async () => {
    const etcd = await start({ flags: ['--quota-backend-bytes', String(4 * 1024 * 1024)] });
    const metrics = createMetrics();
    const [storage, idle] = [await open(etcd), await open(etcd, { serverId: 'idle', metrics })];
    const text = 'x'.repeat(400_000);
    let failure: unknown;
    for (let n = 0; n < 40 && failure === undefined; n += 1) {
      failure = await storage.create(`k${n}`, { text }).then(
        () => undefined,
        (err: unknown) => err,
      );
    }
    expect(isInsufficientStorage(failure)).toBe(true);
    expect(String(failure)).toContain('etcdctl alarm disarm');
    expect(storage.failure).toBe(failure);
    // A server that writes nothing knows of it, too.
    await until(() => idle.failure !== undefined, { timeoutMs: 5_000, what: 'the idle server knows that etcd is full' });
    expect(String(idle.failure)).toContain('etcdctl defrag');
    const figures = await metrics.text();
    expect(figures).toContain('etcd_alarm{type="NOSPACE"} 1\n');
    expect(figures).toContain('etcd_server_has_leader 1\n');
    expect(figures).toContain('etcd_server_quota_backend_bytes 4194304\n');
    expect(Number(/^etcd_mvcc_db_total_size_in_bytes (\d+)$/m.exec(figures)?.[1])).toBeGreaterThan(3_000_000);
    // etcd looks at its size every 100 ms, and holds more than its quota by then.
    const { entries } = await storage.range({ prefix: 'k' });
    for (const { key, revision } of entries) expect((await storage.delete(key, revision)).ok).toBe(true);

    await storage.compact(storage.currentRevision);
    expect(storage.compactedRevision).toBe(storage.currentRevision);
    const [{ host, port }] = etcd.endpoints as [{ host: string; port: number }];
    for (const words of [['defrag'], ['alarm', 'disarm']]) await run('etcdctl', ['--endpoints', `${host}:${port}`, ...words]);
    const disarmedAt = performance.now();
    await until(() => idle.failure === undefined, { timeoutMs: 5_000, what: 'the idle server knows that etcd has room' });
    expect(performance.now() - disarmedAt).toBeLessThan(5_000);
    expect((await storage.create('k0', { text })).ok).toBe(true);
    expect(storage.failure).toBeUndefined();
  });

  it('takes no value that etcd would refuse', async () => {
    const storage = await open(await start());
    await expect(storage.create('a', { text: 'x'.repeat(1.5 * 1024 * 1024) })).rejects.toMatchObject({ code: 413 });
    expect((await storage.create('a', { text: 'x'.repeat(1.4 * 1024 * 1024) })).ok).toBe(true);
    expect(storage.failure).toBeUndefined();
  });
});
