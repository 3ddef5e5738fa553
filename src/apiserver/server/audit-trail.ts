import type { ServerResponse } from 'node:http';
import { captureResponse } from '../audit/bodies.ts';
import type { AuditDecision, AuditStage } from '../audit/policy.ts';
import type { AuditEntry, AuditLog } from '../audit.ts';
import { attributesOfExchange, type Exchange } from './exchange.ts';

/** Entries of the audit log for each request: one for each stage, with the bodies that its policy asks for. */
export interface AuditTrail {
  /** Decides what is recorded of the request, and records that it came. */
  open(exchange: Exchange): void;
  noteBody(exchange: Exchange, body: Buffer): void;
  /** Adds a note of admission to the entry. */
  annotate(exchange: Exchange, note: { readonly key: string; readonly value: string }): void;
  /** Records how the request ended. */
  close(exchange: Exchange): void;
}

/** @param log  absent: nothing is recorded */
export function createAuditTrail(log: AuditLog | undefined): AuditTrail {
  return {
    open(exchange) {
      if (log !== undefined) open(log, exchange);
    },
    noteBody({ audit, raw }, bytes) {
      const level = audit?.decision.level;
      if (audit === undefined || (level !== 'Request' && level !== 'RequestResponse')) return;
      audit.requestBody = { bytes, contentType: raw.headers['content-type'], isCut: false };
    },
    annotate({ audit }, { key, value }) {
      if (audit === undefined) return;
      audit.annotations ??= new Map();
      audit.annotations.set(key, value);
    },
    close(exchange) {
      if (log !== undefined) close(log, exchange);
    },
  };
}

function open(log: AuditLog, exchange: Exchange): void {
  const { response, isLong } = exchange;
  const decision = log.policy.decide(exchange.user, attributesOfExchange(exchange));
  const { level, omitStages } = decision;
  if (level === 'None') {
    exchange.audit = { decision, requestBody: undefined, responseBody: undefined };
    return;
  }
  const capturesResponse = level === 'RequestResponse' && !isLong && exchange.target.type === 'resource';
  exchange.audit = { decision, requestBody: undefined, responseBody: capturesResponse ? captureResponse(response) : undefined };
  if (!omitStages.includes('RequestReceived')) log.record(entryOf(exchange, 'RequestReceived', decision));
  if (!isLong || omitStages.includes('ResponseStarted')) return;
  const { writeHead } = response;
  response.writeHead = function (this: ServerResponse, ...args: Parameters<ServerResponse['writeHead']>) {
    const head = writeHead.apply(this, args);
    log.record({ ...entryOf(exchange, 'ResponseStarted', decision), code: response.statusCode });
    return head;
  } as ServerResponse['writeHead'];
}

function close(log: AuditLog, exchange: Exchange): void {
  const { audit, response } = exchange;
  // A request that was refused before its user was known has no decision yet.
  const decision = audit?.decision ?? log.policy.decide(exchange.user, attributesOfExchange(exchange));
  if (decision.level === 'None' || decision.omitStages.includes('ResponseComplete')) return;
  if (decision.onlyFailures && response.statusCode < 400) return;
  log.record({
    ...entryOf(exchange, 'ResponseComplete', decision),
    code: response.statusCode,
    requestBody: audit?.requestBody,
    responseBody: audit?.responseBody?.(),
    annotations: audit?.annotations,
  });
}

const entryOf = (exchange: Exchange, stage: AuditStage, decision: AuditDecision): AuditEntry => ({
  auditId: String(exchange.response.getHeader('audit-id') ?? ''),
  requestUri: exchange.raw.url ?? '',
  attributes: attributesOfExchange(exchange),
  user: exchange.authenticated,
  impersonatedUser: exchange.user === exchange.authenticated ? undefined : exchange.user,
  sourceIp: exchange.sourceIp,
  userAgent: exchange.raw.headers['user-agent'] ?? '',
  receivedAtMs: exchange.receivedAtMs,
  stage,
  decision,
});
