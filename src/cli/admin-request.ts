import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { networkErrorText } from '../base/network-error.ts';
import { type KubeconfigConnection, loadKubeconfig } from '../client/kubeconfig.ts';
import { StatusError, type StatusReason } from '../machinery/status-error.ts';
import { readEndpoints } from './data-directory.ts';
import { Failure } from './failure.ts';

export interface AdminRequest {
  /** Default: POST. */
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: object;
  /** Silence of the server that ends the request. */
  readonly silenceMs: number;
  /** Follows the address of a server that refuses without saying why: `makes no backup`. */
  readonly refusal: string;
}

interface Cause {
  readonly reason?: string;
  readonly message?: string;
}

/**
 * Sends a request for a path that is no resource, with the client certificate of a kubeconfig, its token, or both, as kubectl does.
 *
 * @throws Failure for no answer, and for every status but 200
 */
export async function sendAdminRequest(
  { server, caCertificate, serverName, clientCertificate, token }: KubeconfigConnection,
  { method = 'POST', path, body, silenceMs, refusal }: AdminRequest,
): Promise<IncomingMessage> {
  const content = body === undefined ? '' : JSON.stringify(body);
  const bearer = typeof token === 'function' ? token() : token;
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    // The path of the server is in front of all others.
    const sent = request(new URL(server.replace(/\/$/, '') + path), {
      method,
      agent: false,
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(content),
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      },
      ...(caCertificate === undefined ? {} : { ca: caCertificate }),
      ...(serverName === undefined ? {} : { servername: serverName }),
      ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
    });
    sent.setTimeout(silenceMs, () => sent.destroy(new Error('i/o timeout')));
    sent.once('response', resolve);
    sent.once('error', (cause) =>
      reject(
        new Failure(`${server} does not answer`, {
          why: networkErrorText(cause),
          fix: 'Is the cluster running? See: midship status',
          cause,
        }),
      ),
    );
    sent.end(content);
  });
  if (answer.statusCode === 200) return answer;
  const status = statusIn(await text(answer));
  const causeOf = (reason: string): string | undefined => status.details?.causes?.find((cause) => cause.reason === reason)?.message;
  // The server knows the next step, and says it in the causes.
  const [why, fix] = [causeOf('Why'), causeOf('Fix')];
  if (why !== undefined && fix !== undefined) throw new Failure(status.message ?? refusal, { why, fix });
  throw new Failure(`${server} ${refusal}`, {
    why: status.message ?? `It answered ${answer.statusCode}.`,
    fix: answer.statusCode === 429 ? 'Wait until the other one is done.' : 'See its log, and run it again.',
  });
}

/** A failure as the answer of a server to such a request: the causes are why and fix. */
export function statusOfFailure(
  { message, why, fix }: Failure,
  { code, reason }: { readonly code: number; readonly reason: StatusReason },
): StatusError {
  const causes = [
    { reason: 'Why', message: why },
    { reason: 'Fix', message: fix },
  ];
  return new StatusError({ code, reason, message, details: { causes } });
}

/** Asks the running cluster of a data directory for an action on its keys. */
export async function askForKeys<T>(dataDirectory: string, { path, body }: Pick<AdminRequest, 'path' | 'body'>): Promise<T> {
  const connection = await loadKubeconfig((await readEndpoints(dataDirectory)).kubeconfig);
  const answer = await sendAdminRequest(connection, {
    path,
    ...(body === undefined ? {} : { body }),
    silenceMs: 120_000,
    refusal: 'does not change its keys',
  });
  return JSON.parse(await text(answer)) as T;
}

interface Status {
  readonly message?: string;
  readonly details?: { readonly causes?: readonly Cause[] };
}

function statusIn(body: string): Status {
  try {
    return (JSON.parse(body) as Status | null) ?? {};
  } catch {
    // An answer of something else than an API server.
    return {};
  }
}
