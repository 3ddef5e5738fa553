import { existsSync, readFileSync } from 'node:fs';
import { builtInKinds } from '../../src/api/kinds.ts';
import { parseTarget } from '../../src/apiserver/http/request-target.ts';
import type { FetchResult, TestApiServer } from './api-server.ts';

/** Requests and answers that were recorded against the real API server; facts that may be absent. */

const folder = '../shared/reference/wire/api';

export const hasRecordings = existsSync(folder);

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
  if (!hasRecordings) return [];
  return readFileSync(`${folder}/${file}.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Partial<Recording>)
    .filter((recording): recording is Recording => recording.req !== undefined && recording.res !== undefined)
    .map((recording) => ({ ...recording, title: recording.title ?? '' }));
}

/** Whether the request is for a kind that is served here, or for no kind at all. */
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

/** The parts of an answer that must be the same: code, media type, warnings, and all of a Status; of other bodies the kind. */
export function essenceOf(status: number, headers: Readonly<Record<string, unknown>>, body: unknown): unknown {
  const isStatus = typeof body === 'object' && body !== null && (body as { kind?: unknown }).kind === 'Status';
  return normalized({
    status,
    contentType: headers['content-type'],
    warning: headers.warning,
    body: isStatus ? body : typeof body === 'object' && body !== null ? { kind: (body as { kind?: unknown }).kind } : undefined,
  });
}

/** Ids and revisions differ from run to run, and protobuf is not among the forms served here. */
const normalized = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value)
      .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uid>')
      .replace(/(current: |in record \()\d+/g, '$1<revision>')
      .replace(/, application\/vnd\.kubernetes\.protobuf/g, ''),
  );

export function essenceOfAnswer({ status, headers, text }: FetchResult): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Plain text and empty bodies have no kind.
  }
  return essenceOf(status, headers, body);
}
