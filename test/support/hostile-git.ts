import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { deflateSync } from 'node:zlib';

/** Ways in which a server of Git's protocol can fail its client. */
export type Hostility =
  | 'deltas that stand for gigabytes'
  | 'a line of progress without end'
  | 'a delta of nothing'
  | 'more objects than it sends';

export interface HostileGit {
  url(hostility: Hostility): string;
  stop(): void;
}

const hostilities: readonly Hostility[] = [
  'deltas that stand for gigabytes',
  'a line of progress without end',
  'a delta of nothing',
  'more objects than it sends',
];
const types = { commit: 1, tree: 2, blob: 3, delta: 7 } as const;

const packet = (content: Buffer | string): Buffer => {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes]);
};
const flush = Buffer.from('0000');
const idOf = (type: string, content: Buffer): string =>
  createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex');

/** Seven bits a byte, the lowest first. */
function number(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; bytes.length === 0 || rest > 0; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
  return Buffer.from(bytes);
}

/** @see gitformat-pack(5) */
function entry(type: keyof typeof types, content: Buffer, base?: string): Buffer {
  const rest = Math.floor(content.length / 16);
  const head = Buffer.concat([
    Buffer.from([(types[type] << 4) + (content.length % 16) + (rest > 0 ? 128 : 0)]),
    rest > 0 ? number(rest) : Buffer.alloc(0),
  ]);
  return Buffer.concat([head, Buffer.from(base ?? '', 'hex'), deflateSync(content)]);
}

function pack(entries: readonly Buffer[], count = entries.length): Buffer {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\0', 'latin1');
  head.writeUInt32BE(count, 8);
  const body = Buffer.concat([head, ...entries]);
  return Buffer.concat([body, createHash('sha1').update(body).digest()]);
}

/** Serves one small commit by smart HTTP, and with it something that nobody should have to read. */
export async function serveHostileGit(): Promise<HostileGit> {
  const blob = Buffer.from('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n');
  const tree = Buffer.concat([Buffer.from('100644 a.yaml\0'), Buffer.from(idOf('blob', blob), 'hex')]);
  const commit = Buffer.from(
    `tree ${idOf('tree', tree)}\nauthor a <a@example.com> 1700000000 +0000\ncommitter a <a@example.com> 1700000000 +0000\n\nx\n`,
  );
  const id = idOf('commit', commit);
  const good = [entry('commit', commit), entry('tree', tree), entry('blob', blob)];
  const base = Buffer.alloc(15 * 1024 * 1024, 'a');
  const copies = 100;
  // Each copies all of the base, whose size takes three bytes.
  const copyAll = Buffer.from([0xf0, base.length & 255, (base.length >> 8) & 255, base.length >> 16]);
  const bomb = Buffer.concat([number(base.length), number(copies * base.length), ...Array.from({ length: copies }, () => copyAll)]);
  const packs: Partial<Record<Hostility, Buffer>> = {
    'deltas that stand for gigabytes': pack([...good, entry('blob', base), entry('delta', bomb, idOf('blob', base))]),
    'a delta of nothing': pack([...good, entry('delta', bomb, '00'.repeat(20))]),
    'more objects than it sends': pack(good, 1_000_000),
  };

  const server = http.createServer((request, response) => {
    const hostility = hostilities[Number((request.url ?? '').split('/')[1])];
    if (request.method === 'GET') {
      response.setHeader('Content-Type', 'application/x-git-upload-pack-advertisement');
      const service = [packet('# service=git-upload-pack\n'), flush];
      response.end(Buffer.concat([...service, packet(`${id} HEAD\0side-band-64k shallow\n`), packet(`${id} refs/heads/main\n`), flush]));
      return;
    }
    let asked = '';
    request.setEncoding('latin1').on('data', (text: string) => {
      asked += text;
    });
    request.on('end', () => {
      response.setHeader('Content-Type', 'application/x-git-upload-pack-result');
      response.write(Buffer.concat([packet(`shallow ${id}\n`), flush]));
      if (!asked.endsWith('done\n')) {
        response.end();
        return;
      }
      response.write(packet('NAK\n'));
      const answer = hostility === undefined ? undefined : packs[hostility];
      if (answer === undefined) {
        const line = packet(Buffer.concat([Buffer.from([2]), Buffer.alloc(60_000, 'x')]));
        const flood = (): void => {
          while (!response.destroyed && response.write(line));
          if (!response.destroyed) response.once('drain', flood);
        };
        flood();
        return;
      }
      for (let at = 0; at < answer.length; at += 60_000) {
        response.write(packet(Buffer.concat([Buffer.from([1]), answer.subarray(at, at + 60_000)])));
      }
      response.end(flush);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: (hostility) => `http://127.0.0.1:${port}/${hostilities.indexOf(hostility)}/x.git`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
