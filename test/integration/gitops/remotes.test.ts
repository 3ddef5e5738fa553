import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import type { GitRef, GitSource } from '../../../src/gitops/sources/git-source.ts';
import { createSourceOpener, type SourceOptions } from '../../../src/gitops/sources/open-source.ts';
import { openRemoteSource } from '../../../src/gitops/sources/remote-source.ts';
import { listRefs } from '../../../src/gitops/sources/server-refs.ts';
import { createSystemGit, sshCommand } from '../../../src/gitops/sources/system-git.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import {
  hasSshd,
  type ServedProxy,
  type ServedRemote,
  type ServedSsh,
  serveProxy,
  serveRemote,
  serveSsh,
} from '../../support/git-remote.ts';

/** One for each test, so that none uses up the time of another. */
let signal: AbortSignal;
beforeEach(() => {
  signal = AbortSignal.timeout(30_000);
});
const token = 'correct-horse';
const access = { username: 'midship', password: token };

let cacheDirectory: string;
const open = async (url: string, options: SourceOptions = {}): Promise<GitSource> =>
  createSourceOpener({ builtInUrl: () => 'http://nowhere/git/', builtIn: new Map(), cacheDirectory }).open(url, options);

async function filesOf(source: GitSource, tree: string): Promise<readonly string[]> {
  const entries = await source.readTree(tree);
  const below = await Promise.all(
    entries.map(async ({ name, type, oid }) =>
      type === 'tree' ? (await filesOf(source, oid)).map((file) => `${name}/${file}`) : type === 'submodule' ? [`${name}@`] : [name],
    ),
  );
  return below.flat();
}

beforeAll(async () => {
  cacheDirectory = await temporaryDirectory('remotes');
});

describe('a ref of a remote', () => {
  let repository: WorkTree;
  let remote: ServedRemote;
  beforeAll(async () => {
    repository = await newRepository('refs', { 'a.yaml': 'one' });
    // As hosting services allow it: a commit may be asked for by its id.
    await repository.git('config', 'uploadpack.allowReachableSHA1InWant', 'true');
    await repository.git('tag', 'v1.0.0');
    await repository.commit('two', { 'a.yaml': 'two' });
    await repository.git('tag', '-a', 'v1.2.0', '-m', 'annotated');
    await repository.commit('three', { 'a.yaml': 'three' });
    await repository.git('tag', 'v2.0.0-rc.1');
    await repository.git('update-ref', 'refs/pull/7/head', 'HEAD~1');
    remote = await serveRemote({ repositories: { refs: join(repository.directory, '.git') }, token });
  });
  afterAll(() => remote.stop());

  it.each([
    ['a branch', { branch: 'main' }, 'HEAD', (sha: string) => `main@sha1:${sha}`],
    ['a tag', { tag: 'v1.2.0' }, 'v1.2.0^{}', (sha: string) => `v1.2.0@sha1:${sha}`],
    ['a range of versions', { semver: '1.x' }, 'v1.2.0^{}', (sha: string) => `v1.2.0@sha1:${sha}`],
    ['a range with pre-releases', { semver: '>=1.0.0-0' }, 'v2.0.0-rc.1', (sha: string) => `v2.0.0-rc.1@sha1:${sha}`],
    ['a full name', { name: 'refs/pull/7/head' }, 'v1.2.0^{}', (sha: string) => `refs/pull/7/head@sha1:${sha}`],
  ])('is %s', async (_what, ref, commit, revision) => {
    const source = await open(remote.url('refs'), { access });
    const sha = await repository.git('rev-parse', commit);
    expect(await source.resolve(ref, { signal })).toMatchObject({ sha, revision: revision(sha) });
    await source.close();
  });

  it('is a commit, alone or on a branch, though it is not the newest', async () => {
    const source = await open(remote.url('refs'), { access });
    const sha = await repository.git('rev-parse', 'v1.0.0');
    expect((await source.resolve({ commit: sha }, { signal })).revision).toBe(`sha1:${sha}`);
    expect((await source.resolve({ commit: sha, branch: 'main' }, { signal })).revision).toBe(`main@sha1:${sha}`);
    await source.close();
  });

  it.each([
    [{ semver: '>=9' }, /no match found for semver: >=9/],
    [{ semver: 'nonsense' }, /semver parse error/],
    [{ tag: 'v9' }, /v9 does not exist/],
    [{ name: 'main' }, /not a full name/],
    [{ name: 'refs/../../config' }, /not the name of a ref/],
    [{ branch: 'a..b' }, /not the name of a ref/],
    [{ branch: '--upload-pack=touch /tmp/x' }, /not the name of a ref/],
    [{ commit: 'HEAD' }, /not the id of a commit/],
  ])('that is none says so: %j', async (ref, message) => {
    const source = await open(remote.url('refs'), { access });
    await expect(source.resolve(ref, { signal })).rejects.toMatchObject({
      reason: 'BranchNotFound',
      message: expect.stringMatching(message),
    });
    await source.close();
  });

  it('lists, beside one that is not there, what there is of its kind', async () => {
    const source = await open(remote.url('refs'), { access });
    const hintOf = (ref: GitRef): Promise<string> =>
      source.resolve(ref, { signal }).then(
        () => '',
        ({ hint }) => hint,
      );
    expect(await hintOf({ tag: 'v9' })).toMatch(/^Tags there: .*v1\.0\.0.* Set spec\.ref\.tag/);
    expect(await hintOf({ branch: 'mian' })).toMatch(/^Branches there: .*main.* Set spec\.ref\.branch/);
    await source.close();
  });

  it('is found at the new address of a repository that was renamed, and not looked for on another host', async () => {
    const sha = await repository.git('rev-parse', 'HEAD');
    const served = await serveRemote({
      repositories: { new: join(repository.directory, '.git') },
      token,
      moved: { old: '/git/new.git', far: remote.url('refs'), page: '/login?', round: '/git/round.git' },
    });
    const seen = remote.requests.length;
    try {
      const source = await open(served.url('old'), { access, owner: 'a/renamed' });
      const commit = await source.resolve({ branch: 'main' }, { signal });
      expect(commit.sha).toBe(sha);
      expect(await filesOf(source, commit.tree)).toEqual(['a.yaml']);
      await source.close();
      for (const name of ['far', 'page', 'round']) {
        const other = await open(served.url(name), { access, owner: `a/${name}` });
        await expect(other.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
          reason: 'NotARepository',
          message: expect.stringMatching(/redirects to http:\/\/127\.0\.0\.1:\d+\/.*, which is not followed$/),
        });
        await other.close();
      }
      // Nothing was sent there, and so no token.
      expect(remote.requests).toHaveLength(seen);
    } finally {
      await served.stop();
    }
  });

  it('is asked for with the credentials of its address, which nothing shows', async () => {
    const address = new URL(remote.url('refs'));
    address.username = 'midship';
    address.password = token;
    const source = await open(address.href, { owner: 'a/inline' });
    expect(source.url).toBe(remote.url('refs'));
    expect((await source.resolve({ branch: 'main' }, { signal })).sha).toBe(await repository.git('rev-parse', 'HEAD'));
    await source.close();
    address.password = 'a-wrong-one';
    const refused = await open(address.href, { owner: 'a/refused' });
    const err = await refused.resolve({ branch: 'main' }, { signal }).catch((cause: unknown) => cause);
    expect(err).toMatchObject({ reason: 'AuthenticationFailed' });
    expect(inspect(err, { depth: 9 })).not.toContain('a-wrong-one');
    // Those of a Secret count for more.
    const both = await open(address.href, { access, owner: 'a/both' });
    expect((await both.resolve({ branch: 'main' }, { signal })).sha).toMatch(/^[0-9a-f]{40}$/);
    const secretless = await open('ssh://git:hidden@127.0.0.1:1/x.git', { access: { ssh: { identity: 'x', knownHosts: 'y' } } });
    expect(secretless.url).toBe('ssh://git@127.0.0.1:1/x.git');
    for (const each of [refused, both, secretless]) await each.close();
  });

  it('is fetched without its history, which is looked at only to tell a rewritten branch from one that went on', async () => {
    const source = await open(remote.url('refs'), { access, owner: 'a/history' });
    const first = await source.resolve({ branch: 'main' }, { signal });
    await repository.commit('four', { 'a.yaml': 'four' });
    await repository.commit('five', { 'a.yaml': 'five' });
    const second = await source.resolve({ branch: 'main' }, { signal });
    expect(await source.compareHistory?.(first.sha, second, { signal })).toBe('continued');
    await repository.git('reset', '--quiet', '--hard', 'HEAD~3');
    await repository.commit('other', { 'a.yaml': 'other' });
    const third = await source.resolve({ branch: 'main' }, { signal });
    expect(await source.compareHistory?.(second.sha, third, { signal })).toBe('rewritten');
    await source.close();
  });

  it('does not fill the disk: what is long past is collected, what is newer stays, and nothing stays of what is forgotten', async () => {
    const cache = await temporaryDirectory('collected');
    const url = remote.url('refs');
    const system = createSystemGit({ access, url, temporaryDirectory: await temporaryDirectory('collecting') });
    const source = await openRemoteSource({
      url,
      transport: {
        listRefs: (prefix, until) => listRefs({ url, access, prefix, signal: until }),
        fetch: (request, until) => system.fetch({ ...request, url }, until),
      },
      cacheDirectory: cache,
      keptCommits: 4,
    });
    const shas: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      shas.push(await repository.commit(`round ${round}`, { 'a.yaml': `round ${round}` }));
      await source.resolve({ branch: 'main' }, { signal, inForce: shas[1] });
    }
    const [name = ''] = await readdir(cache);
    const has = (sha = ''): Promise<boolean> =>
      repository.git('--git-dir', join(cache, name), 'cat-file', '-e', sha).then(
        () => true,
        () => false,
      );
    expect([await has(shas[0]), await has(shas[1]), await has(shas.at(-4)), await has(shas.at(-1))]).toEqual([false, true, true, true]);
    await source.close();
    await source.forget?.();
    expect(await readdir(cache)).toEqual([]);
  });

  it.each(['', '\0'.repeat(60), 'half'])('is fetched again, and its copy thrown away, when the copy is damaged (%j)', async (content) => {
    const directory = await temporaryDirectory('damaged');
    const openOne = (): Promise<GitSource> =>
      createSourceOpener({ builtInUrl: () => 'http://nowhere/git/', builtIn: new Map(), cacheDirectory: directory }).open(
        remote.url('refs'),
        { access },
      );
    const first = await openOne();
    const { sha, tree } = await first.resolve({ branch: 'main' }, { signal });
    await first.close();
    const damage = async (fits: (path: string) => boolean): Promise<void> => {
      const files = (await readdir(directory, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .filter(fits);
      expect(files.length).toBeGreaterThan(0);
      for (const file of files) {
        await chmod(file, 0o600);
        await writeFile(file, content);
      }
    };

    // The objects: found out by the next look, or by whoever reads a tree.
    await damage((path) => path.includes('/objects/'));
    const second = await openOne();
    expect((await second.resolve({ branch: 'main' }, { signal })).sha).toBe(sha);
    expect(await filesOf(second, tree)).toEqual(['a.yaml']);
    await damage((path) => path.includes('/objects/'));
    await expect(second.readTree(tree)).rejects.toThrow('cannot be read');
    await second.resolve({ branch: 'main' }, { signal });
    expect(await filesOf(second, tree)).toEqual(['a.yaml']);
    await second.close();

    // These files make the directory a repository.
    await damage((path) => /\/(HEAD|config)$/.test(path));
    const third = await openOne();
    expect((await third.resolve({ branch: 'main' }, { signal })).sha).toBe(sha);
    await third.close();
  });

  it('is not read by another owner who has no credentials', async () => {
    const sha = await repository.git('rev-parse', 'HEAD');
    const owner = await open(remote.url('refs'), { access, owner: 'a/a' });
    await owner.resolve({ branch: 'main' }, { signal });
    const stranger = await open(remote.url('refs'), { owner: 'b/b' });
    await expect(stranger.resolve({ commit: sha }, { signal })).rejects.toMatchObject({ reason: 'AuthenticationFailed' });
    await owner.close();
    await stranger.close();
  });
});

describe('an https remote', () => {
  let pki: Pki;
  let repository: WorkTree;
  let remote: ServedRemote;
  let proxy: ServedProxy;
  let clientCertificate: { readonly certificate: string; readonly key: string };
  beforeAll(async () => {
    pki = await openPki({ directory: await temporaryDirectory('pki'), clock: systemClock });
    const server = await pki.serverCertificate({ name: 'git', commonName: 'git', hosts: ['127.0.0.1'] });
    clientCertificate = await pki.clientCertificate({ name: 'reader', commonName: 'reader', organizations: [] });
    repository = await newRepository('tls', { 'a.yaml': 'one' });
    proxy = await serveProxy('open-sesame');
    remote = await serveRemote({
      repositories: { site: join(repository.directory, '.git') },
      token,
      tls: { cert: server.certificate, key: server.key, ca: pki.caCertificate },
    });
  });
  afterAll(async () => {
    await remote.stop();
    await proxy.stop();
  });

  it('is trusted by its authority, and shown a client certificate and a bearer token', async () => {
    const options = { access: { bearerToken: token, ca: pki.caCertificate, clientCertificate } };
    for (const recurseSubmodules of [false, true]) {
      const source = await open(remote.url('site'), { ...options, recurseSubmodules, owner: String(recurseSubmodules) });
      const commit = await source.resolve({ branch: 'main' }, { signal });
      expect(await filesOf(source, commit.tree)).toEqual(['a.yaml']);
      await source.close();
    }
  });

  it('is not talked to when its certificate is not known, or it does not know ours', async () => {
    for (const recurseSubmodules of [false, true]) {
      const unknown = await open(remote.url('site'), { access: { ...access, clientCertificate }, recurseSubmodules, owner: 'x' });
      await expect(unknown.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'Unreachable' });
      const refused = await open(remote.url('site'), { access: { ...access, ca: pki.caCertificate }, recurseSubmodules, owner: 'y' });
      await expect(refused.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'Unreachable' });
    }
  });

  it('is reached through a proxy, which sees no more than its address', async () => {
    const through = { address: proxy.address, username: 'midship', password: 'open-sesame' };
    for (const recurseSubmodules of [false, true]) {
      const options = { access: { ...access, ca: pki.caCertificate, clientCertificate, proxy: through }, recurseSubmodules };
      const before = proxy.requests.length;
      const source = await open(remote.url('site'), { ...options, owner: `proxy ${recurseSubmodules}` });
      await source.resolve({ branch: 'main' }, { signal });
      const seen = new Set(proxy.requests.slice(before));
      expect([...seen]).toEqual([`CONNECT ${new URL(remote.url('site')).host}`]);
      await source.close();
    }
    const plain = await serveRemote({ repositories: { site: join(repository.directory, '.git') }, token });
    const source = await open(plain.url('site'), { access: { ...access, proxy: through } });
    await source.resolve({ branch: 'main' }, { signal });
    expect(proxy.requests.at(-1)).toBe(`POST ${plain.url('site')}/git-upload-pack`);
    await source.close();
    await plain.stop();
  });

  it('is not reached through a proxy that wants other credentials, and that is said', async () => {
    const through = { address: proxy.address, username: 'midship', password: 'wrong' };
    const source = await open(remote.url('site'), { access: { ...access, ca: pki.caCertificate, proxy: through } });
    await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
      reason: 'AuthenticationFailed',
      hint: expect.stringContaining('spec.proxySecretRef'),
      message: expect.not.stringContaining('wrong'),
    });
  });
});

describe('submodules', () => {
  let remote: ServedRemote;
  let parent: WorkTree;
  beforeAll(async () => {
    const inner = await newRepository('inner', { 'deep.yaml': 'deep' });
    const child = await newRepository('child', { 'child.yaml': 'child' });
    parent = await newRepository('parent', { 'top.yaml': 'top' });
    remote = await serveRemote({
      repositories: Object.fromEntries(
        Object.entries({ inner, child, parent }).map(([name, { directory }]) => [name, join(directory, '.git')]),
      ),
      token,
    });
    await link(child, 'inner', '../inner.git', inner);
    await link(parent, 'lib/child', '../child.git', child);
  });
  afterAll(() => remote.stop());

  /** The files that `git submodule add` writes, without cloning. */
  async function link(into: WorkTree, path: string, url: string, from: WorkTree): Promise<void> {
    await writeFile(join(into.directory, '.gitmodules'), `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n`);
    await mkdir(join(into.directory, path), { recursive: true });
    await into.git('update-index', '--add', '--cacheinfo', `160000,${await from.git('rev-parse', 'HEAD')},${path}`);
    await into.git('add', '.gitmodules');
    await into.git('commit', '--quiet', '-m', `link ${path}`);
  }

  it('are read like directories when they are asked for, those of submodules too, and else are not', async () => {
    const source = await open(remote.url('parent'), { access, recurseSubmodules: true, owner: 'a/deep' });
    const commit = await source.resolve({ branch: 'main' }, { signal });
    expect(await filesOf(source, commit.tree)).toEqual([
      '.gitmodules',
      'lib/child/.gitmodules',
      'lib/child/child.yaml',
      'lib/child/inner/deep.yaml',
      'top.yaml',
    ]);
    await source.close();
    const shallow = await open(remote.url('parent'), { access, owner: 'a/flat' });
    const flat = await shallow.resolve({ branch: 'main' }, { signal });
    expect(await filesOf(shallow, flat.tree)).toEqual(['.gitmodules', 'lib/child@', 'top.yaml']);
    await shallow.close();
  });

  it('at addresses that would run something or read this machine are refused', async () => {
    for (const [index, url] of ['ext::sh -c "touch /tmp/x"', 'file:///etc', '/etc', '--upload-pack=x'].entries()) {
      const hostile = await newRepository('hostile', { 'a.yaml': 'a' });
      await link(hostile, 'm', url, parent);
      const served = await serveRemote({ repositories: { hostile: join(hostile.directory, '.git') }, token });
      const source = await open(served.url('hostile'), { access, recurseSubmodules: true, owner: String(index) });
      await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
        // git's own check of objects knows one of them.
        message: expect.stringMatching(/submodule m is at|object that git refuses: .*disallowed submodule url/),
      });
      await served.stop();
    }
  });

  it('on another host are asked for without the credentials of the first', async () => {
    const other = await newRepository('other', { 'a.yaml': 'a' });
    const elsewhere = await serveRemote({ repositories: { other: join(other.directory, '.git') }, token });
    const home = await newRepository('home', { 'b.yaml': 'b' });
    await link(home, 'm', elsewhere.url('other'), other);
    const served = await serveRemote({ repositories: { home: join(home.directory, '.git') }, token });
    const source = await open(served.url('home'), { access, recurseSubmodules: true });
    await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'AuthenticationFailed' });
    await elsewhere.stop();
    await served.stop();
  });
});

describe.skipIf(!hasSshd)('an ssh remote (needs openssh-server)', () => {
  let server: ServedSsh;
  let repository: WorkTree;
  beforeAll(async () => {
    server = await serveSsh();
    repository = await newRepository('ssh', { 'a.yaml': 'one' });
    await repository.git('tag', 'v1.0.0');
  });
  afterAll(() => server.stop());

  it('is followed with the key and the host that the Secret names, and leaves no key behind', async () => {
    const { identity, knownHosts } = server;
    const source = await open(server.url(repository.directory), { access: { ssh: { identity, knownHosts } } });
    const before = await source.resolve({ branch: 'main' }, { signal });
    expect(await filesOf(source, before.tree)).toEqual(['a.yaml']);
    const sha = await repository.commit('two', { 'b.yaml': 'two' });
    const after = await source.resolve({ branch: 'main' }, { signal });
    expect(after.sha).toBe(sha);
    expect(await source.compareHistory?.(before.sha, after, { signal })).toBe('continued');
    expect((await source.resolve({ semver: '*' }, { signal })).sha).toBe(before.sha);
    expect((await readdir(cacheDirectory)).filter((name) => name.startsWith('access-'))).toEqual([]);
    await source.close();
  });

  it('is not talked to when its host key is another than the one known', async () => {
    const other = await serveSsh();
    const knownHosts = other.knownHosts.replace(/:\d+\]/, `:${new URL(server.url('/')).port}]`);
    const source = await open(server.url(repository.directory), { access: { ssh: { identity: server.identity, knownHosts } } });
    await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
      reason: 'AuthenticationFailed',
      message: expect.stringContaining('host key'),
    });
    await other.stop();
  });

  it('refuses a key it does not know; no Secret is an error that says what it needs', async () => {
    const away = await open('ssh://git@127.0.0.1:1/x.git', {
      access: { ssh: { identity: server.identity, knownHosts: server.knownHosts } },
    });
    await expect(away.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
      message: expect.stringMatching(/cannot be reached: ssh: connect to host 127\.0\.0\.1 port 1: Connection refused$/),
    });
    await away.close();
    const stranger = { ssh: { identity: server.strangerIdentity, knownHosts: server.knownHosts } };
    const source = await open(server.url(repository.directory), { access: stranger });
    await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'AuthenticationFailed' });
    await expect(open(server.url(repository.directory))).rejects.toMatchObject({ hint: expect.stringContaining('known_hosts') });
    const missing = await open(server.url('/nonexistent'), {
      access: { ssh: { identity: server.identity, knownHosts: server.knownHosts } },
    });
    await expect(missing.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'NotARepository' });
  });

  it('gets a command that a shell reads as one word for each option, whatever the path', () => {
    const command = sshCommand({ identity: `/a b/'$(touch x)'%h`, knownHosts: '/k' });
    expect(command).toContain(`'IdentityFile="/a b/'\\''$(touch x)'\\''%%h"'`);
    expect(command).toContain(' -o StrictHostKeyChecking=yes ');
  });
});
