import { describe, expect, it } from 'vitest';
import { apiServices } from '../../../src/api/apiregistration/v1/api-service.ts';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { configMap, deployment, describeOnTargets, openGate } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

/**
 * A repository as teams that run Flux lay theirs out. Clusters list apps, infrastructure has an order, apps are a base with
 * an overlay for each stage, and values come from a ConfigMap. Only names are filled in.
 */
const fluxLayout = (home: string, namespace: string): Readonly<Record<string, string>> => {
  const app = (name: string, path: string, more: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: ${name}
  namespace: ${home}
spec:
  interval: 1h
  retryInterval: 1m
  timeout: 5m
  sourceRef:
    kind: GitRepository
    name: cluster
  path: ${path}
  prune: true
${more}`;
  return {
    'clusters/production/infrastructure.yaml': `${app('infra-controllers', './infrastructure/controllers', '  wait: true\n')}---\n${app(
      'infra-configs',
      './infrastructure/configs',
      '  dependsOn:\n    - name: infra-controllers\n',
    )}`,
    'clusters/production/apps.yaml': app(
      'apps',
      './apps/production',
      `  dependsOn:
    - name: infra-configs
  wait: true
  postBuild:
    substitute:
      cluster_env: production
    substituteFrom:
      - kind: ConfigMap
        name: cluster-vars
      - kind: Secret
        name: cluster-secret-vars
        optional: true
  patches:
    - patch: |
        - op: add
          path: /metadata/annotations/team
          value: platform
      target:
        kind: ConfigMap
        name: podinfo-settings
`,
    ),
    'clusters/production/vars.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cluster-vars\n  namespace: ${home}\ndata:\n  domain: example.com\n  replicas: "2"\n`,
    'infrastructure/controllers/kustomization.yaml':
      'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - quota.yaml\n',
    'infrastructure/controllers/quota.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: controller\n  namespace: ${namespace}\n`,
    'infrastructure/configs/kustomization.yaml':
      'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - issuer.yaml\n',
    'infrastructure/configs/issuer.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: issuer\n  namespace: ${namespace}\ndata:\n  server: staging\n`,
    'apps/base/podinfo/kustomization.yaml': `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: ${namespace}
resources:
  - service.yaml
  - ingress.yaml
configMapGenerator:
  - name: podinfo-settings
    options: {disableNameSuffixHash: true, annotations: {app: podinfo}}
    literals:
      - host=podinfo.\${domain}
      - environment=\${cluster_env}
      - retries=\${retries:=many}
`,
    'apps/base/podinfo/service.yaml':
      'apiVersion: v1\nkind: Service\nmetadata:\n  name: podinfo\nspec:\n  selector: {app: podinfo}\n  ports:\n    - port: 80\n',
    'apps/base/podinfo/ingress.yaml': `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: podinfo
spec:
  ingressClassName: none
  rules:
    - host: podinfo.staging
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 80}}}}]}
`,
    'apps/production/kustomization.yaml': `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../base/podinfo
labels:
  - pairs: {stage: production}
patches:
  - path: podinfo-values.yaml
    target: {kind: Ingress, name: podinfo}
`,
    'apps/production/podinfo-values.yaml': `- op: replace\n  path: /spec/rules/0/host\n  value: podinfo.\${domain}\n`,
  };
};

describeOnTargets('reconciles whole repositories', ({ project }) => {
  it('laid out as for Flux: clusters, infrastructure, apps with base and overlay, dependencies and values', async () => {
    const p = await project({ 'README.md': 'x' });
    await p.repository.commit('layout', fluxLayout(p.home, p.namespace));
    // The path of the cluster, as `flux bootstrap` makes it.
    await p.client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'flux-system', namespace: p.home },
      spec: { interval: '10m', path: './clusters/production', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
    });
    for (const name of ['flux-system', 'infra-controllers', 'infra-configs']) await p.applied(name);
    await p.conditionIs('apps', 'Ready', ({ status, message }) => status === 'Unknown' && /waiting for health/.test(message));
    await openGate(p, 'podinfo');
    await p.applied('apps');
    const settings = await p.client.get(configMaps, { namespace: p.namespace, name: 'podinfo-settings' });
    expect(settings.data).toEqual({ host: 'podinfo.example.com', environment: 'production', retries: 'many' });
    expect(settings.metadata).toMatchObject({ labels: { stage: 'production' }, annotations: { team: 'platform', app: 'podinfo' } });
    // A value that changes in Git goes all the way.
    const vars = fluxLayout(p.home, p.namespace)['clusters/production/vars.yaml'] ?? '';
    await p.repository.commit('domain', { 'clusters/production/vars.yaml': vars.replace('example.com', 'example.org') });
    await until(
      async () =>
        (await p.client.get(configMaps, { namespace: p.namespace, name: 'podinfo-settings' })).data?.host === 'podinfo.example.org',
      { what: 'the new domain is in force' },
    );
    // An app that leaves the cluster's list takes its objects along.
    await p.repository.commit('no apps', { 'clusters/production/apps.yaml': null });
    await p.applied('flux-system');
    await until(async () => !(await names(p, 'podinfo-settings')), { what: 'apps are gone' });
  });

  describe('16 order', () => {
    it('applies a definition and objects of its kind from one commit, and refuses the objects that do not fit it', async () => {
      // An engine may see the first commit before it learns about the second.
      const p = await project({ 'README.md': 'x' });
      const group = `${p.namespace}.example.com`;
      const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.${group}}
spec:
  group: ${group}
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
`;
      const widget = (size: string): string => `apiVersion: ${group}/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: ${size}}\n`;
      const widgets = { group, version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true } as unknown as Resource<never>;
      await p.repository.commit('definition', { 'web/a.yaml': configMap('a'), 'web/crd.yaml': definition, 'web/w.yaml': widget('big') });
      await p.app('web');
      // An engine may look at the app before its source, or at the commit before, which has no such directory.
      const isRefused = /web\/w\.yaml:\d+.*Widget \S+\/w: .*spec\.size/;
      await p.conditionIs('web', 'Ready', ({ status, message = '' }) => status === 'False' && isRefused.test(message));
      expect(await p.dataOf('a')).toBeUndefined();
      await p.repository.commit('fits', { 'web/w.yaml': widget('3') });
      await p.applied('web');
      expect(await p.client.get(widgets, { namespace: p.namespace, name: 'w' })).toMatchObject({ spec: { size: 3 } });
      await p.repository.commit('gone', { 'web/w.yaml': null, 'web/deploy.yaml': deployment(1) });
      await p.applied('web');
      expect((await p.client.get(deployments, { namespace: p.namespace, name: 'web' })).spec.replicas).toBe(1);
    });
  });

  describe('2 write-ahead inventory', () => {
    it('forgets what went with its definition, but nothing of a group whose server does not answer', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      const group = `${p.namespace}.example.com`;
      const inventory = async () => ((await p.read('web')).status?.inventory?.entries ?? []).map(({ id }) => id);
      const name = `v1.${group}`;
      await p.client.create(apiServices, {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name },
        spec: {
          group,
          version: 'v1',
          groupPriorityMinimum: 100,
          versionPriority: 100,
          service: { namespace: p.namespace, name: 'nowhere' },
        },
      });
      // An inventory of Flux names an object of that group.
      await p.change('web', { spec: { suspend: true } });
      await p.restartEngine(async () => {
        await p.client.delete(secrets, { namespace: p.home, name: 'midship-inventory-web' });
        const entries = [...((await p.read('web')).status?.inventory?.entries ?? []), { id: `${p.namespace}_w_${group}_Widget`, v: 'v1' }];
        await p.client.patch(
          kustomizations,
          { namespace: p.home, name: 'web' },
          { type: 'merge', body: { spec: { suspend: false }, status: { inventory: { entries } } } },
          { subresource: 'status', fieldManager: 'flux' },
        );
        await p.change('web', { spec: { suspend: null } });
      });
      await p.conditionIs(
        'web',
        'Ready',
        ({ reason, message }) => reason === 'PruneFailed' && message.includes(`APIService ${name} is not available`),
      );
      expect(await inventory()).toContain(`${p.namespace}_w_${group}_Widget`);
      await p.client.delete(apiServices, { name });
      await p.applied('web');
      await until(async () => (await inventory()).length === 1, { what: 'the object of the group that is gone is forgotten' });
    });
  });
});

async function names(p: Parameters<typeof openGate>[0], name: string): Promise<boolean> {
  const { items } = await p.client.list(configMaps, { namespace: p.namespace });
  return items.some(({ metadata }) => metadata.name === name);
}
