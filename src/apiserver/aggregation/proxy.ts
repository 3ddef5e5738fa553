import { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { networkErrorText } from '../../base/network-error.ts';
import { badRequest } from '../../machinery/status-error.ts';
import { forwardedHeaders, headOf, relayAnswer } from '../http/relay-answer.ts';
import { sendPlain } from '../http/respond.ts';
import type { Upgrade } from '../http/upgrade.ts';
import type { UserInfo } from '../user.ts';
import type { RemoteAnswer, RemoteRequest } from './transport.ts';

/** A request for a group version that another server serves, authenticated and authorized here. */
export interface ProxiedRequest {
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  readonly user: UserInfo;
  readonly body: Buffer | undefined;
  readonly upgrade: Upgrade | undefined;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  /** Aborted when the server stops: long answers end then. */
  readonly stopping: AbortSignal;
}

/** Until the head of the answer is there. */
const headTimeoutMs = 60_000;

/**
 * Passes a request on and its answer back, as both come and for as long as they come. Failures are plain text, as the real server's
 * aggregator gives them.
 */
export async function proxyRequest(request: ProxiedRequest, send: (request: RemoteRequest) => Promise<RemoteAnswer>): Promise<void> {
  const { raw, response, user, body, upgrade, signal } = request;
  const path = pathOf(raw.url ?? '/');
  let answer: RemoteAnswer;
  try {
    const { method = 'GET' } = raw;
    answer = await send({ method, path, user, body, headers: headersFor(request), timeoutMs: headTimeoutMs, signal });
  } catch (err) {
    if (!signal.aborted)
      sendUnavailable(response, `error trying to reach service: ${err instanceof Error ? networkErrorText(err) : String(err)}`);
    return;
  }
  const { message, upgraded } = answer;
  if (upgraded !== undefined && upgrade !== undefined) join({ message, upgraded, upgrade, response, stopping: request.stopping });
  else if (upgraded !== undefined) {
    upgraded.socket.destroy();
    sendUnavailable(response, 'error trying to reach service: the server changed the protocol without being asked');
  } else await relay(message, request);
}

export const sendUnavailable = (response: ServerResponse, text: string): void => sendPlain(response, 503, `${text}\n`);

/**
 * The authorized path, rebuilt from its parts, with the original query. Another server must not read `..` and escaped
 * slashes differently from the authorization here.
 *
 * @throws StatusError 400 for a path with `.` or `..` in it
 */
function pathOf(url: string): string {
  const mark = url.indexOf('?');
  const path = mark === -1 ? url : url.slice(0, mark);
  const segments = path.split('/').map((segment) => decodeURIComponent(segment));
  if (segments.some((segment) => segment === '.' || segment === '..')) throw badRequest('the path has "." or ".." in it');
  return `${segments.map(encodeURIComponent).join('/')}${mark === -1 ? '' : url.slice(mark)}`;
}

/** Headers that this server sets itself. */
const isOwn = (name: string): boolean => name.startsWith('x-forwarded-');

function headersFor({ raw, body, upgrade }: ProxiedRequest): OutgoingHttpHeaders {
  const { url = '/' } = raw;
  const mark = url.indexOf('?');
  return {
    ...forwardedHeaders(raw.headers, isOwn),
    'x-forwarded-for': raw.socket.remoteAddress ?? '',
    'x-forwarded-proto': 'https',
    'x-forwarded-uri': mark === -1 ? url : url.slice(0, mark),
    ...(raw.headers.host === undefined ? {} : { 'x-forwarded-host': raw.headers.host }),
    ...(body === undefined ? {} : { 'content-length': body.length }),
    ...(upgrade === undefined ? {} : { connection: 'Upgrade', upgrade: raw.headers.upgrade }),
  };
}

async function relay(answer: IncomingMessage, { response, stopping }: ProxiedRequest): Promise<void> {
  const { statusCode = 502, headers } = answer;
  if (statusCode >= 300 && statusCode <= 399 && headers.location !== undefined) {
    // It would send the client, with its credentials, wherever that server likes.
    answer.destroy();
    sendPlain(response, 502, 'the backend attempted to redirect this request, which is not permitted');
    return;
  }
  await relayAnswer({ answer, response, stopping, ...headOf(answer, isOwn) });
}

interface Joined extends Pick<ProxiedRequest, 'response' | 'stopping'> {
  readonly message: IncomingMessage;
  readonly upgraded: { readonly socket: Duplex; readonly head: Buffer };
  readonly upgrade: Upgrade;
}

/** Bytes both ways until either end closes. */
function join({ message, upgraded, upgrade, response, stopping }: Joined): void {
  const { socket: remote, head } = upgraded;
  const { socket: client, head: clientHead } = upgrade;
  const lines = Object.entries(forwardedHeaders(message.headers, isOwn)).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((each) => `${name}: ${each}`),
  );
  // For the log and the metrics; the head goes over the connection itself.
  response.statusCode = 101;
  const protocol = message.headers.upgrade ?? '';
  client.write(
    [`HTTP/1.1 101 ${STATUS_CODES[101]}`, 'connection: Upgrade', `upgrade: ${protocol}`, ...lines, '', ''].join('\r\n'),
    'latin1',
  );
  client.write(head);
  remote.write(clientHead);
  const end = (): void => {
    client.destroy();
    remote.destroy();
    stopping.removeEventListener('abort', end);
  };
  for (const stream of [client, remote]) {
    stream.on('error', end);
    stream.once('close', end);
  }
  stopping.addEventListener('abort', end, { once: true });
  client.pipe(remote);
  remote.pipe(client);
}
