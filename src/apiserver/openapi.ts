import { createHash } from 'node:crypto';
import { type KindDefinition, listKindOf } from '../machinery/kind.ts';
import type { Schema, SchemaSet } from '../machinery/schema.ts';
import type { OpenApiDocument, OpenApiDocuments } from './http/openapi.ts';
import type { KindTable } from './kube-api.ts';
import {
  type Action,
  groupWords,
  gvkOf,
  keyOfGvk,
  type Operation,
  type ParameterName,
  type PathItem,
  parameterTable,
  pathItemsOf,
  pathOf,
  tagOf,
} from './openapi-paths.ts';
import { encodeOpenApiV2, encodeOpenApiV3 } from './openapi-protobuf.ts';
import { closureOf, metaTypes, publicType, version2, version3 } from './openapi-types.ts';

/**
 * The OpenAPI documents from which clients learn fields and operations. Version 3 has one document for each group
 * version, and version 2 is one piece. In them, kubectl reads types and merge keys in them (`explain`, client-side `apply`). If
 * patch operations have `fieldValidation`, it leaves validation to the server.
 *
 * A document is built at its first request, and again when its kinds change or its bytes were dropped.
 *
 * @param schemas  the types as of now; asked again when the kinds have changed
 */
export function createOpenApi(kinds: KindTable, schemas: () => SchemaSet): OpenApiDocuments {
  let current = -1;
  let source: Source | undefined;
  const encodings = createEncodingCache();
  const documents = new Map<string, KnownDocument>();
  const currentSource = (): Source => {
    if (source === undefined || current !== kinds.revision) {
      current = kinds.revision;
      source = sourceOf(kinds.all(), schemas());
      for (const [key, { madeOf }] of documents) {
        if (!isSame(madeOf, source.groupVersions.get(key)?.kinds)) {
          documents.delete(key);
          encodings.drop(key);
        }
      }
    }
    return source;
  };
  const remember = (key: string, madeOf: readonly KindDefinition[], { make, toProtobuf }: Form): OpenApiDocument => {
    const known = documents.get(key);
    if (known !== undefined) return known.document;
    const json = (): string => encodings.get(`${key}.json`, () => JSON.stringify(make())) as string;
    const hash = createHash('sha512').update(json()).digest('hex').toUpperCase();
    const document: OpenApiDocument = {
      hash,
      get json() {
        return json();
      },
      get protobuf() {
        return encodings.get(`${key}.pb`, () => toProtobuf(JSON.parse(json()))) as Buffer;
      },
    };
    documents.set(key, { document, madeOf });
    return document;
  };
  const groupVersion = (path: string): OpenApiDocument | undefined => {
    const group = currentSource().groupVersions.get(path);
    if (group === undefined) {
      const page = currentSource().pages.get(path);
      // They are small, and the same as long as there is one of that path.
      return page === undefined
        ? undefined
        : remember(path, [], { make: () => pageDocument(currentSource(), page), toProtobuf: encodeOpenApiV3 });
    }
    // Kinds of the source at the time of the next build.
    const make = (): unknown => groupVersionDocument(currentSource(), currentSource().groupVersions.get(path) ?? group);
    return remember(path, group.kinds, { make, toProtobuf: encodeOpenApiV3 });
  };
  return {
    index() {
      const { groupVersions, pages } = currentSource();
      const paths = [...groupVersions.keys(), ...pages.keys()]
        .sort()
        .map((path) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${groupVersion(path)?.hash}` }]);
      return remember('index', [], { make: () => ({ paths: Object.fromEntries(paths) }), toProtobuf: encodeOpenApiV3 });
    },
    groupVersion,
    v2() {
      currentSource();
      return remember('v2', [], { make: () => version2Document(currentSource()), toProtobuf: encodeOpenApiV2 });
    },
  };
}

interface Form {
  make(): unknown;
  /** From what JSON makes of the document. */
  toProtobuf(document: unknown): Buffer;
}

interface KnownDocument {
  readonly document: OpenApiDocument;
  /** The document is the same as long as these are; empty for one that holds all kinds. */
  readonly madeOf: readonly KindDefinition[];
}

const isSame = (before: readonly KindDefinition[], now: readonly KindDefinition[] = []): boolean =>
  before.length > 0 && before.length === now.length && before.every((kind, index) => kind === now[index]);

/**
 * Bytes of all encoded documents; the least recently used ones are dropped. The documents of the built-in kinds have 5
 * MB.
 */
const maxEncodedLength = 3 * 1024 * 1024;

interface EncodingCache {
  get(key: string, make: () => string | Buffer): string | Buffer;
  /** All encodings of a document. */
  drop(document: string): void;
}

function createEncodingCache(): EncodingCache {
  const encodings = new Map<string, string | Buffer>();
  let length = 0;
  const remove = (key: string): void => {
    length -= encodings.get(key)?.length ?? 0;
    encodings.delete(key);
  };
  return {
    get(key, make) {
      const encoding = encodings.get(key) ?? make();
      remove(key);
      encodings.set(key, encoding);
      length += encoding.length;
      for (const oldest of encodings.keys()) {
        if (length <= maxEncodedLength || oldest === key) break;
        remove(oldest);
      }
      return encoding;
    },
    drop(document) {
      remove(`${document}.json`);
      remove(`${document}.pb`);
    },
  };
}

interface Source {
  readonly schemas: SchemaSet;
  readonly schemaOfGvk: ReadonlyMap<string, string>;
  /** By path: `api/v1`, `apis/apps/v1`. */
  readonly groupVersions: ReadonlyMap<string, GroupVersionSource>;
  /** Non-resource endpoints by path: `apis/apps`, `version`. */
  readonly pages: ReadonlyMap<string, Page>;
}

/** One answer without a kind of its own. */
interface Page {
  /** As OpenAPI names it, with a slash at its end. */
  readonly path: string;
  readonly tag: string;
  readonly description: string;
  readonly operationId: string;
  readonly mediaTypes: readonly string[];
  /** Undefined: text. */
  readonly result: string | undefined;
}

interface GroupVersionSource {
  readonly group: string;
  readonly version: string;
  readonly kinds: readonly KindDefinition[];
}

function sourceOf(kinds: readonly KindDefinition[], given: SchemaSet): Source {
  const schemas: Record<string, Schema> = { ...given, [versionType]: withEmulation(given[versionType]) };
  for (const kind of kinds) {
    if (kind.custom !== undefined) Object.assign(schemas, kind.schemas);
    addHandWrittenTypes(schemas, kind);
  }
  const schemaOfGvk = new Map<string, string>();
  for (const [name, schema] of Object.entries(schemas)) {
    for (const gvk of schema['x-kubernetes-group-version-kind'] ?? []) schemaOfGvk.set(keyOfGvk(gvk), name);
  }
  const groupVersions = new Map<string, { group: string; version: string; kinds: KindDefinition[] }>();
  for (const kind of [...kinds].sort((a, b) => compare(pathOf(a), pathOf(b)) || compare(a.resource, b.resource))) {
    const { group, version } = kind;
    const entry = groupVersions.get(pathOf(kind)) ?? { group, version, kinds: [] };
    entry.kinds.push(kind);
    groupVersions.set(pathOf(kind), entry);
  }
  return { schemas, schemaOfGvk, groupVersions, pages: pagesOf([...groupVersions.values()]) };
}

const json = ['application/json'] as const;
const versionType = 'io.k8s.apimachinery.pkg.version.Info';

/** Versions that a server may emulate are newer than the generated types. */
function withEmulation(schema: Schema = {}): Schema {
  const fields = ['emulationMajor', 'emulationMinor', 'minCompatibilityMajor', 'minCompatibilityMinor'];
  const properties = { ...schema.properties, ...Object.fromEntries(fields.map((field) => [field, { type: 'string' as const }])) };
  return { ...schema, properties: Object.fromEntries(Object.entries(properties).sort(([a], [b]) => compare(a, b))) };
}

function pagesOf(groupVersions: readonly GroupVersionSource[]): ReadonlyMap<string, Page> {
  const groups = [...new Set(groupVersions.map(({ group }) => group).filter((group) => group !== ''))];
  const pages: readonly Page[] = [
    {
      path: '/.well-known/openid-configuration/',
      tag: 'WellKnown',
      description: 'get configuration of the issuer of service account tokens, also known as the discovery document',
      operationId: 'getServiceAccountIssuerOpenIDConfiguration',
      mediaTypes: json,
      result: undefined,
    },
    {
      path: '/openid/v1/jwks/',
      tag: 'openid',
      description: 'get the keys by which service account tokens are verified',
      operationId: 'getServiceAccountIssuerOpenIDKeyset',
      mediaTypes: ['application/jwk-set+json'],
      result: undefined,
    },
    {
      path: '/version/',
      tag: 'version',
      description: 'get the version information for this server',
      operationId: 'getCodeVersion',
      mediaTypes: json,
      result: versionType,
    },
    {
      path: '/api/',
      tag: 'core',
      description: 'get available API versions',
      operationId: 'getCoreAPIVersions',
      mediaTypes: answerTypes,
      result: `${metaTypes}.APIVersions`,
    },
    {
      path: '/apis/',
      tag: 'apis',
      description: 'get available API versions',
      operationId: 'getAPIVersions',
      mediaTypes: answerTypes,
      result: `${metaTypes}.APIGroupList`,
    },
    ...groups.map((group) => ({
      path: `/apis/${group}/`,
      tag: tagOf({ group, version: '' }).replace(/_$/, ''),
      description: 'get information of a group',
      operationId: `get${groupWords({ group, version: '' })}APIGroup`,
      mediaTypes: answerTypes,
      result: `${metaTypes}.APIGroup`,
    })),
  ];
  return new Map(pages.map((page) => [page.path.slice(1, -1), page]));
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const refTo = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });

/** Kinds whose types are written by hand have neither a type for their lists nor their own group, version and kind on them. */
function addHandWrittenTypes(schemas: Record<string, Schema>, kind: KindDefinition): void {
  const schema = schemas[kind.schemaName];
  if (schema === undefined) throw new Error(`schema ${kind.schemaName} of ${kind.resource} is not in the set`);
  const gvk = gvkOf(kind);
  if (schema['x-kubernetes-group-version-kind'] === undefined) {
    const objectMeta: Schema = { ...refTo(`${metaTypes}.ObjectMeta`), default: {} };
    schemas[kind.schemaName] = {
      ...schema,
      properties: { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: objectMeta, ...schema.properties },
      'x-kubernetes-group-version-kind': [gvk],
    };
  }
  schemas[`${kind.schemaName}List`] ??= {
    type: 'object',
    required: ['items'],
    properties: {
      apiVersion: { type: 'string' },
      items: { type: 'array', items: refTo(kind.schemaName) },
      kind: { type: 'string' },
      metadata: { ...refTo(`${metaTypes}.ListMeta`), default: {} },
    },
    'x-kubernetes-group-version-kind': [{ ...gvk, kind: listKindOf(kind) }],
  };
}

/** Types that the documents of every group have, whether or not an operation names them. */
const commonTypes = [
  `${metaTypes}.APIResourceList`,
  `${metaTypes}.DeleteOptions`,
  `${metaTypes}.Patch`,
  `${metaTypes}.Status`,
  `${metaTypes}.WatchEvent`,
];
const typesOf = (items: readonly PathItem[]): readonly string[] =>
  items.flatMap(({ operations }) => operations.flatMap(({ body, result }) => [body, result].filter((name) => name !== undefined)));

// ----------------------------------------------------------------------------------------------------------------------- version 3

const info = { title: 'Kubernetes', version: '1.36' } as const;
const securityScheme = { type: 'apiKey', description: 'Bearer Token authentication', name: 'authorization', in: 'header' } as const;
const answerTypes = ['application/json', 'application/yaml'];
const codeTexts: Readonly<Record<number, string>> = { 200: 'OK', 201: 'Created', 202: 'Accepted' };

function groupVersionDocument(source: Source, group: GroupVersionSource): unknown {
  const items = group.kinds.flatMap((kind) => pathItemsOf(source.schemaOfGvk, kind)).sort((a, b) => compare(a.path, b.path));
  const types = closureOf(source.schemas, [...commonTypes, ...typesOf(items)]);
  return {
    openapi: '3.0.0',
    info,
    paths: Object.fromEntries([
      [`/${pathOf(group)}/`, resourcesPath(group)],
      ...items.map((item) => [item.path, pathItem3(group, item)] as const),
    ]),
    components: {
      schemas: Object.fromEntries(
        types.map((name) => [name, publicType(version3, name, { schema: source.schemas[name] ?? {}, groupVersions: [group] })]),
      ),
      securitySchemes: { BearerToken: securityScheme },
    },
  };
}

function pageDocument(source: Source, page: Page): unknown {
  const types = page.result === undefined ? [] : closureOf(source.schemas, [page.result]);
  return {
    openapi: '3.0.0',
    info,
    paths: { [page.path]: page3(page) },
    components: {
      ...(types.length === 0
        ? {}
        : {
            schemas: Object.fromEntries(
              types.map((name) => [name, publicType(version3, name, { schema: source.schemas[name] ?? {}, groupVersions: [] })]),
            ),
          }),
      securitySchemes: { BearerToken: securityScheme },
    },
  };
}

function page3({ tag, description, operationId, mediaTypes, result }: Page): unknown {
  const schema = result === undefined ? { type: 'string' } : { $ref: `${version3.refPrefix}${result}` };
  const content = Object.fromEntries(mediaTypes.map((type) => [type, { schema }]));
  return {
    get: {
      tags: [tag],
      description,
      operationId,
      responses: { 200: { description: 'OK', content }, 401: { description: 'Unauthorized' } },
    },
  };
}

function resourcesPath(group: GroupVersionSource): unknown {
  return {
    get: {
      tags: [tagOf(group)],
      description: 'get available resources',
      operationId: `get${groupWords(group)}APIResources`,
      responses: responses3({ codes: [200], result: `${metaTypes}.APIResourceList` }),
    },
  };
}

function pathItem3(group: GroupVersionSource, item: PathItem): unknown {
  return {
    ...Object.fromEntries(item.operations.map((one) => [one.method, operation3(group, one)])),
    parameters: sharedParameters(item).map(([name, where]) => parameter3(name, where)),
  };
}

/** Those of all operations of a path, by name. */
function sharedParameters({ pathParameters, queryParameters }: PathItem): readonly (readonly [ParameterName, 'path' | 'query'])[] {
  const all = [...pathParameters.map((name) => [name, 'path'] as const), ...queryParameters.map((name) => [name, 'query'] as const)];
  return all.sort(([a], [b]) => compare(a, b));
}

function operation3(group: GroupVersionSource, one: Operation): unknown {
  const { description, operationId, parameters, body, bodyRequired, action, gvk } = one;
  return {
    tags: [tagOf(group)],
    description,
    operationId,
    ...(parameters.length === 0 ? {} : { parameters: parameters.map((name) => parameter3(name, 'query')) }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            content: contentOf(one.patchTypes ?? ['*/*'], body),
            ...(bodyRequired === true ? { required: true } : {}),
          },
        }),
    responses: responses3(one),
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk,
  };
}

function parameter3(name: ParameterName, where: 'path' | 'query'): unknown {
  const [type, description] = parameterTable[name];
  return { name, in: where, description, ...(where === 'path' ? { required: true } : {}), schema: { type, uniqueItems: true } };
}

function responses3({ codes, result, action }: Pick<Operation, 'codes' | 'result'> & { readonly action?: Action }): unknown {
  const types = action === 'list' ? [...answerTypes, 'application/json;stream=watch'] : answerTypes;
  const content = result === undefined ? { '*/*': { schema: { type: 'string' } } } : contentOf(types, result);
  return {
    ...Object.fromEntries(codes.map((code) => [code, { description: codeTexts[code], content }])),
    401: { description: 'Unauthorized' },
  };
}

const contentOf = (types: readonly string[], schema: string): Readonly<Record<string, unknown>> =>
  Object.fromEntries(types.map((type) => [type, { schema: { $ref: `${version3.refPrefix}${schema}` } }]));

// ----------------------------------------------------------------------------------------------------------------------- version 2

function version2Document(source: Source): unknown {
  const groups = [...source.groupVersions.values()];
  const paths: [string, unknown][] = [];
  const names: string[] = [...commonTypes];
  for (const page of source.pages.values()) {
    paths.push([page.path, page2(page)]);
    if (page.result !== undefined) names.push(page.result);
  }
  for (const group of groups) {
    for (const item of group.kinds.flatMap((kind) => pathItemsOf(source.schemaOfGvk, kind))) {
      paths.push([item.path, pathItem2(group, item)]);
      names.push(...typesOf([item]));
    }
  }
  return {
    swagger: '2.0',
    info,
    paths: Object.fromEntries(paths.sort(([a], [b]) => compare(a, b))),
    definitions: Object.fromEntries(
      closureOf(source.schemas, names).map((name) => [
        name,
        publicType(version2, name, { schema: source.schemas[name] ?? {}, groupVersions: groups }),
      ]),
    ),
    securityDefinitions: { BearerToken: securityScheme },
    security: [{ BearerToken: [] }],
  };
}

function page2({ tag, description, operationId, mediaTypes, result }: Page): unknown {
  const schema = result === undefined ? { type: 'string' } : { $ref: `${version2.refPrefix}${result}` };
  return {
    get: {
      tags: [tag],
      description,
      operationId,
      consumes: mediaTypes,
      produces: mediaTypes,
      schemes: ['https'],
      responses: { 200: { description: 'OK', schema }, 401: { description: 'Unauthorized' } },
    },
  };
}

function pathItem2(group: GroupVersionSource, item: PathItem): unknown {
  return {
    ...Object.fromEntries(item.operations.map((one) => [one.method, operation2(group, one)])),
    parameters: sharedParameters(item).map(([name, where]) => parameter2(name, where)),
  };
}

function operation2(group: GroupVersionSource, one: Operation): unknown {
  const { description, operationId, parameters, body, bodyRequired, result, codes, action, gvk } = one;
  const schema = result === undefined ? { type: 'string' } : { $ref: `${version2.refPrefix}${result}` };
  const bodyParameter = {
    name: 'body',
    in: 'body',
    ...(bodyRequired === true ? { required: true } : {}),
    schema: { $ref: `${version2.refPrefix}${body}` },
  };
  return {
    tags: [tagOf(group)],
    description,
    operationId,
    consumes: one.patchTypes ?? ['*/*'],
    produces: result === undefined ? ['*/*'] : answerTypes,
    schemes: ['https'],
    parameters: [...(body === undefined ? [] : [bodyParameter]), ...parameters.map((name) => parameter2(name, 'query'))],
    responses: {
      ...Object.fromEntries(codes.map((code) => [code, { description: codeTexts[code], schema }])),
      401: { description: 'Unauthorized' },
    },
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk,
  };
}

function parameter2(name: ParameterName, where: 'path' | 'query'): unknown {
  const [type, description] = parameterTable[name];
  return { name, in: where, description, type, uniqueItems: true, ...(where === 'path' ? { required: true } : {}) };
}
