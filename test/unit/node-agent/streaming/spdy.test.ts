import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { type SpdyStream, serveSpdy } from '../../../../src/node-agent/streaming/spdy.ts';

/** The frames that kubectl sends to forward one connection: the headers of a connection are one compressed stream. */
const openErrorStream = Buffer.from(
  '800300010000003e0000000100000000000078f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c60616061c0c0c0c0590489c64c50f2663400000000ffff',
  'hex',
);
const closeErrorStream = Buffer.from('0000000101000000', 'hex');
const openDataStream = Buffer.from('800300010000001a00000003000000000000826a26ac0ad57850499508000000ffff', 'hex');

interface Peer {
  /** Bytes that the server has sent so far. */
  sent(): Buffer;
  readonly streams: SpdyStream[];
  readonly done: Promise<string>;
  write(...frames: readonly Buffer[]): void;
  end(): void;
  /** Lets the server work until it waits for more. */
  settle(): Promise<void>;
}

function connect({ maxStreams = 10, head = Buffer.alloc(0) } = {}): Peer {
  const sent: Buffer[] = [];
  const streams: SpdyStream[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, callback) {
      sent.push(chunk);
      callback();
    },
  });
  const done = serveSpdy({
    socket,
    head,
    maxStreams,
    onStream(stream) {
      stream.on('error', () => undefined);
      streams.push(stream);
    },
  }).then(
    () => 'ended',
    (err: Error) => err.message,
  );
  return {
    sent: () => Buffer.concat(sent),
    streams,
    done,
    write: (...frames) => void socket.push(Buffer.concat(frames)),
    end: () => void socket.push(null),
    async settle() {
      // Decompression is done by another thread, so a number of turns is no measure.
      for (let quiet = 0, before = ''; quiet < 10; ) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        const now = `${sent.length} ${streams.map((stream) => `${stream.readableLength} ${stream.destroyed}`)}`;
        quiet = now === before ? quiet + 1 : 0;
        before = now;
      }
    },
  };
}

const control = (type: number, body: Buffer, length = body.length): Buffer => {
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE((0x80030000 | type) >>> 0, 0);
  frame.writeUInt32BE(length, 4);
  return Buffer.concat([frame, body]);
};
const data = (id: number, payload: string, fin = false): Buffer => {
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(id, 0);
  frame.writeUInt32BE((fin ? 0x01000000 : 0) + payload.length, 4);
  return Buffer.concat([frame, Buffer.from(payload)]);
};

describe('SPDY', () => {
  it('opens the streams that kubectl opens, and answers as the real server does', async () => {
    const peer = connect();
    peer.write(openErrorStream, closeErrorStream, openDataStream);
    await peer.settle();
    expect(peer.streams.map(({ headers }) => Object.fromEntries(headers))).toEqual([
      { streamtype: 'error', port: '8080', requestid: '0' },
      { streamtype: 'data', port: '8080', requestid: '0' },
    ]);
    // Replies to both; the first carries the head of the compressed stream.
    expect(peer.sent().toString('hex')).toBe(
      '80030002000000180000000178f9e3c6a7c2000400fbff00000000000000ffff' + '800300020000001200000003000400fbff00000000000000ffff',
    );
  });

  it('reads frames however they are cut, also those that came with the upgrade', async () => {
    const peer = connect({ head: openErrorStream.subarray(0, 11) });
    for (const byte of Buffer.concat([openErrorStream.subarray(11), closeErrorStream, openDataStream, data(3, 'hello')])) {
      peer.write(Buffer.of(byte));
    }
    await peer.settle();
    expect(peer.streams).toHaveLength(2);
    expect(String(peer.streams[1]?.read())).toBe('hello');
  });

  it('carries data both ways, and closes each side for itself', async () => {
    const peer = connect();
    peer.write(openErrorStream);
    await peer.settle();
    const [stream] = peer.streams;
    const before = peer.sent().length;
    peer.write(data(1, 'ping'), data(1, '', true));
    await peer.settle();
    expect(String(stream?.read())).toBe('ping');
    stream?.end('pong');
    await peer.settle();
    expect(peer.sent().subarray(before)).toEqual(Buffer.concat([data(1, 'pong'), data(1, '', true)]));
    stream?.resume();
    await peer.settle();
    expect(stream?.destroyed).toBe(true);
  });

  it('ends streams that are reset, and resets those that are destroyed', async () => {
    const peer = connect();
    peer.write(openErrorStream, openDataStream);
    await peer.settle();
    const before = peer.sent().length;
    peer.write(control(3, Buffer.from('0000000100000005', 'hex')));
    await peer.settle();
    expect(peer.streams[0]?.destroyed).toBe(true);
    peer.streams[1]?.destroy();
    await peer.settle();
    expect(peer.sent().subarray(before)).toEqual(control(3, Buffer.from('0000000300000005', 'hex')));
    // Late frames of streams that are gone are nothing to complain about.
    peer.write(data(3, 'late'), data(1, 'late'), control(6, Buffer.from('00000007', 'hex')));
    await peer.settle();
    expect(peer.sent().subarray(-4).toString('hex')).toBe('00000007');
  });

  it('does not read on for a stream that nobody reads', async () => {
    const peer = connect();
    const piece = data(1, 'x'.repeat(100_000));
    peer.write(openErrorStream);
    for (let count = 0; count < 10; count += 1) peer.write(piece);
    peer.write(control(6, Buffer.from('00000001', 'hex')));
    await peer.settle();
    expect(peer.streams[0]?.readableLength).toBeLessThan(500_000);
    const before = peer.sent().length;
    peer.streams[0]?.resume();
    await peer.settle();
    expect(peer.sent().length).toBeGreaterThan(before);
  });

  it('refuses more streams than it may have', async () => {
    const peer = connect({ maxStreams: 1 });
    peer.write(openErrorStream, openDataStream);
    await peer.settle();
    expect(peer.streams).toHaveLength(1);
    expect(peer.sent().subarray(-16)).toEqual(control(3, Buffer.from('0000000300000003', 'hex')));
  });

  it.each([
    ['another version', Buffer.from('8002000100000000', 'hex'), 'not SPDY version 3'],
    ['a control frame without bound', control(1, Buffer.alloc(0), 0xffffff), 'control frame of 16777215 bytes'],
    ['a short SYN_STREAM', control(1, Buffer.alloc(4)), 'SYN_STREAM is too short'],
    ['headers that are garbage', control(1, Buffer.from('00000001000000000000deadbeef', 'hex')), 'headers that cannot be decompressed'],
    [
      'an even stream id',
      Buffer.concat([openErrorStream.subarray(0, 11), Buffer.of(2), openErrorStream.subarray(12)]),
      'stream id 2 after 0',
    ],
    ['a reply to nothing', control(2, Buffer.alloc(4)), "frame of type 2 is not a client's to send here"],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), undefined],
  ])('hangs up on %s', async (_, bytes, message) => {
    const peer = connect();
    peer.write(bytes);
    peer.end();
    expect(await peer.done).toBe(message ?? 'the connection ended within a frame');
    expect(peer.streams).toEqual([]);
  });

  it('ends its streams with the connection', async () => {
    const peer = connect();
    peer.write(openErrorStream, openDataStream);
    await peer.settle();
    peer.end();
    expect(await peer.done).toBe('ended');
    expect(peer.streams.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });
});
