import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { getApps, getSources, resumeApp, suspendApp, syncApp, waitForApp } from '../../../src/cli/apps.ts';
import type { AppCommand } from '../../../src/cli/connect.ts';
import { showDiff } from '../../../src/cli/diff.ts';
import { showEvents } from '../../../src/cli/events.ts';
import { Failure } from '../../../src/cli/failure.ts';
import { showHistory } from '../../../src/cli/history.ts';
import { revert } from '../../../src/cli/revert.ts';
import { showTrace } from '../../../src/cli/trace.ts';
import { showTree } from '../../../src/cli/tree.ts';
import { showWhy } from '../../../src/cli/why.ts';
import { serveTestApi, type TestApiServer } from '../../support/api-server.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { cloneRepository, newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const configMap = (name: string, value: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\ndata: {a: "${value}"}\n`;
const secret = (name: string, value: string): string =>
  `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: web}\nstringData: {password: ${value}}\n`;

let world: EngineWorld;
let server: TestApiServer;

beforeAll(async () => {
  world = await startEngineWorld({ 'README.md': 'x' });
  server = await serveTestApi(world.api);
});
afterAll(async () => {
  server.client.close();
  await server.server.stop();
  await world.stop();
});

interface Result {
  readonly code: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into results of every shape
  readonly json: any;
}

/** Runs a verb over the wire as the command line does. */
async function run<T extends Omit<AppCommand, 'format'> & { readonly format: string }>(
  verb: (options: T) => Promise<number>,
  options: Omit<T, keyof AppCommand> & { readonly format?: T['format']; readonly namespace?: string | undefined },
): Promise<Result> {
  const chunks: string[] = [];
  const output = new Writable({
    write(chunk, _, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  const command = {
    dataDirectory: '',
    kubeconfig: server.kubeconfig,
    context: undefined,
    version: 'test',
    format: 'text' as const,
    output,
  };
  const code = await verb({ ...command, ...options } as unknown as T);
  const text = chunks.join('');
  return {
    code,
    text,
    get json() {
      return JSON.parse(text);
    },
  };
}

const failureOf = async (action: Promise<unknown>): Promise<Failure> => {
  const err = await action.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(err instanceof Failure)) throw err;
  return err;
};

const get = (name: string): Promise<Kustomization> => world.client.get(kustomizations, { namespace: 'flux-system', name });
const now = (): number => Date.now();

async function settled(name: string, sha: string, ready: 'True' | 'False' = 'True'): Promise<void> {
  await until(
    async () => {
      const { status } = await get(name);
      const at = ready === 'True' ? status?.lastAppliedRevision : status?.lastAttemptedRevision;
      return at === `main@sha1:${sha}` && status?.conditions?.find(({ type }) => type === 'Ready')?.status === ready;
    },
    { what: `${name} is settled at ${sha}` },
  );
}

/** A new app from a directory of its own name, in force. */
async function startApp(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const sha = await world.repository.commit(
    `${name}: first`,
    Object.fromEntries(Object.entries(files).map(([file, text]) => [`${name}/${file}`, text])),
  );
  // Before that there is no such directory, and the app would have a failure in its history.
  await until(
    async () => {
      const { status } = await world.client.get(gitRepositories, { namespace: 'flux-system', name: 'cluster' });
      return status?.artifact?.revision === `main@sha1:${sha}`;
    },
    { what: `the source is at ${sha}` },
  );
  await world.client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system' },
    spec: { interval: '1m', prune: true, path: `./${name}`, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  });
  await settled(name, sha);
  return sha;
}

async function clone(name: string): Promise<WorkTree> {
  return cloneRepository(world.repository.directory, name);
}

describe('midship diff', () => {
  it('exits with 0 for nothing, 1 for a difference and 2 for a tree that cannot be applied, and writes nothing', async () => {
    const first = await startApp('diff', { 'a.yaml': configMap('diff-a', '1'), 'b.yaml': configMap('diff-b', '1') });
    const work = await clone('diff');
    const diff = (more: object = {}) =>
      run(showDiff, { names: ['diff'], revision: undefined, path: undefined, directory: work.directory, ...more });
    expect(await diff()).toMatchObject({ code: 0, text: 'no differences\n' });

    // A commit of all there is would not have it.
    await mkdir(join(work.directory, '.git/info'), { recursive: true });
    await writeFile(join(work.directory, '.git/info/exclude'), '*.local.yaml\n');
    await writeFile(join(work.directory, 'diff/mine.local.yaml'), configMap('diff-mine', '1'));
    expect(await diff()).toMatchObject({ code: 0, text: 'no differences\n' });

    await writeFile(join(work.directory, 'diff/a.yaml'), configMap('diff-a', '2'));
    await work.git('rm', '--quiet', 'diff/b.yaml');
    await writeFile(join(work.directory, 'diff/c.yaml'), configMap('diff-c', '1'));
    const changed = await diff({ format: 'json' });
    expect(changed.code).toBe(1);
    expect(changed.json.apps[0].objects.map(({ action, object, file }: Record<string, string>) => [action, object, file])).toEqual([
      ['change', 'ConfigMap web/diff-a', 'diff/a.yaml:1'],
      ['create', 'ConfigMap web/diff-c', 'diff/c.yaml:1'],
      ['prune', 'ConfigMap web/diff-b', ''],
    ]);
    expect(changed.json.apps[0].objects[0].diff).toContain('-  a: "1"\n+  a: "2"\n');
    expect((await world.client.get(configMaps, { namespace: 'web', name: 'diff-a' })).data).toEqual({ a: '1' });
    expect(await diff({ revision: first })).toMatchObject({ code: 0 });

    await writeFile(join(work.directory, 'diff/c.yaml'), configMap('diff-c', '1').replace('\ndata:', '\ndate:'));
    const broken = await diff();
    expect(broken.code).toBe(2);
    expect(broken.text).toContain('✗ diff/c.yaml:4:1 ConfigMap web/diff-c: unknown field "date"');
  });

  it('shows what somebody added with kubectl or a named program, and names what stays', async () => {
    const manifest = configMap('added', '1').replace('namespace: web', 'namespace: web, annotations: {midship.dev/drift: detect}');
    await startApp('added', { 'a.yaml': manifest });
    const { directory } = await clone('added');
    const diff = (more: object = {}) => run(showDiff, { names: ['added'], revision: undefined, path: undefined, directory, ...more });
    for (const [key, fieldManager] of [
      ['mesh', 'istiod'],
      ['person', 'kubectl-edit'],
      ['screen', 'k9s'],
    ] as const) {
      const patch = { type: 'merge', body: { data: { [key]: 'x' } } } as const;
      await world.client.patch(configMaps, { namespace: 'web', name: 'added' }, patch, { fieldManager });
    }
    const kept = 'kept: ConfigMap web/added: data.mesh by istiod\n';
    const { code, text } = await until(
      async () => {
        const result = await diff({ overrideManagers: ['k9s'] });
        return result.text.includes(kept) && result;
      },
      { what: async () => (await diff()).text },
    );
    expect(code).toBe(1);
    expect(text.match(/^ +[-+] .*$/gm)?.map((line) => line.trim())).toEqual(['-  person: x', '-  screen: x']);
  });

  it('shows what a sync would do: it omits ignored fields, and recreates for immutable ones', async () => {
    const flux = (name: string, value: string, type = 'Opaque'): string =>
      `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: web, annotations: {kustomize.toolkit.fluxcd.io/${value}}}\ntype: ${type}\n`;
    await startApp('left', {
      'once.yaml': flux('left-once', 'ssa: IfNotPresent'),
      'never.yaml': flux('left-never', 'ssa: Ignore'),
      'keep.yaml': flux('left-keep', 'prune: disabled'),
      'force.yaml': flux('left-force', 'force: enabled'),
    });
    const work = await clone('left');
    await writeFile(join(work.directory, 'left/once.yaml'), flux('left-once', 'ssa: IfNotPresent', 'a/b'));
    await writeFile(join(work.directory, 'left/force.yaml'), flux('left-force', 'force: enabled', 'a/b'));
    await work.git('rm', '--quiet', 'left/keep.yaml');
    const options = { names: ['left'], revision: undefined, path: undefined, directory: work.directory, format: 'json' as const };
    const { code, json } = await run(showDiff, options);
    expect(code).toBe(1);
    expect(json.apps[0].errors).toEqual([]);
    expect(json.apps[0].objects).toMatchObject([{ action: 'replace', object: 'Secret web/left-force' }]);
  });

  it('compares what two commits make of an app, and a directory without any cluster', async () => {
    const before = await startApp('revs', { 'a.yaml': configMap('revs-a', '1') });
    const after = await world.repository.commit('more', { 'revs/a.yaml': configMap('revs-a', '2'), 'other.txt': 'x' });
    const work = await clone('revs');
    const options = { revision: undefined, path: undefined, directory: work.directory };
    const apps = await run(showDiff, { ...options, names: ['revs', before, after] });
    expect(apps.code).toBe(1);
    expect(apps.text).toContain('~ ConfigMap web/revs-a   revs/a.yaml:1');
    expect((await run(showDiff, { ...options, names: ['revs', after, after] })).code).toBe(0);

    const alone = await newRepository('alone', { 'x/a.yaml': configMap('a', '1') });
    await alone.commit('two', { 'x/a.yaml': configMap('a', '2') });
    const chunks: string[] = [];
    const output = new Writable({ write: (chunk, _, done) => done(void chunks.push(String(chunk))) });
    const code = await showDiff({
      ...{ dataDirectory: '/nonexistent', output, format: 'text', version: 'test', revision: undefined },
      names: ['HEAD~1', 'HEAD'],
      path: join(alone.directory, 'x'),
      directory: alone.directory,
    });
    expect([code, chunks.join('')]).toEqual([1, expect.stringContaining('+  a: "2"')]);
  });

  it('leaves out what the repository ignores, and takes kinds that the tree itself defines', async () => {
    await startApp('crd', { 'a.yaml': configMap('crd-a', '1') });
    const work = await clone('crd');
    const definition = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'boats.example.com' },
      spec: {
        group: 'example.com',
        names: { kind: 'Boat', plural: 'boats', singular: 'boat', listKind: 'BoatList' },
        scope: 'Namespaced',
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
      },
    };
    await writeFile(join(work.directory, 'crd/crd.yaml'), JSON.stringify(definition));
    await writeFile(join(work.directory, 'crd/boat.yaml'), 'apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: a, namespace: web}\n');
    await writeFile(join(work.directory, 'crd/ignored.yaml'), configMap('crd-ignored', '1'));
    await writeFile(join(work.directory, '.sourceignore'), 'ignored.yaml\n');
    const { json } = await run(showDiff, {
      names: ['crd'],
      revision: undefined,
      path: undefined,
      directory: work.directory,
      format: 'json',
    });
    expect(json.apps[0].errors).toEqual([]);
    expect(json.apps[0].objects.map(({ action, object }: Record<string, string>) => `${action} ${object}`).sort()).toEqual([
      'create Boat web/a',
      'create CustomResourceDefinition boats.example.com',
    ]);
  });

  it('never shows what a Secret holds', async () => {
    await startApp('hush', { 's.yaml': secret('hush', 'first-secret') });
    const work = await clone('hush');
    await writeFile(join(work.directory, 'hush/s.yaml'), secret('hush', 'second-secret'));
    const options = { names: ['hush'], revision: undefined, path: undefined, directory: work.directory };
    for (const format of ['text', 'json', 'yaml'] as const) {
      const { code, text } = await run(showDiff, { ...options, format });
      expect(code).toBe(1);
      expect(text).toContain('*** (after)');
      for (const value of ['first-secret', 'second-secret']) {
        expect(text).not.toContain(value);
        expect(text).not.toContain(Buffer.from(value).toString('base64'));
      }
    }
  });

  it('takes a revision for a name and nothing else, and says what it needs', async () => {
    await startApp('odd', { 'a.yaml': configMap('odd-a', '1') });
    const work = await clone('odd');
    const options = { revision: undefined, path: undefined, directory: work.directory };
    const failure = await failureOf(run(showDiff, { ...options, names: ['odd'], revision: '--output=/tmp/x' }));
    expect(failure).toMatchObject({ message: 'this clone has no commit --output=/tmp/x', exitCode: 2 });
    const nowhere = await temporaryDirectory('nowhere');
    expect((await failureOf(run(showDiff, { ...options, names: ['odd'], directory: nowhere }))).message).toContain(
      'is not in a Git repository',
    );
  });
});

describe('midship history, why, trace, tree and events', () => {
  it('tell of a commit that could not be applied: which step, which line, who, and when it is tried again', async () => {
    await startApp('why', { 'a.yaml': configMap('why-a', '1') });
    expect(await run(showWhy, { target: 'why', namespace: undefined, now: now() })).toMatchObject({ code: 0 });
    const bad = await world.repository.commit('why: a typo', { 'why/a.yaml': configMap('why-a', '2').replace('\ndata:', '\ndate:') });
    await settled('why', bad, 'False');
    const why = await run(showWhy, { target: 'why', namespace: undefined, now: now(), format: 'json' });
    expect(why.code).toBe(1);
    expect(why.json).toMatchObject({
      verdict: 'why is not applied.',
      blocking: 'why/a.yaml:4:1 ConfigMap web/why-a: unknown field "date". Did you mean data?',
      commit: { sha: bad, author: 'Mara', subject: 'why: a typo' },
      nextRetryAt: expect.stringMatching(/^20/),
    });
    const phases = why.json.phases.map(({ name, result }: Record<string, string>) => `${name} ${result}`);
    expect(why.json.phases[0].durationMs).toEqual(expect.any(Number));
    expect(phases).toEqual([
      'fetch done',
      'verify skipped',
      'render done',
      'plan failed',
      'apply waiting',
      'health waiting',
      'prune waiting',
    ]);
    const text = (await run(showWhy, { target: 'flux-system/why', namespace: undefined, now: now() })).text;
    expect(text).toMatch(/✗ plan .* why\/a\.yaml:4:1/);
    expect(text).toContain('midship revert why');

    const history = await run(showHistory, { app: 'why', changes: false, now: now(), format: 'json' });
    expect(history.json.revisions.map(({ result, subject }: Record<string, string>) => [result, subject])).toEqual([
      ['failed', 'why: a typo'],
      ['applied', 'why: first'],
    ]);
    expect(history.json.revisions[1]).toMatchObject({ author: 'Mara', digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect((await run(showHistory, { app: 'why', changes: true, now: now() })).text).toContain('created    ConfigMap web/why-a');
  });

  it('say of each node why a pod does not fit there, and what would make it fit', async () => {
    const { client } = server;
    for (const [name, cpu] of [
      ['why-1', '1'],
      ['why-2', '8'],
    ] as const) {
      const { status, ...node } = nodeOf(name, { allocatable: { cpu } });
      const created = await client.create(nodes, node);
      const reported = await client.update(nodes, { ...created, ...(status === undefined ? {} : { status }) }, { subresource: 'status' });
      await client.update(nodes, { ...reported, spec: { ...reported.spec, taints: [], unschedulable: name === 'why-2' } });
    }
    const { uid: _, ...metadata } = podOf('why-pod', {}, { namespace: 'web' }).metadata;
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'web' } });
    await client.create(pods, { ...podOf('why-pod', { cpu: '2' }), metadata });
    const why = await run(showWhy, { target: 'pod/why-pod', namespace: 'web', now: now(), format: 'json' });
    expect(why.json.nodes).toEqual([
      {
        node: 'why-1',
        reasons: ['Insufficient cpu'],
        fixes: ['free, or request less: 1 more cpu (it requests 2, more than the node has (1))'],
      },
      { node: 'why-2', reasons: ['node(s) were unschedulable'], fixes: ['kubectl uncordon why-2'] },
    ]);
    expect((await run(showWhy, { target: 'pod/why-pod', namespace: 'web', now: now() })).text).toMatch(
      /node why-2 +node\(s\) were unschedulable\. It would fit: kubectl uncordon why-2/,
    );
  });

  it('follow an object to the commit that changed it last, not to the newest', async () => {
    const first = await startApp('trace', { 'a.yaml': configMap('trace-a', '1'), 'b.yaml': configMap('trace-b', '1') });
    await settled('trace', await world.repository.commit('trace: b', { 'trace/b.yaml': configMap('trace-b', '2') }));
    const trace = await run(showTrace, { object: 'cm/trace-a', namespace: 'web', now: now(), format: 'json' });
    expect(trace).toMatchObject({ code: 0 });
    expect(trace.json).toMatchObject({
      object: 'ConfigMap web/trace-a',
      app: {
        name: 'trace',
        source: { kind: 'GitRepository', name: 'cluster' },
        commit: { sha: first, author: 'Mara', subject: 'trace: first', changedObject: true },
      },
    });
    expect((await run(showWhy, { target: 'configmap/trace-a', namespace: undefined, now: now() })).text).toMatch(
      /^ConfigMap web\/trace-a: Healthy\n.*\n.*by Mara: trace: first/,
    );
    const stranger = await world.client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'stranger', namespace: 'web' },
    });
    expect(stranger.metadata.name).toBe('stranger');
    expect(await run(showTrace, { object: 'configmap/stranger', namespace: 'web', now: now() })).toMatchObject({
      code: 1,
      text: expect.stringContaining('no app applied it'),
    });
    expect((await failureOf(run(showTrace, { object: 'cm/gone', namespace: 'web', now: now() }))).message).toBe(
      'there is no ConfigMap gone in namespace web',
    );
    expect((await failureOf(run(showTrace, { object: 'thing/x', namespace: 'web', now: now() }))).exitCode).toBe(2);
  });

  it('show an app’s objects with what they own, and what is missing', async () => {
    await startApp('tree', { 'a.yaml': configMap('tree-a', '1'), 'b.yaml': configMap('tree-b', '1') });
    const owner = await world.client.get(configMaps, { namespace: 'web', name: 'tree-a' });
    await world.client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: 'tree-child',
        namespace: 'web',
        ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'tree-a', uid: owner.metadata.uid ?? '' }],
      },
    });
    expect((await run(showTree, { app: 'tree' })).text).toBe(
      'tree\n├─ ● ConfigMap web/tree-a\n│  └─ ● ConfigMap tree-child\n└─ ● ConfigMap web/tree-b\n',
    );
  });

  it('say which objects nothing acts on, on a cluster that Midship runs', async () => {
    const ingress = `apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: idle, namespace: web}\nspec: {defaultBackend: {service: {name: a, port: {number: 80}}}}\n`;
    await startApp('idle', { 'i.yaml': ingress });
    const reason = 'Ingress idle is stored, but it names no IngressClass and the cluster has no default one: it routes no requests';
    const tree = await run(showTree, { app: 'idle' });
    expect(tree).toMatchObject({ code: 1, text: `idle\n└─ ◆ Ingress web/idle  NoController: ${reason}\n` });
    const why = await run(showWhy, { target: 'idle/Ingress/idle', now: now(), format: 'json' });
    expect(why.json.health).toEqual({ status: 'NoController', reason });
  });

  it('show the events of an app and no others, and follow new ones until they are stopped', async () => {
    await startApp('tell', { 'a.yaml': configMap('tell-a', '1') });
    await startApp('hide', { 'a.yaml': configMap('hide-a', '1') });
    const quiet = new AbortController().signal;
    const told = await until(
      async () => {
        const { text } = await run(showEvents, { app: 'tell', watch: false, signal: quiet });
        return text.includes('ConfigMap web/tell-a created') && text;
      },
      { what: 'the event of the first apply' },
    );
    expect(told).not.toMatch(/hide-a|flux-system\/hide/);

    const abort = new AbortController();
    const lines: string[] = [];
    const output = new Writable({ write: (chunk, _, done) => done(void lines.push(String(chunk))) });
    const command = { dataDirectory: '', kubeconfig: server.kubeconfig, version: 'test', format: 'text' as const, output };
    const watching = showEvents({ ...command, app: 'tell', watch: true, signal: abort.signal });
    await until(() => lines.length > 1, { what: 'the watch shows what was' });
    const [head = '', first = ''] = lines;
    expect(head).toMatch(/^TIME +TYPE +REASON +OBJECT +MESSAGE\n$/);
    expect(first.slice(head.indexOf('OBJECT'))).toMatch(/^[A-Z]\w+ \S+ /);
    await world.repository.commit('both', { 'tell/b.yaml': configMap('tell-b', '1'), 'hide/b.yaml': configMap('hide-b', '1') });
    await until(() => lines.some((line) => line.includes('tell-b created')), { what: 'the watch shows what is new' });
    abort.abort();
    expect(await watching).toBe(0);
    expect(lines.join('')).not.toContain('hide-b');
  });
});

const identify = async (work: WorkTree): Promise<void> => {
  await work.git('config', 'user.name', 'Jonas');
  await work.git('config', 'user.email', 'jonas@example.com');
};

describe('midship revert', () => {
  it('makes a revert commit of what changed the app since its last good revision, with trailers, and pushes only when asked', async () => {
    const good = await startApp('back', { 'a.yaml': configMap('back-a', '1') });
    await world.repository.git('config', 'receive.denyCurrentBranch', 'updateInstead');
    await world.repository.commit('not about it', { 'elsewhere.txt': '1' });
    const bad = await world.repository.commit('back: worse', { 'back/a.yaml': configMap('back-a', '2') });
    await world.repository.commit('not about it either', { 'elsewhere.txt': '2' });
    await until(async () => (await world.client.get(configMaps, { namespace: 'web', name: 'back-a' })).data?.a === '2', {
      what: 'worse applied',
    });
    const work = await clone('back');
    await identify(work);
    const options = { target: 'back', to: undefined, push: false, hold: false, directory: work.directory, now: now() };

    await writeFile(join(work.directory, 'elsewhere.txt'), 'mine');
    expect(await failureOf(run(revert, options))).toMatchObject({ exitCode: 1, fix: expect.stringContaining('git stash') });
    await work.git('checkout', '--quiet', '.');
    await work.git('switch', '--quiet', '-c', 'feature');
    expect((await failureOf(run(revert, options))).message).toBe('this clone is on branch feature, and the app follows main');
    await work.git('switch', '--quiet', 'main');

    const { code, text } = await run(revert, options);
    expect([code, text]).toEqual([
      0,
      expect.stringMatching(/✓ [0-9a-f]{7} {2}Revert "back: worse"\n {2}takes back [0-9a-f]{7}\n {2}push it: {2}git -C /),
    ]);
    expect(await work.git('log', '-1', '--format=%B')).toBe(
      `Revert "back: worse"\n\nThis reverts commit ${bad}.\n\nMidship-App: flux-system/back\nMidship-Back-To: ${good}`,
    );
    expect(await work.git('log', '-1', '--format=%(trailers:key=Midship-App,valueonly)')).toContain('flux-system/back');
    expect(await world.repository.git('log', '-1', '--format=%s')).toBe('not about it either');
    expect((await failureOf(run(revert, options))).message).toBe(`the app is what it was at ${good.slice(0, 7)}`);

    await work.git('push', '--quiet');
    const reverted = await work.git('rev-parse', 'HEAD');
    await settled('back', reverted);
    expect((await world.client.get(configMaps, { namespace: 'web', name: 'back-a' })).data?.a).toBe('1');
    expect((await run(showHistory, { app: 'back', changes: false, now: now() })).text).toContain(`revert of ${bad.slice(0, 7)}`);
  });

  it('asks for a pull in a clone that is behind, and says so when the remote went on', async () => {
    await startApp('lag', { 'a.yaml': configMap('lag-a', '1') });
    await world.repository.git('config', 'receive.denyCurrentBranch', 'updateInstead');
    const behind = await clone('lag-behind');
    const bad = await world.repository.commit('lag: worse', { 'lag/a.yaml': configMap('lag-a', '2') });
    await settled('lag', bad);
    const options = { target: 'lag', to: undefined, push: false, hold: false, directory: behind.directory, now: now() };
    expect(await failureOf(run(revert, options))).toMatchObject({
      exitCode: 1,
      message: `this clone does not have commit ${bad.slice(0, 7)}`,
      fix: expect.stringContaining('git pull'),
    });
    expect((await get('lag')).metadata.annotations?.['midship.dev/hold']).toBeUndefined();
    expect(await failureOf(run(revert, { ...options, target: bad }))).toMatchObject({
      message: `${bad} is neither an app nor a commit of a clone here`,
    });

    await behind.git('pull', '--quiet');
    await behind.git('config', 'user.name', 'Jonas');
    await behind.git('config', 'user.email', 'jonas@example.com');
    await world.repository.commit('lag: more', { 'elsewhere.txt': 'lag' });
    const pushed = { ...options, push: true };
    expect(await failureOf(run(revert, { ...pushed, to: 'HEAD~1' }))).toMatchObject({
      exitCode: 1,
      message: 'the remote has commits that this clone does not have',
      fix: expect.stringContaining('git pull --rebase'),
    });
    expect(await behind.git('log', '-1', '--format=%s')).toBe('Revert "lag: worse"');
    for (const to of ['', 'abcd', 'nowhere']) expect((await failureOf(run(revert, { ...options, to }))).exitCode).toBe(1);
  });

  it('says that the branch was rewritten when the state to go back to was in it before', async () => {
    await startApp('forced', { 'a.yaml': configMap('forced-a', '1') });
    const before = await world.repository.commit('forced: 2', { 'forced/a.yaml': configMap('forced-a', '2') });
    await settled('forced', before);
    const old = await clone('forced-old');
    await writeFile(join(world.repository.directory, 'forced/a.yaml'), configMap('forced-a', '3'));
    await world.repository.git('commit', '--quiet', '--all', '--amend', '--message', 'forced: 3');
    const newest = await world.repository.git('rev-parse', 'HEAD');
    await settled('forced', newest);
    // As over a network, which sends no commit that no branch has.
    const fresh = await clone('forced-new');
    await fresh.git('reflog', 'expire', '--expire=now', '--all');
    await fresh.git('gc', '--quiet', '--prune=now');
    const options = { target: 'forced', to: undefined, push: false, hold: false, now: now() };
    const refusalIn = async ({ directory }: WorkTree) => {
      const { message, fix } = await failureOf(run(revert, { ...options, directory }));
      return [message, fix];
    };
    const other = ['Name a commit of the branch with --to, or pin the app in the cluster with --hold.'];
    expect(await refusalIn(fresh)).toEqual([
      `this clone does not have commit ${before.slice(0, 7)}: the branch was rewritten after it`,
      ...other,
    ]);
    await identify(old);
    await old.git('fetch', '--quiet');
    expect(await refusalIn(old)).toEqual([
      `commit ${newest.slice(0, 7)} is not in this branch, and does not follow from it`,
      'One of the two was rewritten or is another branch: run "git pull --rebase" first.',
    ]);
    await old.git('reset', '--quiet', '--hard', 'origin/main');
    expect(await refusalIn(old)).toEqual([`commit ${before.slice(0, 7)} is no longer in this branch, which was rewritten`, ...other]);
  });

  it('leaves the clone as it was when a commit cannot be taken back by itself', async () => {
    await startApp('stuck', { 'a.yaml': configMap('stuck-a', '1') });
    const middle = await world.repository.commit('stuck: 2', { 'stuck/a.yaml': configMap('stuck-a', '2') });
    await world.repository.commit('stuck: 3', { 'stuck/a.yaml': configMap('stuck-a', '3') });
    const work = await clone('stuck');
    await identify(work);
    const head = await work.git('rev-parse', 'HEAD');
    const failure = await failureOf(
      run(revert, { target: middle, to: undefined, push: false, hold: false, directory: work.directory, now: now() }),
    );
    expect(failure.message).toContain('cannot be taken back by itself');
    expect(await work.git('status', '--porcelain')).toBe('');
    expect(await work.git('rev-parse', 'HEAD')).toBe(head);
  });

  it('pushes the branch that is checked out and nothing else, whatever push.default says', async () => {
    await startApp('pushed', { 'a.yaml': configMap('pushed-a', '1') });
    const bad = await world.repository.commit('pushed: worse', { 'pushed/a.yaml': configMap('pushed-a', '2') });
    await settled('pushed', bad);
    await world.repository.git('branch', 'wip', 'main');
    const work = await clone('pushed');
    await identify(work);
    await work.git('switch', '--quiet', 'wip');
    await work.commit('not for others yet', { 'pushed/wip.yaml': '' });
    await work.git('switch', '--quiet', 'main');
    await work.git('config', 'push.default', 'matching');
    const options = { target: 'pushed', to: undefined, push: true, hold: false, directory: work.directory, now: now() };
    expect((await run(revert, options)).code).toBe(0);
    expect(await world.repository.git('rev-parse', 'main', 'wip')).toBe(`${await work.git('rev-parse', 'main')}\n${bad}`);
  });

  it('heeds a hook of the user, says what it says, and leaves the clone as it was', async () => {
    await startApp('hooked', { 'a.yaml': configMap('hooked-a', '1') });
    const bad = await world.repository.commit('hooked: worse', { 'hooked/a.yaml': configMap('hooked-a', '2') });
    await settled('hooked', bad);
    const work = await clone('hooked');
    await identify(work);
    await mkdir(join(work.directory, '.git', 'hooks'), { recursive: true });
    await writeFile(join(work.directory, '.git', 'hooks', 'pre-commit'), '#!/bin/sh\necho no reverts on Fridays >&2\nexit 1\n', {
      mode: 0o700,
    });
    const options = { target: 'hooked', to: undefined, push: false, hold: false, directory: work.directory, now: now() };
    expect(await failureOf(run(revert, options))).toMatchObject({
      message: 'git commit: no reverts on Fridays',
      fix: expect.stringContaining('a hook'),
    });
    expect(await work.git('status', '--porcelain')).toBe('');
    expect(await work.git('rev-parse', 'HEAD')).toBe(bad);
  });

  it('pins the app where there is no clone, says who did it everywhere, and lets it go with resume', async () => {
    const good = await startApp('pin', { 'a.yaml': configMap('pin-a', '1') });
    const bad = await world.repository.commit('pin: worse', { 'pin/a.yaml': configMap('pin-a', '2') });
    await settled('pin', bad);
    const nowhere = await temporaryDirectory('nowhere');
    const options = { target: 'pin', to: undefined, push: false, hold: false, directory: nowhere, now: now() };
    expect((await failureOf(run(revert, { ...options, push: true }))).message).toBe('there is no clone to push from');
    const pinned = await run(revert, options);
    expect(pinned.text).toContain(`pin is pinned to ${good.slice(0, 7)}; ${bad.slice(0, 7)} is held back`);
    expect(pinned.text).toContain(`Git is as it was: ${nowhere} is in no clone`);
    const content = async (): Promise<string | undefined> =>
      (await world.client.get(configMaps, { namespace: 'web', name: 'pin-a' })).data?.a;
    await until(async () => (await content()) === '1', { what: 'the pinned revision is in force' });
    const why = await run(showWhy, { target: 'pin', namespace: undefined, now: now() });
    expect(why.text).toMatch(/Pinned to [0-9a-f]{7} by .*admin.* at 20.*, [0-9a-f]{7} is held back/);
    expect(why.code).toBe(1);
    expect((await run(getApps, { name: undefined, now: now() })).text).toMatch(/ pin +Pinned +Healthy /);
    await run(resumeApp, { app: 'pin' });
    await until(async () => (await content()) === '2', { what: 'the app follows its branch again' });
  });

  it('says so when there is nothing to go back to', async () => {
    await startApp('only', { 'a.yaml': configMap('only-a', '1') });
    const options = { target: 'only', to: undefined, push: false, hold: true, directory: '.', now: now() };
    expect(await failureOf(run(revert, options))).toMatchObject({ exitCode: 1, message: 'only has nothing to go back to' });
    expect((await failureOf(run(revert, { ...options, to: '1234567' }))).message).toBe('"1234567" is no earlier revision of only');
    const before = await world.repository.git('rev-parse', '--short=7', 'HEAD');
    await settled('only', await world.repository.commit('only: more', { 'only/a.yaml': configMap('only-a', '2') }));
    const { why } = await failureOf(run(revert, { ...options, to: '1234567' }));
    expect(why).toBe(`Only commits that changed it count, the newest being ${before}.`);
  });
});

describe('midship suspend and resume', () => {
  it('write down who, why and until when, and take it all away again', async () => {
    await startApp('rest', { 'a.yaml': configMap('rest-a', '1') });
    const at = Date.parse('2040-01-01T00:00:00Z');
    expect((await run(suspendApp, { app: 'rest', reason: 'audit', duration: '90m', now: at })).text).toBe(
      'suspended rest until 2040-01-01T01:30:00Z\n',
    );
    expect((await get('rest')).metadata.annotations).toMatchObject({
      'midship.dev/suspended-by': expect.stringContaining('admin'),
      'midship.dev/suspend-reason': 'audit',
      'midship.dev/suspend-until': '2040-01-01T01:30:00Z',
    });
    expect((await run(showWhy, { target: 'rest', now: now() })).text).toMatch(/blocked +Suspended by .* until 2040-01-01T01:30:00Z: audit/);
    await run(resumeApp, { app: 'rest' });
    const { metadata, spec } = await get('rest');
    expect(spec.suspend).toBeUndefined();
    expect(Object.keys(metadata.annotations ?? {}).filter((name) => name.startsWith('midship.dev/suspend'))).toEqual([]);
  });
});

describe('midship sync and wait', () => {
  it('answer as programs read them, and say at once what cannot become true', async () => {
    const first = await startApp('awaited', { 'a.yaml': configMap('awaited-a', '1') });
    const second = await world.repository.commit('awaited: 2', { 'awaited/a.yaml': configMap('awaited-a', '2') });
    const wait = (options: object = {}) => run(waitForApp, { app: 'awaited', revision: undefined, timeout: '20s', ...options });
    expect(await wait({ revision: second, format: 'json' })).toMatchObject({ code: 0 });
    expect((await wait({ format: 'json' })).json).toMatchObject({ kind: 'Kustomization', metadata: { name: 'awaited' } });
    expect(await wait({ revision: `main@sha1:${second}` })).toMatchObject({
      code: 0,
      text: expect.stringMatching(/^● awaited {2}Applied revision/),
    });
    const startedAt = performance.now();
    expect(await wait({ revision: first })).toMatchObject({
      code: 1,
      text: expect.stringMatching(`^▲ awaited  ${first.slice(0, 7)} was superseded by ${second.slice(0, 7)}\n`),
    });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(await wait({ revision: 'abcdef01', timeout: '200ms' })).toMatchObject({
      code: 1,
      text: expect.stringMatching(/^▲ awaited {2}not at abcdef0 after 200ms\n/),
    });
    expect(await failureOf(wait({ revision: 'HEAD' }))).toMatchObject({ exitCode: 2, message: '"HEAD" is not the id of a commit' });

    const sync = (options: object = {}) => run(syncApp, { app: 'awaited', wait: true, timeout: '20s', now: now(), ...options });
    expect((await sync({ format: 'json' })).json.metadata.name).toBe('awaited');
    expect((await sync({ format: 'yaml', wait: false })).text).toMatch(/^ {2}name: awaited$/m);
    await run(suspendApp, { app: 'awaited', reason: 'audit', duration: undefined, now: now() });
    expect(await failureOf(sync())).toMatchObject({ exitCode: 1, message: 'awaited is suspended', why: expect.stringContaining('audit') });
    expect(await wait({ revision: first })).toMatchObject({
      code: 1,
      text: expect.stringMatching(/^▲ awaited {2}Suspended by .*: audit\n/),
    });
    await run(resumeApp, { app: 'awaited' });
  });

  it('say that the repository cannot be read, and not that the app is fine as it is', async () => {
    await startApp('stale', { 'a.yaml': configMap('stale-a', '1') });
    const source = { namespace: 'flux-system', name: 'cluster' };
    const point = (branch: string) => world.client.patch(gitRepositories, source, { type: 'merge', body: { spec: { ref: { branch } } } });
    await point('gone');
    try {
      expect(await failureOf(run(syncApp, { app: 'stale', wait: true, timeout: '20s', now: now() }))).toMatchObject({
        exitCode: 1,
        message: expect.stringMatching(/^GitRepository flux-system\/cluster: gone does not exist/),
      });
    } finally {
      await point('main');
    }
    expect((await run(syncApp, { app: 'stale', wait: true, timeout: '20s', now: now() + 1 })).code).toBe(0);
  });
});

describe('verbs over the wire', () => {
  it('name the apps there are when one is not, and give lists as programs read them', async () => {
    await startApp('listed', { 'a.yaml': configMap('listed-a', '1') });
    const failure = await failureOf(run(showHistory, { app: 'nope', changes: false, now: now() }));
    expect(failure).toMatchObject({ message: 'no app nope', exitCode: 2, why: expect.stringContaining('listed') });
    expect((await failureOf(run(showHistory, { app: 'lisetd', changes: false, now: now() }))).fix).toBe(
      'Did you mean listed? See: midship get apps',
    );
    const list = (options: object) => run(getApps, { name: undefined, now: now(), ...options });
    expect((await list({ format: 'json' })).json).toMatchObject({ kind: 'KustomizationList' });
    expect((await list({ format: 'yaml' })).text).toMatch(/^kind: KustomizationList$/m);
    // As kubectl: nobody wants to read who wrote which field.
    expect((await list({ format: 'json' })).text).not.toContain('managedFields');
    expect((await list({ format: 'json', name: 'listed' })).json).toMatchObject({ kind: 'Kustomization', metadata: { name: 'listed' } });
    expect((await list({ format: 'name', name: 'listed' })).text).toBe('kustomization.kustomize.toolkit.fluxcd.io/listed\n');
    expect((await list({ format: 'wide', name: 'listed' })).text).toMatch(
      /AGE +SOURCE +PATH +MESSAGE\n.*GitRepository\/cluster +\.\/listed /,
    );
    expect((await run(getSources, { name: undefined, now: now(), format: 'wide' })).text).toMatch(/REF +INTERVAL +URL.*\n.* main +/);
    expect((await failureOf(run(getSources, { name: 'nope', now: now() }))).message).toContain('"nope" not found');
  });

  it('find an app by its name in any namespace, and ask which when several have it', async () => {
    const spec = (path: string) => ({
      interval: '1m',
      prune: true,
      path: `./${path}`,
      sourceRef: { kind: 'GitRepository', name: 'cluster', namespace: 'flux-system' } as const,
    });
    for (const namespace of ['team-a', 'team-b']) {
      await world.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      await world.client.create(kustomizations, {
        apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
        kind: 'Kustomization',
        metadata: { name: 'both-have', namespace },
        spec: spec('nowhere'),
      });
    }
    await world.client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'one-has', namespace: 'team-a' },
      spec: spec('nowhere'),
    });
    const history = (app: string, namespace?: string) => run(showHistory, { app, namespace, changes: false, now: now(), format: 'json' });
    expect((await history('one-has')).json.app).toBe('team-a/one-has');
    expect((await history('both-have', 'team-b')).json.app).toBe('team-b/both-have');
    expect((await history('team-a/both-have', 'team-b')).json.app).toBe('team-a/both-have');
    expect(await failureOf(history('both-have'))).toMatchObject({
      message: '2 apps are called both-have',
      why: 'They are team-a/both-have, team-b/both-have.',
      exitCode: 2,
    });
    expect((await failureOf(history('one-has', 'team-b'))).message).toBe('no app one-has in namespace team-b');
    for (const odd of ['a/b/c', '/b', 'a/', '']) expect((await failureOf(history(odd))).message).toMatch(/names nothing/);
    const inTeam = await run(getApps, { name: undefined, now: now(), namespace: 'team-b', format: 'name' });
    expect(inTeam.text).toBe('kustomization.kustomize.toolkit.fluxcd.io/both-have\n');
    // Its output can be pasted.
    expect((await run(suspendApp, { app: 'one-has', reason: undefined, duration: undefined, now: now() })).text).toBe(
      'suspended team-a/one-has\n',
    );
    expect((await run(showWhy, { target: 'one-has', now: now() })).text).toMatch(/fix +midship resume team-a\/one-has/);
    for (const [namespace, name] of [
      ['team-a', 'both-have'],
      ['team-b', 'both-have'],
      ['team-a', 'one-has'],
    ] as const)
      await world.client.delete(kustomizations, { namespace, name });
  });

  it('say in three lines that a cluster does not answer, or a kubeconfig cannot be used', async () => {
    const directory = await temporaryDirectory('kubeconfig');
    const path = join(directory, 'config');
    const text = `apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]\n`;
    await writeFile(path, text);
    const output = new Writable({ write: (_chunk, _, done) => done() });
    const command = { dataDirectory: directory, output, format: 'text' as const, version: 'test' };
    expect(await failureOf(getApps({ ...command, name: undefined, now: 0, kubeconfig: path }))).toMatchObject({
      message: 'https://127.0.0.1:1 does not answer',
      exitCode: 2,
    });
    expect(await failureOf(getApps({ ...command, name: undefined, now: 0, kubeconfig: join(directory, 'gone') }))).toMatchObject({
      fix: 'give the path of a kubeconfig file',
    });
    expect((await failureOf(getApps({ ...command, name: undefined, now: 0 }))).message).toBe('Midship is not running');
  });
});
