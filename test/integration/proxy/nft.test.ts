import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { type RunProgram, removeNftTable, whyNoNft } from '../../../src/base/nft/run-program.ts';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import { createNftBackend } from '../../../src/proxy/nft-backend.ts';
import { frameOf } from '../../../src/proxy/nft-rules.ts';
import type { Forward } from '../../../src/proxy/table.ts';
import { run } from '../../support/cluster.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const prefix = `msnft${process.pid}`;
const table = { name: 'midship-proxy-209', podCidr: '10.209.16.0/24', clusterCidr: '10.209.0.0/16', serviceCidr: '10.209.0.0/20' };
const pods = { a: '10.209.16.2', b: '10.209.16.3' };
const outside = { node: '192.0.2.1', client: '192.0.2.2' };
const netns = (name: string): string => `${prefix}-${name}`;

/** Runs a program in the network of a namespace. Its output, or a rejection with what it complained about. */
async function inside(name: string, program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run('nsenter', [`--net=/run/netns/${netns(name)}`, program, ...args]);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const runInNode: RunProgram = async (program, args, input) => {
  const child = spawn('nsenter', [`--net=/run/netns/${netns('node')}`, program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (complaint += part));
  child.stdin.end(input ?? '');
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${complaint}\n${input ?? ''}`);
  return output;
};

const hasTools =
  process.getuid?.() === 0 && (await run('sh', ['-c', 'command -v nft ip nsenter bash']).catch(() => ({ code: 1 }))).code === 0;
const why = hasTools ? await whyNoNft(frameOf(table)) : 'no root, or no nft, ip, nsenter and bash';

/** Answers each connection with its name and the client's address, by TCP and UDP. */
const server = `
const { createServer } = require('net'); const { createSocket } = require('dgram'); const name = process.argv[1];
createServer((socket) => socket.on('error', () => {}).end(name + ' ' + socket.remoteAddress + '\\n')).listen(8080, '0.0.0.0', () => console.log('up'));
const udp = createSocket('udp4'); udp.on('message', (_, from) => udp.send(name + '\\n', from.port, from.address)); udp.bind(5353);`;

describe.skipIf(why !== undefined)(
  `rules of the kernel (needs root and nft${why === undefined ? '' : `: ${why}`})`,
  { timeout: 60_000 },
  () => {
    const servers: ChildProcess[] = [];
    let backend: ProxyBackend;

    beforeAll(async () => {
      const ip = async (...args: string[]): Promise<void> => {
        const { code, stderr } = await run('ip', args);
        if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
      };
      const connect = async (
        name: string,
        { address, gateway, link }: { address: string; gateway: string; link: string },
      ): Promise<void> => {
        await ip('netns', 'add', netns(name));
        await ip('link', 'add', link, 'netns', netns('node'), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns(name));
        await ip('-n', netns('node'), 'addr', 'add', `${gateway}/32`, 'dev', link);
        await ip('-n', netns('node'), 'link', 'set', link, 'up');
        await ip('-n', netns('node'), 'route', 'add', address, 'dev', link, 'src', gateway);
        await ip('-n', netns(name), 'addr', 'add', `${address}/32`, 'dev', 'eth0');
        for (const each of ['lo', 'eth0']) await ip('-n', netns(name), 'link', 'set', each, 'up');
        await ip('-n', netns(name), 'route', 'add', gateway, 'dev', 'eth0', 'scope', 'link');
        await ip('-n', netns(name), 'route', 'add', 'default', 'via', gateway);
      };
      await ip('netns', 'add', netns('node'));
      await ip('-n', netns('node'), 'link', 'set', 'lo', 'up');
      await inside('node', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
      await ip('-n', netns('node'), 'route', 'add', 'local', table.serviceCidr, 'dev', 'lo');
      await connect('a', { address: pods.a, gateway: '10.209.16.1', link: 'pod-a' });
      await connect('b', { address: pods.b, gateway: '10.209.16.1', link: 'pod-b' });
      await connect('client', { address: outside.client, gateway: outside.node, link: 'lan' });
      await Promise.all(
        (['a', 'b'] as const).map(async (name) => {
          const child = spawn('nsenter', [`--net=/run/netns/${netns(name)}`, process.execPath, '-e', server, name], {
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          servers.push(child);
          await once(child.stdout, 'data');
        }),
      );
    }, 120_000);
    afterAll(async () => {
      for (const child of servers) child.kill('SIGKILL');
      for (const name of ['a', 'b', 'client', 'node']) await run('ip', ['netns', 'delete', netns(name)]);
    });

    beforeEach(() => {
      backend = createNftBackend({
        table,
        nodeName: 'node',
        run: runInNode,
        clock: systemClock,
        log: createLog({ level: 'silent' }),
        metrics: createMetrics(),
      });
    });
    afterEach(() => backend.stop());

    const forward = (changes: Partial<Forward>): Forward => ({
      address: '10.209.0.5',
      port: 80,
      protocol: 'TCP',
      masquerade: 'outside',
      service: 'default/web',
      portName: '',
      affinityMs: undefined,
      endpoints: Object.values(pods).map((address) => ({ address, port: 8_080 })),
      ...changes,
    });
    /** `NAME CLIENT` of the server that answers each of `count` connections. Rejects when one fails. */
    const dialMany = async (from: string, address: string, { port = 80, count = 16 } = {}): Promise<string[]> => {
      const script = `for _ in $(seq ${count}); do exec 3<>/dev/tcp/${address}/${port} && cat <&3 || exit 1; done`;
      return (await inside(from, 'timeout', '15', 'bash', '-c', script)).trim().split('\n');
    };
    const dial = async (from: string, address: string, port = 80): Promise<string> =>
      (await dialMany(from, address, { port, count: 1 }))[0] ?? '';
    const namesOf = (answers: readonly string[]): string[] => [...new Set(answers.map((answer) => answer.split(' ')[0] ?? ''))].sort();
    const clientsOf = (answers: readonly string[]): string[] => [...new Set(answers.map((answer) => answer.split(' ')[1] ?? ''))].sort();

    it('lead an address to all endpoints, and keep the address of a pod', async () => {
      await backend.set('default/web', [forward({})]);
      const fromPod = await dialMany('a', '10.209.0.5');
      expect(namesOf(fromPod)).toEqual(['a', 'b']);
      // Pod b sees pod a; pod a sees itself as the node, or its answer would not come back this way.
      expect(fromPod.filter((answer) => answer.startsWith('b')).every((answer) => answer.endsWith(pods.a))).toBe(true);
      expect(fromPod.filter((answer) => answer.startsWith('a')).every((answer) => answer.endsWith('10.209.16.1'))).toBe(true);
      expect(namesOf(await dialMany('node', '10.209.0.5'))).toEqual(['a', 'b']);
    });

    it('keep a client with its endpoint', async () => {
      await backend.set('default/web', [forward({ affinityMs: 60_000 })]);
      const first = await dial('b', '10.209.0.5');
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toEqual(namesOf([first]));
      // Another Service does not change that.
      await backend.set('default/other', [forward({ service: 'default/other', address: '10.209.0.6' })]);
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toEqual(namesOf([first]));
    });

    it('open node ports and external addresses, with the address of the client where the policy is Local', async () => {
      await backend.set('default/web', [
        forward({ address: '*', port: 30_080, masquerade: 'always' }),
        forward({ address: '198.51.100.7', masquerade: 'never' }),
      ]);
      const byPort = await dialMany('client', outside.node, { port: 30_080 });
      expect(namesOf(byPort)).toEqual(['a', 'b']);
      expect(clientsOf(byPort)).toEqual(['10.209.16.1']);
      expect(clientsOf(await dialMany('client', '198.51.100.7'))).toEqual([outside.client]);
      // Addresses of Services are none of the node.
      await expect(dial('client', '10.209.0.9', 30_080)).rejects.toThrow(/refused/i);
    });

    it('give away no address of the cluster', () => {
      const serves = (address: string): boolean | undefined => backend.abilities.servesAddress?.(address);
      expect(['10.209.0.1', '10.209.16.2', '10.209.17.2', '127.0.0.1', '0.0.0.0'].filter(serves)).toEqual([]);
      expect(serves('198.51.100.7')).toBe(true);
    });

    it('refuse at once without endpoints, and lead again when there are some', async () => {
      await backend.set('default/web', [forward({ endpoints: [] }), forward({ address: '*', port: 30_080, endpoints: [] })]);
      for (const [from, address, port] of [
        ['a', '10.209.0.5', 80],
        ['node', '10.209.0.5', 80],
        ['client', outside.node, 30_080],
      ] as const)
        await expect(dial(from, address, port)).rejects.toThrow(/refused/i);
      await backend.set('default/web', [forward({})]);
      expect(namesOf(await dialMany('a', '10.209.0.5'))).toEqual(['a', 'b']);
      await backend.set('default/web', [forward({ endpoints: [{ address: pods.b, port: 8_080 }] })]);
      expect(namesOf(await dialMany('a', '10.209.0.5'))).toEqual(['b']);
    });

    it('lead UDP of one client to another endpoint when its own is gone', async () => {
      const udp = (address: string): Forward => forward({ protocol: 'UDP', port: 53, endpoints: [{ address, port: 5_353 }] });
      await backend.set('default/dns', [udp(pods.a)]);
      const script = 'exec 3<>/dev/udp/10.209.0.5/53; while read -r _; do echo x >&3; timeout 5 head -n 1 <&3 || echo lost; done';
      const client = spawn('nsenter', [`--net=/run/netns/${netns('client')}`, 'bash', '-c', script], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
      const ask = async (): Promise<string> => {
        client.stdin.write('\n');
        return String((await lines.next()).value);
      };
      expect(await ask()).toBe('a');
      await backend.set('default/dns', [udp(pods.b)]);
      expect(await ask()).toBe('b');
      client.kill();
    });

    it('are written again when somebody else changes them, and removed at the end', async () => {
      const clock = createManualClock();
      const watched = createNftBackend({
        table,
        nodeName: 'node',
        run: runInNode,
        clock,
        log: createLog({ level: 'silent' }),
        metrics: createMetrics(),
      });
      const set = async (endpoints: Forward['endpoints']): Promise<void> => {
        const done = watched.set('default/web', [forward({ endpoints, affinityMs: 1_000 })]);
        clock.advance(100);
        await done;
      };
      await runInNode('nft', ['add', 'table', 'ip', 'others']);
      await set([{ address: pods.a, port: 8_080 }]);
      expect(await dial('client', '10.209.0.5')).toMatch(/^a/);
      await runInNode('nft', ['flush', 'chain', 'ip', table.name, 'services']);
      await expect(dial('client', '10.209.0.5')).rejects.toThrow(/refused/i);
      await expect
        .poll(
          () => {
            clock.advance(30_000);
            return dial('client', '10.209.0.5').catch(() => '');
          },
          { timeout: 20_000 },
        )
        .toMatch(/^a/);
      // A change of what is gone is refused; the next try makes the whole table.
      await runInNode('nft', ['delete', 'table', 'ip', table.name]);
      await set([{ address: pods.b, port: 8_080 }]);
      await expect
        .poll(
          () => {
            clock.advance(5_000);
            return dial('client', '10.209.0.5').catch(() => '');
          },
          { timeout: 20_000 },
        )
        .toMatch(/^b/);
      await watched.stop();
      expect((await runInNode('nft', ['list', 'tables'])).trim()).toBe('table ip others');
      await removeNftTable(table, runInNode);
      await runInNode('nft', ['delete', 'table', 'ip', 'others']);
    });
  },
);
