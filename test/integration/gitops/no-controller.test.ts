import { afterAll, beforeAll, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { noControllerText } from '../../../src/api/kinds-without-controller.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { whyOf } from '../../../src/lifecycle/why.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { until } from '../../support/until.ts';

const ingress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: web}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
`;
const configMap = (name: string, wave = '0'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web, annotations: {argocd.argoproj.io/sync-wave: "${wave}"}}\n`;
const sentence = 'Ingress shop is stored, but it names no IngressClass and the cluster has no default one: it routes no requests';

let world: EngineWorld;
beforeAll(async () => {
  world = await startEngineWorld(
    { 'own/ingress.yaml': ingress, 'own/later.yaml': configMap('later', '1'), 'own/gone.yaml': configMap('gone') },
    { noControllerText: (object) => noControllerText(object, { arePoliciesEnforced: () => false, ingressClasses: () => [] }) },
  );
});
afterAll(() => world.stop());

const appOf = (name: string): Promise<Kustomization> => world.client.get(kustomizations, { namespace: 'flux-system', name });
const conditionIs = (name: string, type: string, fits: (status: string, reason: string) => boolean) =>
  until(
    async () => {
      const condition = conditionOf((await appOf(name)).status?.conditions, type);
      return condition !== undefined && fits(condition.status, condition.reason ?? '') ? condition : undefined;
    },
    { what: `${type} of ${name}` },
  );

it('makes an app that waits not Ready at once, with the reason, and holds up neither later waves nor pruning', async () => {
  await world.client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'own', namespace: 'flux-system' },
    spec: { interval: '1h', prune: true, wait: true, path: './own', sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  });
  const ready = await conditionIs('own', 'Ready', (_, reason) => reason === 'HealthCheckFailed');
  expect(ready).toMatchObject({ reason: 'HealthCheckFailed', message: sentence });
  expect(await conditionIs('own', 'Healthy', (status) => status === 'False')).toMatchObject({ reason: 'NoController', message: sentence });
  expect(whyOf(await appOf('own'), undefined)).toMatchObject({
    phases: expect.arrayContaining([expect.objectContaining({ name: 'health', result: 'failed', detail: sentence })]),
  });
  await until(() => world.activities().some((activity) => activity.type === 'degraded' && activity.reason === sentence), {
    what: 'the terminal reports it',
  });
  await world.client.get(configMaps, { namespace: 'web', name: 'later' });

  await world.repository.commit('without gone', { 'own/gone.yaml': null });
  await until(
    async () => (await world.client.list(configMaps, { namespace: 'web', fieldSelector: 'metadata.name=gone' })).items.length === 0,
    {
      what: 'the ConfigMap is pruned',
    },
  );
  expect(await conditionIs('own', 'Ready', (_, reason) => reason === 'HealthCheckFailed')).toMatchObject({ message: sentence });

  // A controller of the user's own takes the Ingress on.
  await world.client.patch(
    ingresses,
    { namespace: 'web', name: 'shop' },
    { type: 'merge', body: { status: { loadBalancer: { ingress: [{ ip: '192.0.2.7' }] } } } },
    { subresource: 'status' },
  );
  await conditionIs('own', 'Ready', (status) => status === 'True');
});
