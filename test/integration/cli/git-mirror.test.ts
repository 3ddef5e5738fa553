import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Lease } from '../../../src/api/coordination/v1/lease.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import { createLog } from '../../../src/base/log.ts';
import { createGitMirror, guardCopy } from '../../../src/cli/compose/git-mirror.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { ensureBareRepository } from '../../../src/gitops/sources/bare-repository.ts';
import type { GitSource } from '../../../src/gitops/sources/git-source.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const lost = { serverId: 'home', host: 'first', lease: () => undefined, page: () => undefined, onChange: () => () => undefined };

it('a server leaves GitOps to a home that it cannot reach, and takes part when the home is away', async () => {
  const directory = await temporaryDirectory('mirror');
  const gitdir = join(directory, 'cluster.git');
  await ensureBareRepository(gitdir);
  // Nothing listens on the port.
  let page: string | undefined = 'http://127.0.0.1:9';
  let changed = (): void => undefined;
  const said: boolean[] = [];
  const clock = createManualClock();
  const mirror = createGitMirror({
    home: {
      ...lost,
      lease: () => ({ metadata: { name: 'home' } }) as Lease,
      page: () => page,
      onChange(listener) {
        changed = listener;
        return () => undefined;
      },
    },
    gitdir,
    temporaryDirectory: directory,
    token: 'secret',
    caCertificate: '',
    clock,
    log: createLog({ level: 'silent' }),
    onUsable: async (isUsable) => void said.push(isUsable),
  });
  await mirror.start({ signal: new AbortController().signal });
  await until(() => said.length > 0, { what: 'the copy was tried', timeoutMs: 10_000 });
  expect(said.at(-1)).toBe(false);
  page = undefined;
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
