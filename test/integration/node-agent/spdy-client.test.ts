import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectSpdy, type SpdyConnection, type SpdyStream, serveSpdy } from '../../../src/node-agent/streaming/spdy.ts';

let server: Server;
let accepted: Socket[];
let client: SpdyConnection;
let onStream: (stream: SpdyStream) => void;

beforeEach(async () => {
  accepted = [];
  server = createServer((socket) => {
    accepted.push(socket);
    serveSpdy({ socket, head: Buffer.alloc(0), maxStreams: 3, onStream: (stream) => onStream(stream) }).catch(() => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { readonly port: number };
  client = connectSpdy({ socket: connect(address.port, '127.0.0.1'), head: Buffer.alloc(0) });
});
afterEach(async () => {
  client.close();
  await client.ended.catch(() => undefined);
  await new Promise((resolve) => server.close(resolve));
});

async function textOf(stream: SpdyStream): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}

describe('the client of a SPDY server', () => {
  it('opens streams with headers, and carries data both ways until both sides end', async () => {
    const names: (string | undefined)[] = [];
    onStream = (stream) => {
      names.push(stream.headers.get('streamtype'));
      stream.pipe(stream);
    };
    const first = await client.open({ streamtype: 'stdin', extra: 'x'.repeat(300) });
    const second = await client.open({ streamtype: 'stdout' });
    const text = 'a'.repeat(1_000_000);
    first.end(text);
    second.end('short');
    expect(await textOf(second)).toBe('short');
    expect(await textOf(first)).toBe(text);
    expect(names).toEqual(['stdin', 'stdout']);
  });

  it('can end its own side and still read', async () => {
    onStream = (stream) => {
      let size = 0;
      stream.on('data', (piece: Buffer) => {
        size += piece.length;
      });
      stream.on('end', () => stream.end(`counted ${size}`));
    };
    const stream = await client.open({ streamtype: 'stdin' });
    stream.end(Buffer.alloc(70_000));
    expect(await textOf(stream)).toBe('counted 70000');
  });

  it('says when the server refuses a stream', async () => {
    onStream = (stream) => stream.on('error', () => undefined);
    for (let count = 0; count < 3; count += 1) (await client.open({})).on('error', () => undefined);
    await expect(client.open({})).rejects.toThrow('the peer refused the stream');
  });

  it('keeps what the server said before it reset the stream, as servers written in Go do', async () => {
    onStream = (stream) => {
      stream.on('error', () => undefined);
      stream.write('last words', () => stream.destroy());
    };
    const stream = await client.open({});
    stream.on('error', () => undefined);
    // The reset has arrived when nothing can be written any more.
    await expect.poll(() => stream.readableLength).toBe('last words'.length);
    expect(await textOf(stream)).toBe('last words');
    await new Promise<void>((resolve) => stream.write('more', () => resolve()));
    expect(stream.writable).toBe(false);
  });

  it('ends its streams with the connection, and fails the one that is being opened', async () => {
    onStream = (stream) => stream.on('error', () => undefined);
    const stream = await client.open({});
    stream.on('error', () => undefined);
    const reading = textOf(stream);
    for (const socket of accepted) socket.destroy();
    await client.ended.catch(() => undefined);
    await reading.catch(() => undefined);
    await expect(client.open({})).rejects.toThrow('closed');
  });

  it('fails on frames of another version', async () => {
    onStream = () => undefined;
    await expect.poll(() => accepted.length).toBe(1);
    accepted[0]?.write(Buffer.from('8002000600000004', 'hex'));
    await expect(client.ended).rejects.toThrow('not SPDY version 3');
  });
});
