import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { createGzip, gzip } from 'node:zlib';
import type { Clock } from '../../base/clock.ts';
import { internalError, isStatusError, type StatusError } from '../../machinery/status-error.ts';
import { formatYaml } from '../../machinery/yaml.ts';
import type { Seat } from '../flow-control/fair-queue.ts';
import { protobufType, type Representation } from './content-negotiation.ts';
import { encodeAnswer } from './protobuf/encode.ts';

/** Writing answers: whole ones, long ones in slices, errors as `Status`. */

const contentTypes = { json: 'application/json', yaml: 'application/yaml', protobuf: protobufType } as const;

/** Texts of `Warning` headers in one answer are cut here, as on the real server. */
const maxWarningBytes = 4_096;

/** Answers with a value in the form that the client asked for, or in JSON when it has no protobuf form. */
export function sendValue(
  response: ServerResponse,
  { code, value }: { readonly code: number; readonly value: unknown },
  { encoding, pretty }: Representation,
): void {
  const message = encoding === 'protobuf' ? encodeAnswer(value) : undefined;
  if (message !== undefined) {
    sendProtobuf(response, code, message);
    return;
  }
  const text = encoding === 'yaml' ? formatYaml(value) : pretty ? `${JSON.stringify(value, undefined, 2)}\n` : `${JSON.stringify(value)}\n`;
  sendText(response, { code, contentType: contentTypes[encoding === 'yaml' ? 'yaml' : 'json'], text });
}

/** @param message  a binary string */
export function sendProtobuf(response: ServerResponse, code: number, message: string): void {
  sendText(response, { code, contentType: protobufType, text: message, charset: 'latin1' });
}

/** An object whose JSON exists already. */
export function sendJson(response: ServerResponse, code: number, json: string): void {
  sendText(response, { code, contentType: contentTypes.json, text: `${json}\n` });
}

interface TextAnswer {
  readonly code: number;
  readonly contentType: string;
  readonly text: string;
  /** `latin1` for a binary string. */
  readonly charset?: 'utf8' | 'latin1';
}

export function sendText(response: ServerResponse, { code, contentType, text, charset }: TextAnswer): void {
  const body = Buffer.from(text, charset);
  if (body.length < minGzipBytes || !isPacked(contentType) || !acceptsGzip(response)) {
    response.writeHead(code, { 'content-type': contentType, 'content-length': body.length });
    response.end(body);
    return;
  }
  gzip(body, gzipOptions, (err, packed) => {
    if (err !== null) response.destroy(err);
    if (response.destroyed) return;
    response.writeHead(code, { 'content-type': contentType, ...gzipHeaders, 'content-length': packed.length });
    response.end(packed);
  });
}

/** From this size on an answer is packed for a client that can read it so; upstream's number. */
const minGzipBytes = 128 * 1024;
/** The fastest level: it takes the bulk out of JSON, on a thread beside the event loop. */
const gzipOptions = { level: 1 } as const;
const gzipHeaders = { 'content-encoding': 'gzip', vary: 'Accept-Encoding' } as const;

const isPacked = (contentType: string): boolean => (Object.values(contentTypes) as readonly string[]).includes(contentType);

const acceptsGzip = ({ req }: ServerResponse): boolean =>
  String(req.headers['accept-encoding'] ?? '')
    .split(',')
    .some((coding) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(coding));

/** Plain text, as for paths outside the API. */
export function sendPlain(response: ServerResponse, code: number, text: string): void {
  response.setHeader('x-content-type-options', 'nosniff');
  sendText(response, { code, contentType: 'text/plain; charset=utf-8', text });
}

export const sendPageNotFound = (response: ServerResponse): void => sendPlain(response, 404, '404 page not found\n');

/** The Status for a failed request. An error that is no `StatusError` becomes a 500 whose text reveals no internals. */
export const statusErrorOf = (err: unknown): StatusError =>
  isStatusError(err) ? err : internalError('unexpected failure, see the log of the API server', err);

/** When the head of the answer is out already, the connection is cut: the client must not take half an answer for a whole one. */
export function sendError(response: ServerResponse, err: unknown, encoding: Representation['encoding'] = 'json'): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const error = statusErrorOf(err);
  const { retryAfterSeconds } = error.details ?? {};
  if (retryAfterSeconds !== undefined) response.setHeader('retry-after', String(retryAfterSeconds));
  if (error.code === 403) response.setHeader('x-content-type-options', 'nosniff');
  sendValue(response, { code: error.code, value: error.toStatus() }, { encoding, pretty: false });
}

/** Adds warnings to those that the answer already carries. */
export function setWarnings(response: ServerResponse, warnings: readonly string[]): void {
  const parts: string[] = [];
  let bytes = 0;
  for (const text of new Set(warnings)) {
    const part = `299 - "${text.replace(/[^\P{Cc}]/gu, ' ').replace(/[\\"]/g, '\\$&')}"`;
    bytes += Buffer.byteLength(part);
    if (bytes > maxWarningBytes) break;
    parts.push(part);
  }
  // Node takes header values as latin1; other letters go as their UTF-8 bytes, as Go sends them.
  const before = response.getHeader('warning');
  const added = Buffer.from(parts.join(', ')).toString('latin1');
  if (parts.length > 0) response.setHeader('warning', before === undefined ? added : `${String(before)}, ${added}`);
}

/** Runs a write and sets the warnings it gave as headers, also when it fails. */
export async function withWarnings<T>(response: ServerResponse, write: (onWarning: (text: string) => void) => Promise<T>): Promise<T> {
  const warnings: string[] = [];
  try {
    return await write((text) => warnings.push(text));
  } finally {
    setWarnings(response, warnings);
  }
}

/** Share of a turn of the event loop that one part of an answer gets. */
const sliceMs = 3;
const chunkLength = 65_536;
/** Longest time for reading one chunk while others wait for memory. */
const maxStalledMs = 5_000;
/** Longest time for reading an answer, from its first byte to its last. */
const maxReadingMs = 60_000;

export interface StreamOptions {
  readonly response: ServerResponse;
  readonly encoding: Representation['encoding'];
  /** Binary strings for protobuf. */
  readonly parts: Iterable<string>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Given back while the client does not read. */
  readonly seat: Pick<Seat, 'pause' | 'resume'> | undefined;
  /** Others wait for what this answer keeps. */
  isShortOfMemory(): boolean;
  /** Resolves when the next part may be made. */
  nextTurn(): Promise<void>;
}

/**
 * Writes an answer whose parts are created on demand, in slices of some milliseconds. A list of any length therefore
 * neither blocks the event loop nor takes more memory than a chunk. An answer of one slice is sent whole, with its
 * length. A client that accepts compression gets a longer answer compressed on the way.
 *
 * A client that has not read all of it after a minute is disconnected. The objects of a list stay in memory as long as the
 * answer lasts.
 */
export async function sendParts(options: StreamOptions): Promise<void> {
  const { response, encoding, parts, clock, signal, seat, nextTurn } = options;
  const contentType = contentTypes[encoding];
  const charset = encoding === 'protobuf' ? 'latin1' : 'utf8';
  const isPackable = acceptsGzip(response);
  const startLength = isPackable ? minGzipBytes : chunkLength;
  let text = '';
  let out: Writable | undefined;
  let sliceStart = clock.monotonicMs();
  for (const part of parts) {
    text += part;
    const sliceOver = clock.monotonicMs() - sliceStart > sliceMs;
    if (text.length < (out === undefined ? startLength : chunkLength)) {
      if (!sliceOver) continue;
      if (out === undefined && isPackable) {
        await nextTurn();
        if (signal.aborted) return;
        sliceStart = clock.monotonicMs();
        continue;
      }
    }
    if (out === undefined) {
      response.writeHead(200, { 'content-type': contentType, ...(isPackable ? gzipHeaders : {}) });
      limitReading(response, clock);
      out = isPackable ? packing(response) : response;
    }
    const chunk = text;
    text = '';
    const reading = writeChunk(out, { chunk, charset }, signal);
    if (reading !== undefined) {
      seat?.pause();
      await whileStalled(options, reading);
      seat?.resume();
    }
    if (signal.aborted) return;
    if (sliceOver) await nextTurn();
    if (signal.aborted) return;
    sliceStart = clock.monotonicMs();
  }
  if (out !== undefined) out.end(text, charset);
  else sendText(response, { code: 200, contentType, text, charset });
}

function packing(response: ServerResponse): Writable {
  const packer = createGzip(gzipOptions);
  packer.once('error', (err) => response.destroy(err));
  response.once('close', () => packer.destroy());
  packer.pipe(response);
  return packer;
}

/** An answer that nobody reads does not keep memory from others for longer than they would wait. */
async function whileStalled({ response, clock, isShortOfMemory }: StreamOptions, reading: Promise<void>): Promise<void> {
  let cancel: () => void;
  const look = (): void => {
    if (isShortOfMemory()) response.destroy();
    else cancel = clock.after(maxStalledMs, look);
  };
  cancel = clock.after(maxStalledMs, look);
  await reading;
  cancel();
}

/** Cuts the connection when the client has not read the answer in time. */
function limitReading(response: ServerResponse, clock: Clock): void {
  const cancel = clock.after(maxReadingMs, () => response.destroy());
  response.once('close', cancel);
}

/**
 * Gives the client a minute to read the rest of an answer whose handler is done. The operating system has all of a small answer by
 * then.
 */
export function limitRest(response: ServerResponse, clock: Clock): void {
  if (response.writableLength > chunkLength && !response.closed) limitReading(response, clock);
}

interface Chunk {
  readonly chunk: string;
  readonly charset: 'utf8' | 'latin1';
}

/** A promise when the client has to read before more may be written; it resolves then, or when `signal` ends the answer. */
export function writeChunk(out: Writable, { chunk, charset }: Chunk, signal: AbortSignal): Promise<void> | undefined {
  if (out.write(chunk, charset) || signal.aborted) return undefined;
  return new Promise<void>((resolve) => {
    const done = (): void => {
      out.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    out.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}
