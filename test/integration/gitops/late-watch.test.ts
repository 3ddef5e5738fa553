import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { horizontalPodAutoscalers } from '../../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import type { Client } from '../../../src/client/client.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { setAble } from '../../support/autoscaler.ts';
import { home, namespace } from '../../support/engine.ts';
import { deployment } from '../../support/gitops-project.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const web = { namespace, name: 'web' };
const scaler = {
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'web', namespace },
  spec: { maxReplicas: 10, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' } },
} as const;
const scaled = { type: 'merge', body: { spec: { replicas: 7 } } } as const;
const autoscaler = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 10, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`;

const manifest = (name: string, value: string, annotation = 'note: none'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  annotations: {${annotation}}\ndata: {a: "${value}"}\n`;
const once = 'kustomize.toolkit.fluxcd.io/ssa: IfNotPresent';
const idle = 'kustomize.toolkit.fluxcd.io/reconcile: disabled';
const files = (value: string): Readonly<Record<string, string>> => ({
  'web/once.yaml': manifest('once', value, once),
  'web/idle.yaml': manifest('idle', value, idle),
  'web/live.yaml': manifest('live', value),
  'web/ignored.yaml': manifest('ignored', value),
  'web/plain.yaml': manifest('plain', value),
});

/** Its watches of these resources never tell anything. */
const deafTo =
  (...resources: readonly Resource[]) =>
  (client: Client): Client => ({
    ...client,
    watch: (resource, options) =>
      client.watch(
        resource,
        resources.some((deaf) => deaf.resource === resource.resource) ? { ...options, onEvents: () => undefined } : options,
      ),
  });

describe('an engine whose watches are late', () => {
  it('still leaves ignored objects alone, and fields that are not its own', async () => {
    const { people, commit, applied } = await startMemoryProject({
      files: files('1'),
      apps: { web: { driftIgnoreRules: [{ paths: ['/data/a'], target: { name: 'ignored' } }] } },
      wrap: deafTo(configMaps),
    });
    await applied('web');
    // An object that Git says to ignore is not created.
    await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'idle', namespace } });
    const all = ['once', 'idle', 'live', 'ignored', 'plain'];
    for (const name of all) {
      const metadata = name === 'live' ? { annotations: { 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled' } } : {};
      const body = { metadata, data: { a: 'theirs' } };
      await people.patch(configMaps, { namespace, name }, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
    }
    commit(files('2'));
    await applied('web');
    const values = await Promise.all(all.map(async (name) => (await people.get(configMaps, { namespace, name })).data?.a));
    expect(values).toEqual(['theirs', 'theirs', 'theirs', 'theirs', '2']);
  });

  it('leaves replicas to an autoscaler that it has not seen yet, and reports no change that it does not put back', async () => {
    const { people, commit, applied, metrics } = await startMemoryProject({
      files: { 'web/deploy.yaml': deployment(3) },
      wrap: deafTo(horizontalPodAutoscalers),
    });
    await applied('web');
    await people.create(horizontalPodAutoscalers, scaler);
    await setAble(people, web);
    await people.patch(deployments, web, scaled, { fieldManager: 'horizontal-pod-autoscaler' });
    await until(async () => /gitops_drift_detected_total\{[^}]*app="web"[^}]*\} 1/.test(await metrics()), {
      what: 'the change is heard of',
    });
    commit({ 'web/deploy.yaml': deployment(3).replace('selector:', 'minReadySeconds: 5\n  selector:') });
    await applied('web');
    const { spec } = await people.get(deployments, web);
    expect([spec.replicas, spec.minReadySeconds]).toEqual([7, 5]);
    expect((await people.list(events, { namespace: home })).items.map(({ reason }) => reason)).not.toContain('DriftCorrected');
    expect(await metrics()).not.toMatch(/gitops_drift_corrections_total\{[^}]*app="web"[^}]*\} [1-9]/);
  });

  it('leaves its first number to an autoscaler of another cluster, which writes its status after that', async () => {
    const { people, applied, metrics } = await startMemoryProject({ files: { 'web/deploy.yaml': deployment(3) } });
    await applied('web');
    const set = (replicas: number, manager: string) =>
      people.patch(deployments, web, { type: 'merge', body: { spec: { replicas } } }, { fieldManager: manager, subresource: 'scale' });
    // A number of `kubectl scale` is put back, also beside an autoscaler that has not acted.
    await people.create(horizontalPodAutoscalers, scaler);
    await set(5, 'kubectl');
    await until(async () => (await people.get(deployments, web)).spec.replicas === 3, { what: "Git's number" });
    await set(7, 'kube-controller-manager');
    await until(async () => /gitops_drift_detected_total\{[^}]*app="web"[^}]*\} 2/.test(await metrics()), {
      what: 'the change is heard of',
    });
    await until(async () => (await people.list(events, { namespace: home })).items.some(({ reason }) => reason === 'DriftCorrected'), {
      what: 'the first correction',
    });
    await setAble(people, web);
    await applied('web');
    expect((await people.get(deployments, web)).spec.replicas).toBe(7);
  });

  it('leaves replicas to the autoscaler that was there before the app', async () => {
    const { people, applied } = await startMemoryProject({
      files: { 'web/deploy.yaml': deployment(3), 'web/hpa.yaml': autoscaler },
      async prepare(client) {
        await client.create(horizontalPodAutoscalers, scaler, { fieldManager: 'helm' });
        await setAble(client, web);
        await client.create(
          deployments,
          {
            apiVersion: 'apps/v1',
            kind: 'Deployment',
            metadata: web,
            spec: {
              replicas: 7,
              selector: { matchLabels: { app: 'web' } },
              template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'host/node' }] } },
            },
          },
          { fieldManager: 'helm' },
        );
      },
    });
    await applied('web');
    expect((await people.get(deployments, web)).spec.replicas).toBe(7);
  });

  it('withdraws its report of drift when it sees the autoscaler that caused it', async () => {
    const held: (() => void)[] = [];
    let holds = true;
    const { people, applied } = await startMemoryProject({
      files: { 'web/deploy.yaml': deployment(3).replace('{name: web}', '{name: web, annotations: {midship.dev/drift: detect}}') },
      wrap: (client) => ({
        ...client,
        watch: (resource, options) =>
          client.watch(resource, {
            ...options,
            onEvents(told) {
              if (holds && resource.resource === horizontalPodAutoscalers.resource) held.push(() => options.onEvents(told));
              else options.onEvents(told);
            },
          }),
      }),
    });
    await applied('web');
    await people.create(horizontalPodAutoscalers, scaler);
    await setAble(people, web);
    await people.patch(deployments, web, scaled, { fieldManager: 'horizontal-pod-autoscaler' });
    const drifted = async () =>
      conditionOf((await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions, 'Drifted')?.message;
    await until(async () => (await drifted())?.includes('spec.replicas 3 → 7') === true, { what: drifted as () => Promise<string> });
    holds = false;
    for (const tell of held) tell();
    await until(async () => (await drifted()) === undefined, { what: drifted as () => Promise<string> });
  });

  it('does not take for drift what it changed itself since', async () => {
    const held: (() => void)[] = [];
    let holds = true;
    const { commit, applied, metrics } = await startMemoryProject({
      files: { 'web/a.yaml': manifest('a', '1') },
      wrap: (client) => ({
        ...client,
        watch: (resource, options) =>
          client.watch(resource, {
            ...options,
            onEvents(told) {
              if (holds && resource.resource === configMaps.resource) held.push(() => options.onEvents(told));
              else options.onEvents(told);
            },
          }),
      }),
    });
    await applied('web');
    commit({ 'web/a.yaml': `${manifest('a', '1')}  b: "2"\n`.replace('data: {a: "1"}', 'data:\n  a: "1"') });
    await applied('web');
    expect(held.length).toBeGreaterThan(1);
    holds = false;
    for (const tell of held) tell();
    expect(await metrics()).not.toMatch(/gitops_drift_detected_total\{[^}]*app="web"[^}]*\} [1-9]/);
  });

  it('says in the status of a source where it is, also when it is where it was before', async () => {
    let isDeaf = false;
    const { people, commit, moveTo, applied } = await startMemoryProject({
      files: { 'web/a.yaml': manifest('a', '1') },
      wrap: (client) => ({
        ...client,
        watch: (resource, options) =>
          client.watch(resource, {
            ...options,
            onEvents: (told) => (isDeaf && resource.resource === gitRepositories.resource ? undefined : options.onEvents(told)),
          }),
      }),
    });
    await applied('web');
    const revision = async () => (await people.get(gitRepositories, { namespace: home, name: 'cluster' })).status?.artifact?.revision;
    const first = await until(revision, { what: 'the source is read' });
    isDeaf = true;
    const second = commit({ 'web/a.yaml': manifest('a', '2') });
    await until(async () => (await revision()) === `main@sha1:${second}`, { what: 'the second commit' });
    moveTo(first.replace('main@sha1:', ''));
    await until(async () => (await revision()) === first, { timeoutMs: 5_000, what: 'the first commit again' });
  });
});
