import { type ConfigMap, configMaps } from '../api/core/v1/config-map.ts';
import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { services } from '../api/core/v1/service.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { timeLimit } from '../base/time-limit.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { reflect } from '../client/reflector.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import type { ConfigSource } from './config-source.ts';

export interface WatchedConfigSourceOptions {
  readonly client: Client;
  /** For Services, which a machine may read all of. */
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

/** Without an answer for so long a pod's start fails, and is tried again. */
const patienceMs = 10_000;

interface Watched {
  object: KubeObject | undefined;
  readonly read: Promise<void>;
  readonly abort: AbortController;
}

/**
 * The configuration of a joined machine's pods: a watch for each object that one of them names, as a kubelet has them. A
 * machine may read nothing else, so that a stolen certificate shows the Secrets of its own pods alone.
 *
 * @see Kubernetes, "Using Node Authorization"
 */
export function createWatchedConfigSource(options: WatchedConfigSourceOptions): ConfigSource & { stop(): void } {
  const { informers } = options;
  const watched = new Map<string, Watched>();
  const listeners = new Set<(reference: string) => void>();

  function follow(reference: string): Watched {
    const known = watched.get(reference);
    if (known !== undefined) return known;
    const [kind, namespace = '', name = ''] = reference.split('/');
    const abort = new AbortController();
    let markRead: () => void = () => undefined;
    const read = new Promise<void>((resolve) => {
      markRead = resolve;
    });
    const entry: Watched = { object: undefined, read, abort };
    watched.set(reference, entry);
    const put = (object: KubeObject | undefined): void => {
      entry.object = object;
      markRead();
      for (const listener of listeners) listener(reference);
    };
    void reflect<KubeObject>({
      ...options,
      resource: (kind === 'Secret' ? secrets : configMaps) as unknown as Resource,
      scope: { namespace, fieldSelector: `metadata.name=${name}` },
      signal: abort.signal,
      target: {
        replace: ([object]) => put(object),
        apply: (events) => {
          const last = events.at(-1);
          if (last !== undefined) put(last.type === 'DELETED' ? undefined : last.object);
        },
      },
    });
    return entry;
  }

  return {
    async ready({ kinds, objects }, signal) {
      if (kinds.has('Service') && !informers.get(services).synced) await informers.waitForSync({ signal });
      const limit = timeLimit(signal, patienceMs);
      await Promise.all([...objects].map((reference) => aborting(follow(reference).read, limit)));
    },
    configMap: (namespace, name) => watched.get(`ConfigMap/${namespace}/${name}`)?.object as ConfigMap | undefined,
    secret: (namespace, name) => watched.get(`Secret/${namespace}/${name}`)?.object as Secret | undefined,
    services: (namespace) => informers.get(services).list({ namespace }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    releaseUnused(isUsed) {
      for (const [reference, { abort }] of watched) {
        if (isUsed(reference)) continue;
        abort.abort(new Error('no pod uses it'));
        watched.delete(reference);
      }
    },
    stop() {
      for (const { abort } of watched.values()) abort.abort(new Error('the agent stops'));
    },
  };
}

/** Rejects when `signal` is aborted first. */
function aborting(done: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    void done.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}
