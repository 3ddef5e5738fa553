import type { Patch } from '../client/client.ts';
import type { Conversion, KindDefinition } from '../machinery/kind.ts';
import { deepFreeze, type KubeObject } from '../machinery/object.ts';
import { apiVersionOf } from '../machinery/resource.ts';
import type { SchemaSet } from '../machinery/schema.ts';
import { invalid, type StatusError } from '../machinery/status-error.ts';
import type { KubeApi, RequestInfo, ServedVersion, WatchRecord, WriteRequest } from './kube-api.ts';
import type { BodyDecoder } from './registry/decoding.ts';
import { invalidPatch, patchObject } from './registry/patching.ts';

export interface VersionsOptions {
  readonly decoder: BodyDecoder;
  readonly schemas: SchemaSet;
}

/**
 * Adds kinds that are versions of a stored kind to `kubeApi`. The body of a request is read and completed in the version of its client,
 * then converted to the stored version before `kubeApi` sees it. Answers are converted back.
 */
export function withVersions(kubeApi: KubeApi, { decoder, schemas }: VersionsOptions): KubeApi {
  /** A whole object of the version, read and checked by its rules, as the stored kind has it. */
  function toStored(request: WriteRequest, { toStored: convert }: Conversion<KubeObject>, { object, before, refuse }: Given): KubeObject {
    const { kind } = request;
    const decoded = decoder.decode({ request, kind, object, before, refuse });
    const complete = kind.defaults?.(decoded, before) ?? decoded;
    const errors = kind.validate?.(complete, before) ?? [];
    if (errors.length > 0) throw invalid(kind, complete.metadata.name ?? '', errors);
    return convert(complete);
  }

  function servedForPatch(request: WriteRequest, storedAs: Conversion<KubeObject>, patch: Patch): ServedVersion {
    const { kind } = request;
    return {
      kind,
      change(stored) {
        const before = shown(storedAs, stored);
        const object = patchObject(before, patch, { schemas, schemaName: kind.schemaName });
        return toStored(request, storedAs, { object, before, refuse: (why) => invalidPatch(patch, why) });
      },
      show: (stored) => shown(storedAs, stored),
      accept: (applied, before) => toStored(request, storedAs, { object: applied, before }),
    };
  }

  return {
    kinds: kubeApi.kinds,
    ...(kubeApi.newest === undefined ? {} : { newest: kubeApi.newest }),
    authorize: (user, attributes) => kubeApi.authorize(user, attributes),
    decide: (user, attributes) => kubeApi.decide(user, attributes),
    // Subresources that act, and connections, are the same in all versions.
    createSubresource: (request, ref, body) => kubeApi.createSubresource(request, ref, body),
    connect: (request, ref, options) => kubeApi.connect(request, ref, options),
    async get(request, ref, resourceVersion) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.get(request, ref, resourceVersion);
      return shown(storedAs, await kubeApi.get(ofStored(request, storedAs), ref, resourceVersion));
    },
    async list(request, list) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.list(request, list);
      const page = await kubeApi.list(ofStored(request, storedAs), list);
      return { ...page, items: page.items.map((item) => shown(storedAs, item)) };
    },
    async watch(request, watch) {
      const { kind } = request;
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.watch(request, watch);
      return kubeApi.watch(ofStored(request, storedAs), {
        ...watch,
        onEvents: (records) => watch.onEvents(records.map((record) => shownRecord(kind, storedAs, record))),
        onEnd: (err) => watch.onEnd(err),
      });
    },
    async create(request, namespace, object) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.create(request, namespace, object);
      const wanted = toStored(request, storedAs, { object });
      return shown(storedAs, await kubeApi.create(alreadyRead(ofStored(request, storedAs)), namespace, wanted));
    },
    async update(request, ref, object) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.update(request, ref, object);
      const wanted = toStored(request, storedAs, { object });
      return shown(storedAs, await kubeApi.update(alreadyRead(ofStored(request, storedAs)), ref, wanted));
    },
    async patch(request, ref, patch) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.patch(request, ref, patch);
      const servedAs = servedForPatch(request, storedAs, patch);
      const inner = { ...alreadyRead(request), kind: storedAs.kind, force: request.force === true, servedAs };
      const { object, created } = await kubeApi.patch(inner, ref, patch);
      return { object: shown(storedAs, object), created };
    },
    async delete(request, ref, deletion) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.delete(request, ref, deletion);
      const outcome = await kubeApi.delete(ofStored(request, storedAs), ref, deletion);
      return outcome.type === 'object' ? { ...outcome, object: shown(storedAs, outcome.object) } : outcome;
    },
    async deleteCollection(request, deletion, list) {
      const { storedAs } = request.kind;
      if (storedAs === undefined) return kubeApi.deleteCollection(request, deletion, list);
      const deleted = await kubeApi.deleteCollection(ofStored(request, storedAs), deletion, list);
      return { ...deleted, items: deleted.items.map((item) => shown(storedAs, item)) };
    },
  };
}

interface Given {
  readonly object: KubeObject;
  readonly before?: KubeObject | undefined;
  readonly refuse?: (why: string) => StatusError;
}

/** The request for the stored kind, which remembers the version of its client. */
const ofStored = <R extends RequestInfo>(request: R, { kind }: Conversion<KubeObject>): R => ({
  ...request,
  kind,
  servedAs: { kind: request.kind },
});

/** Complaints about the body were made when it was read in its own version. */
const alreadyRead = (request: WriteRequest): WriteRequest => ({ ...request, duplicateFields: [], fieldValidation: 'Ignore' });

const shownObjects = new WeakMap<Conversion<KubeObject>, WeakMap<KubeObject, KubeObject>>();

/** A stored object in another version; made once, so that all watchers share it. */
function shown(conversion: Conversion<KubeObject>, object: KubeObject): KubeObject {
  let known = shownObjects.get(conversion);
  if (known === undefined) {
    known = new WeakMap();
    shownObjects.set(conversion, known);
  }
  let converted = known.get(object);
  if (converted === undefined) {
    converted = deepFreeze(conversion.fromStored(object));
    known.set(object, converted);
  }
  return converted;
}

function shownRecord(kind: KindDefinition, conversion: Conversion<KubeObject>, { type, object }: WatchRecord): WatchRecord {
  // A bookmark is no object: only its name changes.
  const converted = type === 'BOOKMARK' ? { ...object, kind: kind.kind, apiVersion: apiVersionOf(kind) } : shown(conversion, object);
  return { type, object: converted, json: () => JSON.stringify(converted) };
}
