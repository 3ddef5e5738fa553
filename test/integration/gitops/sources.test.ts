import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ensureBareRepository, isEmptyRepository, seedRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { createBuiltInRemote } from '../../../src/gitops/sources/built-in-remote.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { createSourceOpener, type SourceOpener } from '../../../src/gitops/sources/open-source.ts';
import type { RemoteAccess } from '../../../src/gitops/sources/remote-access.ts';
import { cloneRepository, newRepository, temporaryDirectory } from '../../support/git.ts';

const signal = AbortSignal.timeout(60_000);
const token = 'correct-horse';
const openHttp = (url: string, cacheDirectory: string, access: RemoteAccess = {}) =>
  createSourceOpener({ builtInUrl: () => 'http://nowhere/git/', builtIn: new Map(), cacheDirectory }).open(url, { access });

describe('the built-in remote', () => {
  let server: Server;
  let base: string;
  let opener: SourceOpener;
  let gitdir: string;
  const address = (user: string): string => `${base.replace('://', `://midship:${user}@`)}cluster.git`;

  beforeAll(async () => {
    const data = await temporaryDirectory('remote');
    gitdir = join(data, 'cluster.git');
    await ensureBareRepository(gitdir);
    expect(await isEmptyRepository(gitdir)).toBe(true);
    const seed = await newRepository('seed', { 'apps/web.yaml': 'kind: A\n' });
    await seedRepository({ gitdir, directory: join(seed.directory, 'apps') });
    const readOnly = await newRepository('local', { 'a.yaml': 'a' });
    opener = createSourceOpener({
      builtInUrl: () => base,
      builtIn: new Map([['cluster.git', gitdir]]),
      cacheDirectory: join(data, 'cache'),
    });
    const remote = createBuiltInRemote({
      repositories: new Map([
        ['cluster.git', { gitdir, writable: true, onPush: () => opener.notifyPush('cluster.git') }],
        ['local/site.git', { gitdir: join(readOnly.directory, '.git'), writable: false, onPush: () => undefined }],
      ]),
      token,
      log: pino({ level: 'silent' }),
    });
    server = createServer((request, response) => void remote.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/git/`;
  });
  afterAll(() => server.close());

  it('is created and filled the same way under any git configuration of the user', async () => {
    const data = await temporaryDirectory('own');
    const hooks = join(data, 'hooks');
    await mkdir(hooks);
    await writeFile(join(hooks, 'reference-transaction'), '#!/bin/sh\nexit 1\n', { mode: 0o700 });
    await writeFile(join(data, 'ignore'), '*.yaml\n');
    const config = `[core]\nhooksPath = ${hooks}\nexcludesFile = ${join(data, 'ignore')}\nautocrlf = true\n[init]\ndefaultObjectFormat = sha256\n`;
    await writeFile(join(data, 'config'), config);
    const files = await newRepository('seed', { 'web.yaml': 'kind: A\n' });
    vi.stubEnv('GIT_CONFIG_GLOBAL', join(data, 'config'));
    vi.stubEnv('GIT_DIR', join(data, 'another.git'));
    try {
      const own = join(data, 'cluster.git');
      await ensureBareRepository(own);
      await seedRepository({ gitdir: own, directory: files.directory });
      const source = await openLocalSource({ directory: own, url: own });
      const commit = await source.resolve({ branch: 'main' }, { signal });
      expect((await source.readTree(commit.tree)).map(({ name, oid }) => [name, oid.length])).toEqual([['web.yaml', 40]]);
      await source.close();
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('is cloned and pushed to by git, and announces the push', async () => {
    const source = await opener.open(`${base}cluster.git`);
    const announced = new Promise<void>((resolve) => source.onChange?.(resolve));
    const clone = await cloneRepository(address(token), 'clone');
    const sha = await clone.commit('storefront: 5 replicas\n\nbecause', { 'web.yaml': 'kind: B\n' });
    await clone.git('push', '--quiet');
    await announced;
    const commit = await source.resolve({ branch: 'main' }, { signal });
    expect(commit).toMatchObject({ sha, subject: 'storefront: 5 replicas', author: 'Mara', revision: `main@sha1:${sha}` });
    const [entry] = await source.readTree(commit.tree);
    expect(entry).toMatchObject({ name: 'web.yaml', type: 'blob' });
    expect(Buffer.from(await source.readBlob(entry?.oid ?? '', 100)).toString()).toBe('kind: B\n');
    await expect(source.readBlob(entry?.oid ?? '', 3)).rejects.toMatchObject({ reason: 'TooLarge' });
    await source.close();
  });

  it('knows the size of an object before it reads it, loose or packed, so that a small push cannot fill the memory', async () => {
    const clone = await cloneRepository(address(token), 'bomb');
    await clone.commit('a bomb', { 'zeros.yaml': '0'.repeat(64 * 1024 * 1024) });
    await clone.git('push', '--quiet');
    const source = await opener.open(`${base}cluster.git`);
    const oid = await clone.git('rev-parse', 'HEAD:zeros.yaml');
    const tooLarge = { reason: 'TooLarge', message: expect.stringContaining('67108864 bytes') };
    const before = process.memoryUsage().rss;
    await expect(source.readBlob(oid, 1024)).rejects.toMatchObject(tooLarge);
    await clone.git('--git-dir', gitdir, 'gc', '--quiet');
    await expect(source.readBlob(oid, 1024)).rejects.toMatchObject(tooLarge);
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024);
    await source.close();
  });

  it('refuses a wrong token, an unknown repository and paths that try to leave it', async () => {
    await expect(cloneRepository(address('wrong'), 'refused')).rejects.toThrow(/[Aa]uthentication|terminal prompts disabled/);
    const headers = { authorization: `Basic ${Buffer.from(`midship:${token}`).toString('base64')}` };
    const status = async (path: string, init?: RequestInit): Promise<number> => (await fetch(base + path, { headers, ...init })).status;
    expect(await status('other.git/info/refs?service=git-upload-pack')).toBe(404);
    expect(await status('..%2f..%2fetc/info/refs?service=git-upload-pack')).toBe(404);
    expect(await status('cluster.git/objects/info/packs')).toBe(404);
    expect(await status('cluster.git/info/refs')).toBe(403);
    expect(await status('cluster.git/info/refs?service=git-upload-pack', { headers: {} })).toBe(401);
    expect(await status('local/site.git/info/refs?service=git-upload-pack')).toBe(200);
    expect(await status('local/site.git/git-receive-pack', { method: 'POST' })).toBe(403);
  });

  it('is a remote like any other to the HTTP driver', async () => {
    const cacheDirectory = await temporaryDirectory('cache');
    const credentials = { username: 'midship', password: token };
    const source = await openHttp(`${base}cluster.git`, cacheDirectory, credentials);
    const before = await source.resolve({ branch: 'main' }, { signal });
    const clone = await cloneRepository(address(token), 'clone2');
    const sha = await clone.commit('second', { 'more.yaml': 'kind: C\n' });
    await clone.git('tag', '-a', 'v1', '-m', 'one');
    await clone.git('push', '--quiet', '--follow-tags');
    const after = await source.resolve({ branch: 'main' }, { signal });
    expect(before.sha).not.toBe(sha);
    expect(after.sha).toBe(sha);
    expect((await source.readTree(after.tree)).map(({ name }) => name)).toContain('more.yaml');
    expect((await source.resolve({ tag: 'v1' }, { signal })).sha).toBe(sha);
    await expect(source.resolve({ branch: 'nope' }, { signal })).rejects.toMatchObject({
      reason: 'BranchNotFound',
      hint: expect.stringContaining('main'),
    });
    const stranger = await openHttp(`${base}cluster.git`, await temporaryDirectory('cache'));
    await expect(stranger.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'AuthenticationFailed' });
    const nowhere = await openHttp('http://127.0.0.1:1/x.git', cacheDirectory);
    await expect(nowhere.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({ reason: 'Unreachable' });
  });
});

describe('a local directory', () => {
  it('announces a commit without polling', async () => {
    const repository = await newRepository('dir', { 'a.yaml': 'a' });
    const source = await openLocalSource({ directory: repository.directory, url: 'local' });
    let changes = 0;
    source.onChange?.(() => {
      changes += 1;
    });
    // The watcher is ready some time after it was asked for; commits are made until it reports one.
    await expect
      .poll(
        async () => {
          await repository.commit('again', {});
          return changes;
        },
        { timeout: 10_000, interval: 200 },
      )
      .toBeGreaterThan(0);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    expect(commit.sha).toBe(await repository.git('rev-parse', 'HEAD'));
    await source.close();
  });

  it('says what to do when it is not a repository or the branch is missing', async () => {
    const directory = await temporaryDirectory('plain');
    await expect(openLocalSource({ directory, url: directory })).rejects.toMatchObject({
      reason: 'NotARepository',
      hint: expect.stringContaining('git'),
    });
    await expect(openLocalSource({ directory: join(directory, 'gone'), url: directory })).rejects.toMatchObject({
      reason: 'NotARepository',
    });
    const repository = await newRepository('dir', { 'a.yaml': 'a' });
    const source = await openLocalSource({ directory: repository.directory, url: 'local' });
    await expect(source.resolve({ branch: 'nope' }, { signal })).rejects.toMatchObject({
      reason: 'BranchNotFound',
      hint: expect.stringContaining('main'),
    });
    await source.close();
  });
});
