import type { IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { GitHttpRequest, GitHttpResponse, HttpClient } from 'isomorphic-git';

export interface GitHttpClientOptions {
  readonly signal: AbortSignal;
  /** Silence longer than this ends the request. */
  readonly idleTimeoutMs: number;
  /** Longest answer that is read. */
  readonly maxBytes: number;
  /** PEM of an additional certificate authority. */
  readonly ca?: string;
}

/** isomorphic-git's HTTP plugin with what the packaged one lacks: cancellation, a time limit and a size limit. */
export function createGitHttpClient({ signal, idleTimeoutMs, maxBytes, ca }: GitHttpClientOptions): HttpClient {
  return {
    async request({ url, method = 'GET', headers = {}, body }: GitHttpRequest): Promise<GitHttpResponse> {
      const target = new URL(url);
      const client = target.protocol === 'https:' ? https : http;
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = client.request(target, { method, headers, signal, ...(ca === undefined ? {} : { ca }) }, resolve);
        request.setTimeout(idleTimeoutMs, () => request.destroy(new Error(`no answer within ${idleTimeoutMs / 1_000} s`)));
        request.on('error', reject);
        sendBody(request, body).catch(reject);
      });
      return {
        url,
        method,
        statusCode: response.statusCode ?? 0,
        statusMessage: response.statusMessage ?? '',
        headers: Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
        body: bounded(response, maxBytes),
      };
    },
  };
}

async function sendBody(request: http.ClientRequest, body: GitHttpRequest['body']): Promise<void> {
  if (body !== undefined) for await (const chunk of body as AsyncIterable<Uint8Array>) request.write(chunk);
  request.end();
}

async function* bounded(response: IncomingMessage, maxBytes: number): AsyncIterableIterator<Uint8Array> {
  let received = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    received += chunk.byteLength;
    if (received > maxBytes) {
      response.destroy();
      throw new Error(`the answer is larger than ${maxBytes} bytes`);
    }
    yield chunk;
  }
}
