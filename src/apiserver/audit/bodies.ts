import type { ServerResponse } from 'node:http';
import { parseYamlDocuments } from '../../machinery/yaml.ts';
import { decodeAnswer } from '../http/protobuf/decode.ts';
import { mediaTypeOf } from '../http/request-body.ts';

/** A body as it went over the wire; read when the entry is written. */
export interface AuditedBody {
  readonly bytes: Buffer;
  readonly contentType: string | undefined;
  /** Only the beginning was kept. */
  readonly isCut: boolean;
}

const maxResponseBytes = 1024 * 1024;

/** Keeps what is written to `response` from now on, up to a bound; what the client gets is the same. */
export function captureResponse(response: ServerResponse): () => AuditedBody {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const keep = (chunk: unknown): void => {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return;
    const buffer = Buffer.from(chunk as string);
    bytes += buffer.length;
    if (bytes <= maxResponseBytes) chunks.push(buffer);
  };
  const { write, end } = response;
  response.write = function (this: ServerResponse, ...args: Parameters<ServerResponse['write']>) {
    keep(args[0]);
    return write.apply(this, args);
  } as ServerResponse['write'];
  response.end = function (this: ServerResponse, ...args: Parameters<ServerResponse['end']>) {
    keep(args[0]);
    return end.apply(this, args);
  } as ServerResponse['end'];
  return () => ({
    bytes: Buffer.concat(chunks),
    contentType: response.getHeader('content-type')?.toString(),
    isCut: bytes > maxResponseBytes,
  });
}

/** The object in a body; undefined when there is none that can be shown. */
export function objectOf({ bytes, contentType, isCut }: AuditedBody, omitManagedFields: boolean): unknown {
  if (bytes.length === 0 || isCut) return undefined;
  try {
    const value = parse(bytes, mediaTypeOf(contentType));
    return omitManagedFields ? withoutManagedFields(value) : value;
  } catch {
    // The client got the errors of the body, and the code says so to the reader of the log.
    return undefined;
  }
}

function parse(bytes: Buffer, mediaType: string): unknown {
  if (mediaType === 'application/vnd.kubernetes.protobuf') return decodeAnswer(bytes);
  const text = bytes.toString('utf8');
  if (!mediaType.includes('yaml') || /^\s*[{[]/.test(text)) return JSON.parse(text);
  return parseYamlDocuments(text, { maxBytes: bytes.length, maxDepth: 100, maxAliases: 0, maxDocuments: 1 })[0]?.value;
}

function withoutManagedFields(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const { metadata, items, ...rest } = value as { readonly metadata?: object | null; readonly items?: unknown };
  const { managedFields: _, ...kept } = (metadata ?? {}) as { readonly managedFields?: unknown };
  return {
    ...rest,
    ...(metadata === undefined || metadata === null ? {} : { metadata: kept }),
    ...(Array.isArray(items) ? { items: items.map(withoutManagedFields) } : {}),
  };
}
