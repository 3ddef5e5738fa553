import type { Readable } from 'node:stream';
import type { Clock } from './clock.ts';

/** Bounds of one answer's body. */
export interface AnswerBounds {
  readonly maxBytes: number;
  /** From the call to the last byte. Absent only where a signal of the request already ends the whole exchange. */
  readonly time?: { readonly clock: Clock; readonly maxMs: number };
}

/**
 * Reads the body of an HTTP answer as text. The connection is closed when the body does not end within the bounds.
 *
 * @throws Error of the connection, or one that names the bound which the body passed
 */
export async function readAnswer(answer: Readable, bounds: AnswerBounds): Promise<string> {
  const { text, isWhole } = await read(answer, bounds);
  if (!isWhole) throw new Error(`the answer is larger than ${bounds.maxBytes} bytes`);
  return text;
}

/**
 * Reads at most `maxBytes` of the body, for texts that people read and that may be cut. The connection is closed at the bound.
 *
 * @throws as `readAnswer`, but for the size
 */
export async function readAnswerStart(answer: Readable, bounds: AnswerBounds): Promise<string> {
  return (await read(answer, bounds)).text;
}

async function read(answer: Readable, { maxBytes, time }: AnswerBounds): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const cancel = time?.clock.after(time.maxMs, () => answer.destroy(new Error(`the answer did not end within ${time.maxMs} ms`)));
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // Leaving the loop early destroys the answer, and with it the connection.
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > maxBytes) break;
    }
  } finally {
    cancel?.();
  }
  return { text: Buffer.concat(chunks, Math.min(bytes, maxBytes)).toString('utf8'), isWhole: bytes <= maxBytes };
}
