import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';

/**
 * Requests exactly as they are sent. The client of the product asks again and goes to another server by itself. A history needs each try
 * with its outcome, and the lines of a watch as they come.
 */
export interface Api {
  /** @throws Error when there is no whole answer within the time limit */
  request(request: ApiRequest): Promise<Answer>;
  /**
   * Calls back for each line of a watch until it ends.
   *
   * @returns the status code; that of the last line for a watch that ends with an error
   * @throws Error when the connection breaks
   */
  watch(path: string, options: { readonly signal: AbortSignal; onLine(line: WatchLine): void }): Promise<number>;
  close(): void;
}

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly contentType?: string;
}

export interface Answer {
  readonly code: number;
  readonly body: unknown;
}

/** An object, as far as the harness looks at it. */
export interface Thing {
  readonly kind?: string;
  readonly code?: number;
  readonly message?: string;
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export interface WatchLine {
  readonly type: string;
  readonly object: Thing;
}

/** A client gives up so long after it began: the server goes on. */
const requestTimeoutMs = 4_000;
/** A watch whose server says nothing for so long is given up; each is asked to end before. */
const watchIdleMs = 8_000;

/** @param port  looked at for each request */
export async function openApi(kubeconfig: string, port: () => number): Promise<Api> {
  const { caCertificate, clientCertificate } = await loadKubeconfig(kubeconfig);
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const watchAgent = new Agent({ keepAlive: false });
  const common = { host: '127.0.0.1', ca: caCertificate, cert: clientCertificate?.certificate, key: clientCertificate?.key };
  const open = (options: RequestOptions, body?: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const outgoing = httpsRequest({ ...common, port: port(), ...options }, resolve);
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  return {
    async request({ method, path, body, contentType = 'application/json' }) {
      const text = body === undefined ? undefined : JSON.stringify(body);
      // Node sends the body of a DELETE without its length unless it is given.
      const headers = text === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) };
      const signal = AbortSignal.timeout(requestTimeoutMs);
      const answer = await open({ agent, method, path, headers, signal }, text);
      return { code: answer.statusCode ?? 0, body: JSON.parse(await textOf(answer)) };
    },
    async watch(path, { signal, onLine }) {
      const answer = await open({ agent: watchAgent, method: 'GET', path, timeout: watchIdleMs, signal });
      answer.socket.setTimeout(watchIdleMs, () => answer.destroy(new Error('the watch is silent')));
      if (answer.statusCode !== 200) {
        await textOf(answer);
        return answer.statusCode ?? 0;
      }
      return readLines(answer, onLine);
    },
    close() {
      agent.destroy();
      watchAgent.destroy();
    },
  };
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function readLines(answer: IncomingMessage, onLine: (line: WatchLine) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    let code = 200;
    // A connection that breaks may leave half a line, which is not looked at.
    let rest = '';
    answer.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines.filter((line) => line !== '')) {
        const line = JSON.parse(text) as WatchLine;
        if (line.type === 'ERROR') code = line.object.code ?? 500;
        else onLine(line);
      }
    });
    answer.once('error', reject);
    answer.once('close', () => (answer.complete ? resolve(code) : reject(new Error('the watch was cut'))));
  });
}
