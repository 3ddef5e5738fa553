import { StatusError } from '../machinery/status-error.ts';
import type { KubeApi } from './kube-api.ts';
import type { Registry } from './registry/registry.ts';

export interface SharedStoreParts {
  readonly registry: Pick<Registry, 'freshness' | 'revision'>;
  /** Resolves when the kinds of all definitions in memory are served. */
  settleKinds(): Promise<void>;
}

/**
 * Makes the memory of one server right for the clients of several, which write to the same store.
 *
 * Reads without a version wait until the memory has every write that was acknowledged before. A refusal may come from a memory that is
 * behind. It is then made again, once, by a memory that is as new as the request. Versions that other servers gave out are waited
 * for. A server that has lost the store answers 503, never with what may be wrong by now.
 *
 * `resourceVersion=0` never waits, as upstream.
 */
export function overSharedStore(kubeApi: KubeApi, { registry, settleKinds }: SharedStoreParts): KubeApi {
  const { freshness } = registry;

  function checkFresh(): void {
    if (freshness.staleness !== undefined) throw freshness.staleness;
  }

  async function confirmed<T>(write: () => Promise<T>): Promise<T> {
    checkFresh();
    const { revision } = registry;
    try {
      return await write();
    } catch (err) {
      if (!isRefusal(err)) throw err;
      await freshness.barrier();
      // Nothing has changed since the write began, so nothing would change its outcome.
      if (registry.revision === revision) throw err;
      return write();
    }
  }

  return {
    kinds: kubeApi.kinds,
    authorize: (user, attributes) => kubeApi.authorize(user, attributes),
    decide: (user, attributes) => kubeApi.decide(user, attributes),
    async newest() {
      checkFresh();
      await freshness.barrier();
      await settleKinds();
    },
    async get(request, ref, resourceVersion = '') {
      checkFresh();
      if (resourceVersion === '') await freshness.barrier();
      return kubeApi.get(request, ref, resourceVersion);
    },
    async list(request, list) {
      checkFresh();
      if ((list.resourceVersion ?? '') === '' && (list.continue ?? '') === '') await freshness.barrier();
      return kubeApi.list(request, list);
    },
    async watch(request, watch) {
      checkFresh();
      if ((watch.resourceVersion ?? '') === '') await freshness.barrier();
      return kubeApi.watch(request, watch);
    },
    create: (request, namespace, object) => confirmed(() => kubeApi.create(request, namespace, object)),
    update: (request, ref, object) => confirmed(() => kubeApi.update(request, ref, object)),
    patch: (request, ref, patch) => confirmed(() => kubeApi.patch(request, ref, patch)),
    delete: (request, ref, options) => confirmed(() => kubeApi.delete(request, ref, options)),
    async deleteCollection(request, options, list) {
      checkFresh();
      await freshness.barrier();
      return kubeApi.deleteCollection(request, options, list);
    },
    createSubresource: (request, ref, body) => confirmed(() => kubeApi.createSubresource(request, ref, body)),
    connect: (request, ref, options) => confirmed(() => kubeApi.connect(request, ref, options)),
  };
}

const refusals: ReadonlySet<number> = new Set([403, 404, 409, 422]);

const isRefusal = (err: unknown): boolean => err instanceof StatusError && refusals.has(err.code);
