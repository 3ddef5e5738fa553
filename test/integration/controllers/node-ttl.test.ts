import { expect, it, onTestFinished } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { createNodeTtlController } from '../../../src/controllers/node-ttl.ts';
import { startStage } from '../../support/behaviours.ts';

it('says on each Node how long its kubelet may keep Secrets, by the size of the cluster', async () => {
  const stage = await startStage({ controllers: [createNodeTtlController], play: false });
  onTestFinished(() => stage.stop());
  const add = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: to - from }, (_, index) =>
        stage.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: `n${from + index}` } }),
      ),
    );
  const remove = (from: number, to: number) =>
    Promise.all(Array.from({ length: to - from }, (_, index) => stage.client.delete(nodes, { name: `n${from + index}` })));
  const values = async (): Promise<ReadonlySet<string | undefined>> => {
    await stage.pass(10_000);
    const { items } = await stage.client.list(nodes);
    return new Set(items.map(({ metadata }) => metadata.annotations?.['node.alpha.kubernetes.io/ttl']));
  };
  await add(0, 100);
  expect(await values()).toEqual(new Set(['0']));
  await add(100, 101);
  expect(await values()).toEqual(new Set(['15']));
  await remove(90, 101);
  expect(await values()).toEqual(new Set(['15']));
  await remove(89, 90);
  expect(await values()).toEqual(new Set(['0']));
});
