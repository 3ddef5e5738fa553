import { describe, expect, it, onTestFinished } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { attemptsOf } from '../../../src/api/kustomize/v1/attempt.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { home, startNamespaces } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const count = 20;
const contents = Object.fromEntries(
  Array.from({ length: count }, (_, index) => [
    `web/c${index}.yaml`,
    `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c${index}, namespace: staging}\ndata: {a: "1"}\n`,
  ]),
);
const namespace = { 'web/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: staging}\n' };
const held = { namespace: 'staging', name: 'held' };

async function start(files: Readonly<Record<string, string>>) {
  const project = await startMemoryProject({
    files,
    apps: { web: { targetNamespace: undefined, wait: true } as never },
    async prepare(people) {
      onTestFinished(await startNamespaces(people));
      if (!('web/namespace.yaml' in files)) await createNamespace(people);
    },
  });
  const { people } = project;
  await project.applied('web');
  // Its finalizer keeps the namespace until the test takes it away.
  await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...held, finalizers: ['example.com/held'] } });
  return project;
}

const createNamespace = (people: Client): Promise<unknown> =>
  people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'staging' } });

const release = (people: Client): Promise<unknown> =>
  people.patch(configMaps, held, { type: 'merge', body: { metadata: { finalizers: [] } } }, { fieldManager: 'test' });

const contentsOf = async (people: Client): Promise<number> => (await people.list(configMaps, { namespace: 'staging' })).items.length;

const messages = async (people: Client, reason: string): Promise<readonly string[]> =>
  (await people.list(events, { namespace: home })).items.filter((event) => event.reason === reason).map(({ message = '' }) => message);

const drifted = async (people: Client): Promise<string> =>
  conditionOf((await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions, 'Drifted')?.message ?? '';

const comesBack = async (people: Client): Promise<void> => {
  await until(async () => (await contentsOf(people)) === count, { what: async () => `${count} objects, not ${await contentsOf(people)}` });
  await until(async () => (await drifted(people)) === '', { what: () => drifted(people) });
  expect(await messages(people, 'DriftFight')).toEqual([]);
};

describe('a namespace that somebody deletes', () => {
  it('comes back with all that is in it as soon as it is gone, and the app says once what it waits for', async () => {
    const { people, applied } = await start({ ...namespace, ...contents });
    await people.delete(namespaces, { name: 'staging' });
    const reason = 'not healed: namespace staging is being deleted; tried again when it is gone';
    await until(async () => (await contentsOf(people)) === 1 && (await drifted(people)).includes(reason), { what: () => drifted(people) });
    const { uid } = (await people.get(namespaces, { name: 'staging' })).metadata;
    // More tries than make a fight.
    for (const tries of [1, 2, 3, 4]) {
      await people.patch(
        kustomizations,
        { namespace: home, name: 'web' },
        { type: 'merge', body: { metadata: { annotations: { tries: String(tries) } } } },
      );
    }
    await release(people);
    await comesBack(people);
    expect((await tryGet(people, namespaces, { name: 'staging' }))?.metadata.uid).not.toBe(uid);
    expect(await messages(people, 'DriftNotCorrected')).toEqual([reason]);
    await applied('web');
  });

  it('lets a commit in as soon as it is gone, however often that was refused before', async () => {
    const { people, applied, commit } = await start({ ...namespace, ...contents });
    await people.delete(namespaces, { name: 'staging' });
    await until(async () => (await contentsOf(people)) === 1, { what: 'all but one is gone' });
    const more = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: staging}\n';
    commit({ ...namespace, ...contents, 'web/more.yaml': more });
    const waitMs = async (): Promise<number> => {
      const [attempt] = attemptsOf(await people.get(kustomizations, { namespace: home, name: 'web' }));
      return Date.parse(attempt?.nextRetryAt ?? '') - Date.now();
    };
    await until(async () => (await waitMs()) > 7_000, { timeoutMs: 25_000, what: 'a long wait for the next try' });
    const { uid } = (await people.get(namespaces, { name: 'staging' })).metadata;
    await release(people);
    await until(async () => (await tryGet(people, namespaces, { name: 'staging' }))?.metadata.uid !== uid, {
      what: 'the namespace is gone',
    });
    const leftMs = await waitMs();
    await applied('web');
    // Either the attempt was over by then, or the next try that the back-off had planned was still to come.
    expect(Number.isNaN(leftMs) || leftMs > 0).toBe(true);
    expect((await tryGet(people, configMaps, { namespace: 'staging', name: 'more' }))?.metadata.name).toBe('more');
  });

  it('gets its content back when it is not in Git and somebody makes it again', async () => {
    const { people } = await start(contents);
    await people.delete(namespaces, { name: 'staging' });
    await until(async () => (await contentsOf(people)) === 1, { what: 'all but one is gone' });
    await release(people);
    const reason = 'not healed: namespace staging does not exist; tried again when it is there';
    await until(async () => (await drifted(people)).includes(reason), { what: () => drifted(people) });
    await createNamespace(people);
    await comesBack(people);
  });
});
