import type { IncomingMessage, ServerResponse } from 'node:http';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { AuditedBody } from '../audit/bodies.ts';
import type { AuditDecision } from '../audit/policy.ts';
import type { Seat } from '../flow-control/fair-queue.ts';
import type { Deadline } from '../http/deadline.ts';
import { attributesOf } from '../http/dispatch.ts';
import type { RequestTarget } from '../http/request-target.ts';
import type { Upgrade } from '../http/upgrade.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';

/** A request over HTTP with its answer, from the first hook until the connection has finished both. */
export interface Exchange {
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** The user that the request is made for. Absent until authentication has succeeded; no handler runs before. */
  user: UserInfo | undefined;
  /** The user who made it; another than `user` when that one is impersonated. */
  authenticated: UserInfo | undefined;
  readonly method: string;
  readonly receivedAtMs: number;
  readonly sourceIp: string;
  /** As the client wrote it: what is authorized is what is served. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly target: RequestTarget;
  readonly kind: KindDefinition | undefined;
  /** Present when the client asks to go on in another protocol. */
  readonly upgrade: Upgrade | undefined;
  readonly isWatch: boolean;
  /** Lasts as long as its client likes. */
  readonly isLong: boolean;
  /** Absent when the client has set no time, and for what lasts long. */
  deadline: Deadline | undefined;
  finish(answer: { readonly code: number; readonly bytes: number }): void;
  readonly bytesBefore: number;
  audit: ExchangeAudit | undefined;
  /** Its place among the requests that are worked on; absent as long as it waits, and for streams. */
  seat: Seat | undefined;
  /** Memory for its body and its answers. */
  readonly memory: Seat[];
}

/** Data of the request for the audit log besides its outcome. */
export interface ExchangeAudit {
  readonly decision: AuditDecision;
  requestBody: AuditedBody | undefined;
  readonly responseBody: (() => AuditedBody) | undefined;
  /** Notes of admission; made with the first one. */
  annotations?: Map<string, string>;
}

/** An exchange whose user is known. */
export type KnownExchange = Exchange & { readonly user: UserInfo };

export const isKnown = (exchange: Exchange): exchange is KnownExchange => exchange.user !== undefined;

export const attributesOfExchange = ({ method, target, query, path }: Exchange): RequestAttributes =>
  target.type === 'resource' ? attributesOf(method, target, query) : { verb: method.toLowerCase(), path };

/** Aborted when the client goes away before it has its answer. */
export function signalOf(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  // Nobody listens after a whole answer, and making the reason of an abort is not free.
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  return gone.signal;
}
