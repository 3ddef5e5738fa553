import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { roleBindings } from '../../../src/api/rbac/v1/role-binding.ts';
import { priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import { home, namespace } from '../../support/engine.ts';
import { configMap } from '../../support/gitops-project.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const force = 'annotations: {kustomize.toolkit.fluxcd.io/force: enabled}';
const binding = (role: string, note = force): string =>
  `apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b, ${note}}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ${role}}\nsubjects: [{kind: User, name: mara, apiGroup: rbac.authorization.k8s.io}]\n`;
const priority = (value: number, note = force): string =>
  `apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: p, ${note}}\nvalue: ${value}\n`;
const deployment = (spec: string, note = force): string =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, ${note}}\nspec:\n  ${spec}\n  selector: {matchLabels: {app: d}}\n  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: d, image: d}]}}\n`;

describe('a field that is fixed once an object is there', () => {
  it('has the object recreated with force, whatever words the server refuses it with, and again by the revert', async () => {
    const first = { 'web/b.yaml': binding('view'), 'web/p.yaml': priority(1), 'web/d.yaml': deployment('replicas: 1') };
    const { people, ...p } = await startMemoryProject({ files: first });
    const seen = async () =>
      [
        (await people.get(roleBindings, { namespace, name: 'b' })).roleRef.name,
        (await people.get(priorityClasses, { name: 'p' })).value,
        (await people.get(deployments, { namespace, name: 'd' })).spec?.strategy?.type,
      ] as const;
    await p.applied('web');
    expect(await seen()).toEqual(['view', 1, 'RollingUpdate']);
    p.commit({ 'web/b.yaml': binding('edit'), 'web/p.yaml': priority(2), 'web/d.yaml': deployment('strategy: {type: Recreate}') });
    await p.applied('web');
    expect(await seen()).toEqual(['edit', 2, 'Recreate']);
    p.commit(first);
    await p.applied('web');
    expect(await seen()).toEqual(['view', 1, 'RollingUpdate']);
  });

  it('is named with its reason and the way out where force is not set', async () => {
    const pod = (fields: string): string =>
      `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {containers: [{name: a, image: host/true}], ${fields}}\n`;
    const p = await startMemoryProject({
      files: { 'web/b.yaml': binding('view', ''), 'web/p.yaml': priority(1, ''), 'web/z.yaml': pod('dnsPolicy: Default') },
    });
    await p.applied('web');
    p.commit({
      'web/b.yaml': binding('edit', ''),
      'web/p.yaml': priority(2, ''),
      'web/z.yaml': pod('dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1]}, hostNetwork: true'),
    });
    const messageOf = async (): Promise<string> =>
      (await p.people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions?.find(
        ({ type, status }) => type === 'Ready' && status === 'False',
      )?.message ?? '';
    const lines = (await until(async () => (await messageOf()) || undefined, { what: 'the commit is refused' })).split('\n');
    const wayOut = /\. It cannot be changed in place: .* annotate it with kustomize\.toolkit\.fluxcd\.io\/force: enabled/;
    for (const [index, field] of ['roleRef', 'value'].entries()) {
      expect(lines[index]).toContain(` ${field}: `);
      expect(lines[index]).toMatch(wayOut);
    }
    expect(lines).toEqual([
      ...lines.slice(0, 2),
      expect.stringMatching(/may not change .*; changed: dnsPolicy, hostNetwork, dnsConfig\. /),
    ]);
    expect(lines[2]).toMatch(wayOut);
  });

  it('is no reason to delete an object whose new content is wrong', async () => {
    const p = await startMemoryProject({ files: { 'web/a.yaml': configMap('a'), 'web/d.yaml': deployment('replicas: 1') } });
    const { people } = p;
    await p.applied('web');
    const { uid } = (await people.get(deployments, { namespace, name: 'd' })).metadata;
    p.commit({ 'web/a.yaml': configMap('a', '2'), 'web/d.yaml': deployment('replicas: -1') });
    await until(
      async () =>
        (await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions?.some(
          ({ message = '' }) => message.includes('spec.replicas') && !message.includes('in place'),
        ),
      { what: 'the commit is refused' },
    );
    expect((await people.get(deployments, { namespace, name: 'd' })).metadata.uid).toBe(uid);
  });
});
