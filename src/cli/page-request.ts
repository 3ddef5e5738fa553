import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import type { Endpoints } from './data-directory.ts';
import { Failure } from './failure.ts';

const maxAnswerBytes = 16 * 1024 * 1024;
const timeoutMs = 10_000;

/** Asks the running cluster on the port of its page, with the token of the page where it asks for one. */
export async function requestPage<T>(
  { http, pageTokenFile, httpCertificateFile }: Pick<Endpoints, 'http' | 'pageTokenFile' | 'httpCertificateFile'>,
  path: string,
  { method = 'GET', tokenFile = pageTokenFile }: { readonly method?: 'GET' | 'POST'; readonly tokenFile?: string | undefined } = {},
): Promise<T> {
  try {
    const token = tokenFile === undefined ? undefined : (await readFile(tokenFile, 'utf8')).trim();
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const url = new URL(path, http);
    const socket = httpCertificateFile === undefined ? undefined : await connectPinned(url, httpCertificateFile);
    const text = await new Promise<string>((resolve, reject) => {
      const signal = AbortSignal.timeout(timeoutMs);
      // Not fetch, whose loading takes longer than all else that a question does.
      const target = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port, path: url.pathname };
      // An agent, even none, would make a connection of its own.
      const connection = socket === undefined ? { agent: false as const } : { createConnection: () => socket };
      const options = { ...target, ...connection, method, headers: { ...headers, Host: url.host }, signal };
      const sent = request(options, (response) => readAnswer(response).then(resolve, reject));
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

/**
 * Connects to the server that has the certificate of the file, whatever names are in it and whoever signed it. The owner of the data
 * directory named the file, or the cluster wrote it there.
 */
async function connectPinned({ hostname, port }: URL, file: string): Promise<Socket> {
  const [{ X509Certificate }, { connect }] = await Promise.all([import('node:crypto'), import('node:tls')]);
  const expected = new X509Certificate(await readFile(file)).fingerprint256;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(port),
      rejectUnauthorized: false,
      timeout: timeoutMs,
    });
    socket.once('timeout', () => socket.destroy(new Error(`no answer within ${timeoutMs / 1_000} s`)));
    socket.once('error', reject);
    // Nothing is sent before this comparison, which takes the place of the usual check.
    socket.once('secureConnect', () => {
      socket.off('error', reject);
      if (socket.getPeerX509Certificate()?.fingerprint256 === expected) resolve(socket);
      else {
        socket.destroy();
        reject(new Error(`it has another certificate than ${file}`));
      }
    });
  });
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
