import type { IncomingMessage } from 'node:http';

/** Tokens of identity providers have some KiB. */
const maxFormBytes = 32 * 1024;

/** A form was longer than any of this page. */
class FormTooLong extends Error {
  override readonly name = 'FormTooLong';
  readonly statusCode = 413;
  constructor() {
    super(`A form has at most ${maxFormBytes} bytes.`);
  }
}

/** Reads the fields of a form that a page of this server sends. @throws FormTooLong */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  let size = 0;
  // The request is not destroyed with the loop: the answer that refuses it needs its connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxFormBytes) throw new FormTooLong();
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}
