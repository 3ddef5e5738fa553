import { afterAll, beforeAll, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { flowSchemas } from '../../../src/api/flowcontrol/v1/flow-schema.ts';
import { priorityLevelConfigurations } from '../../../src/api/flowcontrol/v1/priority-level-configuration.ts';
import { createExpiryController } from '../../../src/controllers/expiry/expiry-controller.ts';
import { bootstrapTokens } from '../../../src/controllers/expiry/rules.ts';
import { createFlowSchemaController } from '../../../src/controllers/flow-schema.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({
    controllers: [(dependencies) => createExpiryController(bootstrapTokens, dependencies), createFlowSchemaController],
  });
  await plane.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
});
afterAll(() => plane.stop());

it('deletes bootstrap tokens when they have expired, and no other Secret', async () => {
  const { client } = plane;
  const keep = (name: string, expiration: string, type = 'bootstrap.kubernetes.io/token') =>
    client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace: 'kube-system' },
      type,
      stringData: { expiration },
    });
  await keep('unreadable', 'soon');
  await keep('other', '2020-01-01T00:00:00Z', 'Opaque');
  await keep('later', new Date(Date.now() + 86_400_000).toISOString());
  await keep('soon', new Date(Date.now() + 300).toISOString());
  await keep('expired', '2020-01-01T00:00:00Z');
  const names = async () => (await client.list(secrets, { namespace: 'kube-system' })).items.map(({ metadata }) => metadata.name).join(' ');
  await until(async () => (await names()) === 'later other unreadable', { what: 'expired tokens are gone' });
});

it('says on a FlowSchema whether its level is there', async () => {
  const { client } = plane;
  const apiVersion = 'flowcontrol.apiserver.k8s.io/v1';
  const saying = (status: string) =>
    until(
      async () => {
        const { conditions = [] } = (await client.get(flowSchemas, { name: 's' })).status ?? {};
        return conditions.length === 1 && conditions[0]?.status === status ? conditions[0] : undefined;
      },
      { what: `Dangling is ${status}` },
    );
  await client.create(flowSchemas, {
    apiVersion,
    kind: 'FlowSchema',
    metadata: { name: 's' },
    spec: { priorityLevelConfiguration: { name: 'l' }, matchingPrecedence: 5 },
  });
  expect(await saying('True')).toMatchObject({
    type: 'Dangling',
    reason: 'NotFound',
    message: 'This FlowSchema references the PriorityLevelConfiguration object named "l" but there is no such object',
  });
  const spec = { type: 'Limited', limited: { limitResponse: { type: 'Reject' } } };
  await client.create(priorityLevelConfigurations, { apiVersion, kind: 'PriorityLevelConfiguration', metadata: { name: 'l' }, spec });
  expect(await saying('False')).toMatchObject({ reason: 'Found' });
  await client.delete(priorityLevelConfigurations, { name: 'l' });
  await saying('True');
});
