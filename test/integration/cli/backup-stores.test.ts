import { createWriteStream } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ensureEncryptionConfiguration } from '../../../src/apiserver/encryption/configuration.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openPki } from '../../../src/base/pki.ts';
import { openSnapshot } from '../../../src/cli/backup-snapshot.ts';
import { migrate } from '../../../src/cli/compose/migrate.ts';
import { shareKeys } from '../../../src/cli/compose/shared-keys.ts';
import { type OpenStore, openStore } from '../../../src/cli/compose/store.ts';
import { startStoreFill } from '../../../src/cli/compose/store-fill.ts';
import { authoritiesOf, type EtcdSettings, filesOf } from '../../../src/cli/configuration.ts';
import { restore } from '../../../src/cli/restore.ts';
import { tryParseServerToken } from '../../../src/cli/server-token.ts';
import { ensureBareRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { cheapenScrypt } from '../../support/cheap-scrypt.ts';
import { type Etcd, hasEtcd, startEtcd } from '../../support/etcd.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const log = createLog({ level: 'silent' });
const network = { clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16' };
const machines = { ...network, networkBackend: 'host-gw' } as const;
const token = tryParseServerToken('correct-horse-battery');
const jump = 1_000_000_000;
/** The first finding in a damaged backup: of zlib, of a line, or of the digest. */
const damage = new RegExp(
  '^(?:It is damaged: (?:a line is not JSON|a line is neither an object nor a list|a line does not have key, revision and text' +
    '|its digest is not that of its lines|(?:invalid|incorrect|unknown|unexpected|too many|header|missing) [a-z/ -]+)' +
    '|A backup has no place for ".+"|It has no content of \\S+|Its first line does not have the fields that it needs' +
    '|It is not a backup of Midship)\\.$',
);
const rangeOfServices = JSON.stringify({ metadata: { name: 'kubernetes', annotations: { 'midship.dev/network-backend': 'host-gw' } } });

describe.skipIf(!hasEtcd)('backups of both stores (needs etcd)', () => {
  let etcd: Etcd;
  let places = 0;
  beforeAll(async () => {
    const restoreScrypt = cheapenScrypt();
    etcd = await startEtcd();
    return restoreScrypt;
  });
  afterAll(async () => await etcd.stop());

  function newPlace(): EtcdSettings {
    places += 1;
    return { address: { endpoints: etcd.endpoints, prefix: `/place-${places}` } };
  }

  async function open(dataDirectory: string, store: EtcdSettings | undefined): Promise<OpenStore> {
    const opened = await openStore({
      configuration: { dataDirectory, store },
      clock: systemClock,
      log,
      metrics: createMetrics(),
    });
    onTestFinished(async () => await opened.close());
    return opened;
  }

  /** A cluster of a server with some objects; `store` undefined: in SQLite. */
  async function newCluster(store: EtcdSettings | undefined) {
    const dataDirectory = await temporaryDirectory('cluster');
    const opened = await open(dataDirectory, store);
    const files = filesOf(dataDirectory);
    if (opened.shared?.records !== undefined && store !== undefined) {
      const { prefix } = store.address;
      await shareKeys({
        dataDirectory,
        storage: opened,
        records: opened.shared?.records,
        prefix,
        machines,
        token,
        clock: systemClock,
        log,
      });
    } else {
      const { cluster, frontProxy } = authoritiesOf(dataDirectory);
      await (await openPki({ ...cluster, clock: systemClock })).signingKey();
      await openPki({ ...frontProxy, clock: systemClock });
      await ensureEncryptionConfiguration(files.encryption);
    }
    await writeFile(files.network, `${JSON.stringify({ network: 90, kind: 'machines', ...network })}\n`);
    await opened.create('networking.k8s.io/servicecidrs/kubernetes', { text: rangeOfServices });
    for (let n = 0; n < 20; n += 1) {
      const key = `core/configmaps/default/c${n}`;
      const made = await opened.create(key, { text: JSON.stringify({ n }) });
      if (n % 5 === 0) await opened.delete(key, made.ok ? made.revision : 0);
      if (n % 3 === 0) await opened.create(`core/secrets/default/s${n}`, { text: 'k8s:enc:aesgcm:v1:k:Ünïcode\u2028"\\' });
    }
    return { dataDirectory, opened };
  }

  const textsIn = async (storage: OpenStore): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries((await storage.range({ prefix: '' })).entries.map(({ key, text }) => [key, text]));

  async function backUp({ dataDirectory, opened }: { readonly dataDirectory: string; readonly opened: OpenStore }): Promise<string> {
    const file = join(await temporaryDirectory('backup'), 'cluster.gz');
    const signal = new AbortController().signal;
    await ensureBareRepository(filesOf(dataDirectory).repository);
    const stream = await openSnapshot({ dataDirectory, store: opened, version: '0.1.0', now: systemClock.now(), signal });
    await pipeline(stream, createWriteStream(file));
    await until(async () => (await readdir(filesOf(dataDirectory).backup)).length === 0, { what: 'no copy is left' });
    return file;
  }

  async function restoreTo(file: string, store: EtcdSettings | undefined, given: typeof token | 'none' = token): Promise<string> {
    const parent = await temporaryDirectory('restored');
    const dataDirectory = join(parent, 'data');
    await restore({
      file,
      dataDirectory,
      output: new PassThrough().resume(),
      store: store === undefined ? undefined : `etcd://x${store.address.prefix}`,
      startFill: (options) => startStoreFill({ ...options, store, token: given === 'none' ? undefined : given }),
    }).catch(async (err: unknown) => {
      // No refusal leaves a file.
      expect(await readdir(parent)).toEqual([]);
      throw err;
    });
    return dataDirectory;
  }

  const keysIn = (directory: string): Promise<readonly string[]> =>
    Promise.all(['pki/ca.crt', 'pki/ca.key', 'pki/sa.key', 'pki/encryption.yaml'].map((path) => readFile(join(directory, path), 'utf8')));

  it.each([
    ['SQLite', 'SQLite'],
    ['SQLite', 'etcd'],
    ['etcd', 'SQLite'],
    ['etcd', 'etcd'],
  ])(
    'bring the objects and keys of %s into %s, and versions go on far above',
    async (from, to) => {
      const cluster = await newCluster(from === 'etcd' ? newPlace() : undefined);
      const texts = await textsIn(cluster.opened);
      const before = cluster.opened.currentRevision;
      const file = await backUp(cluster);
      // A client has seen this one, which the restored cluster does not have.
      await cluster.opened.create('core/configmaps/default/later', { text: '{}' });
      const place = to === 'etcd' ? newPlace() : undefined;
      const dataDirectory = await restoreTo(file, place);
      const restored = await open(dataDirectory, place);
      expect(await textsIn(restored)).toEqual(texts);
      expect(restored.currentRevision).toBeGreaterThan(before + jump - 1);
      if (restored.shared?.records !== undefined && place !== undefined) {
        const { prefix } = place.address;
        await shareKeys({
          dataDirectory,
          storage: restored,
          records: restored.shared?.records,
          prefix,
          machines,
          token,
          clock: systemClock,
          log,
        });
      }
      expect(await keysIn(dataDirectory)).toEqual(await keysIn(cluster.dataDirectory));

      // The store works on, and a client with a version of before has to list.
      const key = 'core/configmaps/default/c1';
      const found = await restored.get(key);
      const seen: number[] = [];
      await expect(
        restored.watch({ prefix: '', afterRevision: before, signal: new AbortController().signal, onEvents() {}, onEnd() {} }),
      ).rejects.toMatchObject({ code: 410 });
      const watching = new AbortController();
      onTestFinished(() => watching.abort());
      await restored.watch({
        prefix: '',
        afterRevision: restored.currentRevision,
        signal: watching.signal,
        onEvents: (events) => seen.push(...events.map(({ revision }) => revision)),
        onEnd() {},
      });
      expect(await restored.update(key, { text: '{"n":0}' }, before)).toMatchObject({ ok: false, currentRevision: found?.revision });
      const changed = await restored.update(key, { text: '{"n":99}' }, found?.revision ?? 0);
      expect(changed).toMatchObject({ ok: true });
      const gone = await restored.delete(key, changed.ok ? changed.revision : 0);
      await until(() => seen.length === 2, { what: 'both changes are seen' });
      expect(seen).toEqual([changed, gone].map((result) => (result.ok ? result.revision : 0)));
      const changes: (string | undefined)[] = [];
      await restored.history({
        maxChanges: 10,
        maxSize: 1_000_000,
        onChanges: async (page) => void changes.push(...page.map(({ values }) => values?.after)),
      });
      expect(changes).toEqual(['{"n":99}', undefined]);
    },
    60_000,
  );

  it('are of one moment while the cluster is written to', async () => {
    const cluster = await newCluster(newPlace());
    let written = 0;
    let isDone = false;
    const writing = (async () => {
      for (; !isDone; written += 1) await cluster.opened.create(`core/configmaps/load/w${written}`, { text: '{}' });
    })();
    await until(() => written > 50, { what: 'writes' });
    const before = written;
    const file = await backUp(cluster);
    isDone = true;
    await writing;
    const lines = gunzipSync(await readFile(file))
      .toString()
      .split('\n');
    const found = new Set(lines.map((line) => /^\["core\/configmaps\/load\/w(\d+)"/.exec(line)?.[1]).filter((n) => n !== undefined));
    expect(found.size).toBeGreaterThanOrEqual(before);
    for (let n = 0; n < found.size; n += 1) expect(found.has(String(n)), `w${n} of ${found.size}`).toBe(true);
  }, 60_000);

  it('have no key of a cluster on etcd that its token does not open', async () => {
    const cluster = await newCluster(newPlace());
    const file = await backUp(cluster);
    const content = gunzipSync(await readFile(file)).toString();
    const [, key] = await keysIn(cluster.dataDirectory);
    expect(content).not.toContain((key ?? '').split('\n')[1]);
    const missing = {
      message: 'missing flag: --token-file',
      why: 'The keys of the cluster are encrypted by the token of its servers.',
      fix: 'Name a copy of the file server-token of a server of that cluster: --token-file FILE',
    };
    await expect(restoreTo(file, undefined, 'none')).rejects.toMatchObject(missing);
    await expect(restoreTo(file, undefined, tryParseServerToken('another-secret-of-16'))).rejects.toMatchObject({
      message: 'the token does not open the keys in the store',
      why: expect.stringMatching(/^Another token encrypted them, or the store at \/place-\d+ is that of another cluster\.$/),
      fix: 'Take the file server-token of a server that runs on this store, and name it with --token-file.',
    });
    await expect(restoreTo(file, newPlace(), 'none')).rejects.toMatchObject(missing);
  }, 60_000);

  it('refuse damage anywhere, another version, and bombs, and nothing is written', async () => {
    const cluster = await newCluster(undefined);
    const file = await backUp(cluster);
    const good = await readFile(file);
    const text = gunzipSync(good).toString();
    const place = newPlace();
    const refuses = async (content: Buffer, why: RegExp): Promise<void> => {
      await writeFile(file, content);
      await expect(restoreTo(file, place)).rejects.toMatchObject({
        message: `${file} cannot be restored`,
        why: expect.stringMatching(why),
        fix: 'Use another backup. Nothing was changed.',
      });
    };
    for (const part of [0.1, 0.3, 0.5, 0.7, 0.9]) {
      const at = Math.floor(good.length * part);
      const flipped = Buffer.from(good);
      flipped.writeUInt8(flipped.readUInt8(at) ^ 0x04, at);
      await refuses(flipped, damage);
      await refuses(good.subarray(0, at), /^It is damaged: unexpected end of file\.$/);
    }
    const lines = text.split('\n');
    await refuses(gzipSync(lines.slice(0, -2).join('\n').concat('\n')), /ends too early/);
    await refuses(gzipSync(text.replace('{\\"n\\":1}', '{\\"n\\":7}')), /its digest is not that of its lines/);
    await refuses(gzipSync([...lines.slice(0, 5), ...lines.slice(6)].join('\n')), /its digest is not that of its lines/);
    await refuses(gzipSync(text.replace('"midshipBackup":2', '"midshipBackup":3')), /format is 3, which a newer version/);
    await refuses(gzipSync(text.replace('"file":"pki/ca.crt"', '"file":"../outside"')), /no place for "\.\.\/outside"/);
    await refuses(gzipSync(`${lines[0]}\n${' '.repeat(20_000_000)}`), /a line of more than/);
    await refuses(gzipSync('a letter\n'), /not a backup of Midship/);
    // The place in etcd is still empty: no key begins with its prefix.
    expect(await etcd.ctl(0, 'get', '--prefix', '--keys-only', `${place.address.prefix}/`)).toBe('');
    await writeFile(file, good);
    await restoreTo(file, place);
  }, 60_000);

  it('go into an empty prefix alone, into one of two at once, and no server starts on half of one', async () => {
    const cluster = await newCluster(undefined);
    const file = await backUp(cluster);
    const place = newPlace();
    const results = await Promise.allSettled([restoreTo(file, place), restoreTo(file, place)]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const texts = await textsIn(await open(await temporaryDirectory('other'), place));
    const inUse = ({ address: { prefix } }: EtcdSettings) => ({
      name: 'Failure',
      message: `the prefix ${prefix} in etcd is not empty`,
      why: expect.stringMatching(
        /^It holds a cluster, or filling it from a backup or another store broke off\. Nothing in \/\S+\/data was changed\.$/,
      ),
      fix: `Name another one (--store etcd://HOST/PREFIX). If nothing in it is needed: etcdctl del --prefix ${prefix}/`,
    });
    await expect(restoreTo(file, place)).rejects.toMatchObject(inUse(place));
    expect(await textsIn(await open(await temporaryDirectory('other'), place))).toEqual(texts);

    const half = newPlace();
    const options = { dataDirectory: cluster.dataDirectory, revision: 5, isCopy: true, bundle: undefined, token };
    const fill = await startStoreFill({ ...options, store: half });
    await fill.put([{ key: 'core/configmaps/default/a', revision: 1, text: '{}' }]);
    await fill.close();
    const keys = await etcd.ctl(0, 'get', '--prefix', `${half.address.prefix}/`);
    const empty = await temporaryDirectory('other');
    await expect(open(empty, half)).rejects.toMatchObject({
      message: 'the store in etcd is incomplete',
      why: 'Filling it from a backup or another store broke off, or goes on.',
      hint: `Wait for it, or remove what is there and fill it again: etcdctl del --prefix ${half.address.prefix}/`,
    });
    // Its name in a store that refused it would make a later start take it for a server on etcd.
    expect(await readdir(empty)).toEqual([]);
    await expect(restoreTo(file, half)).rejects.toMatchObject(inUse(half));
    expect(await etcd.ctl(0, 'get', '--prefix', `${half.address.prefix}/`)).toBe(keys);
  }, 60_000);

  it('move to etcd and back without a new revision for clients to stumble over', async () => {
    const cluster = await newCluster(undefined);
    const texts = await textsIn(cluster.opened);
    const before = cluster.opened.currentRevision;
    await cluster.opened.close();
    const { dataDirectory } = cluster;
    const store = newPlace();
    const output = new PassThrough().resume();
    const common = { dataDirectory, store, address: 'etcd://x', token: undefined, output };
    expect(await migrate({ ...common, to: 'etcd' })).toBe(0);
    await expect(open(dataDirectory, undefined)).rejects.toThrow('has its objects in etcd');
    const keys = await keysIn(dataDirectory);
    const moved = await open(dataDirectory, store);
    expect(await textsIn(moved)).toEqual(texts);
    expect(moved.currentRevision).toBeGreaterThan(before);
    expect(moved.currentRevision).toBeLessThan(before + jump);
    if (moved.shared?.records === undefined) throw new Error('etcd has records');
    const { prefix } = store.address;
    await shareKeys({
      dataDirectory,
      storage: moved,
      records: moved.shared?.records,
      prefix,
      machines,
      token: undefined,
      clock: systemClock,
      log,
    });
    expect(await keysIn(dataDirectory)).toEqual(keys);

    // A server that still runs writes.
    let n = 0;
    const timer = setInterval(() => void moved.create(`core/configmaps/x/${n++}`, { text: '{}' }), 500);
    await expect(migrate({ ...common, to: 'sqlite' })).rejects.toThrow('a server of the cluster still writes to etcd');
    clearInterval(timer);
    await until(async () => (await moved.range({ prefix: 'core/configmaps/x/' })).entries.length === n, { what: 'the last write is done' });
    const after = await textsIn(moved);
    const revision = moved.currentRevision;
    await moved.close();
    expect(await migrate({ ...common, to: 'sqlite' })).toBe(0);
    const back = await open(dataDirectory, undefined);
    expect(await textsIn(back)).toEqual(after);
    expect(back.damage).toEqual([]);
    expect(back.currentRevision).toBeGreaterThanOrEqual(revision);
    expect(back.currentRevision).toBeLessThan(before + jump);
    expect(await keysIn(dataDirectory)).toEqual(keys);
  }, 60_000);
});
