import { Agent as HttpAgent, request as httpRequest, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { readAnswer } from '../../base/http-answer.ts';
import { networkErrorText } from '../../base/network-error.ts';
import { timeLimit } from '../../base/time-limit.ts';

/** Sends questions to one extender. */
export interface ExtenderTransport {
  /**
   * Posts JSON to a verb and gives the answer, whatever its code.
   *
   * @throws Error that names the extender when the whole answer is not there within the time, or too large
   */
  post(verb: string, body: string, signal: AbortSignal): Promise<{ readonly code: number; readonly text: string }>;
  close(): void;
}

export interface TransportOptions {
  /** With or without a slash at its end. */
  readonly urlPrefix: string;
  readonly timeoutMs: number;
  /** PEM, and what the certificate has to be for. Absent: the authorities of the system. */
  readonly tls: TransportTls | undefined;
}

export interface TransportTls {
  readonly insecure: boolean;
  readonly serverName: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

/** An extender that was sent whole nodes gives back at most those, and some words on each. */
const spareAnswerBytes = 4 * 1024 * 1024;
/** Questions about nodes go one by one; bindings may overlap. */
const maxSockets = 16;
const idleSocketMs = 30_000;

/** Redirects are not followed: they would take the pod elsewhere. */
export function createExtenderTransport({ urlPrefix, timeoutMs, tls }: TransportOptions): ExtenderTransport {
  const prefix = urlPrefix.replace(/\/+$/, '');
  const isSecure = urlPrefix.startsWith('https:');
  const pool = { keepAlive: true, maxSockets, maxFreeSockets: 2, timeout: idleSocketMs };
  const agent = isSecure ? new HttpsAgent({ ...pool, ...tlsOptions(tls) }) : new HttpAgent(pool);
  const open = isSecure ? httpsRequest : httpRequest;

  function exchange(verb: string, body: string, signal: AbortSignal): Promise<{ readonly code: number; readonly text: string }> {
    const bytes = Buffer.byteLength(body);
    const headers = { 'Content-Type': 'application/json', 'Content-Length': bytes };
    const options: RequestOptions = { agent, method: 'POST', headers, signal };
    return new Promise((resolve, reject) => {
      const request = open(new URL(`${prefix}/${verb}`), options, (response) => {
        readAnswer(response, { maxBytes: bytes + spareAnswerBytes }).then(
          (text) => resolve({ code: response.statusCode ?? 0, text }),
          reject,
        );
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  return {
    async post(verb, body, signal) {
      const limited = timeLimit(signal, timeoutMs);
      try {
        return await exchange(verb, body, limited);
      } catch (err) {
        signal.throwIfAborted();
        const why = limited.aborted
          ? `no answer within ${timeoutMs / 1_000} s`
          : err instanceof Error
            ? networkErrorText(err)
            : String(err);
        throw new Error(`extender ${urlPrefix}: ${verb}: ${why}`, { cause: err });
      }
    },
    close: () => agent.destroy(),
  };
}

function tlsOptions(tls: TransportTls | undefined) {
  const { insecure = false, serverName, cert, key, ca } = tls ?? {};
  return {
    minVersion: 'TLSv1.2' as const,
    rejectUnauthorized: !insecure,
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca }),
  };
}
