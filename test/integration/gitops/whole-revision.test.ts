import { describe, expect, it, onTestFinished } from 'vitest';
import {
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
} from '../../../src/api/admissionregistration/v1/admission-policy.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { home, startNamespaces } from '../../support/engine.ts';
import { configMap } from '../../support/gitops-project.ts';
import { type MemoryProject, startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const withNamespaces = async (people: Client): Promise<void> => onTestFinished(await startNamespaces(people));
/** Its objects name their Namespaces. */
const spec: object = { targetNamespace: undefined };
const inNamespace = (manifest: string, namespace: string): string => manifest.replace('metadata:', `metadata:\n  namespace: ${namespace}`);
const namespaceNamed = (name: string, labels = ''): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {${labels}}}\n`;
const deployment = (replicas: number): string =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  replicas: ${replicas}\n  selector: {matchLabels: {app: d}}\n  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: d, image: d}]}}\n`;

const readyOf = async ({ people }: MemoryProject, name = 'web') =>
  (await people.get(kustomizations, { namespace: home, name })).status?.conditions?.find(({ type }) => type === 'Ready');
const refused = (p: MemoryProject, why: RegExp): Promise<unknown> =>
  until(
    async () => {
      const ready = await readyOf(p);
      return ready?.status === 'False' && why.test(ready.message ?? '');
    },
    { what: async () => `refused with ${why}, not ${JSON.stringify(await readyOf(p))}` },
  );
const has = async (people: Client, name: string): Promise<boolean> =>
  (await people.list(namespaces)).items.some(({ metadata }) => metadata.name === name);
const dataOf = async (people: Client): Promise<string | undefined> =>
  (await people.get(configMaps, { namespace: home, name: 'a' })).data?.a;

describe('a commit with a new Namespace', () => {
  const first = { 'web/a.yaml': inNamespace(configMap('a'), home) };

  it('is refused as a whole for a value in it, before anything is written', async () => {
    const p = await startMemoryProject({ files: first, apps: { web: spec } });
    await p.applied('web');
    const before = (await p.people.list(namespaces)).metadata.resourceVersion;
    p.commit({
      'web/a.yaml': inNamespace(configMap('a', '2'), home),
      'web/b.yaml': inNamespace(configMap('b'), 'new'),
      'web/d.yaml': inNamespace(deployment(-1), 'new'),
      'web/ns.yaml': namespaceNamed('new'),
    });
    await refused(p, /^web\/d\.yaml:\d+:\d+ Deployment new\/d: spec\.replicas: Invalid value/);
    expect(await dataOf(p.people)).toBe('1');
    const seen: string[] = [];
    const abort = AbortSignal.timeout(50);
    await p.people.watch(namespaces, {
      resourceVersion: before ?? '',
      signal: abort,
      onEvents: (found) => void seen.push(...found.map(({ object }) => object.metadata.name)),
    });
    expect(seen).toEqual([]);
  });

  it('is refused as a whole for what only that Namespace forbids, and takes it away again', async () => {
    const p = await startMemoryProject({ files: first, apps: { web: spec }, prepare: withNamespaces });
    await p.applied('web');
    await p.people.create(validatingAdmissionPolicies, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: 'locked' },
      spec: {
        matchConstraints: {
          resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['configmaps'] }],
        },
        validations: [
          {
            expression: "!has(namespaceObject.metadata.labels.locked) || namespaceObject.metadata.labels.locked != 'yes'",
            message: 'this Namespace is locked',
          },
        ],
      },
    });
    await p.people.create(validatingAdmissionPolicyBindings, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name: 'locked' },
      spec: { policyName: 'locked', validationActions: ['Deny'] },
    });
    const more = (locked: string) => ({
      'web/a.yaml': inNamespace(configMap('a', '2'), home),
      'web/b.yaml': inNamespace(configMap('b'), 'new'),
      'web/ns.yaml': namespaceNamed('new', `locked: "${locked}"`),
    });
    p.commit(more('yes'));
    await refused(p, /this Namespace is locked/);
    expect(await dataOf(p.people)).toBe('1');
    await until(async () => !(await has(p.people, 'new')), { what: 'the Namespace is gone again' });
    p.commit(more('no'));
    await p.applied('web');
    expect(await dataOf(p.people)).toBe('2');
  });
});

describe('an app whose Namespace is on its way out', () => {
  it('is tried again when that is gone, whatever its retry interval', async () => {
    const files = (value: string) => ({ 'web/ns.yaml': namespaceNamed('new'), 'web/a.yaml': inNamespace(configMap('a', value), 'new') });
    const p = await startMemoryProject({ files: files('1'), apps: { web: { ...spec, retryInterval: '1h' } }, prepare: withNamespaces });
    await p.applied('web');
    const held = { namespace: 'new', name: 'held' };
    await p.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...held, finalizers: ['example.com/held'] } });
    await p.people.delete(namespaces, { name: 'new' });
    await until(async () => (await p.people.list(configMaps, { namespace: 'new' })).items.length === 1, { what: 'the content is gone' });
    p.commit(files('2'));
    await refused(p, /being terminated/);
    await p.people.patch(configMaps, held, { type: 'merge', body: { metadata: { finalizers: null } } });
    await p.applied('web');
    expect((await p.people.get(configMaps, { namespace: 'new', name: 'a' })).data?.a).toBe('2');
  });
});

describe('an app that depends on one with a definition', () => {
  it('comes without an error on a fresh install', async () => {
    const group = 'whole.example.com';
    const definition = JSON.stringify({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `gears.${group}` },
      spec: {
        group,
        scope: 'Cluster',
        names: { plural: 'gears', kind: 'Gear' },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
      },
    });
    const gear = `apiVersion: ${group}/v1\nkind: Gear\nmetadata: {name: g}\n`;
    const p = await startMemoryProject({
      files: {
        'one/crd.yaml': definition,
        'two/g.yaml': gear,
        'three/x.yaml': `apiVersion: none.example.com/v1\nkind: None\nmetadata: {name: x}\n`,
      },
      // The third one has discovery asked all the time.
      apps: { one: {}, two: { dependsOn: [{ name: 'one' }] }, three: {} },
    });
    await p.applied('two');
    const { status } = await p.people.get(kustomizations, { namespace: home, name: 'two' });
    expect(status?.history?.map(({ lastReconciledStatus }) => lastReconciledStatus)).toEqual(['ReconciliationSucceeded']);
  });
});

describe('a defect that only a commit can change', () => {
  it('is named when it never runs: hooks of phases that are not there', async () => {
    const hook = (name: string, phase: string): string => configMap(name, '1', { 'argocd.argoproj.io/hook': phase });
    const p = await startMemoryProject({
      files: { 'web/a.yaml': configMap('a'), 'web/post.yaml': hook('post', 'PostDelete'), 'web/skip.yaml': hook('skip', 'Skip') },
    });
    await p.applied('web');
    const message = await until(
      async () => (await p.people.list(events, { namespace: home })).items.find(({ reason }) => reason === 'HookNotSupported')?.message,
      { what: 'an event names the hook' },
    );
    expect(message).toMatch(/^web\/post\.yaml:1 ConfigMap post never runs: hook PostDelete is not supported\. Use [^\n]*$/);
  });
});
