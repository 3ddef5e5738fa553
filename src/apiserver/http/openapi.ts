import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../base/clock.ts';
import { parseAccept } from './content-negotiation.ts';
import { sendText } from './respond.ts';

/** Documents by which clients learn the fields of kinds; rebuilt when kinds change. */
export interface OpenApiDocuments {
  /** `/openapi/v3` */
  index(): OpenApiDocument;
  /** `/openapi/v3/PATH`, for example `api/v1` or `apis/apps/v1`. */
  groupVersion(path: string): OpenApiDocument | undefined;
  /** `/openapi/v2` */
  v2(): OpenApiDocument;
}

export interface OpenApiDocument {
  readonly json: string;
  /** The form of gnostic's messages. */
  readonly protobuf: Buffer;
  /** Hexadecimal digest of the document. */
  readonly hash: string;
}

/** `index`, with the documents of other servers beside the own ones. */
export function withRemoteDocuments(index: OpenApiDocument, remote: ReadonlyMap<string, string>): OpenApiDocument {
  if (remote.size === 0) return index;
  const { paths } = JSON.parse(index.json) as { readonly paths: Readonly<Record<string, unknown>> };
  const all = { ...Object.fromEntries([...remote].map(([path, serverRelativeURL]) => [path, { serverRelativeURL }])), ...paths };
  const json = JSON.stringify({ paths: Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1))) });
  return {
    json,
    hash: createHash('sha512').update(json).digest('hex').toUpperCase(),
    get protobuf() {
      return index.protobuf;
    },
  };
}

interface OpenApiRequest {
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** `/openapi/v2`, `/openapi/v3` or below it; without a slash at the end. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly clock: Clock;
  /** Undefined when there is memory for that many bytes at once. */
  holdMemory(bytes: number): Promise<void> | undefined;
}

const version3 = '/openapi/v3';
const version2 = '/openapi/v2';
const yearMs = 365 * 86_400_000;

/** Answers with a document, in the form the client takes, or with nothing but a status: what is refused here is refused without words. */
export async function sendOpenApi(documents: OpenApiDocuments, request: OpenApiRequest): Promise<void> {
  const { raw, response, path, query, clock, holdMemory } = request;
  const isGroupVersion = path.startsWith(`${version3}/`);
  const document = isGroupVersion
    ? documents.groupVersion(path.slice(version3.length + 1))
    : path === version2
      ? documents.v2()
      : path === version3
        ? documents.index()
        : undefined;
  if (document === undefined) {
    sendStatus(response, 404);
    return;
  }
  const form = formOf(path, raw.headers.accept);
  response.setHeader('vary', path === version2 ? 'Accept-Encoding, Accept' : 'Accept');
  if (form === undefined) {
    sendStatus(response, 406);
    return;
  }
  const etag = `"${document.hash}"`;
  response.setHeader('etag', etag);
  const hash = query.get('hash');
  if (isGroupVersion && hash !== null && hash !== document.hash) {
    response.setHeader('content-type', 'application/json');
    response.setHeader('location', `${path}?hash=${document.hash}`);
    sendStatus(response, 301);
    return;
  }
  // Under its hash a document never changes.
  if (isGroupVersion && hash !== null) {
    response.setHeader('expires', new Date(clock.now() + yearMs).toUTCString());
    response.removeHeader('cache-control');
  }
  if (raw.headers['if-none-match'] === etag) {
    response.writeHead(304).end();
    return;
  }
  await holdMemory(form === 'json' ? document.json.length : document.protobuf.length);
  if (form === 'json')
    sendText(response, {
      code: 200,
      contentType: path === version3 ? 'text/plain; charset=utf-8' : 'application/json',
      text: document.json,
    });
  else response.writeHead(200, { 'content-type': form, 'content-length': document.protobuf.length }).end(document.protobuf);
}

const sendStatus = (response: ServerResponse, code: number): void => void response.writeHead(code, { 'content-length': 0 }).end();

/** The media type of the protobuf form, `json`, or undefined when the client takes neither. */
function formOf(path: string, accept = '*/*'): string | undefined {
  // There is one form of the index; the real server calls it plain text, and clients take it.
  if (path === version3) return 'json';
  const [before, after] = ['application/com.github.proto-openapi.spec', `v1.0+protobuf`];
  const version = path === version2 ? 'v2' : 'v3';
  for (const { type } of parseAccept(accept)) {
    if (type === 'application/json' || type === 'application/*' || type === '*/*') return 'json';
    // Clients before 1.27 ask by a name that is no media type, because of its `@`.
    if (type === `${before}.${version}.${after}` || type === `${before}.${version}@${after}`) return `${before}.${version}.${after}`;
  }
  return undefined;
}
