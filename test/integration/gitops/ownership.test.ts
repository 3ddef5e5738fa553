import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { horizontalPodAutoscalersV1 } from '../../../src/api/autoscaling/v1/horizontal-pod-autoscaler.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../src/api/well-known.ts';
import type { Client, WatchEvent } from '../../../src/client/client.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import type { DynamicObject } from '../../../src/machinery/object.ts';
import { expired, StatusError } from '../../../src/machinery/status-error.ts';
import { setAble } from '../../support/autoscaler.ts';
import { home, namespace } from '../../support/engine.ts';
import { deployment } from '../../support/gitops-project.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const ref = { namespace, name: 'moves' };
const manifest = (name: string, value = '1'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {a: "${value}"}\n`;

/** Apps `one` and `two` of a repository; `wrap` wraps the engine's client. */
async function start(files: Readonly<Record<string, string>>, wrap: (client: Client, people: Client) => Client) {
  const both = { 'one/k.yaml': manifest('k1'), 'two/k.yaml': manifest('k2') };
  const project = await startMemoryProject({ files: { ...both, ...files }, apps: { one: {}, two: {} }, wrap });
  const live = async (): Promise<DynamicObject | undefined> => (await tryGet(project.people, configMaps, ref)) as DynamicObject | undefined;
  return { ...project, commit: (next: Readonly<Record<string, string>>) => project.commit({ ...both, ...next }), live };
}

const isOurs = ({ resource }: { readonly resource: string }, name: string | undefined): boolean =>
  resource === configMaps.resource && name === ref.name;

describe('an object of an app', () => {
  it('is not deleted by the app that it left when another one has taken it over meanwhile', async () => {
    let intervene: (() => Promise<void>) | undefined;
    const { commit, applied, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => ({
      ...client,
      async delete(resource, at, options) {
        if (isOurs(resource, at.name)) await intervene?.();
        return client.delete(resource, at, options);
      },
    }));
    await applied('one');
    const before = await live();
    intervene = async () => {
      intervene = undefined;
      commit({ 'two/moves.yaml': manifest('moves') });
      await applied('two');
    };
    commit({});
    await applied('one');
    await until(() => intervene === undefined, { what: 'the deletion is sent' });
    await applied('one');
    await applied('two');
    const after = await live();
    expect([after?.metadata.uid, after?.metadata.labels?.['kustomize.toolkit.fluxcd.io/name']]).toEqual([before?.metadata.uid, 'two']);
  });

  it('sends its events to the app that has it, also when another one looked at it to delete it', async () => {
    let intervene: (() => Promise<void>) | undefined;
    const { commit, applied, live, people } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => ({
      ...client,
      async get<T>(...args: Parameters<Client['get']>): Promise<T> {
        const seen = (await client.get(...args)) as T;
        if (isOurs(args[0], args[1].name)) await intervene?.();
        return seen;
      },
    }));
    await applied('one');
    intervene = async () => {
      intervene = undefined;
      commit({ 'two/moves.yaml': manifest('moves') });
      await applied('two');
    };
    commit({});
    await until(() => intervene === undefined, { what: 'it is looked at' });
    await applied('one');
    await applied('two');
    await people.delete(configMaps, ref);
    await until(async () => (await live()) !== undefined, { what: 'it is put back' });
  });

  it('is put back when it is deleted before its own apply is answered', async () => {
    let seen: (() => void) | undefined;
    let deleted = false;
    const { applied, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client, people) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const result = await client.patch(...args);
        const [resource, at, { type }, options] = args;
        if (isOurs(resource, at.name) && type === 'apply' && options?.dryRun !== true && !deleted) {
          deleted = true;
          const told = new Promise<void>((resolve) => {
            seen = resolve;
          });
          await people.delete(configMaps, ref);
          await told;
        }
        return result as T;
      },
      watch: (resource, options) =>
        client.watch(resource, {
          ...options,
          onEvents(events) {
            options.onEvents(events);
            if ((events as readonly WatchEvent[]).some(({ type, object }) => type === 'DELETED' && isOurs(resource, object.metadata.name)))
              seen?.();
          },
        }),
    }));
    await applied('one');
    await until(async () => (await live()) !== undefined, { what: 'it is put back' });
  });

  it('is put back when it came and went between a watch and the list that replaced it', async () => {
    let cut: ((err: Error) => void) | undefined;
    let gate: Promise<void> | undefined;
    let isDone = false;
    const { applied, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client, people) => ({
      ...client,
      async list(resource, options) {
        if (resource.resource === configMaps.resource) await gate;
        return client.list(resource, options);
      },
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const [resource, at, { type }, options] = args;
        if (!isOurs(resource, at.name) || type !== 'apply' || options?.dryRun === true || isDone)
          return client.patch(...args) as Promise<T>;
        isDone = true;
        let open: () => void = () => undefined;
        gate = new Promise((resolve) => {
          open = resolve;
        });
        cut?.(expired('too old resource version'));
        const result = await client.patch(...args);
        await people.delete(configMaps, ref);
        open();
        return result as T;
      },
      async watch(resource, options) {
        const end = new AbortController();
        const over = new Promise<never>((_, reject) => {
          if (resource.resource === configMaps.resource) cut = reject;
        });
        const signal = AbortSignal.any([options.signal, end.signal]);
        await Promise.race([over, client.watch(resource, { ...options, signal })]).finally(() => end.abort());
      },
    }));
    await applied('one');
    await until(async () => (await live()) !== undefined, { what: 'it is put back' });
  });

  it('is what the newest commit says also when the write before was done, not answered, and taken back by that commit', async () => {
    let isLost = false;
    let goBack: () => void = () => undefined;
    const { applied, commit, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const result = await client.patch(...args);
        const [resource, at, { type }, options] = args;
        if (isOurs(resource, at.name) && type === 'apply' && options?.dryRun !== true && isLost) {
          isLost = false;
          goBack();
          throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'connection lost' });
        }
        return result as T;
      },
    }));
    await applied('one');
    isLost = true;
    goBack = () => void commit({ 'one/moves.yaml': manifest('moves') });
    commit({ 'one/moves.yaml': manifest('moves', '2') });
    await until(() => !isLost, { what: 'the write is lost' });
    await applied('one');
    expect((await live())?.data).toEqual({ a: '1' });
  });

  it('is put back when someone writes another value, or one field more, under the name of the engine', async () => {
    const { people, applied, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => client);
    await applied('one');
    const { labels } = (await live())?.metadata ?? {};
    const write = (data: unknown) =>
      people.patch(
        configMaps,
        ref,
        { type: 'apply', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...ref, labels }, data } },
        { fieldManager: 'midship', force: true },
      );
    for (const data of [{ a: 'other' }, { a: '1', more: 'x' }]) {
      await write(data);
      await until(async () => JSON.stringify((await live())?.data) === '{"a":"1"}', { what: async () => JSON.stringify(await live()) });
    }
    const told = await until(
      async () => {
        const messages = (await people.list(events, { namespace: home })).items.map(({ message = '' }) => message);
        return messages.filter((message) => message.includes('put back')).length === 2 && messages;
      },
      { what: 'both are told' },
    );
    expect(told).toEqual(
      expect.arrayContaining([
        'ConfigMap web/moves: data.a 1 → other by midship, put back',
        'ConfigMap web/moves: data.more absent → x by midship, put back',
      ]),
    );
  });

  it('is what the newest commit says also when a request of before comes through at last', async () => {
    let late: (() => Promise<unknown>) | undefined;
    const { applied, commit, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const [resource, at, { body }, options] = args;
        if (late === undefined && isOurs(resource, at.name) && options?.dryRun !== true && JSON.stringify(body).includes('"a":"2"')) {
          late = () => client.patch(...args);
          throw new StatusError({ code: 504, reason: 'Timeout', message: 'no answer' });
        }
        return (await client.patch(...args)) as T;
      },
    }));
    await applied('one');
    commit({ 'one/moves.yaml': manifest('moves', '2') });
    await until(() => late !== undefined, { what: 'the request is under way' });
    commit({ 'one/moves.yaml': manifest('moves', '3') });
    await applied('one');
    await late?.();
    await until(async () => JSON.stringify((await live())?.data) === '{"a":"3"}', { what: async () => JSON.stringify(await live()) });
  });
});

describe('an app', () => {
  it('has the finalizers that others gave it, or took from it, just before the engine changes its own', async () => {
    const app = { namespace: home, name: 'one' };
    const ours = 'finalizers.fluxcd.io';
    let theirs: readonly string[] | undefined = ['example.com/theirs'];
    const { people, applied } = await start({}, (client, others) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const [, at, { body }] = args;
        const { metadata } = body as { readonly metadata?: { readonly finalizers?: unknown } };
        const finalizers = theirs;
        if (finalizers !== undefined && at.name === app.name && metadata?.finalizers !== undefined) {
          theirs = undefined;
          await others.patch(kustomizations, app, { type: 'merge', body: { metadata: { finalizers } } });
        }
        return (await client.patch(...args)) as T;
      },
    }));
    await applied('one');
    expect((await people.get(kustomizations, app)).metadata.finalizers).toEqual(['example.com/theirs', ours]);
    theirs = [ours];
    await people.delete(kustomizations, app);
    await until(async () => (await tryGet(people, kustomizations, app)) === undefined, { what: 'the app is gone' });
  });

  it('stays where someone held it just before the engine took an earlier hold away', async () => {
    let holdAnew: (() => Promise<unknown>) | undefined;
    let isTried = false;
    const { people, applied, commit, live } = await start({ 'one/moves.yaml': manifest('moves') }, (client) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const isRelease = JSON.stringify(args[2].body).includes('"midship.dev/hold":null');
        if (isRelease) await holdAnew?.();
        return (await client.patch(...args).finally(() => {
          isTried ||= isRelease;
        })) as T;
      },
    }));
    await applied('one');
    const first = await until(
      async () => (await people.get(kustomizations, { namespace: home, name: 'one' })).status?.lastAppliedRevision?.split('sha1:')[1],
      { what: 'the first commit' },
    );
    const hold = (sha: string) =>
      people.patch(
        kustomizations,
        { namespace: home, name: 'one' },
        { type: 'merge', body: { metadata: { annotations: { [annotations.hold]: sha, [annotations.pin]: first } } } },
      );
    const second = commit({ 'one/moves.yaml': manifest('moves', '2') });
    await applied('one');
    await hold(second);
    await until(async () => JSON.stringify((await live())?.data) === '{"a":"1"}', { what: 'the first commit is pinned' });
    let third = '';
    holdAnew = async () => {
      holdAnew = undefined;
      await hold(third);
    };
    third = commit({ 'one/moves.yaml': manifest('moves', '3') });
    await until(() => isTried, { what: 'the hold is to go' });
    await applied('two');
    const app = await people.get(kustomizations, { namespace: home, name: 'one' });
    expect([app.metadata.annotations?.[annotations.hold], (await live())?.data]).toEqual([third, { a: '1' }]);
  });

  it('stays suspended when someone gave it more time just before the engine resumed it', async () => {
    const app = { namespace: home, name: 'one' };
    const suspend = (client: Client, until: string) =>
      client.patch(kustomizations, app, {
        type: 'merge',
        body: { metadata: { annotations: { [annotations.suspendUntil]: until } }, spec: { suspend: true } },
      });
    let isTold = false;
    let isTried = false;
    const { people, applied } = await start({}, (client, others) => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        if (!isTold && JSON.stringify(args[2].body).includes('"suspend":null')) {
          isTold = true;
          await suspend(others, '2999-01-01T00:00:00Z');
        }
        return (await client.patch(...args).finally(() => {
          isTried ||= isTold;
        })) as T;
      },
    }));
    await applied('one');
    await suspend(people, '2020-01-01T00:00:00Z');
    await until(() => isTried, { what: 'the suspension is over' });
    const { spec, metadata } = await people.get(kustomizations, app);
    expect([spec.suspend, metadata.annotations?.[annotations.suspendUntil]]).toEqual([true, '2999-01-01T00:00:00Z']);
  });

  it('has its replicas left to its autoscaler on a cluster that is too old for their second version', async () => {
    const gone = ({ group, version }: { readonly group: string; readonly version: string }): void => {
      if (group === 'autoscaling' && version === 'v2') {
        throw new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource' });
      }
    };
    const { people, applied, commit } = await start({ 'one/deploy.yaml': deployment(2) }, (client) => ({
      ...client,
      async list(resource, options) {
        gone(resource);
        return client.list(resource, options);
      },
      async watch(resource, options) {
        gone(resource);
        return client.watch(resource, options);
      },
    }));
    await applied('one');
    await people.create(horizontalPodAutoscalersV1, {
      apiVersion: 'autoscaling/v1',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'web', namespace },
      spec: { maxReplicas: 9, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' } },
    });
    const web = { name: 'web', namespace };
    await setAble(people, web);
    await people.patch(deployments, web, { type: 'merge', body: { spec: { replicas: 7 } } }, { fieldManager: 'autoscaler' });
    commit({ 'one/deploy.yaml': deployment(2).replace('selector:', 'minReadySeconds: 3\n  selector:') });
    await applied('one');
    expect((await people.get(deployments, web)).spec).toMatchObject({ replicas: 7, minReadySeconds: 3 });
  });
});
