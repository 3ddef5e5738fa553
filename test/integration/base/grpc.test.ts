import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { constants, createSecureServer, createServer, type Http2Server, type ServerHttp2Stream, type ServerOptions } from 'node:http2';
import { type AddressInfo, connect, createServer as createPlainServer } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createGrpcClient, type GrpcClient, type GrpcError, grpcCodes } from '../../../src/base/grpc.ts';
import { openPki } from '../../../src/base/pki.ts';
import { temporaryDirectory } from '../../support/git.ts';

/** Messages are their text. */
const echo = {
  path: '/test.Echo/Say',
  encode: (text: string) => Buffer.from(text),
  decode: (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8'),
};

function frame(text: string | Buffer, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed;
  head.writeUInt32BE(Buffer.byteLength(text), 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

type Answer = (stream: ServerHttp2Stream, request: string, headers: Record<string, unknown>) => void;

let server: Http2Server;
let client: GrpcClient;
let answer: Answer;
let sessions = 0;

/** Sends headers, these frames and the status. */
const reply =
  (frames: readonly Buffer[], status = '0', message?: string): Answer =>
  (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () =>
      stream.sendTrailers({ 'grpc-status': status, ...(message === undefined ? {} : { 'grpc-message': message }) }),
    );
    for (const each of frames) stream.write(each);
    stream.end();
  };

async function startServer(options: ServerOptions = {}): Promise<void> {
  sessions = 0;
  server = createServer(options);
  server.on('session', (session) => {
    sessions += 1;
    session.on('error', () => undefined);
  });
  server.on('stream', (stream, headers) => {
    const pieces: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () => answer(stream, Buffer.concat(pieces).subarray(5).toString('utf8'), headers));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  client = createGrpcClient({ connect: () => connect(port, '127.0.0.1'), clock: systemClock, maxMessageBytes: 100_000 });
}
async function stopServer(): Promise<void> {
  client.close();
  await new Promise((resolve) => server.close(resolve));
}
beforeEach(() => startServer());
afterEach(stopServer);

const call = (request = 'hello', timeoutMs = 5_000): Promise<string> => client.call(echo, request, { timeoutMs });
const failure = (promise: Promise<unknown>): Promise<GrpcError> =>
  promise.then(
    () => Promise.reject(new Error('the call succeeded')),
    (err: unknown) => err as GrpcError,
  );

describe('a call', () => {
  it('sends one message with its deadline, and gives the answer', async () => {
    let seen: Record<string, unknown> = {};
    answer = (stream, request, headers) => {
      seen = headers;
      reply([frame(`${request}, too`)])(stream, request, headers);
    };
    expect(await call('hello', 5_000)).toBe('hello, too');
    expect(seen).toMatchObject({ ':path': '/test.Echo/Say', 'content-type': 'application/grpc', te: 'trailers', 'grpc-timeout': '5000m' });
  });

  it('shares one connection, and opens another after that one broke', async () => {
    answer = reply([frame('one')]);
    await Promise.all([call(), call(), call()]);
    expect(sessions).toBe(1);
    answer = (stream) => stream.session?.destroy();
    expect(await failure(call())).toMatchObject({ code: grpcCodes.unavailable });
    answer = reply([frame('again')]);
    expect(await call()).toBe('again');
    expect(sessions).toBe(2);
  });

  it('joins an answer that comes in small pieces', async () => {
    const text = 'é'.repeat(20_000);
    answer = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      const bytes = frame(text);
      for (let at = 0; at < bytes.length; at += 777) stream.write(bytes.subarray(at, at + 777));
      stream.end();
    };
    expect(await call()).toBe(text);
  });

  it('fails with the code and the decoded message of the server, with or without an answer before', async () => {
    answer = reply([], '5', 'no such container: %C3%BC');
    expect(await failure(call())).toMatchObject({ code: grpcCodes.notFound, message: 'no such container: ü' });
    answer = reply([frame('half')], '13', '%zz');
    expect(await failure(call())).toMatchObject({ code: grpcCodes.internal, message: '%zz' });
    answer = (stream) =>
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12', 'grpc-message': 'unknown method' },
        { endStream: true },
      );
    expect(await failure(call())).toMatchObject({ code: grpcCodes.unimplemented, message: 'unknown method' });
  });

  it('ends at its deadline and at the signal of its caller, and tells the server', async () => {
    const cancelled: Promise<void>[] = [];
    answer = (stream) => cancelled.push(new Promise((resolve) => stream.on('close', resolve)));
    expect(await failure(call('slow', 50))).toMatchObject({ code: grpcCodes.deadlineExceeded });
    const abort = new AbortController();
    const waiting = failure(client.call(echo, 'slow', { timeoutMs: 60_000, signal: abort.signal }));
    await expect.poll(() => cancelled.length).toBe(2);
    abort.abort();
    expect(await waiting).toMatchObject({ code: grpcCodes.cancelled });
    await Promise.all(cancelled);
  });

  it('refuses an answer beyond its bound, a compressed one, two, none, and what is not gRPC', async () => {
    answer = reply([frame(Buffer.alloc(100_001))]);
    expect(await failure(call())).toMatchObject({ code: grpcCodes.resourceExhausted });
    answer = reply([frame('zip', 1)]);
    expect(await failure(call())).toMatchObject({ code: grpcCodes.internal });
    answer = reply([frame('one'), frame('two')]);
    expect(await failure(call())).toMatchObject({ code: grpcCodes.internal });
    answer = reply([]);
    expect(await failure(call())).toMatchObject({ code: grpcCodes.internal, message: 'the server sent no answer' });
    answer = (stream) => {
      stream.respond({ ':status': 502, 'content-type': 'text/html' });
      stream.end('<html>');
    };
    expect(await failure(call())).toMatchObject({ code: grpcCodes.unavailable });
  });

  it('opens nothing for a request that cannot be encoded', async () => {
    answer = reply([frame('fine')]);
    expect(await client.call(echo, 'hello', { timeoutMs: 5_000 })).toBe('fine');
    const broken = {
      ...echo,
      encode: (): Buffer => {
        throw new Error('no such field');
      },
    };
    await expect(client.call(broken, 'hello', { timeoutMs: 5_000 })).rejects.toThrow('no such field');
    // A stream that nobody listens to would end the process here.
    client.close();
  });

  it('fails when the connection ends within the answer, when nobody listens, and after close', async () => {
    answer = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(frame('whole answer').subarray(0, 8), () => stream.session?.destroy());
    };
    expect(await failure(call())).toMatchObject({ code: grpcCodes.unavailable });
    const nobody = createGrpcClient({ connect: () => connect('/nowhere/at/all.sock'), clock: systemClock });
    expect(await failure(nobody.call(echo, 'x', { timeoutMs: 1_000 }))).toMatchObject({ code: grpcCodes.unavailable });
    client.close();
    expect(await failure(call())).toMatchObject({ code: grpcCodes.unavailable });
  });
});

describe('a stream', () => {
  const collect = async (signal: AbortSignal, most = Number.POSITIVE_INFINITY): Promise<string[]> => {
    const seen: string[] = [];
    for await (const text of client.stream(echo, 'go', { signal })) {
      seen.push(text);
      if (seen.length === most) break;
    }
    return seen;
  };

  it('gives every answer in order, also when several come in one piece', async () => {
    const texts = Array.from({ length: 2_000 }, (_, index) => `answer ${index}`);
    answer = reply([Buffer.concat(texts.map((text) => frame(text)))]);
    expect(await collect(new AbortController().signal)).toEqual(texts);
  });

  it('fails with the status that ends it, after the answers before', async () => {
    answer = reply([frame('one')], '14', 'shutting down');
    const seen: string[] = [];
    const failed = failure(
      (async () => {
        for await (const text of client.stream(echo, 'go', { signal: new AbortController().signal })) seen.push(text);
      })(),
    );
    expect(await failed).toMatchObject({ code: grpcCodes.unavailable, message: 'shutting down' });
    expect(seen).toEqual(['one']);
  });

  it('cancels the call when its reader stops or its signal is aborted', async () => {
    let closed = 0;
    answer = (stream) => {
      stream.on('close', () => {
        closed += 1;
      });
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(Buffer.concat([frame('one'), frame('two')]));
    };
    expect(await collect(new AbortController().signal, 1)).toEqual(['one']);
    await expect.poll(() => closed).toBe(1);
    const abort = new AbortController();
    const reading = failure(collect(abort.signal));
    await expect.poll(() => sessions).toBe(1);
    setTimeout(() => abort.abort(), 20);
    await reading;
    await expect.poll(() => closed).toBe(2);
  });

  it('sends and gets messages on one stream, and sends metadata', async () => {
    const seen: string[] = [];
    server.removeAllListeners('stream');
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      seen.push(String(headers.tenant));
      stream.on('data', (piece: Buffer) => stream.write(frame(`${piece.subarray(5).toString('utf8')}!`)));
    });
    client.close();
    const { port } = server.address() as AddressInfo;
    client = createGrpcClient({ connect: () => connect(port, '127.0.0.1'), clock: systemClock, metadata: () => ({ tenant: 'one' }) });
    const abort = new AbortController();
    const exchange = client.open(echo, { signal: abort.signal });
    exchange.send('a');
    const answers: string[] = [];
    for await (const [text = ''] of exchange.batches) {
      answers.push(text);
      if (answers.length === 2) break;
      exchange.send('b');
    }
    exchange.send('after the end');
    expect(answers).toEqual(['a!', 'b!']);
    expect(seen).toEqual(['one']);
  });

  it('breaks a connection whose server leaves a ping without an answer', async () => {
    client.close();
    // It accepts the connection and says nothing, as a halted server does.
    const silent = createPlainServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    client = createGrpcClient({
      connect: () => connect(port, '127.0.0.1'),
      clock: systemClock,
      pings: { everyMs: 20, timeoutMs: 20 },
    });
    const error = await client.call(echo, 'x', { timeoutMs: 30_000 }).catch((err: unknown) => err);
    expect(error).toMatchObject({ code: grpcCodes.unavailable });
    expect(String(error)).toContain('20 ms');
    silent.close();
  });
});

describe('its connection', () => {
  const echoed: Answer = (stream, request, headers) => reply([frame(request)])(stream, request, headers);

  it('keeps to the windows, the frames, the padding, the table and the number of streams of its server', async () => {
    await stopServer();
    await startServer({
      settings: { initialWindowSize: 1_000, maxConcurrentStreams: 2, maxFrameSize: 16_384, headerTableSize: 100 },
      paddingStrategy: constants.PADDING_STRATEGY_MAX,
    });
    let [open, most] = [0, 0];
    answer = (stream, request, headers) => {
      open += 1;
      most = Math.max(most, open);
      stream.on('close', () => {
        open -= 1;
      });
      echoed(stream, request, headers);
    };
    // The first one learns the settings.
    await call('first');
    const texts = Array.from({ length: 5 }, (_, at) => String.fromCharCode(97 + at).repeat(30_000));
    expect(await Promise.all(texts.map((text) => call(text)))).toEqual(texts);
    expect(most).toBe(2);
    expect(sessions).toBe(1);
  });

  it('takes headers that do not fit into one frame', async () => {
    const text = Array.from({ length: 30_000 }, (_, at) => String.fromCharCode(0x21 + (at % 94))).join('');
    answer = reply([], '5', text.replaceAll('%', '%25'));
    expect(await failure(call())).toMatchObject({ code: grpcCodes.notFound, message: text });
  });

  it('ends the calls that it has when its server goes away, and opens another for later ones', async () => {
    const waiting: (() => void)[] = [];
    answer = (stream, request, headers) => waiting.push(() => echoed(stream, request, headers));
    const first = call('first');
    await expect.poll(() => waiting.length).toBe(1);
    answer = (stream, request, headers) => {
      if (sessions === 1) stream.session?.close();
      echoed(stream, request, headers);
    };
    // The client has read it when it opens another connection.
    await expect.poll(async () => ((await call('later')) === 'later' ? sessions : 0)).toBe(2);
    waiting[0]?.();
    expect(await first).toBe('first');
  });

  it('holds the server back while nobody reads a stream, and goes on with other calls', async () => {
    let sent = 0;
    answer = (stream, request, headers) => {
      if (request !== 'go') {
        echoed(stream, request, headers);
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      const send = (): void => {
        while (sent < 3_000) {
          sent += 1;
          if (stream.write(frame('x'.repeat(1_000)))) continue;
          stream.once('drain', send);
          return;
        }
        stream.end();
      };
      send();
    };
    const answers = client.stream(echo, 'go', { signal: new AbortController().signal })[Symbol.asyncIterator]();
    await answers.next();
    let before = -1;
    await expect
      .poll(async () => {
        const isSame = before === sent;
        before = sent;
        return isSame && (await call('beside')) === 'beside';
      })
      .toBe(true);
    expect(sent).toBeLessThan(1_000);
    let count = 1;
    while ((await answers.next()).done !== true) count += 1;
    expect(count).toBe(3_000);
  });

  it('agrees on HTTP/2 over TLS, and breaks off with a server that does not', async () => {
    const directory = await temporaryDirectory('grpc-pki');
    const pki = await openPki({ directory, clock: systemClock });
    const { certificate: cert, key } = await pki.serverCertificate({ name: 'grpc', commonName: 'grpc', hosts: ['localhost'] });
    const seen: Record<string, unknown>[] = [];
    const speaking = createSecureServer({ cert, key }).on('stream', (stream, headers) => {
      seen.push(headers);
      stream.resume();
      reply([frame('secret')])(stream, '', headers);
    });
    const silent = createTlsServer({ cert, key });
    for (const [each, outcome] of [
      [speaking, 'secret'],
      [silent, expect.objectContaining({ message: expect.stringContaining('does not offer HTTP/2 over TLS') })],
    ] as const) {
      each.listen(0, '127.0.0.1');
      await once(each, 'listening');
      const { port } = each.address() as AddressInfo;
      const encrypted = createGrpcClient({
        connect: () => connectTls({ host: '127.0.0.1', port, servername: 'localhost', ca: pki.caCertificate, ALPNProtocols: ['h2'] }),
        authority: `localhost:${port}`,
        clock: systemClock,
      });
      expect(await encrypted.call(echo, 'x', { timeoutMs: 5_000 }).catch((err: unknown) => err)).toEqual(outcome);
      encrypted.close();
      await new Promise((resolve) => each.close(resolve));
      if (each === speaking) expect(seen).toMatchObject([{ ':scheme': 'https', ':authority': `localhost:${port}` }]);
    }
    await rm(directory, { recursive: true });
  });
});
