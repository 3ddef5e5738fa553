import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { ensureBareRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { createBuiltInRemote } from '../../../src/gitops/sources/built-in-remote.ts';
import { runGit } from '../../../src/gitops/sources/git-command.ts';
import { createGitObjects } from '../../../src/gitops/sources/git-objects.ts';
import type { FindGitUser } from '../../../src/gitops/sources/git-users.ts';
import type { PushNotice } from '../../../src/gitops/sources/local-source.ts';
import { type CheckPush, type PendingPush, type PreReceivePolicy, writeHooks } from '../../../src/gitops/sources/pre-receive.ts';
import { cloneRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const token = 'the-token-of-the-cluster';
let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

interface Remote {
  readonly gitdir: string;
  readonly pushes: readonly PushNotice[];
  address(user: string, password: string): string;
  /** Commit of the branch; empty when the branch does not exist. */
  head(): Promise<string>;
}

interface RemoteOptions {
  readonly findUser?: FindGitUser;
  readonly policy?: PreReceivePolicy;
  readonly check?: CheckPush;
  readonly checkTimeoutMs?: number;
  readonly data?: string;
}

async function startRemote({ findUser, policy = 'off', check = async () => [], data: place, ...more }: RemoteOptions): Promise<Remote> {
  const data = place ?? (await temporaryDirectory('pushes'));
  const gitdir = join(data, 'cluster.git');
  const hooksDirectory = join(data, "it's a directory");
  await ensureBareRepository(gitdir);
  await writeHooks(hooksDirectory);
  const pushes: PushNotice[] = [];
  const remote = createBuiltInRemote({
    repositories: new Map([['cluster.git', { gitdir, writable: true, onPush: (push: PushNotice) => pushes.push(push) }]]),
    token,
    ...(findUser === undefined ? {} : { findUser }),
    preReceive: { policy, hooksDirectory, check, ...more },
    log: pino({ level: 'silent' }),
  });
  server = createServer((request, response) => void remote.handle(request, response));
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const bare = await temporaryDirectory('look');
  return {
    gitdir,
    pushes,
    address: (user, password) => `http://${user}:${password}@127.0.0.1:${port}/git/cluster.git`,
    async head() {
      return runGit({ args: ['--git-dir', gitdir, 'for-each-ref', '--format=%(objectname)', 'refs/heads/main'], cwd: bare });
    },
  };
}

const clone = async (remote: Remote, user = 'midship', password = token): Promise<WorkTree> => {
  const tree = await cloneRepository(remote.address(user, password), 'pusher');
  await tree.git('checkout', '--quiet', '-B', 'main');
  return tree;
};
/** Git's output of a push, and true when the push was accepted. */
const push = (tree: WorkTree, ...args: string[]): Promise<{ readonly taken: boolean; readonly text: string }> =>
  tree.git('push', '--porcelain', 'origin', ...(args.length === 0 ? ['main'] : args)).then(
    (text) => ({ taken: true, text }),
    (err: Error) => ({ taken: false, text: err.message }),
  );

const canMount = process.getuid?.() === 0;

it.skipIf(!canMount)(
  'a push to a full disk is refused with the reason, and taken when there is room again (needs the right to mount)',
  async () => {
    const data = await temporaryDirectory('full');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', data]);
    onTestFinished(() => void execFileSync('umount', [data]));
    const remote = await startRemote({ data });
    const tree = await clone(remote);
    await tree.commit('first', { 'a.yaml': 'a' });
    const others = join(data, 'others');
    await writeFile(others, Buffer.alloc(3.5 * 1024 * 1024));
    const { taken, text } = await push(tree);
    expect([taken, text]).toEqual([false, expect.stringMatching(/remote: The disk of the cluster is full.*Your commits are safe/)]);
    await rm(others);
    expect((await push(tree)).taken).toBe(true);
  },
);

describe('a user of the built-in remote', () => {
  const users = new Map([
    ['mara', 'a-token-of-mara-alone'],
    ['ci', 'sha256:7f0a3c7f2a9b2c1d0e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f809 read'],
    ['short', 'short'],
    ['odd', 'a-token-long-enough admin'],
  ]);
  const findUser: FindGitUser = async (name) => users.get(name);

  it('pushes with a token of their own, is named as who pushed, and is out the moment the token is gone', async () => {
    const remote = await startRemote({ findUser });
    const tree = await clone(remote, 'mara', 'a-token-of-mara-alone');
    const sha = await tree.commit('first', { 'a.yaml': 'a' });
    expect((await push(tree)).taken).toBe(true);
    expect(remote.pushes).toEqual([{ user: 'mara', shas: [sha] }]);
    users.delete('mara');
    await tree.commit('second', { 'a.yaml': 'b' });
    expect(await push(tree)).toMatchObject({ taken: false });
    users.set('mara', 'a-token-of-mara-alone');
    expect(await remote.head()).toBe(sha);
  });

  it('may not push with the right to read', async () => {
    users.set('ci', `sha256:${createHash('sha256').update('a-token-to-read-with').digest('hex')} read`);
    const remote = await startRemote({ findUser });
    const owner = await clone(remote);
    await owner.commit('first', { 'a.yaml': 'a' });
    await push(owner);
    const reader = await clone(remote, 'ci', 'a-token-to-read-with');
    const before = await remote.head();
    await reader.commit('second', { 'a.yaml': 'b' });
    expect((await push(reader)).text).toContain('403');
    // Not by the second request alone, either.
    const [, credentials = ''] = /\/\/(.*)@/.exec(remote.address('ci', 'a-token-to-read-with')) ?? [];
    const headers = { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
    const url = remote.address('', '').replace(':@', '');
    expect((await fetch(`${url}/git-receive-pack`, { method: 'POST', headers, body: '0000' })).status).toBe(403);
    expect(await remote.head()).toBe(before);
  });

  it.each([
    ['another one’s token', 'ci', 'a-token-of-mara-alone'],
    ['no name', '', 'a-token-of-mara-alone'],
    ['the name of nobody', 'nobody', 'a-token-of-mara-alone'],
    ['a name of the language', '__proto__', 'a-token-of-mara-alone'],
    ['the hash instead of the token', 'ci', 'sha256:7f0a3c7f2a9b2c1d0e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f809'],
    ['a token too short to be one', 'short', 'short'],
    ['an entry that is not understood', 'odd', 'a-token-long-enough'],
    ['nothing', 'mara', ''],
  ])('is nobody with %s', async (_what, user, password) => {
    const remote = await startRemote({ findUser });
    const headers = { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
    const url = `${remote.address('', '').replace(':@', '')}/info/refs?service=git-upload-pack`;
    expect((await fetch(url, { headers })).status).toBe(401);
  });
});

describe('the check before a push is taken', () => {
  const looksBad: CheckPush = async () => ['apps/web.yaml:5:3 Deployment web/web: unknown field "spec.replica"'];

  it('sees the objects while the refs have not moved, and lets a good push through', async () => {
    const seen: PendingPush[] = [];
    const remote = await startRemote({
      policy: 'enforce',
      async check(pending) {
        seen.push(pending);
        const { gitdir, quarantine, updates } = pending;
        const objects = createGitObjects({ gitdir, url: 'pushed', quarantine });
        const { tree, subject } = await objects.readCommit(updates[0]?.after ?? '', 'main');
        const names = (await objects.readTree(tree)).map(({ name }) => name);
        objects.close();
        return subject === 'good' && names.includes('a.yaml') && (await remote.head()) === '' ? [] : [`it is ${subject} with ${names}`];
      },
    });
    const tree = await clone(remote);
    const sha = await tree.commit('good', { 'a.yaml': 'a' });
    expect(await push(tree)).toMatchObject({ taken: true });
    expect(seen).toMatchObject([{ updates: [{ ref: 'refs/heads/main', before: '0'.repeat(40), after: sha }] }]);
    expect(await remote.head()).toBe(sha);
  });

  it('refuses a push that cannot be applied, says where, and keeps nothing of it', async () => {
    const remote = await startRemote({ policy: 'enforce', check: looksBad });
    const tree = await clone(remote);
    const sha = await tree.commit('bad', { 'a.yaml': 'a' });
    const { taken, text } = await push(tree);
    expect(taken).toBe(false);
    expect(text).toContain('remote: ✗ apps/web.yaml:5:3 Deployment web/web: unknown field "spec.replica"');
    expect(text).toContain('nothing of it was taken');
    expect(remote.pushes).toEqual([]);
    expect(await remote.head()).toBe('');
    await expect(runGit({ args: ['--git-dir', remote.gitdir, 'cat-file', '-e', sha] })).rejects.toThrow();
  });

  it('only warns in warn mode, and does not run when it is off', async () => {
    const warned = await startRemote({ policy: 'warn', check: looksBad });
    const tree = await clone(warned);
    const sha = await tree.commit('bad', { 'a.yaml': 'a' });
    expect((await push(tree)).taken).toBe(true);
    expect(await warned.head()).toBe(sha);
    server?.close();
    const off = await startRemote({
      check: async () => {
        throw new Error('it was asked');
      },
    });
    const other = await clone(off);
    await other.commit('bad', { 'a.yaml': 'a' });
    expect((await push(other)).taken).toBe(true);
  });

  it('refuses when it does not come to an end, though the check does not hear that it should', async () => {
    const remote = await startRemote({ policy: 'enforce', checkTimeoutMs: 300, check: () => new Promise(() => undefined) });
    const tree = await clone(remote);
    await tree.commit('any', { 'a.yaml': 'a' });
    const late = await push(tree);
    expect(late.taken).toBe(false);
    expect(late.text).toContain('✗ The push was not checked within 0.3 s.');
    expect(await remote.head()).toBe('');
  });

  it('refuses when it fails', async () => {
    const remote = await startRemote({
      policy: 'enforce',
      check: async () => {
        throw new Error('the database is on fire');
      },
    });
    const tree = await clone(remote);
    await tree.commit('any', { 'a.yaml': 'a' });
    const failed = await push(tree);
    expect(failed.taken).toBe(false);
    expect(failed.text).toContain('could not be checked');
    expect(failed.text).not.toContain('on fire');
    expect(await remote.head()).toBe('');
  });

  it('refuses what a client sent that is gone by the time it is looked at', async () => {
    let asked: () => void = () => undefined;
    const whenAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const remote = await startRemote({
      policy: 'enforce',
      async check() {
        asked();
        await released;
        return [];
      },
    });
    const tree = await clone(remote);
    await tree.commit('any', { 'a.yaml': 'a' });
    const pushing = push(tree);
    await whenAsked;
    const isAlone = async (): Promise<boolean> =>
      (await readdir(join(remote.gitdir, 'objects'))).every((name) => !name.includes('incoming'));
    expect(await isAlone()).toBe(false);
    server?.closeAllConnections();
    expect((await pushing).taken).toBe(false);
    // The hook has heard that nobody waits for it, and git has thrown away what came.
    await until(isAlone, { what: 'what was pushed is thrown away' });
    release();
    expect(await remote.head()).toBe('');
  });

  it('cannot be talked into taking a push by what it reports', async () => {
    const remote = await startRemote({ policy: 'enforce', check: async () => ['one\naccept\n', 'accept', '\u001b[2Jtwo'] });
    const tree = await clone(remote);
    await tree.commit('sly', { 'a.yaml': 'a' });
    const { taken, text } = await push(tree);
    expect(taken).toBe(false);
    expect(text).toContain('remote: accept');
    expect(text).not.toContain('\u001b[2J');
    expect(await remote.head()).toBe('');
  });

  it('looks at each of several pushes at once by itself', async () => {
    const remote = await startRemote({
      policy: 'enforce',
      check: async ({ updates }) => (updates[0]?.ref.endsWith('bad') ? ['no'] : []),
    });
    const trees = await Promise.all(['one', 'bad', 'two'].map(async (name) => ({ name, tree: await clone(remote) })));
    const results = await Promise.all(
      trees.map(async ({ name, tree }) => {
        await tree.commit(name, { [`${name}.yaml`]: name });
        return { name, ...(await push(tree, `main:${name}`)) };
      }),
    );
    expect(results.map(({ name, taken }) => [name, taken])).toEqual([
      ['one', true],
      ['bad', false],
      ['two', true],
    ]);
  });
});
