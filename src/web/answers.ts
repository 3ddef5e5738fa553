import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip, createGzip, gzip, type InputType } from 'node:zlib';
import type { FastifyReply } from 'fastify';
import { Busy } from './pace.ts';

const compress = promisify<InputType, { level: number }, Buffer>(gzip);
/** Smaller answers are not worth the work. */
const compressFromBytes = 1_024;

export const contentTypes = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  script: 'text/javascript; charset=utf-8',
  json: 'application/json; charset=utf-8',
  svg: 'image/svg+xml; charset=utf-8',
  text: 'text/plain; charset=utf-8',
  metrics: 'text/plain; version=0.0.4; charset=utf-8',
  events: 'text/event-stream; charset=utf-8',
} as const;

/** Sends text, compressed off the main thread when the client takes it. Not cached unless the route says so. */
export const sendText = (reply: FastifyReply, type: string, text: string): Promise<FastifyReply> =>
  sendShared(reply, sharedText(type, text));

/** One line that says why not. */
export const refuse = (reply: FastifyReply, code: number, text: string): Promise<FastifyReply> =>
  sendText(reply.code(code), contentTypes.text, `${text}\n`);

/** A text that is sent to several clients, compressed once. */
export interface SharedText {
  readonly type: string;
  readonly bytes: Buffer;
  packed?: Promise<Buffer>;
}

export const sharedText = (type: string, text: string): SharedText => ({ type, bytes: Buffer.from(text) });

export async function sendShared(reply: FastifyReply, text: SharedText): Promise<FastifyReply> {
  reply.header('Content-Type', text.type).header('Vary', 'Accept-Encoding, Cookie');
  if (!reply.hasHeader('Cache-Control')) reply.header('Cache-Control', 'no-store');
  if (text.bytes.length < compressFromBytes || !acceptsGzip(reply.request.headers['accept-encoding'])) return reply.send(text.bytes);
  text.packed ??= compress(text.bytes, { level: 1 });
  return reply.header('Content-Encoding', 'gzip').send(await text.packed);
}

/** Compresses a text while it is made: no more than a part of it is ever held. */
export async function pack(parts: AsyncIterable<string>): Promise<Buffer> {
  const packed: Buffer[] = [];
  await pipeline(parts, createGzip({ level: 1 }), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) packed.push(chunk);
  });
  return Buffer.concat(packed);
}

/** Unpacking takes threads that the store needs, too; Prometheus takes texts as they are. */
const maxUnpacking = 8;
let unpacking = 0;

/**
 * Sends what `pack` gave: as it is, or unpacked on the way to a client that does not take it so.
 *
 * @throws Busy when too many are unpacked already
 */
export function sendPacked(reply: FastifyReply, type: string, packed: Buffer): FastifyReply {
  const takesGzip = acceptsGzip(reply.request.headers['accept-encoding']);
  if (!takesGzip && unpacking >= maxUnpacking) throw new Busy();
  reply.header('Content-Type', type).header('Vary', 'Accept-Encoding, Cookie').header('Cache-Control', 'no-store');
  if (takesGzip) return reply.header('Content-Encoding', 'gzip').send(packed);
  const text = createGunzip();
  unpacking += 1;
  text.once('close', () => {
    unpacking -= 1;
  });
  text.end(packed);
  return reply.send(text);
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((entry) => /^\s*(gzip|\*)\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(entry));
}
