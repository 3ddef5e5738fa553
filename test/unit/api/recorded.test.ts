import { describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { validateObjectMeta } from '../../../src/api/object-meta.ts';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { decoderFor } from '../../../src/machinery/field-validation.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';
import { deepFreeze, type KubeObject } from '../../../src/machinery/object.ts';
import { apiVersionOf } from '../../../src/machinery/resource.ts';
import { recordedLines } from '../../support/recorded-lines.ts';
import { writeContext } from '../../support/write-context.ts';

const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));

/** The recorder put a word in the place of certificate requests. */
const requestPem = Buffer.from('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n').toString('base64');

interface Exchange {
  readonly title: string;
  readonly req: { readonly method: string; readonly path: string; readonly body?: Record<string, unknown> };
  readonly res: { readonly status: number; readonly headers: { readonly warning?: string }; readonly body: Record<string, unknown> };
}

function read(name: string): readonly Exchange[] {
  return recordedLines('api', name).map((line) => JSON.parse(line.replaceAll('<base64-pem>', requestPem)) as Exchange);
}

function kindOf(path: string): KindDefinition | undefined {
  const [pure = ''] = path.split('?');
  const parts = pure.split('/').filter((part) => part !== '');
  const [group, version, rest] = parts[0] === 'api' ? ['', parts[1], parts.slice(2)] : [parts[1], parts[2], parts.slice(3)];
  const resource = rest[0] === 'namespaces' && rest.length > 2 ? rest[2] : rest[0];
  return builtInKinds.find((kind) => kind.group === group && kind.version === version && kind.resource === resource);
}

const uid = 'b8e6c193-f446-4125-9233-1a77042d96ae';

/** Changes that the registry makes to a body before it is stored, without admission. */
function created(kind: KindDefinition, body: Record<string, unknown>, namespace?: string): KubeObject {
  const metadata = { ...(body.metadata as object), ...(kind.namespaced ? { namespace: namespace ?? 'raw2' } : {}), uid };
  const given = { ...body, apiVersion: apiVersionOf(kind), kind: kind.kind, metadata };
  const object = decoderFor(schemas, kind.schemaName).decode(given).object as KubeObject;
  const complete = kind.defaults?.(object) ?? object;
  return kind.prepareForCreate?.(complete, writeContext) ?? complete;
}

/** Refused before or after the kind's own rules: by the decoder, by admission, by the address allocator. */
const elsewhere = new Set([
  'endpoints: loopback ip',
  'pod: unknown serviceAccount (403)',
  'pod: unknown priorityClass (403)',
  'pod: unknown runtimeClass (403)',
  'pod: unparsable quantity',
  'service: clusterIP out of range',
  'service: ipFamilyPolicy',
  'configmap: bad base64',
  // Annotations that configured features which are long gone.
  'warning: deprecated: pod with node.alpha label-ish annotations',
]);

/** Worded otherwise, on purpose: the recording quotes the Go runtime or the secret's content. */
describe('kinds, compared with a real server', () => {
  describe('validation on create', () => {
    for (const { title, req, res } of read('validation')) {
      const kind = kindOf(req.path);
      if (kind === undefined || req.method !== 'POST' || req.body === undefined || elsewhere.has(title)) continue;
      const body = req.body;
      it(title, () => {
        const object = created(kind, body);
        const errors = [...validateObjectMeta(kind, object), ...(kind.validate?.(object) ?? [])];
        const causes = (res.body.details as { causes?: unknown } | undefined)?.causes ?? [];
        expect(errors.map(({ type, message, field }) => ({ reason: type, message, field }))).toEqual(res.status === 422 ? causes : []);
      });
    }
  });

  describe('defaults', () => {
    for (const { title, req, res } of read('defaulting')) {
      const kind = kindOf(req.path);
      if (kind === undefined || req.method !== 'POST' || req.body === undefined) continue;
      const body = req.body;
      it(title, () => {
        const object = created(kind, body);
        expect(kind.validate?.(object) ?? []).toEqual([]);
        expect(comparable(object)).toEqual(comparable(res.body as unknown as KubeObject));
      });

      it(`${title}: an object that lacks nothing keeps its identity`, () => {
        const stored = deepFreeze(created(kind, body));
        expect(kind.defaults?.(stored) ?? stored).toBe(stored);
        expect(kind.defaults?.(stored, stored) ?? stored).toBe(stored);
        expect(kind.validate?.(stored, stored) ?? []).toEqual([]);
        expect(validateObjectMeta(kind, stored, stored)).toEqual([]);
      });
    }
  });

  describe('warnings', () => {
    for (const { title, req, res } of read('field-validation-warnings')) {
      const kind = kindOf(req.path);
      const { warning = '' } = res.headers;
      if (
        kind === undefined ||
        req.body === undefined ||
        typeof req.body !== 'object' ||
        !title.startsWith('warning:') ||
        elsewhere.has(title)
      )
        continue;
      const body = req.body;
      it(title, () => {
        const object = created(kind, body);
        if (res.status === 422) {
          const causes = (res.body.details as { causes: unknown }).causes;
          expect((kind.validate?.(object) ?? []).map(({ type, message, field }) => ({ reason: type, message, field }))).toEqual(causes);
          return;
        }
        const texts = [...(kind.deprecation === undefined ? [] : [kind.deprecation]), ...(kind.warnings?.(object) ?? [])];
        expect(texts.map((text) => `299 - ${JSON.stringify(text)}`).join(', ')).toBe(warning);
      });
    }
  });

  describe('validation on update', () => {
    const bases = new Map(
      read('defaulting').map(({ req, res }) => [`${req.path}/${String((res.body.metadata as { name?: string }).name)}`, res.body]),
    );
    for (const { title, req, res } of read('validation')) {
      const kind = kindOf(req.path);
      const [path = ''] = req.path.split('?');
      const base = bases.get(path) as KubeObject | undefined;
      // Left out: a patch that only a merge by name reads right, and a node that had been given addresses in between.
      const isOther = title.includes('pod image') || title.includes('node podCIDR');
      if (kind === undefined || req.method !== 'PATCH' || base === undefined || isOther) continue;
      it(title, () => {
        const merged = merge(base, req.body ?? {}) as KubeObject;
        const complete = kind.defaults?.(merged, base) ?? merged;
        const next = kind.prepareForUpdate?.(complete, base) ?? complete;
        const errors = kind.validate?.(next, base) ?? [];
        const details = res.body.details as { causes?: { reason: string; message: string; field: string }[] } | undefined;
        const causes = res.status === 422 ? (details?.causes ?? []) : [];
        expect(errors.map(({ type, message, field }) => ({ reason: type, field, message: gist(message) }))).toEqual(
          causes.map(({ reason, message, field }) => ({ reason, field, message: gist(message) })),
        );
      });
    }
  });

  describe('columns', () => {
    for (const { title, req, res } of read('tables')) {
      const kind = kindOf(req.path);
      const columns = res.body.columnDefinitions as Record<string, unknown>[] | undefined;
      if (kind === undefined || columns === undefined || /\/(scale|status)$/.test(req.path)) continue;
      it(`${title} ${req.path}`, () => {
        const ours = kind.columns.map(({ name, type, format = '', priority = 0 }) => ({ name, type, format, priority }));
        expect(ours).toEqual(columns.map(({ name, type, format, priority }) => ({ name, type, format, priority })));
      });
    }
  });

  it('discovery names verbs, short names, categories and subresources as recorded', () => {
    const lists = read('discovery').filter(({ res }) => res.body.kind === 'APIResourceList');
    for (const kind of builtInKinds.filter(({ group }) => !/fluxcd|midship/.test(group))) {
      const list = lists.find(({ res }) => res.body.groupVersion === apiVersionOf(kind));
      const resources = (list?.res.body.resources ?? []) as Record<string, unknown>[];
      const entry = resources.find((resource) => resource.name === kind.resource);
      expect({
        verbs: [...kind.verbs],
        shortNames: [...kind.shortNames],
        categories: [...kind.categories],
        singularName: kind.singular,
        namespaced: kind.namespaced,
      }).toEqual({
        verbs: entry?.verbs,
        shortNames: entry?.shortNames ?? [],
        categories: entry?.categories ?? [],
        singularName: entry?.singularName,
        namespaced: entry?.namespaced,
      });
      for (const subresource of kind.subresources) {
        const recorded = resources.find((resource) => resource.name === `${kind.resource}/${subresource.name}`);
        expect({ name: subresource.name, verbs: [...subresource.verbs].sort() }).toEqual({
          name: subresource.name,
          verbs: recorded?.verbs,
        });
        expect(subresource.body?.kind ?? kind.kind).toBe(recorded?.kind);
      }
    }
  });

  it('field selectors are the recorded ones', () => {
    for (const { req, res } of read('field-selectors')) {
      const kind = kindOf(req.path);
      if (kind === undefined) continue;
      const selector = new URL(req.path, 'http://server').searchParams.get('fieldSelector') ?? '';
      const [field = ''] = selector.split('=');
      if (res.status === 200) expect(Object.keys(kind.selectableFields)).toContain(field);
      else {
        expect(Object.keys(kind.selectableFields)).not.toContain(field);
        expect(kind.shortFieldLabelError === true).toBe(String(res.body).startsWith('field label not supported'));
      }
    }
  });

  it('deletions are answered as recorded', () => {
    for (const { req, res } of read('deletion-answers')) {
      const kind = kindOf(req.path);
      // A Job or ReplicationController answers with itself because of the finalizer of its default propagation; a
      // Namespace because it is emptied first.
      if (kind === undefined || req.method !== 'DELETE' || ['Job', 'ReplicationController', 'Namespace'].includes(kind.kind)) continue;
      expect({ kind: kind.kind, answer: kind.deleteAnswer }).toEqual({
        kind: kind.kind,
        answer: res.body.kind === 'Status' ? 'status' : 'object',
      });
    }
  });
});

/** Without the dump of a Go structure that the real server puts into some messages. */
const gist = (message: string): string => (message.split('\n')[0] ?? '').replace(/\{.*\}/, '{}');

function merge(base: unknown, patch: unknown): unknown {
  if (typeof base !== 'object' || typeof patch !== 'object' || base === null || patch === null || Array.isArray(patch)) return patch;
  const left = base as Record<string, unknown>;
  return { ...left, ...Object.fromEntries(Object.entries(patch).map(([key, value]) => [key, merge(left[key], value)])) };
}

/** Removes the additions of admission and the registry on both sides. */
function comparable(object: KubeObject): unknown {
  const { name, namespace, labels } = object.metadata;
  const copy = JSON.parse(JSON.stringify({ ...object, metadata: { name, namespace, labels } }), (_, value) => value ?? undefined);
  const { spec } = copy;
  if (object.kind === 'Pod') {
    for (const field of ['volumes', 'tolerations', 'priority', 'preemptionPolicy', 'serviceAccountName', 'serviceAccount'])
      delete spec[field];
    for (const container of spec.containers) delete container.volumeMounts;
  }
  if (object.kind === 'Service') {
    if (spec.clusterIP !== 'None') for (const field of ['clusterIP', 'clusterIPs']) delete spec[field];
    for (const port of spec.ports ?? []) delete port.nodePort;
  }
  return copy;
}
