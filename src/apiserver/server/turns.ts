import { type FlowControl, tooManyRequests } from '../flow-control/flow-control.ts';
import type { RequestMetrics } from '../http/request-metrics.ts';
import type { RequestAttributes } from '../kube-api.ts';
import { attributesOfExchange, type Exchange, type KnownExchange } from './exchange.ts';

/** Requests of users who wait for nobody that may be worked on at once, by kind; more get 429. Watches do not count. */
const maxInFlight = { readOnly: 1_000, mutating: 1_000 } as const;

/** A body as bytes, text, object and text of the store; an answer as text, bytes and encrypted bytes. */
const copiesOfBody = 4;
const copiesOfAnswer = 3;
/** Assumed size of a body whose client does not say how long it will be. */
const unknownBodyBytes = 1024 * 1024;

/** Seats and memory of requests: whose turn it is. */
export interface RequestTurns {
  /** Waits until it is the request's turn; undefined when it is at once. @throws StatusError `TooManyRequests` */
  take(exchange: KnownExchange): Promise<void> | undefined;
  /** Holds memory for an answer of that many bytes until the request has left; undefined when there is memory at once. */
  holdAnswer(exchange: KnownExchange, bytes: number): Promise<void> | undefined;
  /** Gives back what the request holds. */
  leave(exchange: Exchange): void;
}

export interface RequestTurnsOptions {
  readonly flowControl: FlowControl;
  readonly metrics: Pick<RequestMetrics, 'inFlight'>;
}

export function createRequestTurns(options: RequestTurnsOptions): RequestTurns {
  const { flowControl } = options;
  return {
    take: (exchange) => take(exchange, options),
    holdAnswer: (exchange, bytes) => holdMemory(exchange, flowControl, bytes * copiesOfAnswer),
    leave({ seat, memory }) {
      seat?.leave();
      for (const held of memory) held.leave();
    },
  };
}

function take(exchange: KnownExchange, { flowControl, metrics }: RequestTurnsOptions): Promise<void> | undefined {
  const { response } = exchange;
  let attributes: RequestAttributes | undefined;
  const flow = flowControl.classify(exchange.user, () => {
    attributes ??= attributesOfExchange(exchange);
    return attributes;
  });
  if (flow.schemaUid !== '') response.setHeader('x-kubernetes-pf-flowschema-uid', flow.schemaUid);
  if (flow.levelUid !== '') response.setHeader('x-kubernetes-pf-prioritylevel-uid', flow.levelUid);
  if (flow.isExempt) {
    const { inFlight } = metrics;
    if (inFlight.readOnly > maxInFlight.readOnly || inFlight.mutating > maxInFlight.mutating) throw tooManyRequests();
  }
  const { seats, bytes } = costOf(exchange, flowControl);
  const onGone = (giveUp: () => void): void => void response.once('close', giveUp);
  const takeSeat = (): Promise<void> | undefined => {
    const seat = flow.enter(seats, onGone);
    if (!(seat instanceof Promise)) {
      exchange.seat = seat;
      return undefined;
    }
    return seat.then((late) => {
      exchange.seat = late;
      // The client may have gone between its turn and now.
      if (response.closed) late.leave();
    });
  };
  // Memory first: a request that waits for memory must not keep a seat from others.
  const held = holdMemory(exchange, flowControl, bytes);
  return held === undefined ? takeSeat() : held.then(takeSeat);
}

/** Counts the seats of a request, and the memory for its body and its answer. */
function costOf(
  { raw, method, target, kind, query, isWatch }: Exchange,
  flowControl: FlowControl,
): { readonly seats: number; readonly bytes: number } {
  if (target.type !== 'resource' || kind === undefined) return { seats: 1, bytes: 0 };
  if (method !== 'GET') {
    const { 'content-length': length, 'transfer-encoding': encoding } = raw.headers;
    return { seats: 1, bytes: (encoding === undefined ? Number(length ?? 0) : unknownBodyBytes) * copiesOfBody };
  }
  if (target.name !== undefined) {
    const bytes = target.subresource === undefined ? flowControl.bytesOf(kind, target.namespace, target.name) : 0;
    return { seats: 1, bytes: bytes * copiesOfAnswer };
  }
  // A watch that goes on where another one broke off begins with nothing, and what waits for its client counts with the other watches.
  const isResuming = isWatch && !['', '0'].includes(query.get('resourceVersion') ?? '') && query.get('sendInitialEvents') !== 'true';
  if (isResuming) return { seats: 1, bytes: 0 };
  const cost = flowControl.costOfList(kind, target.namespace, Number(query.get('limit')) || 0);
  return isWatch ? { ...cost, bytes: 0 } : cost;
}

function holdMemory({ user, response, memory }: KnownExchange, flowControl: FlowControl, bytes: number): Promise<void> | undefined {
  if (bytes === 0) return undefined;
  const held = flowControl.holdMemory(user, bytes, (giveUp) => response.once('close', giveUp));
  if (!(held instanceof Promise)) {
    if (held !== undefined) memory.push(held);
    return undefined;
  }
  return held.then((late) => {
    memory.push(late);
    if (response.closed) late.leave();
  });
}
