import { getEventListeners } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGrpcClient, type GrpcClient, type GrpcClientOptions, GrpcError, grpcCodes } from '../../../src/base/grpc.ts';
import { encodeHeader } from '../../../src/base/http2/hpack.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The socket of a client whose server is the test. */
class Wire extends Duplex {
  isReading = true;
  #sent: Buffer = Buffer.alloc(0);
  #waiting: (() => void) | undefined;

  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#sent = Buffer.concat([this.#sent, chunk]);
    if (this.isReading) done();
    else this.#waiting = done;
  }
  setNoDelay(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  readOn(): void {
    this.isReading = true;
    this.#waiting?.();
  }

  /** The frames that the client has sent after its preface. */
  frames(type?: number): Frame[] {
    const found: Frame[] = [];
    for (let at = 24; at + 9 <= this.#sent.length; at += 9 + this.#sent.readUIntBE(at, 3)) {
      const payload = this.#sent.subarray(at + 9, at + 9 + this.#sent.readUIntBE(at, 3));
      found.push({ type: this.#sent[at + 3] ?? 0, flags: this.#sent[at + 4] ?? 0, streamId: this.#sent.readUInt32BE(at + 5), payload });
    }
    return type === undefined ? found : found.filter((each) => each.type === type);
  }

  async serve(...frames: readonly Buffer[]): Promise<void> {
    this.push(Buffer.concat(frames));
    await turns();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

const [data, headers, priority, reset, settings, push, ping, goAway, credit, continuation] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const [end, whole, padded, withPriority, answers] = [0x1, 0x4, 0x8, 0x20, 0x1];

function frame(type: number, flags: number, streamId: number, payload: Buffer | string = ''): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload.replaceAll(' ', ''), 'hex') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, bytes]);
}
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const setting = (id: number, value: number): Buffer => frame(settings, 0, 0, Buffer.concat([Buffer.from([0, id]), number(value)]));
const block = (fields: Record<string, string>): Buffer =>
  Buffer.from(
    Object.entries(fields)
      .map(([name, value]) => encodeHeader(name, value))
      .join(''),
    'latin1',
  );
const grpcHead = block({ ':status': '200', 'content-type': 'application/grpc' });
const message = (text: string): Buffer => Buffer.concat([Buffer.from([0]), number(text.length), Buffer.from(text)]);
const trailers = (streamId: number): Buffer => frame(headers, end | whole, streamId, block({ 'grpc-status': '0' }));
const reply = (streamId: number, text: string): Buffer =>
  Buffer.concat([frame(headers, whole, streamId, grpcHead), frame(data, 0, streamId, message(text)), trailers(streamId)]);
const hello = frame(settings, 0, 0);

const echo = {
  path: '/test.Echo/Say',
  encode: (text: string) => Buffer.from(text),
  decode: (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8'),
};

let wires: Wire[];
let clock: ManualClock;
let client: GrpcClient;
const start = (options: Partial<GrpcClientOptions> = {}): void => {
  wires = [];
  clock = createManualClock();
  const connect = (): Socket => {
    const wire = new Wire();
    wires.push(wire);
    return wire as unknown as Socket;
  };
  client = createGrpcClient({ connect, clock, ...options });
};
const wire = (at = 0): Wire => wires[at] as Wire;
/** A call whose server has got it. */
async function call(request = 'hello', timeoutMs = 5_000): Promise<{ readonly outcome: Promise<string | GrpcError> }> {
  const outcome = client.call(echo, request, { timeoutMs }).catch((err: unknown) => err as GrpcError);
  await turns();
  return { outcome };
}
const sentTo = (streamId: number): number =>
  wire()
    .frames(data)
    .filter((each) => each.streamId === streamId)
    .reduce((sum, each) => sum + each.payload.length, 0);

beforeEach(() => start());
afterEach(() => client.close());

describe('a connection of HTTP/2 ends with the code of the standard', () => {
  const [protocol, flow, size, compression, calm] = [1, 3, 6, 9, 11];
  it.each<readonly [string, Buffer, number]>([
    ['a frame larger than asked for', frame(data, 0, 1, Buffer.alloc(16_385)), size],
    ['a push', frame(push, whole, 1, '00000002'), protocol],
    ['data of the connection', frame(data, 0, 0, '00'), protocol],
    ['data of a stream that nobody opened', frame(data, 0, 3, '00'), protocol],
    ['headers of a stream of its own', frame(headers, whole, 2, grpcHead), protocol],
    ['settings of a stream', frame(settings, 0, 1), protocol],
    ['settings that are cut short', frame(settings, 0, 0, '0004000000'), size],
    ['an answer to settings with settings', frame(settings, answers, 0, '000400000001'), size],
    ['frames without room', setting(5, 0), protocol],
    ['frames that are too large', setting(5, 2 ** 24), protocol],
    ['that clients push', setting(2, 1), protocol],
    ['a window that is too large', setting(4, 2 ** 31), flow],
    ['a window that is too large for a stream', Buffer.concat([frame(credit, 0, 1, number(2 ** 31 - 65_536)), setting(4, 65_600)]), flow],
    ['a reset that is cut short', frame(reset, 0, 1, '000000'), size],
    ['a reset of the connection', frame(reset, 0, 0, '00000001'), protocol],
    ['a ping that is cut short', frame(ping, 0, 0, '00'), size],
    ['a ping of a stream', frame(ping, 0, 1, '0000000000000000'), protocol],
    ['a farewell that is cut short', frame(goAway, 0, 0, '00000000'), size],
    ['a farewell of a stream', frame(goAway, 0, 1, '0000000000000000'), protocol],
    ['a credit of five bytes', frame(credit, 0, 0, '0000000100'), size],
    ['a credit of nothing', frame(credit, 0, 0, '00000000'), protocol],
    ['a credit that is too large', frame(credit, 0, 0, '7fffffff'), flow],
    ['headers within headers', Buffer.concat([frame(headers, 0, 1, '88'), hello]), protocol],
    ['a continuation of nothing', frame(continuation, whole, 1, '88'), protocol],
    ['continuations without an end', Buffer.concat([frame(headers, 0, 1), ...Array(5_000).fill(frame(continuation, 0, 1))]), calm],
    ['headers that are none', frame(headers, whole, 1, 'ff'), compression],
    ['a change of the table within headers', frame(headers, whole, 1, '88 3f00'), compression],
    ['padding beyond its frame', frame(data, padded, 1, '0500'), protocol],
    ['a priority that is cut short', frame(headers, whole | withPriority, 1, '00'), size],
  ])('when the server sends %s', async (_, bytes, code) => {
    const { outcome } = await call();
    await wire().serve(hello, bytes);
    expect(await outcome).toMatchObject({ code: grpcCodes.unavailable });
    expect(wire().frames(goAway).at(-1)?.payload.readUInt32BE(4)).toBe(code);
    expect(wire().destroyed).toBe(true);
  });

  it('when the server speaks another protocol', async () => {
    const { outcome } = await call();
    await wire().serve(Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
    expect(String(await outcome)).toContain('does not speak HTTP/2');
  });

  it('when the server asks and reads no answers', async () => {
    const { outcome } = await call();
    wire().isReading = false;
    for (let at = 0; at < 11; at += 1) await wire().serve(hello, ...Array(99).fill(frame(ping, 0, 0, '0000000000000000')));
    expect(String(await outcome)).toContain('without reading the answers');
    start();
    const second = await call();
    for (let at = 0; at < 11; at += 1) await wire().serve(hello, ...Array(99).fill(frame(ping, 0, 0, '0000000000000000')));
    await wire().serve(reply(1, 'all read'));
    expect(await second.outcome).toBe('all read');
  });

  it('when the server sends a stream more than its window while nobody reads', async () => {
    const batches = client.open(echo, { signal: new AbortController().signal }).batches[Symbol.asyncIterator]();
    await turns();
    const many = frame(data, 0, 1, Buffer.concat(Array(3_000).fill(message(''))));
    await wire().serve(hello, frame(headers, whole, 1, grpcHead), many);
    expect(wire().destroyed).toBe(false);
    for (let at = 0; at < 5; at += 1) await wire().serve(many);
    expect(wire().frames(goAway).at(-1)?.payload.readUInt32BE(4)).toBe(flow);
    expect((await batches.next()).value?.length).toBeGreaterThan(3_000);
    await expect(batches.next()).rejects.toThrow('more than the window');
  });

  it('when the server ends its side, though the rest of a request waits for the socket', async () => {
    const { outcome } = await call('x'.repeat(50_000), 60_000);
    wire().isReading = false;
    await wire().serve(hello);
    wire().push(null);
    expect(await outcome).toMatchObject({ code: grpcCodes.unavailable });
  });
});

describe('a stream of HTTP/2 ends alone', () => {
  const first = frame(headers, whole, 1, grpcHead);
  const long = 'v'.repeat(4_000);
  it.each<readonly [string, Buffer, number]>([
    ['a credit of nothing', frame(credit, 0, 1, '00000000'), 1],
    ['a credit that is too large', frame(credit, 0, 1, '7fffffff'), 3],
    ['data before headers', frame(data, 0, 1, message('early')), 1],
    ['names in upper case', frame(headers, whole, 1, block({ ':status': '200', 'Content-Type': 'application/grpc' })), 1],
    ['headers of the connection', frame(headers, whole, 1, block({ ':status': '200', connection: 'close' })), 1],
    ['no status of HTTP', frame(headers, whole, 1, block({ 'content-type': 'application/grpc' })), 1],
    ['two of them', frame(headers, whole, 1, Buffer.concat([block({ ':status': '200' }), grpcHead])), 1],
    ['headers within the data', Buffer.concat([first, frame(headers, whole, 1, block({ more: 'yes' }))]), 1],
    ['a status at the end', Buffer.concat([first, frame(headers, whole | end, 1, grpcHead)]), 1],
    ['an informational answer alone', frame(headers, whole | end, 1, block({ ':status': '100' })), 1],
    // 0x40 puts a literal into the table, and each 0xbe repeats it.
    [
      'a few bytes that are many headers',
      frame(
        headers,
        whole,
        1,
        Buffer.concat([grpcHead, Buffer.from(`\x40${encodeHeader('a', long).slice(1)}`, 'latin1'), Buffer.alloc(200, 0xbe)]),
      ),
      1,
    ],
  ])('when the server sends %s', async (_, bytes, code) => {
    const { outcome } = await call();
    await wire().serve(hello, bytes);
    expect(await outcome).toMatchObject({ code: grpcCodes.unavailable });
    expect(wire().frames(reset)).toMatchObject([{ streamId: 1, payload: number(code) }]);
    const { outcome: later } = await call();
    await wire().serve(reply(3, 'fine'));
    expect(await later).toBe('fine');
    expect(wires).toHaveLength(1);
  });

  it('and not for what a client has to bear', async () => {
    const { outcome } = await call();
    const padding = Buffer.concat([Buffer.from([7]), message('he'), Buffer.alloc(7)]);
    await wire().serve(
      hello,
      frame(0xfa, 0xff, 1, 'abcdef'),
      frame(priority, 0, 5, '0000000010'),
      frame(headers, whole, 1, block({ ':status': '103', link: 'x' })),
      frame(headers, whole | padded | withPriority, 1, Buffer.concat([Buffer.from('020000000010', 'hex'), grpcHead, Buffer.alloc(2)])),
      frame(data, 0, 1),
      frame(data, padded, 1, padding),
      trailers(1),
      // Late frames of a stream that has ended.
      frame(credit, 0, 1, '00000000'),
      frame(data, 0, 1, '00'),
    );
    expect(await outcome).toBe('he');
    expect(wire().destroyed).toBe(false);
  });
});

describe('a client of HTTP/2', () => {
  it('keeps to a window that the server makes smaller than what is under way', async () => {
    await call('x'.repeat(100_000));
    await wire().serve(hello);
    expect(sentTo(1)).toBe(65_535);
    await wire().serve(setting(4, 1_000), frame(credit, 0, 0, number(1_000_000)));
    await wire().serve(frame(credit, 0, 1, number(64_535)));
    expect(sentTo(1)).toBe(65_535);
    await wire().serve(frame(credit, 0, 1, number(10)));
    expect(sentTo(1)).toBe(65_545);
    await wire().serve(setting(4, 50_000));
    expect(sentTo(1)).toBe(100_005);
    expect(wire().frames(data).at(-1)?.flags).toBe(end);
  });

  it('gives each stream its turn when the window of the connection is small', async () => {
    await call('x'.repeat(200_000));
    await wire().serve(hello, setting(4, 1_000_000));
    for (const _ of [1, 2]) await call('x'.repeat(200_000));
    expect([sentTo(1), sentTo(3), sentTo(5)]).toEqual([65_535, 0, 0]);
    for (let at = 0; at < 3; at += 1) await wire().serve(frame(credit, 0, 0, number(1_000)));
    expect([sentTo(1), sentTo(3), sentTo(5)]).toEqual([66_535, 1_000, 1_000]);
  });

  it('opens 100 streams before it knows how many the server allows', async () => {
    const calls = Array.from({ length: 150 }, () => client.call(echo, 'x', { timeoutMs: 5_000 }).catch((err: unknown) => err));
    await turns();
    expect(wire().frames(headers)).toHaveLength(100);
    await wire().serve(setting(3, 120));
    expect(wire().frames(headers)).toHaveLength(120);
    await wire().serve(reply(1, 'first'));
    expect(wire().frames(headers)).toHaveLength(121);
    expect(await calls[0]).toBe('first');
  });

  it('sends a request once more that the server has not looked at', async () => {
    const calls = await Promise.all(['a', 'b', 'c'].map((text) => call(text)));
    // The first of the three was taken.
    await wire().serve(hello, frame(goAway, 0, 0, Buffer.concat([number(1), number(0)])));
    expect(wires).toHaveLength(2);
    await wire(1).serve(hello, reply(1, 'b'), reply(3, 'c'));
    await wire(0).serve(reply(1, 'a'));
    expect(await Promise.all(calls.map(({ outcome }) => outcome))).toEqual(['a', 'b', 'c']);
    expect(wire(0).destroyed).toBe(true);
    const { outcome } = await call('again');
    await wire(1).serve(frame(reset, 0, 5, number(7)));
    await wire(1).serve(frame(reset, 0, 7, number(7)));
    expect(await outcome).toMatchObject({ code: grpcCodes.unavailable, message: expect.stringContaining('REFUSED_STREAM') });
    // The outcome of any other reset is not known.
    const { outcome: other } = await call();
    await wire(1).serve(frame(reset, 0, 9, number(2)));
    expect(String(await other)).toContain('INTERNAL_ERROR');
    expect(wire(1).frames(headers)).toHaveLength(5);
  });

  it('queues no more than one request for a socket that takes none', async () => {
    const { outcome } = await call();
    await wire().serve(hello, setting(4, 2 ** 30), frame(credit, 0, 0, number(2 ** 30)), reply(1, 'ready'));
    await outcome;
    wire().isReading = false;
    for (let at = 0; at < 50; at += 1) {
      const { outcome: late } = await call('x'.repeat(100_000), 10);
      clock.advance(20);
      expect(await late).toMatchObject({ code: grpcCodes.deadlineExceeded });
    }
    expect(wire().writableLength).toBeLessThan(250_000);
    const { outcome: last } = await call('last');
    wire().readOn();
    await turns();
    const { streamId } = wire().frames(headers).at(-1) as Frame;
    await wire().serve(reply(streamId, 'there'));
    expect(await last).toBe('there');
  });

  it('ends a stream whose server reads none of its requests', async () => {
    const exchange = client.open(echo, { signal: new AbortController().signal });
    await turns();
    await wire().serve(hello, setting(4, 0));
    for (let at = 0; at < 300; at += 1) exchange.send('more');
    await expect(exchange.batches[Symbol.asyncIterator]().next()).rejects.toThrow('256 requests unread');
    expect(wire().frames(reset)).toHaveLength(0);
    await turns();
    expect(wire().frames(reset)).toHaveLength(1);
  });

  it('leaves no listener behind when a stream ends that nobody reads, and ends one as cancelled', async () => {
    const abort = new AbortController();
    const exchange = client.open(echo, { signal: abort.signal });
    await turns();
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    await wire().serve(hello, frame(headers, whole | end, 1, Buffer.concat([grpcHead, block({ 'grpc-status': '5' })])));
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    await expect(exchange.batches[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: grpcCodes.notFound });
    const second = client.open(echo, { signal: abort.signal }).batches[Symbol.asyncIterator]().next();
    await turns();
    abort.abort();
    await expect(second).rejects.toMatchObject({ code: grpcCodes.cancelled });
  });

  it('pings while a call waits, and not a connection without calls', async () => {
    start({ pings: { everyMs: 6_000, timeoutMs: 2_000 } });
    const { outcome } = await call('x', 60_000);
    await wire().serve(hello);
    clock.advance(6_001);
    await turns();
    expect(wire().frames(ping)).toHaveLength(1);
    await wire().serve(frame(ping, answers, 0, '0000000000000000'), reply(1, 'done'));
    expect(await outcome).toBe('done');
    for (let at = 0; at < 5; at += 1) clock.advance(6_001);
    await turns();
    expect(wire().frames(ping)).toHaveLength(1);
    const { outcome: last } = await call('x', 60_000);
    clock.advance(6_001);
    clock.advance(2_001);
    expect(String(await last)).toContain('no answer to a ping');
  });

  it.each<readonly [string, Record<string, string>, Buffer, Record<string, string>, Partial<GrpcError>]>([
    ['another type', { ':status': '200', 'content-type': 'text/html' }, message('x'), {}, { code: grpcCodes.unknown }],
    ['a refusal of a proxy', { ':status': '403' }, message('x'), {}, { code: grpcCodes.permissionDenied }],
    ['no status', { ':status': '200', 'content-type': 'application/grpc' }, message('x'), { other: '1' }, { code: grpcCodes.unknown }],
    [
      'an empty status',
      { ':status': '200', 'content-type': 'application/grpc' },
      message('x'),
      { 'grpc-status': '' },
      { code: grpcCodes.unknown },
    ],
    [
      'half an answer',
      { ':status': '200', 'content-type': 'application/grpc+proto' },
      message('xyz').subarray(0, 7),
      { 'grpc-status': '0' },
      { code: grpcCodes.internal },
    ],
  ])('fails a call that is answered with %s', async (_, head, body, tail, error) => {
    const { outcome } = await call();
    await wire().serve(hello, frame(headers, whole, 1, block(head)), frame(data, 0, 1, body), frame(headers, whole | end, 1, block(tail)));
    expect(await outcome).toBeInstanceOf(GrpcError);
    expect(await outcome).toMatchObject(error);
  });

  it('joins a message of thousands of pieces, and sends a deadline of eight digits', async () => {
    const text = Array.from({ length: 5_000 }, (_, at) => String.fromCharCode(97 + (at % 26))).join('');
    const { outcome } = await call('x', 10 ** 12);
    expect(wire().frames(headers)[0]?.payload.toString('latin1')).toContain('99999999m');
    const pieces = Array.from(message(text), (byte) => frame(data, 0, 1, Buffer.from([byte])));
    await wire().serve(hello, frame(headers, whole, 1, grpcHead), ...pieces, trailers(1));
    expect(await outcome).toBe(text);
  });
});
