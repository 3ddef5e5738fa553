import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import type { Client, ListOptions, WatchEvent, WatchOptions } from '../../../src/client/client.ts';
import type { ReportSkipped } from '../../../src/client/informer.ts';
import { createInformerSet, type FaultOf } from '../../../src/client/informer-set.ts';
import type { KubeObject, List } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { parseLabelSelector } from '../../../src/machinery/selector.ts';
import { expired } from '../../../src/machinery/status-error.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const widgets: Resource<KubeObject> = { group: 'test', version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true };

const widget = (name: string, version: number, labels: Record<string, string> = {}, uid = name): KubeObject => ({
  apiVersion: 'test/v1',
  kind: 'Widget',
  metadata: { name, namespace: 'default', uid, resourceVersion: String(version), labels },
});

/** The list and watch of a server with one resource, as far as a reflector uses them. */
function createServer(pageSize = 500) {
  let items: KubeObject[] = [];
  let version = 1;
  let watching: { readonly options: WatchOptions<KubeObject>; end(err?: Error): void } | undefined;
  let failNext: Error | undefined;
  const calls = { list: 0, watch: 0 };
  const fail = (): void => {
    const err = failNext;
    failNext = undefined;
    if (err !== undefined) throw err;
  };
  const client = {
    async list(_: Resource, options: ListOptions = {}): Promise<List> {
      calls.list += 1;
      fail();
      const from = Number(options.continue ?? 0);
      const page = items.slice(from, from + pageSize);
      const more = from + pageSize < items.length ? { continue: String(from + pageSize) } : {};
      return { apiVersion: 'test/v1', kind: 'WidgetList', metadata: { resourceVersion: String(version), ...more }, items: page };
    },
    watch(_: Resource, options: WatchOptions<KubeObject>): Promise<void> {
      calls.watch += 1;
      return new Promise((resolve, reject) => {
        watching = { options, end: (err) => (err === undefined ? resolve() : reject(err)) };
        options.signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
  } as unknown as Client;
  return {
    client,
    calls,
    set(next: KubeObject[], at: number) {
      items = next;
      version = at;
    },
    fail(err: Error) {
      failNext = err;
    },
    send(...events: WatchEvent[]) {
      watching?.options.onEvents(events);
    },
    end(err?: Error) {
      watching?.end(err);
    },
    get watchedFrom() {
      return watching?.options.resourceVersion;
    },
  };
}

const stop: AbortController[] = [];
afterEach(() => {
  for (const controller of stop.splice(0)) controller.abort();
});

function startSet(client: Client, onSkipped?: ReportSkipped, faultOf?: FaultOf) {
  const clock = createManualClock();
  const log = pino({ level: 'silent' });
  const informers = createInformerSet({
    client,
    clock,
    log,
    random: () => 0.5,
    faultOf,
    ...(onSkipped === undefined ? {} : { onSkipped }),
  });
  const controller = new AbortController();
  stop.push(controller);
  const informer = informers.get(widgets);
  const changes: string[] = [];
  const watch = (): void => {
    informer.addHandler(({ before, after }) => {
      const verb = before === undefined ? 'add' : after === undefined ? 'delete' : 'update';
      changes.push(`${verb} ${(after ?? before)?.metadata.name}`);
    });
  };
  return {
    clock,
    informers,
    informer,
    changes,
    watch,
    signal: controller.signal,
    start: () => informers.start({ signal: controller.signal }),
  };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await turn();
}

describe('informer set', () => {
  it('lists, then follows changes in the cache and tells handlers', async () => {
    const server = createServer();
    server.set([widget('a', 1)], 5);
    const { informers, informer, changes, watch, start, signal } = startSet(server.client);
    watch();
    expect(informer.synced).toBe(false);
    start();
    await informers.waitForSync({ signal });
    expect(server.watchedFrom).toBe('5');
    server.send(
      { type: 'ADDED', object: widget('b', 6) },
      { type: 'MODIFIED', object: widget('a', 7) },
      { type: 'DELETED', object: widget('b', 8) },
    );
    expect(changes).toEqual(['add a', 'add b', 'update a', 'delete b']);
    expect(informer.get({ namespace: 'default', name: 'a' })?.metadata.resourceVersion).toBe('7');
    expect(informer.size).toBe(1);
  });

  it('shows no reader an object with a fault, and reports it', async () => {
    const server = createServer();
    server.set([widget('a', 1), widget('bad', 2)], 5);
    const skipped: string[] = [];
    const { informers, informer, changes, watch, start, signal } = startSet(
      server.client,
      ({ object, part, err }) => skipped.push(`${object.metadata.name} ${part} ${(err as Error).message}`),
      (_, { metadata }) => {
        if (metadata.resourceVersion === '8') throw new Error('no spec');
        return metadata.name === 'bad' ? 'spec: Required value' : undefined;
      },
    );
    watch();
    start();
    await informers.waitForSync({ signal });
    expect([...informer.list()].map(({ metadata }) => metadata.name)).toEqual(['a']);
    // A check that throws is a fault, too; a corrected object comes back.
    server.send({ type: 'MODIFIED', object: widget('bad', 7) }, { type: 'MODIFIED', object: widget('a', 8) });
    server.send({ type: 'DELETED', object: widget('bad', 9) }, { type: 'MODIFIED', object: widget('a', 10) });
    expect(changes).toEqual(['add a', 'delete a', 'add a']);
    expect(skipped).toEqual(['bad validation spec: Required value', 'bad validation spec: Required value', 'a validation no spec']);
  });

  it('puts together a list that comes in pages', async () => {
    const server = createServer(2);
    server.set(
      ['a', 'b', 'c', 'd', 'e'].map((name) => widget(name, 1)),
      5,
    );
    const { informers, informer, start, signal } = startSet(server.client);
    start();
    await informers.waitForSync({ signal });
    expect(informer.size).toBe(5);
    expect(server.calls.list).toBe(3);
  });

  it('tells a late handler what is in the cache', async () => {
    const server = createServer();
    server.set([widget('a', 1)], 5);
    const { informers, changes, watch, start, signal } = startSet(server.client);
    start();
    await informers.waitForSync({ signal });
    watch();
    expect(changes).toEqual(['add a']);
  });

  it('lists again after Expired and reports only what differs', async () => {
    const server = createServer();
    server.set([widget('same', 1), widget('changed', 2), widget('gone', 3), widget('replaced', 3, {}, 'old')], 5);
    const { informers, changes, watch, start, signal } = startSet(server.client);
    watch();
    start();
    await informers.waitForSync({ signal });
    changes.length = 0;
    server.set([widget('same', 1), widget('changed', 8), widget('new', 9), widget('replaced', 10, {}, 'new')], 20);
    server.end(expired('too old resource version: 5 (12)'));
    await settle();
    expect(server.watchedFrom).toBe('20');
    expect([...changes].sort()).toEqual(['add new', 'add replaced', 'delete gone', 'delete replaced', 'update changed']);
  });

  it('goes on from the last version seen, bookmarks included, when the server ends the watch', async () => {
    const server = createServer();
    const { informers, start, signal } = startSet(server.client);
    start();
    await informers.waitForSync({ signal });
    server.send({ type: 'BOOKMARK', object: widget('', 42) });
    server.end();
    await settle();
    expect(server.watchedFrom).toBe('42');
    expect(server.calls.list).toBe(1);
  });

  it('waits before it asks a failing server again', async () => {
    const server = createServer();
    server.fail(new Error('connection refused'));
    const { clock, informer, start } = startSet(server.client);
    start();
    await settle();
    expect(server.calls.list).toBe(1);
    clock.advance(100);
    await settle();
    expect(server.calls.list).toBe(1);
    clock.advance(100);
    await settle();
    expect(server.calls.list).toBe(2);
    expect(informer.synced).toBe(true);
  });

  it('waits before it watches again when the server ends each watch at once', async () => {
    const server = createServer();
    const { start } = startSet(server.client);
    start();
    await settle();
    server.end();
    await settle();
    expect(server.calls.watch).toBe(1);
  });

  it('stops with its signal and rejects who waits for it', async () => {
    const server = createServer();
    server.fail(new Error('connection refused'));
    const { clock, informers, start } = startSet(server.client);
    start();
    const waiting = informers.waitForSync({ signal: AbortSignal.any([...stop.map(({ signal }) => signal)]) });
    stop[0]?.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
    await settle();
    expect(clock.pending).toBe(0);
  });

  it('shares an informer by resource and scope', () => {
    const { informers } = startSet(createServer().client);
    expect(informers.get(widgets)).toBe(informers.get(widgets, {}));
    expect(informers.get(widgets, { namespace: 'a' })).not.toBe(informers.get(widgets));
  });

  it('keeps the other handlers going when one throws', async () => {
    const server = createServer();
    server.set([widget('a', 1)], 5);
    const { informers, informer, changes, watch, start, signal } = startSet(server.client);
    informer.addHandler(() => {
      throw new Error('broken handler');
    });
    watch();
    start();
    await informers.waitForSync({ signal });
    expect(changes).toEqual(['add a']);
  });
});

describe('indexes', () => {
  it('follow additions, changes and deletions, whether defined before or after', async () => {
    const server = createServer();
    server.set([widget('a', 1, { color: 'red' }), widget('b', 2, { color: 'blue' })], 5);
    const { informers, informer, start, signal } = startSet(server.client);
    const byColor = (object: KubeObject): readonly string[] => [object.metadata.labels?.color ?? 'none'];
    informer.addIndex('color', byColor);
    start();
    await informers.waitForSync({ signal });
    const names = (value: string) => informer.byIndex('color', value).map(({ metadata }) => metadata.name);
    expect(names('red')).toEqual(['a']);
    server.send({ type: 'MODIFIED', object: widget('b', 6, { color: 'red' }) });
    expect(names('red').sort()).toEqual(['a', 'b']);
    expect(names('blue')).toEqual([]);
    server.send({ type: 'DELETED', object: widget('a', 7, { color: 'red' }) });
    expect(names('red')).toEqual(['b']);
    expect(informer.byIndex('color', 'red')[0]?.metadata.resourceVersion).toBe('6');
    informer.addIndex('name', ({ metadata }) => [metadata.name]);
    expect(informer.byIndex('name', 'b')).toHaveLength(1);
    informer.addIndex('color', byColor);
    expect(() => informer.addIndex('color', () => [])).toThrow('defined by another function');
  });

  it('leaves an object out of the index that cannot read it, reports it, and has it everywhere else', async () => {
    const server = createServer();
    server.set([widget('odd', 1), widget('a', 2)], 5);
    const skipped: string[] = [];
    const { informers, informer, changes, watch, start, signal } = startSet(server.client, ({ object, part, err }) =>
      skipped.push(`${object.metadata.name} ${part} ${(err as Error).message}`),
    );
    const namesOf = ({ metadata }: KubeObject): readonly string[] => {
      if (metadata.name === 'odd') throw new Error('no spec');
      return ['all'];
    };
    informer.addIndex('before', namesOf);
    informer.addHandler(({ after }) => {
      if (after?.metadata.name === 'odd') throw new Error('no spec');
    });
    watch();
    start();
    await informers.waitForSync({ signal });
    // An index that is defined after the list is in the cache goes over all of it.
    informer.addIndex('after', namesOf);
    expect(informer.byIndex('before', 'all').map(({ metadata }) => metadata.name)).toEqual(['a']);
    expect(informer.byIndex('after', 'all').map(({ metadata }) => metadata.name)).toEqual(['a']);
    expect(informer.get({ namespace: 'default', name: 'odd' })).toBeDefined();
    expect(changes).toEqual(['add odd', 'add a']);
    expect(skipped).toEqual(['odd index before no spec', 'odd handler no spec', 'odd index after no spec']);
    server.send({ type: 'DELETED', object: widget('odd', 6) }, { type: 'ADDED', object: widget('b', 7) });
    expect(informer.byIndex('before', 'all').map(({ metadata }) => metadata.name)).toEqual(['a', 'b']);
    expect(changes.slice(2)).toEqual(['delete odd', 'add b']);
  });

  it('is synced although a listener of replacements throws, and calls the others', async () => {
    const server = createServer();
    server.set([widget('a', 1)], 5);
    const { informers, informer, start, signal } = startSet(server.client);
    let calls = 0;
    informer.onReplaced(() => {
      throw new Error('broken');
    });
    informer.onReplaced(() => (calls += 1));
    start();
    await informers.waitForSync({ signal });
    expect(calls).toBe(1);
    expect(server.calls.list).toBe(1);
    expect(server.watchedFrom).toBe('5');
  });

  it('select by namespace and label', async () => {
    const server = createServer();
    server.set([widget('a', 1, { color: 'red' }), widget('b', 2)], 5);
    const { informers, informer, start, signal } = startSet(server.client);
    start();
    await informers.waitForSync({ signal });
    expect([...informer.list({ namespace: 'default' })]).toHaveLength(2);
    expect([...informer.list({ namespace: 'other' })]).toHaveLength(0);
    expect([...informer.list({ selector: parseLabelSelector('color=red') })]).toHaveLength(1);
  });
});
