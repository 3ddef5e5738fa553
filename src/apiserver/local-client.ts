import type { Client, GetOptions, WatchEvent, WriteOptions } from '../client/client.ts';
import { type KindDefinition, listKindOf } from '../machinery/kind.ts';
import type { KubeObject } from '../machinery/object.ts';
import { apiVersionOf, type Resource } from '../machinery/resource.ts';
import { StatusError } from '../machinery/status-error.ts';
import type { KubeApi, RequestInfo, WriteRequest } from './kube-api.ts';
import type { UserInfo } from './user.ts';

export interface LocalClientOptions {
  readonly kubeApi: KubeApi;
  readonly user: UserInfo;
  /** Up to the first `/` it is the field manager of writes that name none. */
  readonly userAgent: string;
}

/**
 * The Client contract straight onto the `KubeApi`, for components in the same process. Authorization, admission and validation are those
 * of HTTP, without a byte of JSON in between.
 */
export function createLocalClient({ kubeApi, user: given, userAgent }: LocalClientOptions): Client {
  const user: UserInfo = { ...given, isLocal: true };
  const defaultManager = userAgent.split('/')[0] ?? userAgent;

  function kindOf(resource: Resource): KindDefinition {
    const kind = kubeApi.kinds.find(resource.group, resource.version, resource.resource);
    if (kind !== undefined) return kind;
    throw new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource', details: {} });
  }

  function infoOf(resource: Resource, signal: AbortSignal | undefined): RequestInfo {
    signal?.throwIfAborted();
    return { kind: kindOf(resource), user, userAgent, signal };
  }

  function writeOf(resource: Resource, options: WriteOptions | undefined, subresource?: string): WriteRequest {
    const signal = options?.signal;
    signal?.throwIfAborted();
    const request = {
      kind: kindOf(resource),
      user,
      userAgent,
      subresource,
      signal,
      fieldManager: options?.fieldManager ?? defaultManager,
      dryRun: options?.dryRun,
      fieldValidation: options?.fieldValidation,
    };
    return options?.onWarning === undefined ? request : { ...request, onWarning: (text: string) => options.onWarning?.(text) };
  }

  return {
    async get<T extends KubeObject>(
      resource: Resource<T>,
      ref: { readonly namespace?: string | undefined; readonly name: string },
      options?: GetOptions,
    ) {
      return (await kubeApi.get({ ...infoOf(resource, options?.signal), subresource: options?.subresource }, ref)) as T;
    },
    async list<T extends KubeObject>(resource: Resource<T>, options: Parameters<Client['list']>[1] = {}) {
      const request = infoOf(resource, options.signal);
      const { kind } = request;
      const { items, resourceVersion, continue: token, remainingItemCount } = await kubeApi.list(request, options);
      return {
        apiVersion: apiVersionOf(kind),
        kind: listKindOf(kind),
        metadata: {
          resourceVersion,
          ...(token === undefined ? {} : { continue: token }),
          ...(remainingItemCount === undefined ? {} : { remainingItemCount }),
        },
        items: items as readonly T[],
      };
    },
    watch(resource, options) {
      const { namespace, labelSelector, fieldSelector, resourceVersion, signal } = options;
      return new Promise<void>((resolve, reject) => {
        const settle = (err?: unknown): void => {
          signal.removeEventListener('abort', onAbort);
          if (err === undefined) resolve();
          else reject(err);
        };
        const onAbort = (): void => settle();
        if (signal.aborted) {
          resolve();
          return;
        }
        signal.addEventListener('abort', onAbort, { once: true });
        kubeApi
          .watch(
            { kind: kindOf(resource), user, userAgent, signal },
            {
              namespace,
              labelSelector,
              fieldSelector,
              resourceVersion,
              allowBookmarks: true,
              signal,
              // The records are the events: nothing is copied on the way to an informer.
              onEvents: (records) => options.onEvents(records as readonly WatchEvent[] as readonly WatchEvent<never>[]),
              onEnd: settle,
            },
          )
          .catch(settle);
      });
    },
    async create(resource, object, options) {
      const stored = await kubeApi.create(writeOf(resource, options), object.metadata.namespace, object as unknown as KubeObject);
      return stored as never;
    },
    async update(resource, object, options) {
      return (await kubeApi.update(writeOf(resource, options, options?.subresource), object.metadata, object)) as never;
    },
    async patch(resource, ref, patch, options) {
      const write = writeOf(resource, options, options?.subresource);
      // Applying needs a manager that the caller chose: its fields are the ones it names again next time.
      const named = patch.type === 'apply' ? { ...write, fieldManager: options?.fieldManager } : write;
      const request = { ...named, ...(options?.force === undefined ? {} : { force: options.force }) };
      return (await kubeApi.patch(request, ref, patch)).object as never;
    },
    async delete(resource, ref, options = {}) {
      await kubeApi.delete({ ...infoOf(resource, options.signal), dryRun: options.dryRun }, ref, options);
    },
    async deleteCollection(resource, options) {
      await kubeApi.deleteCollection({ ...infoOf(resource, options.signal), dryRun: options.dryRun }, options, options);
    },
    async createSubresource(resource, ref, subresource, body, options) {
      return (await kubeApi.createSubresource(writeOf(resource, options, subresource), ref, body as KubeObject)) as never;
    },
    async discover() {
      return kubeApi.kinds.all().map(({ group, version, resource, kind, namespaced, verbs, shortNames, subresources }) => ({
        group,
        version,
        resource,
        kind,
        namespaced,
        verbs,
        shortNames,
        subresources: subresources.map(({ name }) => name),
      }));
    },
  };
}
