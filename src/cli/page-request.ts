import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import type { Endpoints } from './data-directory.ts';
import { Failure } from './failure.ts';

const maxAnswerBytes = 16 * 1024 * 1024;
const timeoutMs = 10_000;

/** Asks the running cluster on the port of its page, with the token of the page where it asks for one. */
export async function requestPage<T>(
  { http, pageTokenFile }: Pick<Endpoints, 'http' | 'pageTokenFile'>,
  path: string,
  { method = 'GET' }: { readonly method?: 'GET' | 'POST' } = {},
): Promise<T> {
  try {
    const token = pageTokenFile === undefined ? undefined : (await readFile(pageTokenFile, 'utf8')).trim();
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const url = new URL(path, http);
    const text = await new Promise<string>((resolve, reject) => {
      const signal = AbortSignal.timeout(timeoutMs);
      // Not fetch, whose loading takes longer than all else that a question does.
      const sent = request(url, { method, headers, signal, agent: false }, (response) => readAnswer(response).then(resolve, reject));
      sent.once('error', (err) => reject(signal.aborted ? new Error(`no answer within ${timeoutMs / 1_000} s`) : err));
      sent.end();
    });
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new Failure(`${http} does not answer`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Is the cluster still starting? Try again, or look at its terminal.',
      cause,
    });
  }
}

async function readAnswer(response: IncomingMessage): Promise<string> {
  const { statusCode = 0 } = response;
  if (statusCode < 200 || statusCode > 299) {
    response.destroy();
    throw new Error(`HTTP ${statusCode}`);
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes) throw new Error(`an answer of more than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
