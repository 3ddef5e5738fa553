import type { KindDefinition, Verb } from '../../machinery/kind.ts';
import { methodNotAllowed, notImplemented } from '../../machinery/status-error.ts';
import { exactValueOf } from '../authorizer.ts';
import type { KindTable, RequestAttributes } from '../kube-api.ts';
import { type Handler, resourceNotFound } from './api-request.ts';
import { handleCreate, handleCreateSubresource } from './create.ts';
import { handleDelete, handleDeleteCollection } from './delete.ts';
import { handleGet } from './get.ts';
import type { KubeletClient } from './kubelet-client.ts';
import { handleList } from './list.ts';
import { booleanOf } from './options.ts';
import { handlePatch } from './patch.ts';
import { handlePodLog } from './pod-log.ts';
import { handlePodStream } from './pod-streams.ts';
import { handleProxy } from './proxy.ts';
import { mediaTypeOf } from './request-body.ts';
import type { ApiVerb, RequestLabels } from './request-metrics.ts';
import type { RequestTarget, ResourceTarget } from './request-target.ts';
import { handleUpdate } from './update.ts';
import { handleWatch } from './watch.ts';

/** From a method and a target to the verb, and from the verb to the handler. */

/** Subresources that connect a client with a pod, a Service or a node. */
const connections = ['exec', 'attach', 'portforward', 'proxy'] as const;
type Connection = (typeof connections)[number];

const tryConnection = ({ group, subresource }: ResourceTarget): Connection | undefined =>
  group === '' ? connections.find((name) => name === subresource) : undefined;

const isWatch = (target: ResourceTarget, query: URLSearchParams): boolean =>
  target.watch || (target.name === undefined && booleanOf(query, 'watch'));

/** The verb for authorization; also for unknown paths, so that a client without rights learns nothing about them. */
function verbOf(method: string, target: ResourceTarget, query: URLSearchParams): Verb | '' {
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (isWatch(target, query)) return 'watch';
      return target.name === undefined ? 'list' : 'get';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return target.name === undefined ? 'deletecollection' : 'delete';
    default:
      return '';
  }
}

/**
 * The request as authorization and the audit log see it. A Namespace is in itself, and a list or watch of one name is about that name, so
 * that refusals say so.
 */
export function attributesOf(method: string, target: ResourceTarget, query: URLSearchParams): RequestAttributes {
  const { group, version, resource, subresource } = target;
  const verb = verbOf(method, target, query);
  const fieldSelector = query.get('fieldSelector') ?? undefined;
  const isNamespace = resource === 'namespaces' && group === '' && target.name !== undefined;
  const isNamed = fieldSelector !== undefined && (verb === 'list' || verb === 'watch');
  const name = isNamed ? (tryNameIn(fieldSelector) ?? target.name) : target.name;
  const namespace = isNamespace ? target.name : target.namespace;
  const labelSelector = query.get('labelSelector') ?? undefined;
  return { verb, group, version, resource, subresource, namespace, name, fieldSelector, labelSelector };
}

function tryNameIn(fieldSelector: string): string | undefined {
  try {
    return exactValueOf(fieldSelector, 'metadata.name');
  } catch {
    // Validation reports a selector that cannot be read when the client lists.
    return undefined;
  }
}

export const kindOf = (kinds: KindTable, target: ResourceTarget): KindDefinition | undefined =>
  kinds.find(target.group, target.version, target.resource);

const apiVerbs: Readonly<Record<Verb, ApiVerb>> = {
  get: 'GET',
  list: 'LIST',
  watch: 'WATCH',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  deletecollection: 'DELETECOLLECTION',
};

export interface LabelledRequest {
  readonly method: string;
  readonly target: RequestTarget;
  readonly query: URLSearchParams;
  readonly contentType: string | undefined;
  readonly kind: KindDefinition | undefined;
}

/** Labels of a request; only a kind that is served becomes a label. */
export function labelsOf({ method, target, query, contentType, kind }: LabelledRequest): RequestLabels {
  if (target.type !== 'resource') {
    return { verb: method === 'GET' ? 'GET' : 'OTHER', dryRun: false, kind: undefined, subresource: '', scope: '' };
  }
  const verb = verbOf(method, target, query);
  const subresource = kind?.subresources.some(({ name }) => name === target.subresource) ? (target.subresource ?? '') : '';
  const isApply = verb === 'patch' && mediaTypeOf(contentType) === 'application/apply-patch+yaml';
  return {
    verb:
      verb === ''
        ? 'OTHER'
        : subresource === 'log' || connections.some((name) => name === subresource)
          ? 'CONNECT'
          : isApply
            ? 'APPLY'
            : apiVerbs[verb],
    dryRun: query.get('dryRun') === 'All',
    kind,
    subresource,
    scope: kind === undefined ? '' : target.name !== undefined ? 'resource' : target.namespace !== undefined ? 'namespace' : 'cluster',
  };
}

export interface DispatchOptions {
  readonly method: string;
  readonly target: ResourceTarget;
  readonly query: URLSearchParams;
  readonly kind: KindDefinition | undefined;
  readonly kubelet: KubeletClient | undefined;
}

/** @throws StatusError 404 and 405 as the real server gives them, 501 for what is not there yet */
export function handlerOf(options: DispatchOptions): { readonly handler: Handler; readonly kind: KindDefinition } {
  const { target, kind } = options;
  const { name, namespace, subresource } = target;
  const connection = tryConnection(target);
  if (kind !== undefined && connection !== undefined && kind.subresources.some((served) => served.name === connection)) {
    return { handler: connectionHandler(options, connection), kind };
  }
  if (kind === undefined || target.rest !== undefined) throw resourceNotFound();
  const scopeMatches = kind.namespaced ? namespace !== undefined || name === undefined : namespace === undefined;
  if (!scopeMatches) throw resourceNotFound();
  return { handler: subresource === undefined ? objectHandler(options, kind) : subresourceHandler(options, kind), kind };
}

const handlers: Readonly<Record<Verb, Handler>> = {
  get: handleGet,
  list: handleList,
  watch: handleWatch,
  create: handleCreate,
  update: handleUpdate,
  patch: handlePatch,
  delete: handleDelete,
  deletecollection: handleDeleteCollection,
};

function objectHandler({ method, target, query }: DispatchOptions, kind: KindDefinition): Handler {
  const verb = verbOf(method, target, query);
  const onCollection = target.name === undefined;
  // A review has no name to be found by.
  if (!onCollection && kind.verbs.every((served) => served === 'create')) throw resourceNotFound();
  // Collections over all namespaces can be read only.
  const readOnly = kind.namespaced && target.namespace === undefined;
  const fits =
    method !== 'HEAD' &&
    verb !== '' &&
    kind.verbs.includes(verb) &&
    (verb === 'create' ? onCollection : verb === 'update' || verb === 'patch' ? !onCollection : true) &&
    (!readOnly || verb === 'list' || verb === 'watch');
  if (!fits) throw methodNotAllowed();
  return handlers[verb];
}

function connectionHandler({ method, target, kubelet }: DispatchOptions, connection: Connection): Handler {
  if (kubelet === undefined) throw notImplemented(`${target.resource}/${connection} without access to nodes`);
  if (connection === 'proxy') return (request, context) => handleProxy(request, context, kubelet);
  if (target.rest !== undefined) throw resourceNotFound();
  if (method !== 'GET' && method !== 'POST') throw methodNotAllowed();
  return (request, context) => handlePodStream(request, context, { kubelet, stream: connection });
}

function subresourceHandler({ method, target, kubelet }: DispatchOptions, kind: KindDefinition): Handler {
  const subresource = kind.subresources.find(({ name }) => name === target.subresource);
  if (subresource === undefined) throw resourceNotFound();
  const verb = verbOf(method, target, new URLSearchParams());
  if (method === 'HEAD' || verb === '' || !subresource.verbs.some((served) => served === verb)) throw methodNotAllowed();
  if (subresource.name === 'log') {
    if (kubelet === undefined) throw notImplemented('pods/log without access to nodes');
    return (request, context) => handlePodLog(request, context, kubelet);
  }
  return verb === 'create' ? handleCreateSubresource : handlers[verb];
}
