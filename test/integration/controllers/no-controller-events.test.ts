import { afterAll, beforeAll, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { createNoControllerEvents } from '../../../src/controllers/no-controller-events.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ controllers: [createNoControllerEvents] });
});
afterAll(() => plane.stop());

const ingress = (name: string) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name, namespace },
  spec: { defaultBackend: { service: { name: 'web', port: { number: 80 } } } },
});
const eventsOf = async (name: string) =>
  (await plane.client.list(events, { namespace, fieldSelector: `involvedObject.name=${name}` })).items;

it('says on an object that nothing acts on it, in an Event', async () => {
  await plane.client.create(ingresses, ingress('lonely'));
  const [event] = await until(
    async () => {
      const found = await eventsOf('lonely');
      return found.length === 0 ? undefined : found;
    },
    { what: 'an Event on the Ingress' },
  );
  expect(event).toMatchObject({
    type: 'Warning',
    reason: 'NoController',
    message: 'Ingress lonely is stored, but it names no IngressClass and the cluster has no default one: it routes no requests',
    involvedObject: { kind: 'Ingress', apiVersion: 'networking.k8s.io/v1', name: 'lonely' },
  });
});

it('says nothing more of an object whose status a controller of the user writes', async () => {
  const { client } = plane;
  await client.create(ingresses, ingress('served'));
  await client.patch(
    ingresses,
    { namespace, name: 'served' },
    { type: 'merge', body: { status: { loadBalancer: { ingress: [{ ip: '192.0.2.7' }] } } } },
    { subresource: 'status' },
  );
  await until(async () => (await eventsOf('served')).length === 1, { what: 'the Event of the new Ingress' });
  const change = { spec: { defaultBackend: { service: { name: 'other', port: { number: 80 } } } } };
  await client.patch(ingresses, { namespace, name: 'served' }, { type: 'merge', body: change });
  await client.create(ingresses, ingress('later'));
  await until(async () => (await eventsOf('later')).length === 1, { what: 'the Event of an Ingress made after the change' });
  expect((await eventsOf('served')).map(({ count }) => count)).toEqual([1]);
});
