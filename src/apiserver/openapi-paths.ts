import type { KindDefinition, Subresource, Verb } from '../machinery/kind.ts';
import { apiVersionOf } from '../machinery/resource.ts';
import type { GroupVersionKind } from '../machinery/schema.ts';
import { isCustomKind } from './http/api-request.ts';
import { metaTypes } from './openapi-types.ts';

/** Paths and operations of a kind, from which the documents of both versions are written. */

type Method = 'get' | 'post' | 'put' | 'delete' | 'patch';
export type Action = 'list' | 'watch' | 'watchlist' | 'post' | 'deletecollection' | 'get' | 'put' | 'delete' | 'patch' | 'connect';

export interface PathItem {
  readonly path: string;
  readonly pathParameters: readonly ParameterName[];
  /** Tag of all its operations. */
  readonly queryParameters: readonly ParameterName[];
  readonly operations: readonly Operation[];
}

export interface Operation {
  readonly method: Method;
  readonly action: Action;
  readonly operationId: string;
  readonly description: string;
  readonly gvk: GroupVersionKind;
  readonly parameters: readonly ParameterName[];
  /** Schema of the request's body. */
  readonly body?: string;
  readonly bodyRequired?: boolean;
  /** Media types of a PATCH. */
  readonly patchTypes?: readonly string[];
  /** Schema of the answer; none when it is a stream or text. */
  readonly result?: string;
  readonly codes: readonly number[];
}

export const parameterTable = {
  command: ['string', 'Program to run, and its arguments, one each.'],
  container: ['string', 'Container of the pod; needed when there are several.'],
  follow: ['boolean', 'Streams new lines of the log as they are written.'],
  insecureSkipTLSVerifyBackend: ['boolean', 'Accepts the certificate of the node unverified.'],
  limitBytes: ['integer', 'Bytes after which the log is cut.'],
  ports: ['integer', 'Ports of the pod that are forwarded.'],
  previous: ['boolean', 'The log of the container that ran before.'],
  sinceSeconds: ['integer', 'Only what was written in these last seconds.'],
  stderr: ['boolean', 'Returns the standard error of the program.'],
  stdin: ['boolean', 'Sends input of the client to the program.'],
  stdout: ['boolean', 'Returns the output of the program.'],
  tailLines: ['integer', 'Lines from the end; all when absent.'],
  timestamps: ['boolean', 'Begins each line with its time.'],
  tty: ['boolean', 'Gives the program a terminal.'],
  allowWatchBookmarks: ['boolean', 'Lets a watch report the version that it has reached, from time to time.'],
  continue: ['string', 'Token of the previous page; the list goes on where that ended.'],
  dryRun: ['string', '`All`: everything is checked and nothing stored.'],
  fieldManager: ['string', 'Name of the client that sets the fields, for managedFields; at most 128 characters.'],
  fieldSelector: ['string', 'Only objects whose fields match.'],
  fieldValidation: ['string', 'Effect of unknown and duplicate fields: `Ignore`, `Warn` (the default) or `Strict`, an error.'],
  force: ['boolean', 'Apply only: takes over fields that others manage.'],
  gracePeriodSeconds: ['integer', 'Seconds until the object is removed; 0 removes it at once.'],
  labelSelector: ['string', 'Only objects whose labels match.'],
  limit: ['integer', 'Objects in one answer; `metadata.continue` of the answer leads to the next ones.'],
  name: ['string', 'Name of the object.'],
  namespace: ['string', 'Namespace of the object.'],
  path: ['string', 'Path that follows, for the program that is connected to.'],
  orphanDependents: ['boolean', 'Keeps dependents; deprecated, use propagationPolicy.'],
  pretty: ['string', '`true`: the answer is indented.'],
  propagationPolicy: ['string', 'Treatment of dependents: `Background`, `Foreground` or `Orphan`.'],
  resourceVersion: ['string', 'The version that is read, or after which a watch starts.'],
  resourceVersionMatch: ['string', 'Meaning of resourceVersion: `Exact` or `NotOlderThan`.'],
  sendInitialEvents: ['boolean', 'Lets a watch start with the present objects and a bookmark.'],
  timeoutSeconds: ['integer', 'Seconds after which the answer ends.'],
  watch: ['boolean', 'Streams changes.'],
} as const;
export type ParameterName = keyof typeof parameterTable;

const writeParameters: readonly ParameterName[] = ['dryRun', 'fieldManager', 'fieldValidation'];
const deleteParameters: readonly ParameterName[] = ['dryRun', 'gracePeriodSeconds', 'orphanDependents', 'propagationPolicy'];
const listParameters: readonly ParameterName[] = [
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
];
const parametersOf: Readonly<Record<Action, readonly ParameterName[]>> = {
  list: listParameters,
  watch: listParameters,
  watchlist: listParameters,
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

/** Query parameters of requests without an object in the body. */
const streamParameters: readonly ParameterName[] = ['container', 'stderr', 'stdin', 'stdout', 'tty'];
const connectionParameters: Readonly<Record<string, readonly ParameterName[]>> = {
  attach: streamParameters,
  exec: ['command', ...streamParameters],
  log: [
    'container',
    'follow',
    'insecureSkipTLSVerifyBackend',
    'limitBytes',
    'pretty',
    'previous',
    'sinceSeconds',
    'tailLines',
    'timestamps',
  ],
  portforward: ['ports'],
  proxy: [],
};
const everyQuery: readonly ParameterName[] = ['pretty'];

/** Subresources that open a stream instead of carrying an object. */
const connections = new Set(['attach', 'exec', 'portforward', 'proxy']);

/**
 * All paths of a kind, its subresources included.
 *
 * @param schemaOfGvk  names of types by `keyOfGvk`
 */
export function pathItemsOf(schemaOfGvk: ReadonlyMap<string, string>, kind: KindDefinition): readonly PathItem[] {
  const root = `/${pathOf(kind)}`;
  const scoped = kind.namespaced ? `${root}/namespaces/{namespace}/${kind.resource}` : `${root}/${kind.resource}`;
  const scope: readonly ParameterName[] = kind.namespaced ? ['namespace'] : [];
  const items: (Omit<PathItem, 'queryParameters'> & Partial<PathItem>)[] = [
    { path: scoped, pathParameters: scope, operations: collectionOperations(kind) },
    { path: `${scoped}/{name}`, pathParameters: ['name', ...scope], operations: objectOperations(kind) },
    ...kind.subresources.flatMap((subresource) => {
      const path = `${scoped}/{name}/${subresource.name}`;
      const queryParameters = connectionParameters[subresource.name] ?? everyQuery;
      const operations = subresourceOperations(schemaOfGvk, kind, subresource);
      const item = { path, pathParameters: ['name', ...scope] as const, queryParameters, operations };
      if (subresource.name !== 'proxy') return [item];
      const withPath = item.operations.map((one) => ({ ...one, operationId: `${one.operationId}WithPath` }));
      return [item, { ...item, path: `${path}/{path}`, pathParameters: ['name', ...scope, 'path'] as const, operations: withPath }];
    }),
    ...watchItems(kind, { root, scoped, scope }),
  ];
  if (kind.namespaced && kind.verbs.includes('list')) {
    const operationId = `list${groupWords(kind)}${kind.kind}ForAllNamespaces`;
    items.push({ path: `${root}/${kind.resource}`, pathParameters: [], operations: [{ ...listOperation(kind), operationId }] });
  }
  return items.filter(({ operations }) => operations.length > 0).map((item) => ({ queryParameters: everyQuery, ...item }));
}

/** The old form of watches. Custom resources never had it. */
function watchItems(
  kind: KindDefinition,
  { root, scoped, scope }: { readonly root: string; readonly scoped: string; readonly scope: readonly ParameterName[] },
): readonly Omit<PathItem, 'queryParameters'>[] {
  if (!kind.verbs.includes('watch') || isCustomKind(kind)) return [];
  const watch = (action: 'watch' | 'watchlist', what: string, id: string): readonly Operation[] => [
    {
      ...operation(kind, ['get', action], `watch ${what}; deprecated: the parameter \`watch\` of a list says the same`),
      operationId: `watch${groupWords(kind)}${id}`,
      result: `${metaTypes}.WatchEvent`,
    },
  ];
  const own = `${scopeWord(kind)}${kind.kind}`;
  const place = `${root}/watch${scoped.slice(root.length)}`;
  const all = `changes to objects of kind ${kind.kind}`;
  return [
    { path: place, pathParameters: scope, operations: watch('watchlist', all, `${own}List`) },
    { path: `${place}/{name}`, pathParameters: ['name', ...scope], operations: watch('watch', `changes to one ${kind.kind}`, own) },
    ...(kind.namespaced
      ? [
          {
            path: `${root}/watch/${kind.resource}`,
            pathParameters: [],
            operations: watch('watchlist', all, `${kind.kind}ListForAllNamespaces`),
          },
        ]
      : []),
  ];
}

function collectionOperations(kind: KindDefinition): readonly Operation[] {
  const can = (verb: Verb): boolean => kind.verbs.includes(verb);
  const id = (verb: string, infix = ''): string => `${verb}${groupWords(kind)}${infix}${scopeWord(kind)}${kind.kind}`;
  const operations: Operation[] = [];
  if (can('list')) operations.push({ ...listOperation(kind), operationId: id('list') });
  if (can('create')) {
    operations.push({
      ...operation(kind, ['post', 'post'], `create a ${kind.kind}`),
      operationId: id('create'),
      body: kind.schemaName,
      bodyRequired: true,
      result: kind.schemaName,
      codes: [200, 201, 202],
    });
  }
  if (can('deletecollection')) {
    operations.push({
      ...operation(kind, ['delete', 'deletecollection'], `delete collection of ${kind.kind}`),
      operationId: id('delete', 'Collection'),
      body: `${metaTypes}.DeleteOptions`,
      result: `${metaTypes}.Status`,
    });
  }
  return operations;
}

function listOperation(kind: KindDefinition): Omit<Operation, 'operationId'> {
  return { ...operation(kind, ['get', 'list'], `list or watch objects of kind ${kind.kind}`), result: `${kind.schemaName}List` };
}

function objectOperations(kind: KindDefinition): readonly Operation[] {
  const can = (verb: Verb): boolean => kind.verbs.includes(verb);
  const names = { id: `${groupWords(kind)}${scopeWord(kind)}${kind.kind}`, what: `the specified ${kind.kind}` };
  return [
    ...readAndWrite(kind, names, { gvk: gvkOf(kind), schema: kind.schemaName, can }),
    ...(can('delete')
      ? [
          {
            ...operation(kind, ['delete', 'delete'], `delete a ${kind.kind}`),
            operationId: `delete${names.id}`,
            body: `${metaTypes}.DeleteOptions`,
            result: kind.deleteAnswer === 'object' ? kind.schemaName : `${metaTypes}.Status`,
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
  if (can('get')) operations.push({ ...operation(kind, ['get', 'get'], `read ${what}`), operationId: `read${id}`, gvk, result });
  if (can('update')) {
    operations.push({
      ...operation(kind, ['put', 'put'], `replace ${what}`),
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
      ...operation(kind, ['patch', 'patch'], `partially update ${what}`),
      operationId: `patch${id}`,
      gvk,
      body: `${metaTypes}.Patch`,
      bodyRequired: true,
      patchTypes: isCustomKind(kind) ? patchTypes : [...patchTypes, strategicType],
      result,
      codes: [200, 201],
    });
  }
  return operations;
}

function subresourceOperations(
  schemaOfGvk: ReadonlyMap<string, string>,
  kind: KindDefinition,
  subresource: Subresource,
): readonly Operation[] {
  const { name, verbs, body } = subresource;
  const word = `${name[0]?.toUpperCase()}${name.slice(1)}`;
  const id = `${groupWords(kind)}${scopeWord(kind)}${kind.kind}${word}`;
  const gvk = gvkOf(body ?? kind);
  if (connections.has(name)) {
    const methods: readonly Method[] = name === 'proxy' ? ['get', 'put', 'post', 'delete', 'patch'] : ['get', 'post'];
    return methods.map((method) => ({
      ...operation(kind, [method, 'connect'], `connect ${method.toUpperCase()} requests to ${name} of ${kind.kind}`),
      operationId: `connect${groupWords(kind)}${capitalized(method)}${scopeWord(kind)}${kind.kind}${word}`,
      gvk,
    }));
  }
  // A log is text and has no type.
  const schema = name === 'log' ? undefined : schemaOfGvk.get(keyOfGvk(gvk));
  const what = `${name} of the specified ${kind.kind}`;
  if (schema === undefined) {
    return verbs.includes('get') ? [{ ...operation(kind, ['get', 'get'], `read ${what}`), operationId: `read${id}`, gvk }] : [];
  }
  const operations = [...readAndWrite(kind, { id, what }, { gvk, schema, can: (verb) => verbs.includes(verb) })];
  if (verbs.includes('create')) {
    operations.push({
      ...operation(kind, ['post', 'post'], `create ${what}`),
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

const operation = (
  kind: KindDefinition,
  [method, action]: readonly [Method, Action],
  description: string,
): Omit<Operation, 'operationId'> => ({
  method,
  action,
  description,
  gvk: gvkOf(kind),
  parameters: parametersOf[action],
  codes: [200],
});

const scopeWord = ({ namespaced }: KindDefinition): string => (namespaced ? 'Namespaced' : '');

/** `api/v1`, `apis/apps/v1` */
export const pathOf = (kind: { readonly group: string; readonly version: string }): string =>
  `${kind.group === '' ? 'api' : 'apis'}/${apiVersionOf(kind)}`;

export const keyOfGvk = ({ group, version, kind }: GroupVersionKind): string => `${apiVersionOf({ group, version })}/${kind}`;
export const gvkOf = ({ group, version, kind }: GroupVersionKind): GroupVersionKind => ({ group, version, kind });

/** `RbacAuthorizationV1`, `CoreV1`, `SourceToolkitFluxcdIoV1` */
export const groupWords = (kind: { readonly group: string; readonly version: string }): string =>
  [...(kind.group === '' ? ['core'] : kind.group.replace(/\.k8s\.io$/, '').split('.')), kind.version].map(capitalized).join('');
const capitalized = (word: string): string => `${word[0]?.toUpperCase() ?? ''}${word.slice(1)}`;
/** `core_v1` */
export const tagOf = (kind: { readonly group: string; readonly version: string }): string => {
  const words = groupWords({ ...kind, version: '' });
  return `${words[0]?.toLowerCase() ?? ''}${words.slice(1)}_${kind.version}`;
};
