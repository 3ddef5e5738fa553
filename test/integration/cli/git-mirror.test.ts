import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { Lease } from '../../../src/api/coordination/v1/lease.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import { createLog } from '../../../src/base/log.ts';
import { createCommitPush, digestOfRefs, findGitHome, type GitHome } from '../../../src/cli/compose/git-home.ts';
import { createGitMirror, guardCopy } from '../../../src/cli/compose/git-mirror.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { ensureBareRepository, readRefs, seedRepository } from '../../../src/gitops/sources/bare-repository.ts';
import type { GitSource } from '../../../src/gitops/sources/git-source.ts';
import { openEtcdStorage } from '../../../src/storage/etcd/storage.ts';
import { hasEtcd, startEtcd } from '../../support/etcd.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const lost: GitHome = {
  host: 'first',
  isOwn: false,
  refs: undefined,
  lease: () => undefined,
  address: () => undefined,
  takeOver: async () => false,
  record: async () => false,
  onChange: () => () => undefined,
};
const access = { caCertificate: '', clientCertificate: { certificate: '', key: '' } };

it('a server leaves GitOps to a home that it cannot reach, and takes part when the home is away', async () => {
  const directory = await temporaryDirectory('mirror');
  const gitdir = join(directory, 'cluster.git');
  await ensureBareRepository(gitdir);
  // Nothing listens on the port.
  let address: string | undefined = 'https://127.0.0.1:9';
  let changed = (): void => undefined;
  const said: boolean[] = [];
  const clock = createManualClock();
  const mirror = createGitMirror({
    home: {
      ...lost,
      lease: () => (address === undefined ? undefined : ({ metadata: { name: 'home' } } as Lease)),
      address: () => address,
      onChange(listener) {
        changed = listener;
        return () => undefined;
      },
    },
    gitdir,
    temporaryDirectory: directory,
    token: 'secret',
    access,
    clock,
    log: createLog({ level: 'silent' }),
    onUsable: async (isUsable) => void said.push(isUsable),
  });
  await mirror.start({ signal: new AbortController().signal });
  await until(() => said.length > 0, { what: 'the copy was tried', timeoutMs: 10_000 });
  expect(said.at(-1)).toBe(false);
  address = undefined;
  // Its Lease may change again before the look that this begins.
  changed();
  changed();
  await until(() => said.length === 3 && clock.pending > 0, { what: 'the home is away', timeoutMs: 10_000 });
  expect(said).toEqual([false, true, true]);
  expect(clock.pending).toBe(1);
  // A timer that is left keeps the process of a server for another minute.
  await mirror.stop();
  expect(clock.pending).toBe(0);
});

it('a copy without a commit that was read before is not read', async () => {
  const sha = 'a'.repeat(40);
  const url = 'http://127.0.0.1:1/git/cluster.git';
  const repository = { spec: { url }, status: { artifact: { revision: `main@sha1:${sha}` } } } as GitRepository;
  const informers = { get: () => ({ list: () => [repository] }) } as unknown as InformerSet;
  const known = new Set<string>();
  const source = {
    resolve: async () => ({ sha: 'older' }),
    readCommit: async (asked: string) => (known.has(asked) ? {} : Promise.reject(new Error('no such object'))),
  } as unknown as GitSource;
  const guarded = await guardCopy(async () => source, { home: lost, informers, pageUrl: 'http://127.0.0.1:1' })(url);
  const resolve = () => guarded.resolve({ branch: 'main' }, { signal: new AbortController().signal });
  await expect(resolve()).rejects.toThrow('lacks commit aaaaaaa, which was read before');
  known.add(sha);
  expect(await resolve()).toEqual({ sha: 'older' });
});

const commitOf = async (gitdir: string): Promise<string> => {
  await seedRepository({ gitdir, directory: import.meta.dirname });
  return (await readRefs(gitdir)).get('refs/heads/main') ?? '';
};

it.each([
  { copy: 'has each acknowledged push', isWhole: true },
  { copy: 'lacks one', isWhole: false },
])('a server whose copy $copy becomes the home of a lost one: $isWhole', async ({ isWhole }) => {
  const directory = await temporaryDirectory('mirror');
  const gitdir = join(directory, 'cluster.git');
  await ensureBareRepository(gitdir);
  const sha = await commitOf(gitdir);
  const refs = digestOfRefs(new Map([['refs/heads/main', isWhole ? sha : 'b'.repeat(40)]]));
  let taken = 0;
  const clock = createManualClock();
  let looks = 0;
  const mirror = createGitMirror({
    home: {
      ...lost,
      refs,
      async takeOver() {
        taken += 1;
        return true;
      },
    },
    gitdir,
    temporaryDirectory: directory,
    token: 'secret',
    access,
    clock,
    log: createLog({ level: 'silent' }),
    async onUsable() {
      looks += 1;
    },
  });
  await mirror.start({ signal: new AbortController().signal });
  for (const look of [1, 2, 3]) {
    await until(() => looks === look && clock.pending > 0, { what: `look ${look}`, timeoutMs: 10_000 });
    // A restart is shorter than that.
    expect(taken).toBe(0);
    clock.advance(2_000);
  }
  await until(() => looks === 4, { what: 'the home counts as lost', timeoutMs: 10_000 });
  expect(taken).toBe(isWhole ? 1 : 0);
  await mirror.stop();
});

it('a push is recorded before its refs move, one after the other, and refused at a server that is the home no more', async () => {
  const gitdir = join(await temporaryDirectory('home'), 'cluster.git');
  await ensureBareRepository(gitdir);
  const main = await commitOf(gitdir);
  const home = {
    isOwn: true,
    refs: undefined as string | undefined,
    async record(digest: string) {
      home.refs = digest;
      return true;
    },
  };
  const commit = createCommitPush(home, gitdir);
  const { signal } = new AbortController();
  const create = (name: string) => commit([{ ref: `refs/heads/${name}`, before: '0'.repeat(40), after: main }], signal);
  const first = await create('first');
  expect(first.refusal).toBeUndefined();
  expect(home.refs).toBe(
    digestOfRefs(
      new Map([
        ['refs/heads/main', main],
        ['refs/heads/first', main],
      ]),
    ),
  );
  let isSecond = false;
  const second = create('second').finally(() => {
    isSecond = true;
  });
  await expect(commit([], AbortSignal.timeout(50))).rejects.toThrow();
  expect(isSecond).toBe(false);
  // Git has not moved the ref of the first: the record says again what the repository has.
  await first.end();
  expect((await second).refusal).toBeUndefined();
  expect(home.refs).toBe(
    digestOfRefs(
      new Map([
        ['refs/heads/main', main],
        ['refs/heads/second', main],
      ]),
    ),
  );
  await (await second).end();
  expect(home.refs).toBe(digestOfRefs(new Map([['refs/heads/main', main]])));
  const late = await commit([{ ref: 'refs/heads/main', before: 'b'.repeat(40), after: main }], signal);
  expect(late.refusal).toBe('refs/heads/main has moved meanwhile: fetch, then push again.');
  await late.end();
  home.isOwn = false;
  expect((await create('third')).refusal).toBe('The Git remote has moved to another server: push again.');
});

it.skipIf(!hasEtcd)('the home stays the home when a person deletes its record (needs etcd)', async () => {
  const etcd = await startEtcd();
  onTestFinished(async () => await etcd.stop());
  const informers = { get: () => ({ list: () => [], addHandler: () => () => undefined }) } as unknown as InformerSet;
  const find = async (serverId: string) => {
    const log = createLog({ level: 'silent' });
    const storage = await openEtcdStorage({ endpoints: etcd.endpoints, tls: undefined, login: undefined, prefix: '/c', serverId, log });
    const home = await findGitHome({ records: storage.records, serverId }, informers);
    onTestFinished(async () => {
      home.stop();
      await storage.close();
    });
    return home;
  };
  const first = await find('first');
  const second = await find('second');
  await etcd.ctl(0, 'del', '/c/meta/git-home');
  expect(await first.record('pushed')).toBe(true);
  await until(() => second.refs === 'pushed', { what: 'the record on the second server' });
  expect([first.isOwn, second.isOwn]).toEqual([true, false]);
  expect(await first.record('pushed again')).toBe(true);
});
