import { type ConfigMap, configMaps } from '../api/core/v1/config-map.ts';
import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import type { InformerSet } from '../client/informer.ts';

/** The objects that pods take their configuration from, as a cache. */
export interface ConfigSource {
  /** Follows what the pod needs from now on and resolves when all of it was read; nothing is followed before a pod needs it. */
  ready(needs: ConfigNeeds, signal: AbortSignal): Promise<void>;
  configMap(namespace: string, name: string): ConfigMap | undefined;
  secret(namespace: string, name: string): Secret | undefined;
  services(namespace: string): Iterable<Service>;
  /** Calls back with `ConfigMap/NAMESPACE/NAME` or `Secret/…` when one appears, changes or goes. Returns a function that removes it. */
  onChange(listener: (reference: string) => void): () => void;
  /** Stops following the objects that no pod uses any more. */
  releaseUnused(isUsed: (reference: string) => boolean): void;
}

/** Objects that a pod takes its configuration from. */
export interface ConfigNeeds {
  readonly kinds: ReadonlySet<ConfigKind>;
  /** As `configReference` writes them. */
  readonly objects: ReadonlySet<string>;
}

export type ConfigKind = 'ConfigMap' | 'Secret' | 'Service';

export const configReference = (kind: 'ConfigMap' | 'Secret', namespace: string, name: string): string => `${kind}/${namespace}/${name}`;

/** All agents in the process of the control plane share a source that follows whole kinds, which are in memory there anyway. */
export function createConfigSource(informers: InformerSet): ConfigSource {
  const listeners = new Set<(reference: string) => void>();
  const followed = new Set<ConfigKind>();

  function follow(kind: ConfigKind): void {
    if (followed.has(kind)) return;
    followed.add(kind);
    if (kind === 'Service') {
      informers.get(services);
      return;
    }
    informers.get(kind === 'ConfigMap' ? configMaps : secrets).addHandler(({ before, after }) => {
      const { namespace = '', name = '' } = (after ?? before)?.metadata ?? {};
      const reference = configReference(kind, namespace, name);
      for (const listener of listeners) listener(reference);
    });
  }

  const informerOf = (kind: ConfigKind) => {
    switch (kind) {
      case 'ConfigMap':
        return informers.get(configMaps);
      case 'Secret':
        return informers.get(secrets);
      case 'Service':
        return informers.get(services);
      default:
        return kind satisfies never;
    }
  };

  return {
    async ready({ kinds }, signal) {
      let waiting = false;
      for (const kind of kinds) {
        follow(kind);
        if (!informerOf(kind).synced) waiting = true;
      }
      if (waiting) await informers.waitForSync({ signal });
    },
    configMap: (namespace, name) => informers.get(configMaps).get({ namespace, name }),
    secret: (namespace, name) => informers.get(secrets).get({ namespace, name }),
    services: (namespace) => informers.get(services).list({ namespace }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    releaseUnused: () => undefined,
  };
}
