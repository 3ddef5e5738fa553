import { describe, expect, it } from 'vitest';
import { deployments } from '../../src/api/apps/v1/deployment.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import { createOpenApi } from '../../src/apiserver/openapi.ts';
import { DecodeError, decoderFor, fieldComplaints } from '../../src/machinery/field-validation.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import { type RecordedSet, recordedFiles } from '../support/recorded-lines.ts';

/** Answers of the real server, compared with our schemas and documents. */

const schemas = loadSchemas();
type Json = Record<string, unknown>;

function recorded(set: RecordedSet): readonly { readonly file: string; readonly line: Json }[] {
  return Object.entries(recordedFiles(set)).flatMap(([file, lines]) =>
    lines.map((text) => ({ file: `${set}/${file}`, line: JSON.parse(text) as Json })),
  );
}

const typeNames = new Map(
  Object.entries(schemas).flatMap(([name, schema]) =>
    (schema['x-kubernetes-group-version-kind'] ?? []).map(
      ({ group, version, kind }) => [`${group === '' ? version : `${group}/${version}`} ${kind}`, name] as const,
    ),
  ),
);

/** Objects that the recorder cut down, replaced secrets in, or that only the storage of the real server explains. */
const isEdited = (text: string): boolean =>
  /"(itemsTotal|summarised|see)":|<base64-pem>|<redacted>|"drivers":null|"eventTime":null|"conditions":null/.test(text);

describe('recorded answers', () => {
  it('decode to themselves', () => {
    let count = 0;
    const wrong: string[] = [];
    for (const { file, line } of (['api', 'kubectl', 'helm', 'client-node', 'components'] as const).flatMap(recorded)) {
      if (/deletion-answers|patches|list-paging/.test(file)) continue;
      const response = (line.res ?? {}) as Json;
      const events = ((response.events ?? line.events ?? []) as Json[]).filter(({ type }) => type !== 'BOOKMARK');
      for (const object of [response.body, ...events.map((event) => event.object)] as Json[]) {
        const name = typeNames.get(`${object?.apiVersion} ${object?.kind}`);
        if (name === undefined || isEdited(JSON.stringify(object))) continue;
        count++;
        const decoded = decoderFor(schemas, name).decode(object);
        if (decoded.object !== object) wrong.push(`${file}: ${JSON.stringify(object).slice(0, 200)}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(700);
  });

  it('agree on unknown fields and on values of the wrong type', () => {
    let count = 0;
    for (const { line } of recorded('api')) {
      const request = line.req as { readonly path?: string; readonly body?: unknown } | undefined;
      const answer = (line.res as { readonly body?: { readonly message?: string } } | undefined)?.body;
      const [, kind = '', message = ''] = /^(\w+) in version "v1" cannot be handled as a \w+: ([\s\S]*)$/.exec(answer?.message ?? '') ?? [];
      const name = typeNames.get(`v1 ${kind}`);
      if (name === undefined || typeof request?.body !== 'object' || /conversion|scheme|yaml|duplicate/.test(message)) continue;
      count++;
      let ours: string;
      try {
        const { unknownFields } = decoderFor(schemas, name).decode(request.body as Json);
        ours = `strict decoding error: ${fieldComplaints(unknownFields, []).join(', ')}`;
      } catch (err) {
        if (!(err instanceof DecodeError)) throw err;
        ours = err.message;
      }
      expect(ours).toBe(message);
    }
    expect(count).toBeGreaterThanOrEqual(5);
  });

  it('agree on OpenAPI types and operations', () => {
    const table = { revision: 1, all: () => [deployments as KindDefinition], find: () => undefined, findByKind: () => undefined };
    const ours = JSON.parse(createOpenApi(table, () => schemas).groupVersion('apis/apps/v1')?.json ?? '{}') as {
      readonly paths: Readonly<Record<string, Json>>;
      readonly components: { readonly schemas: Json };
    };
    const theirs = recorded('api').find(({ line }) => line.title === 'v3 apps/v1 (summarised)')?.line.res as {
      readonly body: { readonly sampleSchemas: Json; readonly samplePaths: Readonly<Record<string, Json>>; readonly schemas: string[] };
    };
    const { sampleSchemas, samplePaths } = theirs.body;
    for (const name of theirs.body.schemas) expect(schemas).toHaveProperty([name]);
    for (const [name, schema] of Object.entries(sampleSchemas)) {
      expect(withoutDescriptions(ours.components.schemas[name]), name).toEqual(withoutDescriptions(schema));
    }
    for (const [path, methods] of Object.entries(samplePaths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (method !== 'parameters') expect(essenceOf(ours.paths[path]?.[method]), `${method} ${path}`).toEqual(essenceOf(operation));
      }
    }
  });
});

function withoutDescriptions(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDescriptions);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([key, child]) => !(key === 'description' && typeof child === 'string'));
  return Object.fromEntries(entries.map(([key, child]) => [key, withoutDescriptions(child)]));
}

/** Our documents leave out parameters that are not served, and answers in protobuf. */
const notServed = new Set(['shardSelector', 'ignoreStoreReadErrorWithClusterBreakingPotential', 'sendInitialEvents']);

function essenceOf(operation: unknown): unknown {
  const { parameters = [], responses, ...rest } = withoutDescriptions(operation) as { parameters?: { name: string }[]; responses: Json };
  const names = parameters.map(({ name }) => name).filter((name) => !notServed.has(name));
  return { ...rest, parameters: names.sort(), codes: Object.keys(responses) };
}
