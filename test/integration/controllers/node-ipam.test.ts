import { afterEach, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { createNodeIpamController } from '../../../src/controllers/node-ipam/node-ipam-controller.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

let plane: ControlPlane;
afterEach(() => plane.stop());

const start = async (clusterCidr: string): Promise<void> => {
  plane = await startControlPlane({ controllers: [(dependencies) => createNodeIpamController({ ...dependencies, clusterCidr })] });
};
const addNode = (name: string) => plane.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
const rangeOf = (name: string): Promise<string> =>
  until(async () => (await plane.client.get(nodes, { name })).spec?.podCIDR, { what: `${name} has a range` });

it('gives each Node a range of its own, which stays over a restart', async () => {
  await start('10.42.0.0/16');
  await Promise.all(Array.from({ length: 20 }, (_, index) => addNode(`n${index}`)));
  const ranges = await Promise.all(Array.from({ length: 20 }, (_, index) => rangeOf(`n${index}`)));
  expect(new Set(ranges).size).toBe(20);
  for (const range of ranges) expect(range).toMatch(/^10\.42\.\d+\.0\/24$/);
  await plane.restart();
  await addNode('late');
  expect(ranges).not.toContain(await rangeOf('late'));
  expect(await rangeOf('n3')).toBe(ranges[3]);
});

it('says that no range is left, and gives one when a Node goes', async () => {
  await start('10.42.0.0/24');
  await addNode('first');
  await rangeOf('first');
  await addNode('second');
  const event = await until(
    async () => (await plane.client.list(events, { namespace: 'default' })).items.find(({ reason }) => reason === 'CIDRNotAvailable'),
    { what: 'an event says that no range is left' },
  );
  expect(event).toMatchObject({ type: 'Normal', message: 'Node second status is now: CIDRNotAvailable' });
  expect((await plane.client.get(nodes, { name: 'second' })).spec?.podCIDR).toBeUndefined();
  await plane.client.delete(nodes, { name: 'first' });
  expect(await rangeOf('second')).toBe('10.42.0.0/24');
});
