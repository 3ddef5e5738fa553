import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { createObjectGraph } from '../../../../src/controllers/garbage-collector/object-graph.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';

const resource = { ...configMaps, verbs: [], shortNames: [], subresources: [] };

interface Traits {
  readonly owners?: readonly string[];
  readonly finalizers?: readonly string[];
  readonly deleted?: boolean;
}
const objectOf = (name: string, { owners = [], finalizers = [], deleted = false }: Traits = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    name,
    namespace: 'shop',
    uid: name,
    finalizers,
    ...(owners.length === 0 ? {} : { ownerReferences: owners.map((uid) => ({ apiVersion: 'v1', kind: 'ConfigMap', name: uid, uid })) }),
    ...(deleted ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
  },
});

/** A graph over `cached`; `queued` and `gone` collect what it reports, and `takeQueued` empties the queue. */
function start(...cached: readonly KubeObject[]) {
  const cache = new Map(cached.map((object) => [object.metadata.uid, object]));
  const queued = new Set<string>();
  const gone: string[] = [];
  const graph = createObjectGraph({
    findOwner(owner) {
      const object = cache.get(owner.uid);
      return object === undefined ? undefined : { resource, object };
    },
    enqueue: ({ key }) => void queued.add(key),
    onGone: (uid) => void gone.push(uid),
  });
  return {
    graph,
    gone,
    observe: (before: KubeObject | undefined, after: KubeObject | undefined) =>
      graph.observe('configmaps', { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }),
    takeQueued() {
      const names = [...queued];
      queued.clear();
      return names;
    },
  };
}

describe('the graph of owners', () => {
  it('queues an object only when an owner is missing in the cache', () => {
    const { observe, takeQueued } = start(objectOf('owner'));
    observe(undefined, objectOf('child', { owners: ['owner'] }));
    observe(undefined, objectOf('loner'));
    expect(takeQueued()).toEqual([]);
    observe(undefined, objectOf('orphan', { owners: ['owner', 'nobody'] }));
    expect(takeQueued()).toEqual(['shop/orphan']);
  });

  it('does not look at owners again when an update leaves them as they are', () => {
    const { observe, takeQueued } = start();
    const before = objectOf('child', { owners: ['nobody'] });
    observe(undefined, before);
    takeQueued();
    observe(before, { ...before, metadata: { ...before.metadata, labels: { a: 'b' } } });
    expect(takeQueued()).toEqual([]);
  });

  it('queues the dependents of an object that went, and reports its uid', () => {
    const { graph, gone, observe, takeQueued } = start(objectOf('owner'));
    observe(undefined, objectOf('a', { owners: ['owner'] }));
    observe(undefined, objectOf('b', { owners: ['owner'] }));
    observe(objectOf('owner'), undefined);
    expect(takeQueued()).toEqual(['shop/a', 'shop/b']);
    expect(gone).toEqual(['owner']);
    observe(objectOf('a', { owners: ['owner'] }), undefined);
    observe(objectOf('b', { owners: ['owner'] }), undefined);
    expect(graph.hasDependents('owner')).toBe(false);
  });

  it('queues an object and its dependents when it is deleted in the foreground', () => {
    const { observe, takeQueued } = start(objectOf('owner'));
    observe(undefined, objectOf('child', { owners: ['owner'] }));
    observe(objectOf('owner'), objectOf('owner', { deleted: true, finalizers: ['foregroundDeletion'] }));
    expect(takeQueued()).toEqual(['shop/owner', 'shop/child']);
  });

  it('queues an object alone when it is to orphan its dependents, and nothing when it just waits for a finalizer', () => {
    const { observe, takeQueued } = start(objectOf('owner'));
    observe(undefined, objectOf('child', { owners: ['owner'] }));
    observe(objectOf('owner'), objectOf('owner', { deleted: true, finalizers: ['orphan'] }));
    expect(takeQueued()).toEqual(['shop/owner']);
    observe(objectOf('owner'), objectOf('owner', { deleted: true, finalizers: ['shop.example/keep'] }));
    expect(takeQueued()).toEqual([]);
  });

  it('queues an owner that waits, when a dependent goes or names it no more', () => {
    const waiting = objectOf('owner', { deleted: true, finalizers: ['foregroundDeletion'] });
    const { observe, takeQueued } = start(waiting);
    const children = [objectOf('a', { owners: ['owner'] }), objectOf('b', { owners: ['owner'] })] as const;
    for (const child of children) observe(undefined, child);
    expect(takeQueued()).toEqual([]);
    observe(children[0], undefined);
    expect(takeQueued()).toEqual(['shop/owner']);
    observe(children[1], objectOf('b', { owners: ['owner', 'nobody'] }));
    expect(takeQueued()).toEqual(['shop/b', 'shop/owner']);
  });
});
