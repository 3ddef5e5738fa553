import type { Conversion, KindDefinition } from '../machinery/kind.ts';
import { deepFreeze, type KubeObject } from '../machinery/object.ts';
import { apiVersionOf } from '../machinery/resource.ts';
import type { SchemaSet } from '../machinery/schema.ts';
import { invalid, type StatusError } from '../machinery/status-error.ts';
import type { KubeApi, ServedVersion, WatchRecord, WriteRequest } from './kube-api.ts';
import type { BodyDecoder } from './registry/decoding.ts';
import { invalidPatch, patched } from './registry/patching.ts';

export interface VersionsOptions {
  readonly decoder: BodyDecoder;
  readonly schemas: SchemaSet;
}

/**
 * Adds kinds that are versions of a stored kind to `kubeApi`. The body of a request is read and completed in the version of its client,
 * then converted to the stored version before `kubeApi` sees it; answers are converted back.
 */
export function withVersions(kubeApi: KubeApi, { decoder, schemas }: VersionsOptions): KubeApi {
  /** A whole object of the version, read and checked by its rules, as the stored kind has it. */
  function toStored(
    request: WriteRequest,
    kind: KindDefinition,
    { toStored: convert }: Conversion<KubeObject>,
    given: KubeObject,
    { before, refuse }: { readonly before?: KubeObject; readonly refuse?: (why: string) => StatusError } = {},
  ): KubeObject {
    const decoded = decoder.decode(request, kind, given, before, refuse);
    const complete = kind.defaults?.(decoded, before) ?? decoded;
    const errors = kind.validate?.(complete, before) ?? [];
    if (errors.length > 0) throw invalid(kind, complete.metadata.name ?? '', errors);
    return convert(complete);
  }

  return {
    ...kubeApi,
    async get(request, kind, ref, resourceVersion) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.get(request, kind, ref, resourceVersion);
      return shown(storedAs, await kubeApi.get({ ...request, servedAs: { kind } }, storedAs.kind, ref, resourceVersion));
    },
    async list(request, kind, list) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.list(request, kind, list);
      const page = await kubeApi.list({ ...request, servedAs: { kind } }, storedAs.kind, list);
      return { ...page, items: page.items.map((item) => shown(storedAs, item)) };
    },
    async watch(request, kind, watch) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.watch(request, kind, watch);
      return kubeApi.watch({ ...request, servedAs: { kind } }, storedAs.kind, {
        ...watch,
        onEvents: (records) => watch.onEvents(records.map((record) => shownRecord(kind, storedAs, record))),
        onEnd: (err) => watch.onEnd(err),
      });
    },
    async create(request, kind, namespace, object) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.create(request, kind, namespace, object);
      const wanted = toStored(request, kind, storedAs, object);
      return shown(storedAs, await kubeApi.create({ ...readRequest(request), servedAs: { kind } }, storedAs.kind, namespace, wanted));
    },
    async update(request, kind, ref, object) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.update(request, kind, ref, object);
      const wanted = toStored(request, kind, storedAs, object);
      return shown(storedAs, await kubeApi.update({ ...readRequest(request), servedAs: { kind } }, storedAs.kind, ref, wanted));
    },
    async patch(request, kind, ref, patch) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.patch(request, kind, ref, patch);
      const change = (stored: KubeObject): KubeObject => {
        const before = shown(storedAs, stored);
        const wanted = patched(before, patch, schemas, kind.schemaName);
        return toStored(request, kind, storedAs, wanted, { before, refuse: (why) => invalidPatch(patch, why) });
      };
      const servedAs: ServedVersion = {
        kind,
        change,
        show: (stored) => shown(storedAs, stored),
        accept: (applied, before) => toStored(request, kind, storedAs, applied, before === undefined ? {} : { before }),
      };
      const inner = { ...readRequest(request), force: request.force === true, servedAs };
      const { object, created } = await kubeApi.patch(inner, storedAs.kind, ref, patch);
      return { object: shown(storedAs, object), created };
    },
    async delete(request, kind, ref, deletion) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.delete(request, kind, ref, deletion);
      const outcome = await kubeApi.delete({ ...request, servedAs: { kind } }, storedAs.kind, ref, deletion);
      return outcome.type === 'object' ? { ...outcome, object: shown(storedAs, outcome.object) } : outcome;
    },
    async deleteCollection(request, kind, deletion, list) {
      const { storedAs } = kind;
      if (storedAs === undefined) return kubeApi.deleteCollection(request, kind, deletion, list);
      const deleted = await kubeApi.deleteCollection({ ...request, servedAs: { kind } }, storedAs.kind, deletion, list);
      return { ...deleted, items: deleted.items.map((item) => shown(storedAs, item)) };
    },
  };
}

/** Complaints about the body were made when it was read in its own version. */
const readRequest = (request: WriteRequest): WriteRequest => ({ ...request, duplicateFields: [], fieldValidation: 'Ignore' });

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
