import { afterEach, describe, expect, it } from 'vitest';
import { type StatefulSet, statefulSets } from '../../../src/api/apps/v1/stateful-set.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import { startControlPlane } from '../../support/control-plane.ts';
import { createApps, startEngine } from '../../support/engine.ts';
import { createMemoryRepository } from '../../support/memory-repository.ts';
import { until } from '../../support/until.ts';

const namespace = 'web';
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const keep = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep}\n';
const database = (serviceName: string, annotations = ''): string => `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, annotations: {${annotations}}}
spec:
  serviceName: ${serviceName}
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: postgres}]}
`;

describe('a StatefulSet that is recreated because an immutable field changed', () => {
  it('leaves its pods running, without an owner, for the new one to take over', async () => {
    const plane = await startControlPlane({ controllers: [createGarbageCollector] });
    stops.push(() => plane.stop());
    const { client } = plane;
    const repository = createMemoryRepository('https://example.com/recreate.git');
    const commit = (files: Readonly<Record<string, string>>): string =>
      repository.commit('change', new Map(Object.entries({ 'web/keep.yaml': keep, ...files })));
    commit({ 'web/db.yaml': database('one') });
    const engine = await startEngine({ client, openSource: async () => repository.source });
    stops.push(() => engine.stop());
    await createApps(client, 'https://example.com/recreate.git');
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } });
    const applied = (sha: string): Promise<unknown> =>
      until(
        async () =>
          (await client.get(kustomizations, { namespace: 'flux-system', name: 'web' })).status?.lastAppliedRevision === `main@sha1:${sha}`,
        {
          what: async () => JSON.stringify((await client.get(kustomizations, { namespace: 'flux-system', name: 'web' })).status),
        },
      );
    await applied(repository.head);
    const setOf = (): Promise<StatefulSet> => client.get(statefulSets, { namespace, name: 'db' });
    const podsNow = async () => (await client.list(pods, { namespace })).items.map(({ metadata }) => metadata);

    // The pods that a StatefulSet controller would create.
    const first = await setOf();
    const controllerOf = ({ metadata }: StatefulSet) => ({
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      name: metadata.name,
      uid: metadata.uid ?? '',
      controller: true,
      blockOwnerDeletion: true,
    });
    for (const name of ['db-0', 'db-1']) {
      await client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace, labels: { app: 'db' }, ownerReferences: [controllerOf(first)] },
        spec: { containers: [{ name: 'db', image: 'postgres' }] },
      });
    }
    const uids = (await podsNow()).map(({ uid }) => uid);
    expect(uids).toHaveLength(2);

    await applied(commit({ 'web/db.yaml': database('two', 'kustomize.toolkit.fluxcd.io/force: Enabled') }));
    const second = await setOf();
    expect(second.spec?.serviceName).toBe('two');
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
    const left = await podsNow();
    expect(left.map(({ uid }) => uid)).toEqual(uids);
    expect(left.map(({ ownerReferences, deletionTimestamp }) => [ownerReferences ?? [], deletionTimestamp])).toEqual([
      [[], undefined],
      [[], undefined],
    ]);

    // The new one takes them over, and takes them along when it leaves Git: an ordinary deletion.
    for (const { name } of left) {
      await client.patch(pods, { namespace, name }, { type: 'merge', body: { metadata: { ownerReferences: [controllerOf(second)] } } });
    }
    await applied(commit({}));
    await until(async () => (await podsNow()).every(({ deletionTimestamp }) => deletionTimestamp !== undefined), {
      what: 'the pods go with their owner',
    });
  });
});
