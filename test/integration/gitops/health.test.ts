import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { until } from '../../support/until.ts';

const ingress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: late, namespace: web}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
`;

let world: EngineWorld;
beforeAll(async () => {
  world = await startEngineWorld({ 'late/ingress.yaml': ingress });
});
afterAll(() => world.stop());

const newApp = (name: string, spec: Partial<Kustomization['spec']>): Promise<Kustomization> =>
  world.client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system' },
    spec: { interval: '1h', prune: true, path: `./${name}`, sourceRef: { kind: 'GitRepository', name: 'cluster' }, ...spec },
  });
const healthyIs = (name: string, fits: (reason: string, message: string) => boolean) =>
  until(
    async () => {
      const app = await world.client.get(kustomizations, { namespace: 'flux-system', name });
      const condition = conditionOf(app.status?.conditions, 'Healthy');
      return condition !== undefined && fits(condition.reason ?? '', condition.message ?? '') ? app : undefined;
    },
    { what: `health of ${name}` },
  );

it('ends as Degraded, in one line of the terminal, when it does not come within the timeout', async () => {
  await newApp('late', { wait: true, timeout: '1s' });
  const reason = 'Ingress late has no address yet (not healthy within 1s)';
  const app = await healthyIs('late', (is, message) => is === 'Degraded' && message === reason);
  expect(conditionOf(app.status?.conditions, 'Ready')).toMatchObject({ status: 'False', reason: 'HealthCheckFailed', message: reason });
  const lines = () => world.activities().filter((activity) => activity.type === 'degraded' && activity.app === 'late');
  await until(() => lines().length > 0, { what: 'a line in the terminal' });
  expect(lines()).toMatchObject([{ reason }]);
});
