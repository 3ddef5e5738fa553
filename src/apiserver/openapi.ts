import { createHash } from 'node:crypto';
import type { KindDefinition, Subresource, Verb } from '../machinery/kind.ts';
import { apiVersionOf } from '../machinery/resource.ts';
import { type GroupVersionKind, nameOfRef, type Schema, type SchemaSet } from '../machinery/schema.ts';
import { isCustomGroup } from './http/api-request.ts';
import type { OpenApiDocument, OpenApiDocuments } from './server.ts';
import type { KindTable } from './service.ts';

/**
 * The OpenAPI documents from which clients learn fields and operations: version 3 with one document for each group version, and version 2
 * in one piece. What kubectl reads in them: types and merge keys (`explain`, client-side `apply`), and on patch operations whether
 * `fieldValidation` is understood, in which case it leaves validation to the server.
 *
 * Documents are made when they are first asked for and kept until the kinds change.
 *
 * @param schemas  the types as of now; asked again when the kinds have changed
 */
export function createOpenApi(kinds: KindTable, schemas: () => SchemaSet): OpenApiDocuments {
  let current = -1;
  let source: Source | undefined;
  const documents = new Map<string, OpenApiDocument>();
  const currentSource = (): Source => {
    if (source === undefined || current !== kinds.revision) {
      current = kinds.revision;
      source = sourceOf(kinds.all(), schemas());
      documents.clear();
    }
    return source;
  };
  const remember = (key: string, make: () => unknown): OpenApiDocument => {
    const known = documents.get(key);
    if (known !== undefined) return known;
    const made = documentOf(make());
    documents.set(key, made);
    return made;
  };
  const groupVersion = (path: string): OpenApiDocument | undefined => {
    const from = currentSource();
    const group = from.groupVersions.get(path);
    return group === undefined ? undefined : remember(path, () => groupVersionDocument(from, group));
  };
  return {
    index() {
      const paths = [...currentSource().groupVersions.keys()].map((path) => [
        path,
        { serverRelativeURL: `/openapi/v3/${path}?hash=${groupVersion(path)?.hash}` },
      ]);
      return remember('index', () => ({ paths: Object.fromEntries(paths) }));
    },
    groupVersion,
    v2() {
      const from = currentSource();
      return remember('v2', () => version2Document(from));
    },
  };
}

function documentOf(document: unknown): OpenApiDocument {
  const json = JSON.stringify(document);
  return { json, hash: createHash('sha512').update(json).digest('hex').toUpperCase() };
}

// ----------------------------------------------------------------------------------------------------------------- what is to be said

interface Source {
  readonly schemas: SchemaSet;
  readonly schemaOfGvk: ReadonlyMap<string, string>;
  /** By path: `api/v1`, `apis/apps/v1`. */
  readonly groupVersions: ReadonlyMap<string, GroupVersionSource>;
}

interface GroupVersionSource {
  readonly group: string;
  readonly version: string;
  readonly kinds: readonly KindDefinition[];
}

function sourceOf(kinds: readonly KindDefinition[], given: SchemaSet): Source {
  const schemas: Record<string, Schema> = { ...given };
  for (const kind of kinds) addListSchema(schemas, kind);
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
  return { schemas, schemaOfGvk, groupVersions };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const pathOf = (kind: { readonly group: string; readonly version: string }): string =>
  `${kind.group === '' ? 'api' : 'apis'}/${apiVersionOf(kind)}`;
const keyOfGvk = ({ group, version, kind }: GroupVersionKind): string => `${apiVersionOf({ group, version })}/${kind}`;
const gvkOf = ({ group, version, kind }: GroupVersionKind): GroupVersionKind => ({ group, version, kind });

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const refTo = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });

/** Kinds whose types are written by hand have neither a type for their lists nor their own group, version and kind on them. */
function addListSchema(schemas: Record<string, Schema>, kind: KindDefinition): void {
  const schema = schemas[kind.schemaName];
  if (schema === undefined) throw new Error(`schema ${kind.schemaName} of ${kind.resource} is not in the set`);
  const gvk = gvkOf(kind);
  if (schema['x-kubernetes-group-version-kind'] === undefined) {
    const objectMeta: Schema = { ...refTo(`${meta}.ObjectMeta`), default: {} };
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
      metadata: { ...refTo(`${meta}.ListMeta`), default: {} },
    },
    'x-kubernetes-group-version-kind': [{ ...gvk, kind: `${kind.kind}List` }],
  };
}

type Method = 'get' | 'post' | 'put' | 'delete' | 'patch';
type Action = 'list' | 'post' | 'deletecollection' | 'get' | 'put' | 'delete' | 'patch' | 'connect';

interface PathItem {
  readonly path: string;
  readonly pathParameters: readonly ParameterName[];
  readonly operations: readonly Operation[];
}

interface Operation {
  readonly method: Method;
  readonly action: Action;
  readonly operationId: string;
  readonly description: string;
  readonly gvk: GroupVersionKind;
  readonly parameters: readonly ParameterName[];
  /** Schema of the request's body. */
  readonly body?: string;
  readonly bodyRequired?: boolean;
  /** What a PATCH may be written in. */
  readonly patchTypes?: readonly string[];
  /** Schema of the answer; none when it is a stream or text. */
  readonly result?: string;
  readonly codes: readonly number[];
}

const parameterTable = {
  allowWatchBookmarks: ['boolean', 'Whether a watch also reports, from time to time, the version it has reached.'],
  continue: ['string', 'Token of the previous page; the list goes on where that ended.'],
  dryRun: ['string', '`All`: everything is checked and nothing stored.'],
  fieldManager: ['string', 'Who sets the fields, for managedFields; at most 128 characters.'],
  fieldSelector: ['string', 'Only objects whose fields match.'],
  fieldValidation: ['string', 'What unknown and duplicate fields cause: `Ignore`, `Warn` (the default) or `Strict`, an error.'],
  force: ['boolean', 'Apply only: takes over fields that others manage.'],
  gracePeriodSeconds: ['integer', 'Seconds until the object is removed; 0 removes it at once.'],
  labelSelector: ['string', 'Only objects whose labels match.'],
  limit: ['integer', 'Objects in one answer; `metadata.continue` of the answer leads to the next ones.'],
  name: ['string', 'Name of the object.'],
  namespace: ['string', 'Namespace of the object.'],
  orphanDependents: ['boolean', 'Whether dependents stay; propagationPolicy says it better.'],
  pretty: ['string', '`true`: the answer is indented.'],
  propagationPolicy: ['string', 'What happens to dependents: `Background`, `Foreground` or `Orphan`.'],
  resourceVersion: ['string', 'The version that is read, or after which a watch starts.'],
  resourceVersionMatch: ['string', 'How resourceVersion is meant: `Exact` or `NotOlderThan`.'],
  sendInitialEvents: ['boolean', 'Whether a watch starts with the present objects and a bookmark.'],
  timeoutSeconds: ['integer', 'Seconds after which the answer ends.'],
  watch: ['boolean', 'Whether changes follow as a stream.'],
} as const;
type ParameterName = keyof typeof parameterTable;

const writeParameters: readonly ParameterName[] = ['dryRun', 'fieldManager', 'fieldValidation'];
const deleteParameters: readonly ParameterName[] = ['dryRun', 'gracePeriodSeconds', 'orphanDependents', 'propagationPolicy'];
const parametersOf: Readonly<Record<Action, readonly ParameterName[]>> = {
  list: [
    'allowWatchBookmarks',
    'continue',
    'fieldSelector',
    'labelSelector',
    'limit',
    'resourceVersion',
    'resourceVersionMatch',
    'sendInitialEvents',
    'timeoutSeconds',
    'watch',
  ],
  get: [],
  connect: [],
  post: writeParameters,
  put: writeParameters,
  patch: [...writeParameters, 'force'],
  delete: deleteParameters,
  deletecollection: [
    'continue',
    ...deleteParameters,
    'fieldSelector',
    'labelSelector',
    'limit',
    'resourceVersion',
    'resourceVersionMatch',
    'timeoutSeconds',
  ],
};

const patchTypes = ['application/apply-patch+yaml', 'application/json-patch+json', 'application/merge-patch+json'];
const strategicType = 'application/strategic-merge-patch+json';

/** Subresources that open a stream instead of carrying an object. */
const connections = new Set(['attach', 'exec', 'portforward', 'proxy']);

/** All paths of a kind, its subresources included. */
function pathItemsOf(source: Source, kind: KindDefinition): readonly PathItem[] {
  const root = `/${pathOf(kind)}`;
  const scoped = kind.namespaced ? `${root}/namespaces/{namespace}/${kind.resource}` : `${root}/${kind.resource}`;
  const scope: readonly ParameterName[] = kind.namespaced ? ['namespace'] : [];
  const items: PathItem[] = [
    { path: scoped, pathParameters: scope, operations: collectionOperations(kind) },
    { path: `${scoped}/{name}`, pathParameters: ['name', ...scope], operations: objectOperations(kind) },
    ...kind.subresources.map((subresource) => ({
      path: `${scoped}/{name}/${subresource.name}`,
      pathParameters: ['name', ...scope] as const,
      operations: subresourceOperations(source, kind, subresource),
    })),
  ];
  if (kind.namespaced && kind.verbs.includes('list')) {
    const operationId = `list${groupWords(kind)}${kind.kind}ForAllNamespaces`;
    items.push({ path: `${root}/${kind.resource}`, pathParameters: [], operations: [{ ...listOperation(kind), operationId }] });
  }
  return items.filter(({ operations }) => operations.length > 0);
}

function collectionOperations(kind: KindDefinition): readonly Operation[] {
  const can = (verb: Verb): boolean => kind.verbs.includes(verb);
  const id = (verb: string, infix = ''): string => `${verb}${groupWords(kind)}${infix}${scopeWord(kind)}${kind.kind}`;
  const operations: Operation[] = [];
  if (can('list')) operations.push({ ...listOperation(kind), operationId: id('list') });
  if (can('create')) {
    operations.push({
      ...operation(kind, 'post', 'post', `create a ${kind.kind}`),
      operationId: id('create'),
      body: kind.schemaName,
      bodyRequired: true,
      result: kind.schemaName,
      codes: [200, 201, 202],
    });
  }
  if (can('deletecollection')) {
    operations.push({
      ...operation(kind, 'delete', 'deletecollection', `delete collection of ${kind.kind}`),
      operationId: id('delete', 'Collection'),
      body: `${meta}.DeleteOptions`,
      result: `${meta}.Status`,
    });
  }
  return operations;
}

function listOperation(kind: KindDefinition): Omit<Operation, 'operationId'> {
  return { ...operation(kind, 'get', 'list', `list or watch objects of kind ${kind.kind}`), result: `${kind.schemaName}List` };
}

function objectOperations(kind: KindDefinition): readonly Operation[] {
  const can = (verb: Verb): boolean => kind.verbs.includes(verb);
  const names = { id: `${groupWords(kind)}${scopeWord(kind)}${kind.kind}`, what: `the specified ${kind.kind}` };
  return [
    ...readAndWrite(kind, names, { gvk: gvkOf(kind), schema: kind.schemaName, can }),
    ...(can('delete')
      ? [
          {
            ...operation(kind, 'delete', 'delete', `delete a ${kind.kind}`),
            operationId: `delete${names.id}`,
            body: `${meta}.DeleteOptions`,
            result: kind.deleteAnswer === 'object' ? kind.schemaName : `${meta}.Status`,
            codes: [200, 202],
          },
        ]
      : []),
  ];
}

/** get, put and patch, which objects and subresources have alike. */
function readAndWrite(
  kind: KindDefinition,
  { id, what }: { readonly id: string; readonly what: string },
  body: { readonly gvk: GroupVersionKind; readonly schema: string; readonly can: (verb: 'get' | 'update' | 'patch') => boolean },
): readonly Operation[] {
  const { gvk, schema: result, can } = body;
  const operations: Operation[] = [];
  if (can('get')) operations.push({ ...operation(kind, 'get', 'get', `read ${what}`), operationId: `read${id}`, gvk, result });
  if (can('update')) {
    operations.push({
      ...operation(kind, 'put', 'put', `replace ${what}`),
      operationId: `replace${id}`,
      gvk,
      body: result,
      bodyRequired: true,
      result,
      codes: [200, 201],
    });
  }
  if (can('patch')) {
    operations.push({
      ...operation(kind, 'patch', 'patch', `partially update ${what}`),
      operationId: `patch${id}`,
      gvk,
      body: `${meta}.Patch`,
      bodyRequired: true,
      patchTypes: isCustomGroup(kind.group) ? patchTypes : [...patchTypes, strategicType],
      result,
      codes: [200, 201],
    });
  }
  return operations;
}

function subresourceOperations(source: Source, kind: KindDefinition, subresource: Subresource): readonly Operation[] {
  const { name, verbs, body } = subresource;
  const word = `${name[0]?.toUpperCase()}${name.slice(1)}`;
  const id = `${groupWords(kind)}${scopeWord(kind)}${kind.kind}${word}`;
  const gvk = gvkOf(body ?? kind);
  if (connections.has(name)) {
    return (['get', 'post'] as const).map((method) => ({
      ...operation(kind, method, 'connect', `connect ${method.toUpperCase()} requests to ${name} of ${kind.kind}`),
      operationId: `connect${groupWords(kind)}${method === 'get' ? 'Get' : 'Post'}${scopeWord(kind)}${kind.kind}${word}`,
      gvk,
    }));
  }
  // A log is text and has no type.
  const schema = name === 'log' ? undefined : source.schemaOfGvk.get(keyOfGvk(gvk));
  const what = `${name} of the specified ${kind.kind}`;
  if (schema === undefined) {
    return verbs.includes('get') ? [{ ...operation(kind, 'get', 'get', `read ${what}`), operationId: `read${id}`, gvk }] : [];
  }
  const operations = [...readAndWrite(kind, { id, what }, { gvk, schema, can: (verb) => verbs.includes(verb) })];
  if (verbs.includes('create')) {
    operations.push({
      ...operation(kind, 'post', 'post', `create ${what}`),
      operationId: `create${id}`,
      gvk,
      body: schema,
      bodyRequired: true,
      result: schema,
      codes: [200, 201, 202],
    });
  }
  return operations;
}

const operation = (kind: KindDefinition, method: Method, action: Action, description: string): Omit<Operation, 'operationId'> => ({
  method,
  action,
  description,
  gvk: gvkOf(kind),
  parameters: parametersOf[action],
  codes: [200],
});

/** `RbacAuthorizationV1`, `CoreV1`, `SourceToolkitFluxcdIoV1` */
const groupWords = (kind: { readonly group: string; readonly version: string }): string =>
  [...(kind.group === '' ? ['core'] : kind.group.replace(/\.k8s\.io$/, '').split('.')), kind.version].map(capitalized).join('');
const capitalized = (word: string): string => `${word[0]?.toUpperCase() ?? ''}${word.slice(1)}`;
const tagOf = (kind: { readonly group: string; readonly version: string }): string => {
  const words = groupWords({ ...kind, version: '' });
  return `${words[0]?.toLowerCase() ?? ''}${words.slice(1)}_${kind.version}`;
};
const scopeWord = ({ namespaced }: KindDefinition): string => (namespaced ? 'Namespaced' : '');

// --------------------------------------------------------------------------------------------------------------------------- types

/** The named types and all they refer to. */
function closureOf(schemas: SchemaSet, names: Iterable<string>): readonly string[] {
  const reached = new Set<string>();
  const visit = (schema: Schema): void => {
    if (schema.$ref !== undefined) reach(nameOfRef(schema.$ref));
    if (schema.items !== undefined) visit(schema.items);
    if (schema.additionalProperties !== undefined) visit(schema.additionalProperties);
    for (const property of Object.values(schema.properties ?? {})) visit(property);
  };
  const reach = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    const schema = schemas[name];
    if (schema === undefined) throw new Error(`schema ${name} is not in the set`);
    visit(schema);
  };
  for (const name of names) reach(name);
  return [...reached].sort();
}

/** Types that the documents of every group have, whether or not an operation names them. */
const commonTypes = [`${meta}.APIResourceList`, `${meta}.DeleteOptions`, `${meta}.Patch`, `${meta}.Status`, `${meta}.WatchEvent`];
const typesOf = (items: readonly PathItem[]): readonly string[] =>
  items.flatMap(({ operations }) => operations.flatMap(({ body, result }) => [body, result].filter((name) => name !== undefined)));

interface Dialect {
  readonly refPrefix: string;
  /** A reference with something beside it. */
  readonly qualified: (ref: string, rest: Readonly<Record<string, unknown>>) => unknown;
  readonly quantity: unknown;
  readonly intOrString: unknown;
}

const version3: Dialect = {
  refPrefix: '#/components/schemas/',
  qualified: ($ref, rest) => ({ ...rest, allOf: [{ $ref }] }),
  quantity: { oneOf: [{ type: 'string' }, { type: 'number' }] },
  intOrString: { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] },
};

const version2: Dialect = {
  refPrefix: '#/definitions/',
  qualified: ($ref, rest) => ({ ...rest, $ref }),
  quantity: { type: 'string' },
  intOrString: { type: 'string', format: 'int-or-string' },
};

const quantityType = 'io.k8s.apimachinery.pkg.api.resource.Quantity';
const intOrStringType = 'io.k8s.apimachinery.pkg.util.intstr.IntOrString';
/** Published as plain objects, as upstream does. */
const opaqueTypes = new Set([`${meta}.FieldsV1`, 'io.k8s.apimachinery.pkg.runtime.RawExtension']);

function publicType(dialect: Dialect, name: string, schema: Schema, groups: readonly GroupVersionSource[]): unknown {
  if (name === quantityType) return dialect.quantity;
  if (name === intOrStringType) return dialect.intOrString;
  if (opaqueTypes.has(name)) return { type: 'object' };
  if (name !== `${meta}.DeleteOptions` && name !== `${meta}.WatchEvent`) return publicSchema(dialect, schema);
  // These go with every group, and clients look them up under it.
  const gvks = schema['x-kubernetes-group-version-kind'] ?? [];
  const kind = gvks[0]?.kind ?? '';
  const own = groups.filter(({ group }) => group !== '').map(({ group, version }) => ({ group, version, kind }));
  return publicSchema(dialect, { ...schema, 'x-kubernetes-group-version-kind': [...gvks, ...own] });
}

function publicSchema(dialect: Dialect, schema: Schema): unknown {
  const { $ref, properties, items, additionalProperties, default: fallback, 'x-omit-zero': _omitZero, ...rest } = schema;
  const isQuantity = $ref?.endsWith(`/${quantityType}`) === true;
  const out: Record<string, unknown> = {
    ...rest,
    ...(fallback === undefined || fallback === null || isQuantity ? {} : { default: fallback }),
    ...(items === undefined ? {} : { items: publicSchema(dialect, items) }),
    ...(additionalProperties === undefined ? {} : { additionalProperties: publicSchema(dialect, additionalProperties) }),
    ...(properties === undefined
      ? {}
      : { properties: Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, publicField(dialect, property)])) }),
  };
  if ($ref === undefined) return out;
  const ref = `${dialect.refPrefix}${nameOfRef($ref)}`;
  return Object.keys(out).length === 0 ? { $ref: ref } : dialect.qualified(ref, out);
}

/** Upstream qualifies the references of fields even when there is nothing to say; clients know the form. */
function publicField(dialect: Dialect, schema: Schema): unknown {
  const published = publicSchema(dialect, schema) as { readonly $ref?: string };
  return published.$ref === undefined || Object.keys(published).length > 1 ? published : dialect.qualified(published.$ref, {});
}

// ----------------------------------------------------------------------------------------------------------------------- version 3

const info = { title: 'Kubernetes', version: '1.36' } as const;
const securityScheme = { type: 'apiKey', description: 'Bearer Token authentication', name: 'authorization', in: 'header' } as const;
const answerTypes = ['application/json', 'application/yaml'];
const codeTexts: Readonly<Record<number, string>> = { 200: 'OK', 201: 'Created', 202: 'Accepted' };

function groupVersionDocument(source: Source, group: GroupVersionSource): unknown {
  const items = group.kinds.flatMap((kind) => pathItemsOf(source, kind)).sort((a, b) => compare(a.path, b.path));
  const types = closureOf(source.schemas, [...commonTypes, ...typesOf(items)]);
  return {
    openapi: '3.0.0',
    info,
    paths: Object.fromEntries([
      [`/${pathOf(group)}/`, resourcesPath(group)],
      ...items.map((item) => [item.path, pathItem3(group, item)] as const),
    ]),
    components: {
      schemas: Object.fromEntries(types.map((name) => [name, publicType(version3, name, source.schemas[name] ?? {}, [group])])),
      securitySchemes: { BearerToken: securityScheme },
    },
  };
}

function resourcesPath(group: GroupVersionSource): unknown {
  return {
    get: {
      tags: [tagOf(group)],
      description: 'get available resources',
      operationId: `get${groupWords(group)}APIResources`,
      responses: responses3({ codes: [200], result: `${meta}.APIResourceList` }),
    },
  };
}

function pathItem3(group: GroupVersionSource, { pathParameters, operations }: PathItem): unknown {
  return {
    ...Object.fromEntries(operations.map((one) => [one.method, operation3(group, one)])),
    parameters: [...pathParameters.map((name) => parameter3(name, 'path')), parameter3('pretty', 'query')],
  };
}

function operation3(group: GroupVersionSource, one: Operation): unknown {
  const { description, operationId, parameters, body, bodyRequired, action, gvk } = one;
  return {
    tags: [tagOf(group)],
    description,
    operationId,
    parameters: parameters.map((name) => parameter3(name, 'query')),
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
  for (const group of groups) {
    for (const item of group.kinds.flatMap((kind) => pathItemsOf(source, kind))) {
      paths.push([item.path, pathItem2(group, item)]);
      names.push(...typesOf([item]));
    }
  }
  return {
    swagger: '2.0',
    info,
    paths: Object.fromEntries(paths.sort(([a], [b]) => compare(a, b))),
    definitions: Object.fromEntries(
      closureOf(source.schemas, names).map((name) => [name, publicType(version2, name, source.schemas[name] ?? {}, groups)]),
    ),
    securityDefinitions: { BearerToken: securityScheme },
    security: [{ BearerToken: [] }],
  };
}

function pathItem2(group: GroupVersionSource, { pathParameters, operations }: PathItem): unknown {
  return {
    ...Object.fromEntries(operations.map((one) => [one.method, operation2(group, one)])),
    parameters: [...pathParameters.map((name) => parameter2(name, 'path')), parameter2('pretty', 'query')],
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
