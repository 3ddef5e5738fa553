import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { ClusterKeys } from '../../../src/cli/compose/cluster-keys.ts';
import { shareKeys } from '../../../src/cli/compose/shared-keys.ts';
import { tryParseServerToken } from '../../../src/cli/server-token.ts';
import { type EtcdStorage, openEtcdStorage } from '../../../src/storage/etcd/storage.ts';
import { cheapenScrypt } from '../../support/cheap-scrypt.ts';
import { type Etcd, hasEtcd, startEtcd } from '../../support/etcd.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const machines = { clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', networkBackend: 'vxlan' } as const;
const token = tryParseServerToken('correct-horse-battery');

describe.skipIf(!hasEtcd)('the keys of servers on one store (needs etcd)', () => {
  let etcd: Etcd;
  let cluster = 0;
  beforeAll(async () => {
    const restoreScrypt = cheapenScrypt();
    etcd = await startEtcd();
    return restoreScrypt;
  });
  afterAll(async () => await etcd.stop());

  /** A place in etcd that nothing was written to, and a function that brings its keys into a data directory. */
  async function newStore() {
    cluster += 1;
    const prefix = `/cluster-${cluster}`;
    const log = createLog({ level: 'silent' });
    const storage: EtcdStorage = await openEtcdStorage({
      endpoints: etcd.endpoints,
      tls: undefined,
      login: undefined,
      prefix,
      serverId: 'one',
      log,
    });
    onTestFinished(async () => await storage.close());
    const share = async (dataDirectory: string, changes: Partial<Parameters<typeof shareKeys>[0]> = {}): Promise<ClusterKeys> => {
      const keys = await shareKeys({
        dataDirectory,
        storage,
        records: storage.records,
        prefix,
        machines,
        token,
        clock: systemClock,
        log,
        ...changes,
      });
      onTestFinished(() => keys.stop());
      return keys;
    };
    return { prefix, storage, share };
  }

  const textsOf = (directory: string): Promise<readonly string[]> =>
    Promise.all(
      ['pki/ca.crt', 'pki/ca.key', 'pki/front-proxy/ca.crt', 'pki/sa.key', 'pki/encryption.yaml', 'git-token'].map((path) =>
        readFile(join(directory, path), 'utf8'),
      ),
    );

  it('are those of one of them when several start at the same moment', async () => {
    const { share } = await newStore();
    const directories = await Promise.all(Array.from({ length: 4 }, () => temporaryDirectory('server')));
    await Promise.all(directories.map((directory) => share(directory)));
    const [first, ...others] = await Promise.all(directories.map(textsOf));
    for (const other of others) expect(other).toEqual(first);
    // The file of one server lets another in, also when it is another one's copy.
    const given = tryParseServerToken(await readFile(join(directories[0] as string, 'server-token'), 'utf8'));
    const late = await temporaryDirectory('server');
    await share(late, { token: given });
    expect(await textsOf(late)).toEqual(first);
    await share(late, { token: undefined });
  });

  it('replace damaged copies', async () => {
    const { share } = await newStore();
    const directory = await temporaryDirectory('server');
    await share(directory);
    const before = await textsOf(directory);
    await writeFile(join(directory, 'pki/sa.key'), 'nonsense');
    await share(directory);
    expect(await textsOf(directory)).toEqual(before);
  });

  it('are opened at later starts by the key that an earlier one made of the same token', async () => {
    const { share, storage } = await newStore();
    const directory = await temporaryDirectory('server');
    const kept = join(directory, 'pki/server-token.key');
    await share(directory);
    const { salt } = JSON.parse((await storage.records.get('bootstrap'))?.text ?? '{}') as { readonly salt: string };
    const text = await readFile(kept, 'utf8');
    expect(text.split('\n')).toEqual([salt, expect.stringMatching(/^.{44}$/), '']);
    await expect(share(directory, { token: tryParseServerToken('another-secret-of-16') })).rejects.toThrow('does not open the keys');
    await share(directory, { token: undefined });
    expect(await readFile(kept, 'utf8')).toBe(text);
    // A server that joins keeps the same, and the key of another record is replaced.
    const late = await temporaryDirectory('server');
    await mkdir(join(late, 'pki'));
    await writeFile(join(late, 'pki/server-token.key'), 'c2FsdA==\na2V5\n');
    await share(late);
    expect(await readFile(join(late, 'pki/server-token.key'), 'utf8')).toBe(text);
  });

  it('are given to no server with another token, or without one, and nothing is written', async () => {
    const { prefix, share, storage } = await newStore();
    await share(await temporaryDirectory('server'));
    const record = await storage.records.get('bootstrap');
    const stranger = await temporaryDirectory('server');
    await expect(share(stranger, { token: undefined })).rejects.toMatchObject({
      message: 'missing flag: --token-file',
      why: `The store at ${prefix} has a cluster already, and its keys open with the token of its servers.`,
      fix: 'Copy the file server-token of the data directory of another server, and name the copy: --token-file FILE',
    });
    await expect(share(stranger, { token: tryParseServerToken('another-secret-of-16') })).rejects.toMatchObject({
      message: 'the token does not open the keys in the store',
      why: `Another token encrypted them, or the store at ${prefix} is that of another cluster.`,
      fix: 'Take the file server-token of a server that runs on this store, and name it with --token-file.',
    });
    const otherHash = tryParseServerToken(`K10${'0'.repeat(64)}::server:correct-horse-battery`);
    await expect(share(stranger, { token: otherHash })).rejects.toMatchObject({
      message: 'the token is that of another cluster',
      why: `It names an authority that the cluster in the store at ${prefix} does not have.`,
      fix: 'Take the file server-token of a server of this cluster, or name the store of the other one with --store.',
    });
    await expect(share(stranger, { machines: { ...machines, serviceCidr: '10.99.0.0/16' } })).rejects.toMatchObject({
      message: '--service-cidr cannot be 10.99.0.0/16 on this server',
      why: 'The cluster in the store began with 10.43.0.0/16, and its servers have to agree.',
      fix: 'Start it with --service-cidr 10.43.0.0/16.',
    });
    expect(await readdir(stranger)).toEqual([]);
    expect(await storage.records.get('bootstrap')).toEqual(record);
  });

  it('do not overwrite those of another cluster', async () => {
    const [one, two] = [await newStore(), await newStore()];
    const [first, second] = [await temporaryDirectory('server'), await temporaryDirectory('server')];
    await one.share(first);
    await two.share(second);
    const everythingIn = async () => ({
      files: await readdir(first, { recursive: true }),
      texts: await textsOf(first),
      token: await readFile(join(first, 'server-token'), 'utf8'),
      records: [await one.storage.records.get('bootstrap'), await two.storage.records.get('bootstrap')],
    });
    const before = await everythingIn();
    await expect(two.share(first)).rejects.toMatchObject({
      message: `${first} has the keys of another cluster`,
      why: `Its authority is none of the cluster in the store at ${two.prefix}. Nothing was changed.`,
      fix: 'Take another --data-dir, or name the store of that cluster with --store.',
    });
    expect(await everythingIn()).toEqual(before);
  });

  it('are not made beside objects whose keys lie in the data directory of an earlier version', async () => {
    const { prefix, share, storage } = await newStore();
    await storage.create('core/namespaces/default', { text: '{}' });
    const late = await temporaryDirectory('server');
    await expect(share(late)).rejects.toMatchObject({
      message: `the store at ${prefix} has objects, and no keys of a cluster`,
      why: 'The server that wrote them has the keys in its data directory; with others, Secrets could not be read.',
      fix: 'Start that data directory once with this version, which shares the keys, or name another prefix: --store etcd://HOST/PREFIX',
    });
    expect(await readdir(late)).toEqual([]);
    // That directory shares its own.
    const former = await temporaryDirectory('server');
    const elsewhere = await temporaryDirectory('server');
    const { share: shareElsewhere } = await newStore();
    await shareElsewhere(elsewhere);
    await mkdir(join(former, 'pki'));
    for (const name of ['ca.crt', 'ca.key']) await writeFile(join(former, 'pki', name), await readFile(join(elsewhere, 'pki', name)));
    await share(former);
    expect((await textsOf(former))[0]).toBe((await textsOf(elsewhere))[0]);
  });

  const inFile = (directory: string) => readFile(join(directory, 'server-token'), 'utf8').then(tryParseServerToken);

  it('open with the former token as long as servers change to a new one, which those that run take by themselves', async () => {
    const { share, storage } = await newStore();
    const [one, two] = [await temporaryDirectory('server'), await temporaryDirectory('server')];
    const [first, second] = [await share(one), await share(two)];
    const before = await textsOf(one);
    await first.seal?.rotate('a-new-secret-of-16', '2026-01-01T00:00:00Z');
    await until(() => second.revision === first.revision, { what: 'the other server has the new token' });
    expect((await inFile(two))?.secret).toBe('a-new-secret-of-16');
    expect(second.seal).toMatchObject({ hasOverlap: true, rotatedAt: '2026-01-01T00:00:00Z' });
    // A server that starts meanwhile learns the new token by the former one.
    const late = await temporaryDirectory('server');
    await share(late, { token });
    expect((await inFile(late))?.secret).toBe('a-new-secret-of-16');
    await first.seal?.endOverlap();
    const stranger = await temporaryDirectory('server');
    await expect(share(stranger, { token })).rejects.toMatchObject({
      message: 'the token does not open the keys in the store',
      why: 'The token was rotated at 2026-01-01T00:00:00Z, and this is not the new one.',
    });
    expect(await readdir(stranger)).toEqual([]);
    await share(stranger, { token: await inFile(one) });
    expect(await textsOf(stranger)).toEqual(before);
    expect((await storage.records.get('bootstrap'))?.text).not.toContain('handover');
  });

  it('are changed by several servers at once without a loss, and each works with all changes', async () => {
    const { share } = await newStore();
    const servers = await Promise.all(
      ['a', 'b', 'c'].map(async (letter) => {
        const directory = await temporaryDirectory('server');
        return { letter, directory, keys: await share(directory) };
      }),
    );
    await Promise.all(
      servers.map(({ keys, letter }) => keys.change((files) => ({ ...files, 'git-token': `${files['git-token'] ?? ''}${letter}` }))),
    );
    await until(() => new Set(servers.map(({ keys }) => keys.revision)).size === 1, { what: 'all have the newest keys' });
    for (const { directory } of servers) {
      const text = await readFile(join(directory, 'git-token'), 'utf8');
      expect([...text.slice(-3)].sort()).toEqual(['a', 'b', 'c']);
    }
  });
});
