import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { type GitRepository, type GitRepositorySpec, gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { annotations } from '../../../src/api/well-known.ts';
import type { Client } from '../../../src/client/client.ts';
import { createSourceOpener } from '../../../src/gitops/sources/open-source.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { type RunningEngine, startEngine } from '../../support/engine.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { type ServedRemote, serveRemote } from '../../support/git-remote.ts';
import { until } from '../../support/until.ts';

const namespace = 'flux-system';
const token = 'correct-horse';
const configMap = (name: string, value = '1'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\ndata: {a: "${value}"}\n`;

let api: TestApi;
let client: Client;
let engine: RunningEngine;
let start: () => Promise<RunningEngine>;
const trees: Record<string, WorkTree> = {};
let remote: ServedRemote;

beforeAll(async () => {
  api = await startTestApi();
  client = api.clientFor();
  for (const name of [namespace, 'web']) await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  await client.create(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'token', namespace },
    stringData: { username: 'midship', password: token },
  });
  await client.create(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'no-hosts', namespace },
    stringData: { identity: 'x', known_hosts: '# github.com:22 SSH-2.0\n\n' },
  });
  for (const name of ['main', 'library', 'history', 'stale', 'ignoring', 'versions'])
    trees[name] = await newRepository(name, { 'app/a.yaml': configMap(name) });
  const directories = Object.entries(trees).map(([name, { directory }]) => [name, join(directory, '.git')] as const);
  remote = await serveRemote({ repositories: Object.fromEntries(directories), token });
  const cacheDirectory = await temporaryDirectory('repositories');
  start = async () => {
    const opener = createSourceOpener({ builtInUrl: () => 'http://nowhere/git/', builtIn: new Map(), cacheDirectory });
    return startEngine({ client: api.clientFor({ name: 'system:midship:gitops', groups: [] }), openSource: opener.open });
  };
  engine = await start();
});
afterAll(async () => {
  await engine.stop();
  await remote.stop();
  await api.stop();
});

const tree = (name: string): WorkTree => trees[name] as WorkTree;
const ref = (name: string) => ({ namespace, name });
const get = (name: string): Promise<GitRepository> => client.get(gitRepositories, ref(name));
const conditionOf = ({ status }: GitRepository, type: string) => status?.conditions?.find((condition) => condition.type === type);

async function follow(name: string, spec: Partial<GitRepositorySpec> = {}, metadata: object = {}): Promise<void> {
  await client.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { ...ref(name), ...metadata },
    spec: { url: remote.url(name), interval: '1h', ref: { branch: 'main' }, secretRef: { name: 'token' }, ...spec },
  });
}

const app = (name: string, path: string) =>
  client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: ref(name),
    spec: { interval: '1h', prune: true, path, sourceRef: { kind: 'GitRepository', name } },
  });

let requests = 0;
/** Asks for a look, as `flux reconcile` does, and waits until it is done. */
async function look(name: string): Promise<GitRepository> {
  requests += 1;
  const value = `request ${requests}`;
  await client.patch(gitRepositories, ref(name), {
    type: 'merge',
    body: { metadata: { annotations: { [annotations.reconcileRequestedAt]: value } } },
  });
  return until(
    async () => {
      const repository = await get(name);
      return repository.status?.lastHandledReconcileAt === value && repository;
    },
    { what: `${name} was looked at` },
  );
}

const ready = (name: string): Promise<GitRepository> =>
  until(
    async () => {
      const repository = await get(name);
      return conditionOf(repository, 'Ready')?.status === 'True' && repository;
    },
    { what: `${name} is ready` },
  );

const dataOf = async (name: string): Promise<string | undefined> => {
  try {
    return (await client.get(configMaps, { namespace: 'web', name })).data?.a;
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
};
const hasValue = (name: string, value: string | undefined): Promise<unknown> =>
  until(async () => (await dataOf(name)) === value, { what: `ConfigMap ${name} has ${value}` });

describe('a GitRepository', () => {
  it('includes others: what they have appears at a path of its own, and follows them', async () => {
    await follow('main', { include: [{ repository: { name: 'library' }, fromPath: 'app', toPath: 'app/lib' }] });
    const waiting = await until(
      async () => {
        const repository = await get('main');
        return conditionOf(repository, 'IncludeUnavailable') !== undefined && repository;
      },
      { what: 'the include is missed' },
    );
    expect(conditionOf(waiting, 'Ready')).toMatchObject({ status: 'False', reason: 'NotFound' });
    expect(conditionOf(waiting, 'FetchFailed')).toBeUndefined();
    await follow('library');
    const { status } = await ready('main');
    expect(status?.conditions?.map(({ type }) => type).sort()).toEqual(['ArtifactInStorage', 'Ready']);
    expect(status?.includedArtifacts).toMatchObject([{ revision: (await get('library')).status?.artifact?.revision }]);
    expect(status?.observedInclude).toEqual([{ repository: { name: 'library' }, fromPath: 'app', toPath: 'app/lib' }]);
    await app('main', './app');
    await hasValue('main', '1');
    await hasValue('library', '1');
    // Its own branch has not moved.
    await tree('library').commit('more', { 'app/a.yaml': configMap('library', '2') });
    await look('library');
    await hasValue('library', '2');
    expect((await get('main')).status?.includedArtifacts).toMatchObject([{ revision: (await get('library')).status?.artifact?.revision }]);
  });

  it('holds up no app of another: an object stays with the app that has it, and goes over when that lets go', async () => {
    const readyOf = async (name: string) => {
      const { status } = await client.get(kustomizations, ref(name));
      return status?.conditions?.find(({ type }) => type === 'Ready');
    };
    const shared = () => client.get(configMaps, { namespace: 'web', name: 'shared' });
    await tree('main').commit('mine', { 'shared/s.yaml': configMap('shared'), 'shared/k.yaml': configMap('kept') });
    await tree('library').commit('theirs', { 'shared/s.yaml': configMap('shared', '2') });
    await follow('mine', { url: remote.url('main'), interval: '1s' });
    await app('mine', './shared');
    await until(async () => (await readyOf('mine'))?.status === 'True', { what: 'mine is ready' });
    const { uid } = (await shared()).metadata;

    await follow('theirs', { url: remote.url('library'), interval: '1s' });
    await app('theirs', './shared');
    const refused = await until(
      async () => {
        const ready = await readyOf('theirs');
        return ready?.reason === 'BuildFailed' && ready;
      },
      { what: 'theirs is refused' },
    );
    const claim = `shared/s.yaml:1 defines ConfigMap web/shared, which app ${namespace}/mine defines in shared/s.yaml of GitRepository ${namespace}/mine`;
    expect(refused.message).toContain(claim);
    await tree('main').commit('goes on', { 'shared/s.yaml': configMap('shared', '3') });
    await until(async () => (await shared()).data?.a === '3', { what: async () => JSON.stringify(await readyOf('mine')) });

    // As after a start, when the other repository is read first.
    await client.delete(gitRepositories, ref('mine'));
    await until(async () => (await engine.metrics()).includes('gitops_source_fetch_total{source="flux-system/mine"') === false, {
      what: 'mine is not followed',
    });
    const body = { metadata: { annotations: { [annotations.reconcileRequestedAt]: 'now' } } };
    await client.patch(kustomizations, ref('theirs'), { type: 'merge', body });
    const has = `defines ConfigMap web/shared, which app ${namespace}/mine has of GitRepository ${namespace}/mine`;
    await until(async () => (await readyOf('theirs'))?.message.includes(has), {
      what: async () => JSON.stringify(await readyOf('theirs')),
    });
    expect((await shared()).data?.a).toBe('3');
    await follow('mine', { url: remote.url('main'), interval: '1s' });

    await tree('main').commit('lets go', { 'shared/s.yaml': null });
    await until(async () => (await shared()).data?.a === '2', { what: async () => JSON.stringify(await readyOf('theirs')) });
    const moved = (await shared()).metadata;
    expect([moved.uid, moved.labels?.['kustomize.toolkit.fluxcd.io/name']]).toEqual([uid, 'theirs']);
    for (const name of ['mine', 'theirs']) await until(async () => (await readyOf(name))?.status === 'True', { what: `${name} is ready` });
    for (const name of ['mine', 'theirs']) await client.delete(kustomizations, ref(name));
    await until(
      async () => (await client.list(configMaps, { namespace: 'web' })).items.every(({ metadata }) => metadata.name !== 'shared'),
      {
        what: 'the object went with its last app',
      },
    );
    for (const name of ['mine', 'theirs']) await client.delete(gitRepositories, ref(name));
  });

  it('leaves out what spec.ignore and .sourceignore say', async () => {
    await tree('ignoring').commit('ignore', {
      'app/b.yaml': configMap('ignored-b'),
      'app/keep/c.yaml': configMap('ignored-c'),
      'app/keep/d.yaml': configMap('ignored-d'),
      'app/keep/.sourceignore': 'd.yaml\n',
      'app/cloudbuild.yaml': 'steps: []\n',
    });
    await follow('ignoring', { ignore: '/app/b.yaml\n' });
    expect((await ready('ignoring')).status?.observedIgnore).toBe('/app/b.yaml\n');
    await app('ignoring', './app');
    await hasValue('ignored-c', '1');
    await hasValue('ignoring', '1');
    expect(await dataOf('ignored-b')).toBeUndefined();
    expect(await dataOf('ignored-d')).toBeUndefined();
    await client.patch(gitRepositories, ref('ignoring'), { type: 'merge', body: { spec: { ignore: '/app/*\n!/app/b.yaml\n' } } });
    await hasValue('ignored-b', '1');
    await hasValue('ignored-c', undefined);
    await client.patch(gitRepositories, ref('ignoring'), { type: 'merge', body: { spec: { ignore: null, sparseCheckout: ['app/keep'] } } });
    await hasValue('ignored-c', '1');
    await hasValue('ignored-b', undefined);
    await client.patch(gitRepositories, ref('ignoring'), { type: 'merge', body: { spec: { sparseCheckout: ['app/gone'] } } });
    const failed = await until(async () => conditionOf(await get('ignoring'), 'FetchFailed'), { what: 'the directory is missed' });
    expect(failed).toMatchObject({
      reason: 'GitOperationFailed',
      message: expect.stringMatching(/^failed to sparse checkout directories : app\/gone/),
    });
  });

  it('asks a server no more than once a second, and tells the apps that waited for it that it is there', async () => {
    await app('often', './app');
    const said = async (): Promise<string> => {
      const { status } = await client.get(kustomizations, ref('often'));
      return status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? '';
    };
    await until(async () => (await said())?.startsWith(`Source not found: GitRepository ${namespace}/often does not exist`) === true, {
      what: said,
    });
    await follow('often', { url: 'https://127.0.0.1:1/often.git', interval: '0s' });
    await until(async () => (await said()) === `Source artifact not found, retrying: ${namespace}/often`, { what: said });
    const looks = async (): Promise<number> => {
      const line = /^gitops_source_fetch_total\{source="flux-system\/often",result="error"\} (\d+)/m.exec(await engine.metrics());
      return Number(line?.[1] ?? 0);
    };
    await until(async () => (await looks()) >= 1, { what: engine.metrics });
    const [before, startedAt] = [await looks(), performance.now()];
    await until(async () => (await looks()) >= before + 2, { what: engine.metrics });
    expect(performance.now() - startedAt).toBeGreaterThan(900);
    await client.delete(gitRepositories, ref('often'));
  });

  it('follows the newest tag of a range', async () => {
    await tree('versions').git('tag', 'v1.0.0');
    await follow('versions', { ref: { semver: '1.x' } });
    expect((await ready('versions')).status?.artifact?.revision).toMatch(/^v1\.0\.0@sha1:/);
    const sha = await tree('versions').commit('two', { 'app/a.yaml': configMap('versions', '2') });
    await tree('versions').git('tag', 'v1.1.0');
    await tree('versions').git('tag', 'v2.0.0');
    expect((await look('versions')).status?.artifact?.revision).toBe(`v1.1.0@sha1:${sha}`);
    await client.patch(gitRepositories, ref('versions'), { type: 'merge', body: { spec: { ref: { semver: '>=9.0.0' } } } });
    const failed = await until(async () => conditionOf(await get('versions'), 'FetchFailed'), { what: 'no tag fits' });
    expect(failed.message).toMatch(/^no match found for semver: >=9\.0\.0/);
  });

  it('takes a branch whose history was rewritten, and says so; or halts until a person agrees', async () => {
    await follow('history');
    const first = (await ready('history')).status?.artifact?.revision;
    await tree('history').commit('two', { 'app/a.yaml': configMap('history', '2') });
    await look('history');
    await tree('history').git('reset', '--quiet', '--hard', 'HEAD~1');
    const rewritten = await tree('history').commit('other', { 'app/a.yaml': configMap('history', '3') });
    expect((await look('history')).status?.artifact?.revision).toBe(`main@sha1:${rewritten}`);
    const told = await until(
      async () => (await client.list(events, { namespace })).items.find(({ reason }) => reason === 'HistoryRewritten'),
      { what: 'an Event tells it' },
    );
    expect(told).toMatchObject({ type: 'Warning', message: expect.stringMatching(/^main was rewritten: .{7} took the place of .{7}$/) });

    await client.patch(gitRepositories, ref('history'), {
      type: 'merge',
      body: { metadata: { annotations: { [annotations.historyRewrite]: 'halt' } } },
    });
    // Going on is no rewriting, a step at a time or several.
    await tree('history').commit('on', { 'app/a.yaml': configMap('history', '4') });
    const on = await tree('history').commit('and on', { 'app/a.yaml': configMap('history', '5') });
    expect((await look('history')).status?.artifact?.revision).toBe(`main@sha1:${on}`);
    await tree('history').git('reset', '--quiet', '--hard', String(first).slice('main@sha1:'.length));
    const unwanted = await tree('history').commit('unwanted', { 'app/a.yaml': configMap('history', '6') });
    const halted = await look('history');
    expect(halted.status?.artifact?.revision).toBe(`main@sha1:${on}`);
    expect(conditionOf(halted, 'Ready')).toMatchObject({
      status: 'False',
      reason: 'HistoryRewritten',
      message: expect.stringContaining(unwanted),
    });
    // Also over a restart.
    await engine.stop();
    engine = await start();
    expect((await look('history')).status?.artifact?.revision).toBe(`main@sha1:${on}`);
    await client.patch(gitRepositories, ref('history'), {
      type: 'merge',
      body: { metadata: { annotations: { [annotations.historyRewrite]: unwanted } } },
    });
    expect((await look('history')).status?.artifact?.revision).toBe(`main@sha1:${unwanted}`);
  });

  it('keeps its last good commit in force while the remote is away, and says since when it is stale', async () => {
    await follow('stale');
    const { artifact } = (await ready('stale')).status ?? {};
    await app('stale', './app');
    await hasValue('stale', '1');
    // A port where nobody listens.
    const away = { type: 'merge', body: { spec: { url: 'http://127.0.0.1:1/git/stale.git' } } } as const;
    await client.patch(gitRepositories, ref('stale'), away);
    const failed = await until(async () => conditionOf(await get('stale'), 'FetchFailed'), { what: 'the remote is missed' });
    const since = `Stale since ${failed.lastTransitionTime}: ${artifact?.revision} stays in force`;
    expect(failed.message).toContain(since);
    expect(conditionOf(await look('stale'), 'Ready')?.message).toContain(since);
    await client.delete(configMaps, { namespace: 'web', name: 'stale' });
    await hasValue('stale', '1');
    await client.patch(gitRepositories, ref('stale'), { type: 'merge', body: { spec: { url: remote.url('stale') } } });
    expect(conditionOf(await ready('stale'), 'FetchFailed')).toBeUndefined();
  });

  it('does not mind the newline that a file of the password ends with', async () => {
    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'from-file', namespace: 'flux-system' },
      stringData: { username: 'midship\n', password: `${token}\n` },
    });
    await follow('newline', { url: remote.url('main'), secretRef: { name: 'from-file' } });
    await ready('newline');
  });

  it.each([
    [
      'a Secret that is not there',
      { secretRef: { name: 'gone' } },
      'AuthenticationFailed',
      /gone does not exist\. .* username and password/,
    ],
    [
      'a Secret for ssh that is not there',
      { url: 'ssh://git@example.com/x.git', secretRef: { name: 'gone' } },
      'AuthenticationFailed',
      /gone does not exist\. .* identity and known_hosts/,
    ],
    ['a proxy that is none', { proxySecretRef: { name: 'token' } }, 'AuthenticationFailed', /has no http or https address of a proxy/],
    [
      'ssh without a known host',
      { url: 'ssh://git@127.0.0.1/x', secretRef: { name: 'no-hosts' } },
      'AuthenticationFailed',
      /has no host in its key known_hosts/,
    ],
    ['ssh without a key', { url: 'ssh://git@127.0.0.1/x', secretRef: { name: 'token' } }, 'AuthenticationFailed', /has no key identity/],
    ['signatures', { verify: { secretRef: { name: 'x' } } }, 'NotSupported', /^not supported: spec\.verify$/],
    ['another provider', { provider: 'azure' as const }, 'NotSupported', /^not supported: spec\.provider azure$/],
  ])('says what is wrong with %s', async (what, spec, reason, message) => {
    const name = what.replaceAll(' ', '-').toLowerCase();
    await follow(name, { url: remote.url('main'), ...spec });
    const condition = await until(
      async () => {
        const found = conditionOf(await get(name), 'Ready');
        return found?.status === 'False' && found;
      },
      { what: `${name} is refused` },
    );
    expect(condition.reason).toBe(reason);
    expect(condition.message).toMatch(message);
    expect(JSON.stringify(await get(name))).not.toContain(token);
  });
});
