import { request } from 'node:http';
import { type Duplex, PassThrough, type Readable, type Writable } from 'node:stream';
import type { ExecSession, StartExecOptions, TerminalSize } from '../container-runtime.ts';
import { connectSpdy, type SpdyConnection, type SpdyStream } from '../streaming/spdy.ts';

/**
 * Streams of the runtime's own streaming server: exec, attach and port-forward. WebSockets of containerd 1.7 cannot close
 * the input of a command, so this side speaks SPDY.
 *
 * @see https://github.com/kubernetes/kubernetes/tree/master/staging/src/k8s.io/kubelet/pkg/cri/streaming
 */

const connectMs = 10_000;
const maxStatusBytes = 64 * 1024;
const remoteCommandProtocol = 'v4.channel.k8s.io';
const portForwardProtocol = 'portforward.k8s.io';

/** Connects to the one-time address that the runtime gave for a command. */
export async function openRemoteCommand(url: string, { stdin, tty, signal }: StartExecOptions): Promise<ExecSession> {
  const connection = await connect(url, remoteCommandProtocol, signal);
  try {
    const errors = await openStream(connection, 'error');
    const input = stdin ? await openStream(connection, 'stdin') : undefined;
    const stdout = await openStream(connection, 'stdout');
    const stderr = tty ? undefined : await openStream(connection, 'stderr');
    const sizes = tty ? await openStream(connection, 'resize') : undefined;
    const onAbort = (): void => connection.close();
    signal.addEventListener('abort', onAbort, { once: true });
    const exitCode = readStatus(errors).finally(() => signal.removeEventListener('abort', onAbort));
    return {
      stdin: input,
      stdout: copyOf(stdout),
      stderr: stderr === undefined ? undefined : copyOf(stderr),
      exitCode,
      resize: ({ width, height }: TerminalSize) => void sizes?.write(JSON.stringify({ Width: width, Height: height })),
    };
  } catch (err) {
    connection.close();
    throw err;
  }
}

/** Opens the input of a container's program by an attach address. The output that comes with it is discarded: the log has it. */
export async function openAttachedInput(url: string): Promise<Writable> {
  const connection = await connect(url, remoteCommandProtocol, AbortSignal.timeout(connectMs));
  const errors = await openStream(connection, 'error');
  errors.resume();
  const input = await openStream(connection, 'stdin');
  input.once('close', () => connection.close());
  return input;
}

/** Connects to a port in the pod's network by a port-forward address. */
export async function openForward(url: string, port: number, signal: AbortSignal): Promise<Duplex> {
  const connection = await connect(url, portForwardProtocol, signal);
  try {
    const headers = { port: String(port), requestid: '0' };
    const errors = await openStream(connection, 'error', headers);
    const data = await openStream(connection, 'data', headers);
    errors.end();
    readText(errors).then(
      (text) => {
        if (text !== '') data.destroy(new Error(text));
      },
      () => undefined,
    );
    data.once('close', () => connection.close());
    return data;
  } catch (err) {
    connection.close();
    throw err;
  }
}

function connect(url: string, protocol: string, signal: AbortSignal): Promise<SpdyConnection> {
  return new Promise((resolve, reject) => {
    const headers = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocol };
    const asked = request(url, { method: 'POST', headers, signal, timeout: connectMs });
    asked.once('upgrade', (_response, socket, head) => resolve(connectSpdy({ socket, head })));
    asked.once('response', (response) => {
      response.resume();
      reject(new Error(`the container runtime answered ${response.statusCode} instead of an upgrade`));
    });
    asked.once('timeout', () => asked.destroy(new Error(`no answer of the container runtime within ${connectMs} ms`)));
    asked.once('error', reject);
    asked.end();
  });
}

async function openStream(connection: SpdyConnection, streamtype: string, headers = {}): Promise<SpdyStream> {
  const stream = await connection.open({ streamtype, ...headers });
  // Readers learn of a reset by the end of the stream; without a listener it would end the process.
  stream.on('error', () => undefined);
  return stream;
}

/** One direction of a stream, so that destroying what was read does not reset the other one. */
const copyOf = (stream: SpdyStream): Readable => stream.pipe(new PassThrough());

/** The code of the command: a shell's 128 + signal for one that was killed. */
async function readStatus(errors: SpdyStream): Promise<number> {
  const text = await readText(errors);
  if (text === '') return 137;
  const status = JSON.parse(text) as {
    readonly status?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
  };
  if (status.status === 'Success') return 0;
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (status.reason === 'NonZeroExitCode' && code !== undefined) return Number(code);
  throw new Error(status.message ?? 'the container runtime ended the command');
}

async function readText(stream: SpdyStream): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > maxStatusBytes) break;
      pieces.push(piece);
    }
  } catch (err) {
    // The connection ended in the middle: then there is no status.
    if ((err as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw err;
  }
  return Buffer.concat(pieces).toString('utf8');
}
