import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyError } from 'fastify';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { badRequest, methodNotAllowed, StatusError } from '../../machinery/status-error.ts';
import { maxBodyBytes } from '../http/request-body.ts';

export interface ClientErrorOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** As the parser of Node.js reports it. */
interface ParseError extends NodeJS.ErrnoException {
  readonly reason?: string;
  readonly bytesParsed?: number;
}

/** Time in which a client can read the refusal while it still sends. */
const lingerMs = 2_000;

/**
 * Makes the listener of `clientError`: it answers a connection whose bytes are no HTTP, or came too slowly. There is no request to answer,
 * only a socket. The socket stays for a moment, because the kernel drops an answer whose sender left bytes unread.
 */
export function createClientErrorListener({ clock, log }: ClientErrorOptions): (err: ParseError, socket: Duplex) => void {
  const answered = new WeakSet<Duplex>();
  return (err, socket) => {
    // The parser reports each further piece of the same request.
    if (answered.has(socket)) return;
    if (!answer(err, socket)) return;
    // Not the bytes: they may hold a token.
    log.info({ code: err.code, reason: err.reason, bytesParsed: err.bytesParsed }, 'Refused bytes that are no request');
    answered.add(socket);
    const cancel = clock.after(lingerMs, () => socket.destroy());
    socket.once('close', cancel);
  };
}

/** False when the connection was ended without an answer. */
function answer(err: NodeJS.ErrnoException, socket: Duplex): boolean {
  // A client that is only slow would take an answer before the handshake for that to its request.
  if (err.code === 'ECONNRESET' || err.code === 'ERR_TLS_HANDSHAKE_TIMEOUT' || !socket.writable) {
    socket.destroy();
    return false;
  }
  const error =
    err.code === 'HPE_INVALID_METHOD' ? methodNotAllowed() : (clientErrors[err.code ?? ''] ?? badRequest('malformed HTTP request'));
  const body = JSON.stringify(error.toStatus());
  const head = [
    `HTTP/1.1 ${error.code} ${STATUS_CODES[error.code] ?? ''}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
  ];
  socket.end(`${head.join('\r\n')}\r\nconnection: close\r\n\r\n${body}`);
  return true;
}

const clientErrors: Readonly<Record<string, StatusError>> = {
  ERR_HTTP_REQUEST_TIMEOUT: new StatusError({ code: 408, reason: 'Timeout', message: 'the request took too long to arrive' }),
  HPE_HEADER_OVERFLOW: new StatusError({ code: 431, reason: 'BadRequest', message: 'the headers of the request are too large' }),
};

/** The refusal of the framework in the words of the API; undefined for an error that is not the client's. */
export function frameworkErrorOf(err: FastifyError | Error): StatusError | undefined {
  const { code, statusCode } = err as Partial<FastifyError>;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new StatusError({ code: 413, reason: 'RequestEntityTooLarge', message: `Request entity too large: limit is ${maxBodyBytes}` });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new StatusError({
        code: 415,
        reason: 'UnsupportedMediaType',
        message:
          'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf',
      });
    case 'FST_ERR_NOT_FOUND':
      return methodNotAllowed();
    default:
      return statusCode !== undefined && statusCode >= 400 && statusCode < 500 ? badRequest(err.message) : undefined;
  }
}
