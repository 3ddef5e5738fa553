import { appendFile, rename, rm, stat } from 'node:fs/promises';
import { type Clock, microTimestampOf } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import { familyHead, familyOf } from '../base/series.ts';
import { type AuditedBody, objectOf } from './audit/bodies.ts';
import { type AuditDecision, type AuditPolicy, type AuditStage, defaultAuditPolicy } from './audit/policy.ts';
import type { RequestAttributes } from './kube-api.ts';
import type { UserInfo } from './user.ts';

/**
 * Records requests over HTTP: one JSON line for each stage of a request, in the form of `audit.k8s.io/v1`, as its
 * policy says. Bodies of Secrets and tokens are never written. Requests of this process's own components are left out,
 * since they would be most of it.
 */
export interface AuditLog extends Component {
  readonly policy: AuditPolicy;
  /** Notes the request; written some moments later. */
  record(entry: AuditEntry): void;
}

export interface AuditEntry {
  readonly auditId: string;
  readonly requestUri: string;
  readonly attributes: RequestAttributes;
  /** The authenticated user; undefined when there is none. */
  readonly user: UserInfo | undefined;
  readonly impersonatedUser: UserInfo | undefined;
  readonly sourceIp: string;
  readonly userAgent: string;
  /** Absent before there is an answer. */
  readonly code?: number;
  readonly receivedAtMs: number;
  readonly stage: AuditStage;
  readonly decision: AuditDecision;
  /** Present when the level asks for them. */
  readonly requestBody?: AuditedBody | undefined;
  /** Annotations from admission. */
  readonly annotations?: ReadonlyMap<string, string> | undefined;
  readonly responseBody?: AuditedBody | undefined;
}

export interface AuditLogOptions {
  /** `audit.log`; older parts are `audit.log.1` and so on. */
  readonly path: string;
  /** Default: how each request ended, without bodies. */
  readonly policy?: AuditPolicy;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly maxFileBytes?: number;
}

const flushEveryMs = 250;
/** Entries that wait; more are dropped, oldest first, and counted. A disk that hangs must not take the server with it. */
const maxWaiting = 10_000;
const maxWaitingBytes = 32 * 1024 * 1024;
/** Entries written at a time, to bound a turn of the event loop. */
const batch = 500;
const batchBytes = 1024 * 1024;
const defaultMaxFileBytes = 32 * 1024 * 1024;
const oldParts = 3;
const maxTextLength = 4_096;

export function createAuditLog(options: AuditLogOptions): AuditLog {
  const { path, policy = defaultAuditPolicy, clock, log, metrics, maxFileBytes = defaultMaxFileBytes } = options;
  let waiting: { readonly entry: AuditEntry; readonly endedAtMs: number }[] = [];
  /** Of bodies. */
  let waitingBytes = 0;
  let cancel: (() => void) | undefined;
  let writing: Promise<void> | undefined;
  let size: number | undefined;
  let recorded = 0;
  let dropped = 0;
  let failing = false;

  metrics.addCollector(function* () {
    yield familyOf({ name: 'apiserver_audit_event_total', help: 'Requests noted for the audit log.', type: 'counter' }, recorded);
    yield `${familyHead('apiserver_audit_error_total', 'Audit entries that were lost.', 'counter')}apiserver_audit_error_total{plugin="log"} ${dropped}\n`;
  });

  function schedule(): void {
    if (cancel !== undefined || writing !== undefined) return;
    cancel = clock.after(flushEveryMs, () => {
      cancel = undefined;
      void flush();
    });
  }

  /** Never rejects: what cannot be written is logged and counted. */
  function flush(): Promise<void> {
    writing ??= writeAll().finally(() => {
      writing = undefined;
      if (waiting.length > 0) schedule();
    });
    return writing;
  }

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const part = take();
      try {
        await append(part.map(({ entry, endedAtMs }) => lineOf(entry, endedAtMs)).join(''));
        failing = false;
      } catch (err) {
        dropped += part.length;
        // Once until it works again: a full disk would fill the log as well.
        if (!failing) log.error({ err, path }, 'Could not write audit log');
        failing = true;
      }
    }
  }

  /** Those that are oldest: some, or one with large bodies. */
  function take(): typeof waiting {
    let count = 0;
    for (let bytes = 0; count < Math.min(batch, waiting.length) && bytes < batchBytes; count += 1) bytes += bytesOf(waiting[count]?.entry);
    const part = waiting.slice(0, Math.max(count, 1));
    waiting = waiting.slice(part.length);
    for (const { entry } of part) waitingBytes -= bytesOf(entry);
    return part;
  }

  async function append(text: string): Promise<void> {
    size ??= await sizeOf(path);
    if (size > 0 && size + text.length > maxFileBytes) {
      await rotate(path);
      size = 0;
    }
    await appendFile(path, text, { mode: 0o600 });
    size += Buffer.byteLength(text);
  }

  return {
    name: 'audit-log',
    policy,
    start: async () => undefined,
    async stop() {
      cancel?.();
      cancel = undefined;
      await flush();
      // Lines that arrived while the last part was being written.
      if (waiting.length > 0) await flush();
    },
    record(entry) {
      recorded += 1;
      while (waiting.length >= maxWaiting || (waitingBytes > maxWaitingBytes && waiting.length > 0)) dropped += take().length;
      waiting.push({ entry, endedAtMs: clock.now() });
      waitingBytes += bytesOf(entry);
      schedule();
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw err;
  }
}

async function rotate(path: string): Promise<void> {
  await rm(`${path}.${oldParts}`, { force: true });
  for (let part = oldParts - 1; part >= 0; part -= 1) {
    try {
      await rename(part === 0 ? path : `${path}.${part}`, `${path}.${part + 1}`);
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
    }
  }
}

const cut = (text: string): string => (text.length <= maxTextLength ? text : `${text.slice(0, maxTextLength)}…`);

function lineOf(entry: AuditEntry, endedAtMs: number): string {
  const { attributes, code, impersonatedUser, decision, requestBody, responseBody } = entry;
  const { verb, group = '', version, resource, subresource, namespace, name, path } = attributes;
  return `${JSON.stringify({
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    level: decision.level,
    auditID: entry.auditId,
    stage: entry.stage,
    requestURI: cut(entry.requestUri),
    verb,
    user: entry.user === undefined ? {} : userOf(entry.user),
    impersonatedUser: impersonatedUser === undefined ? undefined : userOf(impersonatedUser),
    sourceIPs: [entry.sourceIp],
    userAgent: cut(entry.userAgent),
    objectRef:
      path === undefined
        ? { resource, namespace, name, apiGroup: group === '' ? undefined : group, apiVersion: version, subresource }
        : undefined,
    responseStatus: code === undefined ? undefined : { metadata: {}, code },
    requestObject: requestBody === undefined ? undefined : objectOf(requestBody, decision.omitManagedFields),
    responseObject: responseBody === undefined ? undefined : objectOf(responseBody, decision.omitManagedFields),
    requestReceivedTimestamp: microTimestampOf(entry.receivedAtMs),
    stageTimestamp: microTimestampOf(endedAtMs),
    annotations: {
      ...annotationsOf(entry),
      ...(code === undefined ? {} : { 'authorization.k8s.io/decision': code === 401 || code === 403 ? 'forbid' : 'allow' }),
      ...(responseBody?.isCut === true ? { 'audit.k8s.io/truncated': 'true' } : {}),
      ...(decision.isRedacted ? { 'midship.dev/redacted': 'true' } : {}),
    },
  })}\n`;
}

const maxAnnotations = 100;
const maxAnnotationLength = 10 * 1024;

/** Webhooks and policies may say more than a log should hold. */
const annotationsOf = ({ annotations }: AuditEntry): Readonly<Record<string, string>> =>
  annotations === undefined
    ? {}
    : Object.fromEntries([...annotations].slice(0, maxAnnotations).map(([key, text]) => [key, text.slice(0, maxAnnotationLength)]));

const bytesOf = (entry: AuditEntry | undefined): number =>
  (entry?.requestBody?.bytes.length ?? 0) + (entry?.responseBody?.bytes.length ?? 0);

const userOf = ({ name, uid, groups, extra }: UserInfo) => ({ username: name, uid, groups, extra });
