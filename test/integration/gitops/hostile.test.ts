import { execFile, spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { readDocuments } from '../../../src/gitops/manifests/documents.ts';
import type { BuildError } from '../../../src/gitops/manifests/manifest.ts';
import { createBuilder } from '../../../src/gitops/render/builder.ts';
import type { GitSource, SourceError } from '../../../src/gitops/sources/git-source.ts';
import { createGitThread, type GitThread } from '../../../src/gitops/sources/git-thread.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { createSourceOpener } from '../../../src/gitops/sources/open-source.ts';
import { cloneRepository, newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { type ServedRemote, serveRemote } from '../../support/git-remote.ts';
import { type HostileGit, serveHostileGit } from '../../support/hostile-git.ts';

/** One for each test, so that none uses up the time of another. */
let signal: AbortSignal;
beforeEach(() => {
  signal = AbortSignal.timeout(55_000);
});
const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\n`;
const overlay = (...resources: readonly string[]): string =>
  `apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n${resources.map((each) => `- ${each}\n`).join('')}`;

/** Writes an object of any content, which git's own commands would not write, and gives its id. */
function writeObject({ directory }: WorkTree, type: string, content: Iterable<Buffer>): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('git', ['hash-object', '-w', '--literally', '--stdin', '-t', type], {
      cwd: directory,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let oid = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (oid += text));
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(oid.trim()) : reject(new Error(`git hash-object ended with ${code}`))));
    for (const part of content) child.stdin.write(part);
    child.stdin.end();
  });
}

const treeEntry = (mode: string, name: string | Buffer, oid: string): Buffer =>
  Buffer.concat([Buffer.from(`${mode} `), Buffer.from(name), Buffer.from([0]), Buffer.from(oid, 'hex')]);

/** A commit of a tree that is given, on the branch. */
async function commitTree(repository: WorkTree, tree: string): Promise<void> {
  const commit = await repository.git('commit-tree', tree, '-m', 'hostile');
  await repository.git('update-ref', 'refs/heads/main', commit);
}

async function errorsOf(source: GitSource, path = ''): Promise<readonly BuildError[]> {
  const commit = await source.resolve({ branch: 'main' }, { signal });
  const { errors } = await createBuilder().build({ source, commit, path, signal });
  return errors;
}

async function errorsIn(files: Readonly<Record<string, string>>, path = ''): Promise<readonly BuildError[]> {
  const repository = await newRepository('hostile', files);
  const source = await openLocalSource({ directory: repository.directory, url: 'hostile' });
  try {
    return await errorsOf(source, path);
  } finally {
    await source.close();
  }
}

describe('a hostile repository', () => {
  it('with names that climb out, or are not UTF-8, is refused by name, and nothing is read for them', async () => {
    const repository = await newRepository('names', { 'a.yaml': configMap('a') });
    const blob = await repository.git('rev-parse', 'HEAD:a.yaml');
    const inner = await writeObject(repository, 'tree', [treeEntry('100644', 'passwd.yaml', blob)]);
    const tree = await writeObject(repository, 'tree', [
      treeEntry('40000', '../../etc', inner),
      treeEntry('100644', '../../etc/x.yaml', blob),
      treeEntry('100644', Buffer.from('caf\xe9.yaml', 'latin1'), blob),
      treeEntry('40000', Buffer.from('d\xe9', 'latin1'), inner),
      treeEntry('100644', 'good.yaml', blob),
    ]);
    await commitTree(repository, tree);
    const source = await openLocalSource({ directory: repository.directory, url: 'names' });
    const texts = (await errorsOf(source)).map(({ file, message }) => `${file} ${message}`);
    expect(texts).toEqual(['caf\\xe9.yaml has a name that is not UTF-8', 'd\\xe9 has a name that is not UTF-8']);
    await commitTree(repository, await writeObject(repository, 'tree', [treeEntry('100644', 'a/../../x.yaml', blob)]));
    expect(await errorsOf(source)).toMatchObject([{ file: 'a/../../x.yaml', message: 'has a name that no file can have' }]);
    await source.close();
  });

  it('with links out of the tree is refused by name, from a directory and from a kustomization', async () => {
    const repository = await newRepository('links', { 'plain/a.yaml': configMap('a'), 'base/kustomization.yaml': overlay('link.yaml') });
    const target = await writeObject(repository, 'blob', [Buffer.from('/etc/passwd')]);
    await repository.git('update-index', '--add', '--cacheinfo', `120000,${target},plain/link.yaml`);
    await repository.git('update-index', '--add', '--cacheinfo', `120000,${target},base/link.yaml`);
    await repository.git('commit', '--quiet', '-m', 'links');
    const source = await openLocalSource({ directory: repository.directory, url: 'links' });
    expect(await errorsOf(source, 'plain')).toMatchObject([{ file: 'plain/link.yaml', message: expect.stringContaining('symbolic link') }]);
    const [error] = await errorsOf(source, 'base');
    expect(`${error?.file} ${error?.message}`).toMatch(/link\.yaml/);
    await source.close();
  });

  it('with bases outside of it, or in a circle, is refused by name', async () => {
    const outside = await errorsIn({ 'app/kustomization.yaml': overlay('../../../../etc') }, 'app');
    expect(outside).toMatchObject([{ file: 'app/kustomization.yaml', line: 4 }]);
    const circle = await errorsIn({ 'a/kustomization.yaml': overlay('../b'), 'b/kustomization.yaml': overlay('../a') }, 'a');
    expect(circle).toHaveLength(1);
    expect(`${circle[0]?.file} ${circle[0]?.message}`).toMatch(/[ab]\/kustomization\.yaml .*(cycle|circle)/);
    const remote = await errorsIn({ 'app/kustomization.yaml': overlay('https://example.com/base.git') }, 'app');
    expect(remote).toMatchObject([{ file: 'app/kustomization.yaml', line: 4 }]);
  });

  it('with YAML that unfolds without end is refused by file and line', async () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) => `k${level}: &k${level} [${level === 0 ? '"x"' : `${`*k${level - 1}, `.repeat(12)}"x"`}]`,
    );
    const before = process.memoryUsage().heapUsed;
    const errors = await errorsIn({
      'aliases.yaml': `${configMap('a')}${levels.join('\n')}\n`,
      'deep.yaml': `${'['.repeat(100_000)}${']'.repeat(100_000)}\n`,
      'binary.yaml': '\u0000\u0001',
      'prototype.yaml': `${configMap('p')}__proto__: {polluted: true}\n`,
    });
    expect(errors.map(({ file }) => file)).toEqual(expect.arrayContaining(['aliases.yaml', 'deep.yaml', 'binary.yaml']));
    expect(errors.find(({ file }) => file === 'aliases.yaml')).toMatchObject({
      line: expect.any(Number),
      message: expect.stringMatching(/alias/),
    });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(200 * 1024 * 1024);
    expect({}).not.toHaveProperty('polluted');
  });

  it('with more files than are read is refused before any of them is', async () => {
    const repository = await newRepository('many', { 'a.yaml': configMap('a') });
    const blob = await repository.git('rev-parse', 'HEAD:a.yaml');
    const entries = Array.from({ length: 100_001 }, (_, index) => treeEntry('100644', `f${String(index).padStart(6, '0')}.yaml`, blob));
    await commitTree(repository, await writeObject(repository, 'tree', entries));
    const local = await openLocalSource({ directory: repository.directory, url: 'many' });
    let files = 0;
    const source: GitSource = {
      ...local,
      readDocuments(oid) {
        files += 1;
        return local.readDocuments(oid);
      },
    };
    expect(await errorsOf(source)).toMatchObject([{ message: 'holds more than 100000 manifests', hint: 'Split it into several apps.' }]);
    expect(files).toBe(0);
    await local.close();
  });

  it('is refused when its directories contain themselves, as far as they can', async () => {
    const repository = await newRepository('nested', { 'a.yaml': configMap('a') });
    let tree = await repository.git('rev-parse', 'HEAD^{tree}');
    for (let depth = 0; depth < 70; depth += 1) tree = await writeObject(repository, 'tree', [treeEntry('40000', 'd', tree)]);
    await commitTree(repository, tree);
    const source = await openLocalSource({ directory: repository.directory, url: 'nested' });
    expect(await errorsOf(source)).toMatchObject([
      { file: expect.stringMatching(/^d(\/d)+$/), message: expect.stringContaining('nested more than') },
    ]);
    await source.close();
  });
});

describe('a remote that sends too much', () => {
  let remote: ServedRemote;
  let repository: WorkTree;
  beforeAll(async () => {
    repository = await newRepository('bomb', { 'app/a.yaml': configMap('a') });
    // Some kilobytes on the wire.
    const block = Buffer.alloc(1024 * 1024, '0');
    const blob = await writeObject(
      repository,
      'blob',
      Array.from({ length: 200 }, () => block),
    );
    for (const path of ['app/zeros.yaml', 'elsewhere/zeros.bin'])
      await repository.git('update-index', '--add', '--cacheinfo', `100644,${blob},${path}`);
    await repository.git('commit', '--quiet', '-m', 'zeros');
    remote = await serveRemote({ repositories: { bomb: join(repository.directory, '.git') }, token: 'correct-horse' });
  });
  afterAll(() => remote.stop());

  it('takes disk and not memory, and the file that is too large is named', async () => {
    const opener = createSourceOpener({
      builtInUrl: () => 'http://nowhere/',
      builtIn: new Map(),
      cacheDirectory: await temporaryDirectory('cache'),
    });
    const source = await opener.open(remote.url('bomb'), { access: { username: 'midship', password: 'correct-horse' } });
    const before = process.memoryUsage().rss;
    const errors = await errorsOf(source, 'app');
    expect(errors).toMatchObject([{ file: 'app/zeros.yaml', message: expect.stringContaining('209715200 bytes, more than') }]);
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    await source.close();
  });
});

it('names the message of a commit that is too long', async () => {
  const repository = await newRepository('hostile', { 'a.yaml': configMap('a') });
  const tree = await repository.git('rev-parse', 'HEAD^{tree}');
  const head = `tree ${tree}\nauthor t <t@t> 1 +0000\ncommitter t <t@t> 1 +0000\n\n`;
  const oid = await writeObject(repository, 'commit', [Buffer.from(head), Buffer.alloc(1_048_576, 'm')]);
  await repository.git('update-ref', 'refs/heads/main', oid);
  const source = await openLocalSource({ directory: repository.directory, url: 'hostile' });
  await expect(errorsOf(source)).rejects.toMatchObject({ reason: 'TooLarge', hint: 'Shorten the message of the commit or tag.' });
  await source.close();
});

it('says how a clone brings back an object that a repository lost', async () => {
  const repository = await newRepository('lost', { 'a.yaml': configMap('a') });
  const clone = await cloneRepository(repository.directory, 'intact');
  const blob = await repository.git('rev-parse', 'HEAD:a.yaml');
  await rm(join(repository.directory, '.git/objects', blob.slice(0, 2), blob.slice(2)));
  const source = await openLocalSource({ directory: repository.directory, url: 'lost' });
  const err = await errorsOf(source).catch((reason: unknown) => reason);
  expect(err).toMatchObject({ reason: 'CorruptObject', hint: expect.stringMatching(/^In a clone that has it: git pack-objects/) });
  const command = (err as SourceError).hint?.replace(/^.*?: /, '').replace('REPOSITORY', repository.directory) ?? '';
  await promisify(execFile)('sh', ['-c', command], { cwd: clone.directory });
  expect(await errorsOf(source)).toEqual([]);
  await source.close();
});

describe('a server that answers with', () => {
  let server: HostileGit;
  beforeAll(async () => {
    server = await serveHostileGit();
  });
  afterAll(() => server.stop());

  it.each([
    ['deltas that stand for gigabytes', 'TooLarge', /takes more memory than a fetch may/],
    ['a line of progress without end', 'TooLarge', /takes more memory than a fetch may/],
    ['a delta of nothing', 'Unreachable', /cannot be reached: pack has 1 unresolved delta$/],
    ['more objects than it sends', 'Unreachable', /cannot be reached: \w/],
  ] as const)('%s is reported and costs no memory', async (hostility, reason, message) => {
    const opener = createSourceOpener({
      builtInUrl: () => 'http://nowhere/',
      builtIn: new Map(),
      cacheDirectory: await temporaryDirectory('cache'),
    });
    const source = await opener.open(server.url(hostility));
    await expect(source.resolve({ branch: 'main' }, { signal })).rejects.toMatchObject({
      reason,
      message: expect.stringMatching(message),
    });
    await source.close();
  });
});

describe('the thread that parses large repositories', () => {
  // The program of a thread is not compiled on the way, as tests are.
  const entry = new URL('../../../dist/gitops/sources/git-thread-entry.js', import.meta.url);
  const stops: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
  });

  async function threaded(files: Readonly<Record<string, string>>, maxHeapMiB?: number) {
    const thread = createGitThread({
      clock: systemClock,
      log: pino({ level: 'silent' }),
      entry,
      ...(maxHeapMiB === undefined ? {} : { maxHeapMiB }),
    });
    const repository = await newRepository('thread', files);
    await repository.git('gc', '--quiet');
    const source = await openLocalSource({ directory: repository.directory, url: 'thread', thread });
    stops.push(async () => {
      await source.close();
      await thread.stop();
    });
    return { source, repository };
  }
  const many = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`d${index % 7}/f${index}.yaml`, configMap(`c${index}`)]));

  it('gives what this thread would give, errors and frozen objects included', async () => {
    const files = { ...many(200), 'bad/a.yaml': 'a: [b\n', 'shared/s.yaml': `${configMap('s')}data: {x: &x "1", y: *x}\n` };
    const { source, repository } = await threaded(files);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const there = await createBuilder().build({ source, commit, path: '', signal });
    const plain = await openLocalSource({ directory: repository.directory, url: 'thread' });
    const here = await createBuilder().build({ source: plain, commit, path: '', signal });
    await plain.close();
    expect(there).toEqual(here);
    expect(there.errors).toMatchObject([{ file: 'bad/a.yaml' }]);
    expect(there.manifests.every(({ object }) => Object.isFrozen(object) && Object.isFrozen(object.metadata))).toBe(true);
  });

  it('is given the large files of small repositories, too', async () => {
    const large = `${configMap('large')}data: {a: "${'x'.repeat(300_000)}"}\n`;
    const repository = await newRepository('large', { 'large.yaml': large, 'small.yaml': configMap('small') });
    const asked: string[] = [];
    const thread: GitThread = {
      async readDocuments(_place, oid) {
        asked.push(oid);
        return readDocuments(Buffer.from(large));
      },
    };
    const source = await openLocalSource({ directory: repository.directory, url: 'large', thread });
    expect(await errorsOf(source)).toEqual([]);
    expect(asked).toEqual([await repository.git('rev-parse', 'HEAD:large.yaml')]);
    await source.close();
  });

  it('that needs more memory than it may have fails what it did, says so, and works again', async () => {
    const heavy = Array.from({ length: 90_000 }, (_, index) => `  key${index}: "${'v'.repeat(80)}"`).join('\n');
    const { source, repository } = await threaded({ ...many(100), 'zz/heavy.yaml': `${configMap('heavy')}data:\n${heavy}\n` }, 40);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    await expect(createBuilder().build({ source, commit, path: '', signal })).rejects.toMatchObject({
      reason: 'ReaderFailed',
      message: expect.stringMatching(/thread that reads Git repositories ended: .*memory/),
    });
    await repository.commit('lighter', { 'zz/heavy.yaml': null });
    const lighter = await source.resolve({ branch: 'main' }, { signal });
    const { manifests, errors } = await createBuilder().build({ source, commit: lighter, path: '', signal });
    expect(errors).toEqual([]);
    expect(manifests).toHaveLength(100);
  });
});
