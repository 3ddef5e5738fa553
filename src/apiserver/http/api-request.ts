import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Turns } from '../../base/turns.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { ObjectRef } from '../../machinery/object.ts';
import { methodNotAllowed, StatusError } from '../../machinery/status-error.ts';
import type { Seat } from '../flow-control/fair-queue.ts';
import type { KubeApi, RequestInfo } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';
import { negotiate, type Representation } from './content-negotiation.ts';
import type { ObjectEncoder } from './object-encoder.ts';
import { booleanOf } from './options.ts';
import { messageOf } from './protobuf/layouts.ts';
import type { RequestMetrics } from './request-metrics.ts';
import type { ResourceTarget } from './request-target.ts';
import type { TurnQueue } from './turn-queue.ts';
import type { Upgrade } from './upgrade.ts';
import type { WatchMemory } from './watch-memory.ts';

/** Context that the handlers of the verbs share. */
export interface HandlerContext {
  readonly kubeApi: KubeApi;
  readonly encoder: ObjectEncoder;
  readonly metrics: RequestMetrics;
  /** Gate where streams wait for their turn to write. */
  readonly turns: TurnQueue;
  /** Others wait for the memory of answers that are under way. */
  isShortOfMemory(): boolean;
  /** Counts the memory of events that wait for clients. */
  readonly watchMemory: WatchMemory;
  /** Turns for the parts of an answer, by user. */
  readonly slices: Turns;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  /** Aborted when the server stops: long answers end then. */
  readonly stopping: AbortSignal;
}

/** A request for a resource that is served, by an authenticated user. */
export interface ApiRequest {
  readonly method: string;
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  readonly user: UserInfo;
  readonly userAgent: string;
  readonly target: ResourceTarget;
  readonly kind: KindDefinition;
  readonly query: URLSearchParams;
  /** Present when the client asks to go on in another protocol. */
  readonly upgrade?: Upgrade | undefined;
  /** Undefined when there was none. */
  readonly body: Buffer | undefined;
  /** Its place among the requests that are worked on; absent for what lasts as long as its client likes. */
  readonly seat: Seat | undefined;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  /** Adds to the entry of the request in the audit log. */
  annotate(key: string, value: string): void;
}

export type Handler = (request: ApiRequest, context: HandlerContext) => Promise<void>;

export const requestInfoOf = ({ kind, user, userAgent, target, signal, annotate }: ApiRequest): RequestInfo => ({
  kind,
  user,
  userAgent,
  subresource: target.subresource,
  signal,
  onAuditAnnotation: annotate,
});

/** The turn for the next part of a long answer: all answers to one user get as many as the single one of another. */
export const nextSlice = ({ user }: ApiRequest, { slices }: HandlerContext): Promise<void> =>
  slices.take(user.name) ?? new Promise((resolve) => setImmediate(resolve));

/** @throws StatusError when the path names no object */
export function refOf({ target, kind }: ApiRequest): ObjectRef {
  const { name, namespace } = target;
  if (name === undefined || (kind.namespaced && namespace === undefined)) throw methodNotAllowed();
  return namespace === undefined ? { name } : { namespace, name };
}

const humanUserAgent = /^(curl|Wget|Mozilla)\//;

export const representationOf = (request: ApiRequest): Representation =>
  negotiate(request.raw.headers.accept, 'object', {
    pretty: wantsPretty(request.query, request.userAgent),
    protobuf: protobufOf(request.kind),
  });

/** Kinds of our own without a layout are as custom resources are. */
export const protobufOf = (kind: KindDefinition): 'objects' | 'metadata' => (messageOf(kind) === undefined ? 'metadata' : 'objects');

/** People who look by hand get indented answers, as from the real server. */
export const wantsPretty = (query: URLSearchParams, userAgent: string): boolean =>
  query.has('pretty') ? booleanOf(query, 'pretty') : humanUserAgent.test(userAgent);

/** 404 for a path of the API that leads nowhere. */
export const resourceNotFound = (): StatusError =>
  new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource', details: {} });

/**
 * Kinds that come from outside Kubernetes, also those that are built in here, behave as custom resources. Their list items name
 * their kind, and they have no strategic merge patch. Kubernetes' own groups have no dot or end in `.k8s.io`.
 */
export const isCustomKind = ({ group, custom }: Pick<KindDefinition, 'group' | 'custom'>): boolean =>
  custom !== undefined || isCustomGroup(group);

export const isCustomGroup = (group: string): boolean => group.includes('.') && !group.endsWith('.k8s.io');
