import type { Aggregator } from '../aggregation/aggregator.ts';
import type { HandlerContext } from '../http/api-request.ts';
import type { Discovery } from '../http/discovery.ts';
import { attributesOf, handlerOf, kindOf } from '../http/dispatch.ts';
import type { KubeletClient } from '../http/kubelet-client.ts';
import type { ResourceTarget } from '../http/request-target.ts';
import { sendPageNotFound, setWarnings } from '../http/respond.ts';
import type { AuditTrail } from './audit-trail.ts';
import { type KnownExchange, signalOf } from './exchange.ts';

export interface ResourceRequestsOptions {
  readonly context: HandlerContext;
  readonly discovery: Discovery;
  /** Absent: every group version is served here. */
  readonly aggregator: Aggregator | undefined;
  /** Absent: logs of pods cannot be read. */
  readonly kubelet: KubeletClient | undefined;
  readonly audit: AuditTrail;
}

interface GroupVersion {
  readonly group: string;
  readonly version: string;
}

/** Requests for resources: authorized, then answered by the handler of their verb or by the server of their group version. */
export class ResourceRequests {
  readonly #options: ResourceRequestsOptions;

  constructor(options: ResourceRequestsOptions) {
    this.#options = options;
  }

  async answer(exchange: KnownExchange, target: ResourceTarget, body: Buffer | undefined): Promise<void> {
    const { context, discovery, audit } = this.#options;
    const { user, method, query, kind, response } = exchange;
    if (body !== undefined) audit.noteBody(exchange, body);
    // A user who may not use a resource does not learn whether it exists. The name of a new object is in its body, which is read later.
    const attributes = attributesOf(method, target, query);
    if (attributes.verb !== 'create' || target.name !== undefined || kind === undefined) context.kubeApi.authorize(user, attributes);
    if (this.isRemote(target)) {
      await this.passOn(exchange, target, body);
      return;
    }
    // Another server may serve it already.
    if (kind === undefined) await context.kubeApi.newest?.();
    if (!discovery.hasGroup(target.group)) {
      sendPageNotFound(response);
      return;
    }
    await this.#handle(exchange, target, body);
  }

  async #handle(exchange: KnownExchange, target: ResourceTarget, body: Buffer | undefined): Promise<void> {
    const { context, kubelet, audit } = this.#options;
    const { raw, response, user, method, query, upgrade, seat, deadline } = exchange;
    const served = exchange.kind ?? kindOf(context.kubeApi.kinds, target);
    const { handler, kind } = handlerOf({ method, target, query, kind: served, kubelet });
    if (kind.deprecation !== undefined) setWarnings(response, [kind.deprecation]);
    const userAgent = raw.headers['user-agent'] ?? '';
    const annotate = (key: string, value: string): void => audit.annotate(exchange, { key, value });
    const gone = signalOf(response);
    const signal = deadline === undefined ? gone : AbortSignal.any([gone, deadline.signal]);
    await handler({ method, raw, response, user, userAgent, target, kind, query, upgrade, body, seat, signal, annotate }, context);
  }

  /** Group versions that are served here are never another server's. */
  isRemote({ group, version }: GroupVersion): boolean {
    const { aggregator, discovery } = this.#options;
    return aggregator !== undefined && discovery.resourceList(group, version) === undefined && aggregator.isRemote(group, version);
  }

  /** Passes the request to the server of the group version. */
  async passOn({ raw, response, user, upgrade }: KnownExchange, { group, version }: GroupVersion, body?: Buffer): Promise<void> {
    const { aggregator, context } = this.#options;
    const signal = signalOf(response);
    await aggregator?.proxy(group, version, { raw, response, user, body, upgrade, signal, stopping: context.stopping });
  }
}
