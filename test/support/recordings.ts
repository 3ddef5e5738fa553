import { builtInKinds } from '../../src/api/kinds.ts';
import { parseTarget } from '../../src/apiserver/http/request-target.ts';
import type { FetchResult, TestApiServer } from './api-server.ts';
import { recordedLines } from './recorded-lines.ts';

/** Requests and answers that were recorded against the real API server. */

export interface Recording {
  readonly title: string;
  readonly req: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string | null>>;
    readonly body?: unknown;
  };
  readonly res: { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: unknown };
}

/** The plain requests of a file, in order; watches are left out. */
export function recordingsIn(file: string): readonly Recording[] {
  return recordedLines('api', file)
    .map((line) => JSON.parse(line) as Partial<Recording>)
    .filter((recording): recording is Recording => recording.req !== undefined && recording.res !== undefined)
    .map((recording) => ({ ...recording, title: recording.title ?? '' }));
}

/** True when the request is for a served kind, or for no kind at all. */
export function isServed({ req }: Recording): boolean {
  const target = parseTarget(req.path.split('?', 1)[0] ?? '');
  if (target.type !== 'resource') return true;
  const { group, version, resource } = target;
  return builtInKinds.some((kind) => kind.group === group && kind.version === version && kind.resource === resource);
}

/** Sends the recorded request: as the administrator, as `alice`, or with nothing, as it was recorded. */
export function replay(cluster: TestApiServer, { req }: Recording): Promise<FetchResult> {
  const { user, authorization, ...rest } = (req.headers ?? {}) as Readonly<Record<string, string | null>>;
  const given = Object.fromEntries(Object.entries(rest).filter((entry): entry is [string, string] => entry[1] !== null));
  const { body } = req;
  const needsType = body !== undefined && rest['content-type'] === undefined;
  return cluster.fetch(req.path, {
    method: req.method,
    headers: {
      ...(needsType ? { 'content-type': 'application/json' } : {}),
      ...given,
      ...(user === 'alice' ? { authorization: `Bearer ${cluster.aliceToken}` } : {}),
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    anonymous: authorization === null,
  });
}

/** The parts of an answer that must be the same: code, media type, warnings, all of a Status, and of other bodies the kind. */
export interface Essence {
  readonly status: number;
  readonly contentType: unknown;
  readonly warning: unknown;
  /** Null when the recording does not keep it. */
  readonly body: unknown;
}

export function recordedEssence({ res }: Recording): Essence {
  return normalized({
    status: res.status,
    contentType: res.headers['content-type'],
    warning: res.headers.warning,
    body: essenceOfBody(res.body),
  });
}

/** The parts of the answer that `recorded` covers. */
export function answeredEssence({ status, headers, text }: FetchResult, recorded: Essence): Essence {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Plain text and empty bodies have no kind.
  }
  const answered = normalized({ status, contentType: headers['content-type'], warning: headers.warning, body: essenceOfBody(body) });
  return recorded.body === null && status < 300 ? { ...answered, body: null } : answered;
}

function essenceOfBody(body: unknown): unknown {
  const { kind } = (body ?? {}) as { readonly kind?: unknown };
  return kind === 'Status' ? body : kind === undefined ? undefined : { kind };
}

/** Ids and revisions differ from run to run, and protobuf is not among the forms served here. */
const normalized = (essence: Essence): Essence =>
  JSON.parse(
    JSON.stringify(essence, (_key, value: unknown) => value ?? null)
      .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uid>')
      .replace(/(current: |in record \()\d+/g, '$1<revision>')
      .replace(/, application\/vnd\.kubernetes\.protobuf/g, ''),
  ) as Essence;
