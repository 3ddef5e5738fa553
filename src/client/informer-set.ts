import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type KubeObject, keyOf } from '../machinery/object.ts';
import { apiVersionOf, type Resource } from '../machinery/resource.ts';
import type { Labels } from '../machinery/selector.ts';
import type { Client } from './client.ts';
import { createIndexer, keyOfRef, sameIdentity } from './indexer.ts';
import type { Informer, InformerHandler, InformerScope, InformerSet, ReportSkipped } from './informer.ts';
import { type ReflectorTarget, reflect } from './reflector.ts';

export interface InformerSetOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  /** Jitter of retries, [0, 1). */
  readonly random?: () => number;
  /** Default: each is logged. */
  readonly onSkipped?: ReportSkipped;
  /**
   * Names the fault of an object that no reader may see. Definitions on a cluster of others may be laxer than the types
   * here. A reader that misses one field would fail for every object. Default: no object has a fault.
   */
  readonly faultOf?: FaultOf | undefined;
}

export type FaultOf = (resource: Resource, object: KubeObject) => string | undefined;

/** Informers shared by all who ask for the same resource and scope: each is listed and watched once. */
export function createInformerSet({
  client,
  clock,
  log,
  random = Math.random,
  onSkipped = ({ resource, object, part, err }) =>
    log.error({ resource: resource.resource, key: keyOf(object), part, err }, 'Skipped object'),
  faultOf,
}: InformerSetOptions): InformerSet {
  const informers = new Map<string, SharedInformer<KubeObject>>();
  let running: AbortSignal | undefined;

  function follow(informer: SharedInformer<KubeObject>): void {
    if (running === undefined || running.aborted) return;
    const { resource, scope, target } = informer;
    // A signal of its own: hundreds of listeners on one signal look like a leak.
    const signal = AbortSignal.any([running]);
    void reflect({ client, clock, log, random, resource, scope, target, signal });
  }

  return {
    get<T extends KubeObject>(resource: Resource<T>, scope: InformerScope = {}) {
      const id = [apiVersionOf(resource), resource.resource, scope.namespace, scope.labelSelector, scope.fieldSelector].join('|');
      let informer = informers.get(id);
      if (informer === undefined) {
        informer = createSharedInformer<KubeObject>(resource as Resource, { scope, log, onSkipped, faultOf });
        informers.set(id, informer);
        follow(informer);
      }
      return informer.informer as unknown as Informer<T>;
    },
    start({ signal }) {
      running = signal;
      for (const informer of informers.values()) follow(informer);
    },
    async waitForSync({ signal }) {
      signal.throwIfAborted();
      const waiting = [...informers.values()].filter(({ informer }) => !informer.synced);
      if (waiting.length === 0) return;
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => reject(signal.reason);
        signal.addEventListener('abort', onAbort, { once: true });
        void Promise.all(waiting.map(({ informer }) => informer.whenSynced)).then(() => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    },
  };
}

interface SharedInformer<T extends KubeObject> {
  readonly informer: Informer<T>;
  readonly resource: Resource<T>;
  readonly scope: InformerScope;
  readonly target: ReflectorTarget<T>;
}

function createSharedInformer<T extends KubeObject>(
  resource: Resource<T>,
  {
    scope,
    log,
    onSkipped,
    faultOf,
  }: {
    readonly scope: InformerScope;
    readonly log: Log;
    readonly onSkipped: ReportSkipped;
    readonly faultOf: FaultOf | undefined;
  },
): SharedInformer<T> {
  const skipped = (object: T, part: string, err: unknown): void => onSkipped({ resource: resource as Resource, object, part, err });
  const cache = createIndexer<T>((object, index, err) => skipped(object, `index ${index}`, err));
  const handlers = new Set<InformerHandler<T>>();
  const replacements: (() => void)[] = [];
  let synced = false;
  let version = 0;
  let markSynced: () => void = () => undefined;
  const whenSynced = new Promise<void>((resolve) => {
    markSynced = resolve;
  });

  function call(handler: InformerHandler<T>, change: { readonly before?: T; readonly after?: T }): void {
    try {
      handler(change);
    } catch (err) {
      // A handler that breaks must not keep the change from the others.
      const object = change.after ?? change.before;
      if (object !== undefined) skipped(object, 'handler', err);
    }
  }

  function isFaulty(object: T): boolean {
    try {
      const fault = faultOf?.(resource as Resource, object);
      if (fault === undefined) return false;
      throw new Error(fault);
    } catch (err) {
      skipped(object, 'validation', err);
      return true;
    }
  }

  function put(object: T): void {
    const key = keyOf(object);
    if (isFaulty(object)) {
      remove(key);
      return;
    }
    const known = cache.get(key);
    // The object was deleted and created again between two looks: handlers get both events.
    if (known !== undefined && !sameIdentity(known, object)) remove(key);
    const before = cache.put(key, object);
    const change = before === undefined ? { after: object } : { before, after: object };
    for (const handler of handlers) call(handler, change);
  }

  function remove(key: string): void {
    const before = cache.remove(key);
    if (before === undefined) return;
    for (const handler of handlers) call(handler, { before });
  }

  const target: ReflectorTarget<T> = {
    replace(items, resourceVersion) {
      version = Number(resourceVersion);
      const gone = new Set(cache.keys());
      for (const item of items) gone.delete(keyOf(item));
      for (const key of gone) remove(key);
      for (const item of items) {
        const known = cache.get(keyOf(item));
        if (known === undefined || known.metadata.resourceVersion !== item.metadata.resourceVersion || !sameIdentity(known, item))
          put(item);
      }
      synced = true;
      markSynced();
      for (const listener of replacements) {
        try {
          listener();
        } catch (err) {
          // The cache is complete despite this failure. Passing the error on would make the reflector list again and
          // again.
          log.error({ resource: resource.resource, err }, 'Informer listener failed');
        }
      }
    },
    apply(events, resourceVersion) {
      for (const { type, object } of events) {
        version = Number(object.metadata.resourceVersion ?? version);
        if (type === 'DELETED') remove(keyOf(object));
        else put(object);
      }
      version = Number(resourceVersion);
    },
  };

  const informer: Informer<T> = {
    resource,
    get synced() {
      return synced;
    },
    whenSynced,
    get resourceVersion() {
      return version;
    },
    get: (ref) => cache.get(keyOfRef(ref)),
    getByKey: (key) => cache.get(key),
    list({ namespace, selector } = {}) {
      const objects = namespace === undefined ? cache.values() : cache.inNamespace(namespace);
      return selector === undefined ? objects : matching(objects, selector.matches);
    },
    byIndex: (name, value) => cache.byIndex(name, value),
    addIndex: (name, valuesOf) => cache.addIndex(name, valuesOf),
    addHandler(handler) {
      // A wrapper of its own: the same function may be added twice and removed once.
      const added: InformerHandler<T> = (change) => handler(change);
      handlers.add(added);
      for (const object of [...cache.values()]) call(added, { after: object });
      return () => handlers.delete(added);
    },
    onReplaced: (listener) => void replacements.push(listener),
    get size() {
      return cache.size;
    },
  };
  return { informer, resource, scope, target };
}

function* matching<T extends KubeObject>(objects: Iterable<T>, matches: (labels: Labels | undefined) => boolean): Iterable<T> {
  for (const object of objects) if (matches(object.metadata.labels)) yield object;
}
