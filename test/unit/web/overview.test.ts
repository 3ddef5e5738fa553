import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import type { Kustomization, KustomizationStatus } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import { overviewOf, type World } from '../../../src/web/overview.ts';

const sha = '3f2a9c1'.padEnd(40, '0');
const at = '2026-01-01T00:00:00Z';

interface Says {
  readonly ready?: readonly ['True' | 'False' | 'Unknown', string, string?];
  readonly health?: readonly ['True' | 'False' | 'Unknown', string, string?];
  readonly pruneBlocked?: string;
  readonly suspend?: boolean;
  readonly entries?: readonly string[];
  readonly generation?: number;
}

function appOf(
  name: string,
  { ready, health, pruneBlocked, suspend, entries = ['web_a_apps_Deployment'], generation = 1 }: Says = {},
): Kustomization {
  const condition = (type: string, [status, reason, message = '']: NonNullable<Says['ready']>) => ({
    type,
    status,
    reason,
    message,
    lastTransitionTime: at,
  });
  const status: KustomizationStatus = {
    observedGeneration: 1,
    lastAppliedRevision: `main@sha1:${sha}`,
    conditions: [
      ...(ready === undefined ? [] : [condition('Ready', ready)]),
      ...(health === undefined ? [] : [condition('Healthy', health)]),
      ...(pruneBlocked === undefined ? [] : [condition('PruneBlocked', ['True', 'Guarded', pruneBlocked])]),
    ],
    inventory: { entries: entries.map((id) => ({ id, v: 'v1' })) },
  };
  return {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system', generation },
    spec: {
      interval: '10s',
      prune: true,
      sourceRef: { kind: 'GitRepository', name: 'cluster' },
      ...(suspend === undefined ? {} : { suspend }),
    },
    status,
  };
}

const repositoryOf = (ready: 'True' | 'False', message = ''): GitRepository => ({
  apiVersion: 'source.toolkit.fluxcd.io/v1',
  kind: 'GitRepository',
  metadata: { name: 'cluster', namespace: 'flux-system' },
  spec: { url: 'http://127.0.0.1/git/cluster.git', interval: '10s' },
  status: {
    conditions: [{ type: 'Ready', status: ready, reason: 'R', message, lastTransitionTime: at }],
    artifact: { path: '', url: '', revision: `main@sha1:${sha}`, lastUpdateTime: at },
  },
});

const overview = (apps: readonly Kustomization[], world: Partial<World> = {}) =>
  overviewOf({ apps, repositories: [repositoryOf('True')], nodes: [], podsOn: () => 0, ...world });

const good: Says = { ready: ['True', 'ReconciliationSucceeded'], health: ['True', 'Healthy'] };

const reference = fileURLToPath(new URL('../../../docs/reference/states.md', import.meta.url));

describe('overview', () => {
  it('has no field that docs/reference/states.md does not name', () => {
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } } as Node;
    const whole = overview([appOf('web', good)], { nodes: [node], leader: { identity: 'server-a', here: true, page: '' } } as never);
    const described = readFileSync(reference, 'utf8');
    const fields = [whole, ...whole.apps, ...whole.nodes].flatMap((each) => Object.keys(each));
    expect(fields).toEqual(expect.arrayContaining(['matches', 'targets', 'simulated']));
    expect(fields.filter((field) => !described.includes(`\`${field}\``))).toEqual([]);
  });

  it('names the namespaces that an app has objects in, and since when it is ready or not', () => {
    const entries = ['web_a_apps_Deployment', '_web__Namespace', 'ops_b__Service', 'web_c__Service'];
    const { apps } = overview([appOf('web', { ...good, entries }), appOf('new', { entries: [] })]);
    expect(apps.map(({ name, targets, since }) => [name, targets, since])).toEqual([
      ['new', [], ''],
      ['web', ['ops', 'web'], at],
    ]);
  });

  it('does not say that an app matches while a newer commit of its source is neither applied nor refused', () => {
    const next = `main@sha1:${'b'.repeat(40)}`;
    const source = repositoryOf('True');
    const moved = { ...source, status: { ...source.status, artifact: { path: '', url: '', revision: next, lastUpdateTime: at } } };
    const app = appOf('web', good);
    expect(overview([app], { repositories: [moved] })).toMatchObject({
      verdict: '1 of 1 app is on the way.',
      apps: [{ sync: 'Progressing' }],
    });
    const tried = { ...app, status: { ...app.status, lastAttemptedRevision: next } };
    expect(overview([tried], { repositories: [moved] }).apps).toMatchObject([{ sync: 'Synced' }]);
    const resting = appOf('web', { ...good, suspend: true });
    // The engine finds out if the commit changes it.
    expect(overview([resting], { repositories: [moved] })).toMatchObject({
      verdict: '1 app matches Git, and is held.',
      apps: [{ state: 'Held' }],
    });
  });

  it('says of a pinned app that it differs and who pinned it, and of a suspended one who suspended it', () => {
    const next = `main@sha1:${'b'.repeat(40)}`;
    const source = repositoryOf('True');
    const moved = { ...source, status: { ...source.status, artifact: { path: '', url: '', revision: next, lastUpdateTime: at } } };
    const pinned = appOf('pinned', good);
    const held = { ...pinned, metadata: { ...pinned.metadata, annotations: { 'midship.dev/hold': sha, 'midship.dev/held-by': 'mara' } } };
    const resting = appOf('resting', { ...good, suspend: true });
    const noted = { ...resting, metadata: { ...resting.metadata, annotations: { 'midship.dev/suspended-by': 'jonas' } } };
    const { verdict, matches, apps } = overview([held, noted], { repositories: [moved] });
    expect([verdict, matches]).toEqual(['1 of 2 apps differs from Git.', false]);
    expect(apps).toMatchObject([
      {
        state: 'Differs',
        sync: 'OutOfSync',
        health: 'Healthy',
        pinned: 'Pinned by mara, 3f2a9c1 is held back',
        reason: 'Pinned by mara, 3f2a9c1 is held back',
      },
      { state: 'Held', health: 'Suspended', pinned: '', reason: 'Suspended by jonas' },
    ]);
  });

  it('answers why for every app, with the source that it has now', () => {
    const app = appOf('a', good);
    expect(overview([app]).apps[0]?.why).toMatchObject({ verdict: 'a is what Git says, and works.', blocking: '' });
    expect(overview([app], { repositories: [repositoryOf('False', 'no route')] }).apps[0]?.why.blocking).toBe(
      'Git cannot be read: no route',
    );
    const lost = appOf('a', { ...good, ready: ['False', 'ArtifactFailed', 'Source not found: GitRepository flux-system/cluster'] });
    expect(overview([lost], { repositories: [] }).apps[0]).toMatchObject({
      state: 'Waiting',
      why: { blocking: 'Source not found: GitRepository flux-system/cluster' },
    });
  });

  it('does not work out why for who asks only whether', () => {
    const app = appOf('a', good);
    const status = {
      ...app.status,
      get history(): never {
        throw new Error('read the history');
      },
    };
    const seen = overview([{ ...app, status }]);
    expect([seen.verdict, seen.matches]).toEqual(['1 app matches Git.', true]);
    expect(() => JSON.stringify(seen)).toThrow('read the history');
  });

  it('says that all is well', () => {
    expect(overview([appOf('b', good), appOf('a', good)])).toMatchObject({
      verdict: '2 apps match Git.',
      revision: sha,
      branch: 'main',
      apps: [
        { name: 'a', sync: 'Synced', health: 'Healthy', revision: sha, reason: '' },
        { name: 'b', sync: 'Synced', health: 'Healthy' },
      ],
    });
    expect(overview([appOf('a', good)]).verdict).toBe('1 app matches Git.');
    expect(overview([]).verdict).toBe('No app is defined yet.');
  });

  it('counts apps that are broken before those that are on the way', () => {
    const degraded = appOf('a', { ready: ['True', 'ReconciliationSucceeded'], health: ['False', 'Degraded', 'crashes'] });
    const moving = appOf('b', { ready: ['Unknown', 'Progressing'], health: ['Unknown', 'Progressing', '1 of 3 pods updated'] });
    expect(overview([degraded, moving, appOf('c', good)])).toMatchObject({
      verdict: '1 of 3 apps does not work, 1 is on the way.',
      apps: [{ health: 'Degraded', reason: 'crashes' }, { health: 'Progressing', reason: '1 of 3 pods updated' }, { reason: '' }],
    });
    expect(overview([moving, appOf('c', good)]).verdict).toBe('1 of 2 apps is on the way.');
  });

  it('names the manifest that could not be applied', () => {
    const failed = appOf('a', { ready: ['False', 'BuildFailed', 'a.yaml:3:1 unknown field'], health: ['True', 'Healthy'] });
    expect(overview([failed])).toMatchObject({
      verdict: '1 of 1 app is not applied.',
      apps: [{ state: 'NotApplied', sync: 'Failed', reason: 'a.yaml:3:1 unknown field' }],
    });
  });

  it('has an app whose changes nobody has seen yet on the way, and one that waits to be pruned out of sync', () => {
    expect(overview([appOf('a', { ...good, generation: 2 })]).apps[0]?.sync).toBe('Progressing');
    expect(overview([appOf('a', { ...good, pruneBlocked: '30 objects' })]).apps[0]).toMatchObject({
      sync: 'OutOfSync',
      state: 'Differs',
      reason: 'The prune is held: 30 objects',
    });
  });

  it('does not blame a suspended app', () => {
    expect(overview([appOf('a', { ...good, suspend: true })])).toMatchObject({
      verdict: '1 app matches Git, and is held.',
      matches: true,
      apps: [{ state: 'Held', health: 'Suspended' }],
    });
  });

  it('leaves out an app that only lists others, unless it fails', () => {
    const entries = ['flux-system_a_kustomize.toolkit.fluxcd.io_Kustomization'];
    expect(overview([appOf('cluster', { ...good, entries }), appOf('a', good)]).apps.map(({ name }) => name)).toEqual(['a']);
    expect(overview([appOf('cluster', { ready: ['False', 'BuildFailed', 'no'], entries })]).apps).toHaveLength(1);
  });

  it('says first that Git cannot be read, and on what the cluster runs', () => {
    const { verdict } = overview([appOf('a', good)], { repositories: [repositoryOf('False', 'unreachable')] });
    expect(verdict).toBe('Cannot read the Git repository cluster, running on 3f2a9c1.');
  });

  it('asks for the first push to a repository that has no commits, and names path and branch', () => {
    const message = 'main does not exist in x.git. The repository has no commits yet: push one.';
    const { status, ...read } = repositoryOf('False', message);
    const empty = { ...read, spec: { ...read.spec, ref: { branch: 'main' } }, status: { conditions: status?.conditions ?? [] } };
    const waiting = appOf('a', { ready: ['False', 'ArtifactFailed'] });
    const verdict = (path?: string, repository: GitRepository = empty) =>
      overview([path === undefined ? waiting : { ...waiting, spec: { ...waiting.spec, path } }], { repositories: [repository] }).verdict;
    expect(verdict('./clusters/test/')).toBe(
      'The Git repository cluster has no commits yet: push manifests below clusters/test to its branch main.',
    );
    expect(verdict('./')).toBe('The Git repository cluster has no commits yet: push manifests to its branch main.');
    // All branches of a repository that was read before are gone: what was read stays in force.
    expect(verdict('./', repositoryOf('False', message))).toBe('Cannot read the Git repository cluster, running on 3f2a9c1.');
  });

  it('counts pods of nodes and labels those that are simulated', () => {
    const node: Node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'sim-0', labels: { 'midship.dev/simulated': 'true' } },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    };
    expect(overview([], { nodes: [node], podsOn: () => 7 }).nodes).toEqual([{ name: 'sim-0', ready: true, simulated: true, pods: 7 }]);
  });
});
