import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { removeNftTable } from '../../../src/base/nft/run-program.ts';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import { createNftBackend } from '../../../src/proxy/nft-backend.ts';
import { frameOf } from '../../../src/proxy/nft-rules.ts';
import type { Forward } from '../../../src/proxy/table.ts';
import { KernelNetwork, whyNoKernelNetwork } from '../../support/kernel-network.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const table = { name: 'midship-proxy-209', podCidr: '10.209.16.0/24', clusterCidr: '10.209.0.0/16', serviceCidr: '10.209.0.0/20' };
const pods = { a: '10.209.16.2', b: '10.209.16.3' };
const outside = { node: '192.0.2.1', client: '192.0.2.2' };
const network = new KernelNetwork('msnft');
const { inside, runInNode } = { inside: network.inside.bind(network), runInNode: network.runInNode };
const why = await whyNoKernelNetwork(frameOf(table));

/** Answers each connection with its name, and the client's address and port; by UDP with its name. */
const server = `
const { createServer } = require('net'); const { createSocket } = require('dgram'); const name = process.argv[1];
createServer((socket) => socket.on('error', () => {}).end([name, socket.remoteAddress, socket.remotePort].join(' ') + '\\n')).listen(8080, '0.0.0.0', () => console.log('up'));
const udp = createSocket('udp4'); udp.on('message', (_, from) => udp.send(name + '\\n', from.port, from.address)); udp.bind(5353);`;

describe.skipIf(why !== undefined)(
  `rules of the kernel (needs root and nft${why === undefined ? '' : `: ${why}`})`,
  { timeout: 60_000 },
  () => {
    const servers: ChildProcess[] = [];
    let backend: ProxyBackend;

    beforeAll(async () => {
      await network.create();
      await inside('node', 'ip', 'route', 'add', 'local', table.serviceCidr, 'dev', 'lo');
      await network.connect('a', pods.a, { link: 'pod-a', gateway: '10.209.16.1' });
      await network.connect('b', pods.b, { link: 'pod-b', gateway: '10.209.16.1' });
      await network.connect('client', outside.client, { link: 'lan', gateway: outside.node });
      await Promise.all(
        (['a', 'b'] as const).map(async (name) => {
          const [enter, where] = network.entry(name);
          const child = spawn(enter, [where, process.execPath, '-e', server, name], {
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          servers.push(child);
          await once(child.stdout, 'data');
        }),
      );
    }, 120_000);
    afterAll(async () => {
      for (const child of servers) child.kill('SIGKILL');
      await network.remove();
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
    /** `NAME CLIENT PORT` of the server that answers each of `count` connections. Rejects when one fails. */
    const dialMany = async (from: string, address: string, { port = 80, count = 16, seconds = 15 } = {}): Promise<string[]> => {
      const script = `for _ in $(seq ${count}); do exec 3<>/dev/tcp/${address}/${port} && cat <&3 || exit 1; done`;
      return (await inside(from, 'timeout', String(seconds), 'bash', '-c', script)).trim().split('\n');
    };
    const dial = async (from: string, address: string, port = 80, seconds = 15): Promise<string> =>
      (await dialMany(from, address, { port, count: 1, seconds }))[0] ?? '';
    const namesOf = (answers: readonly string[]): string[] => [...new Set(answers.map((answer) => answer.split(' ')[0] ?? ''))].sort();
    const clientsOf = (answers: readonly string[]): string[] => [...new Set(answers.map((answer) => answer.split(' ')[1] ?? ''))].sort();

    it('lead an address to all endpoints, and keep the address of a pod', async () => {
      await backend.set('default/web', [forward({})]);
      const fromPod = await dialMany('a', '10.209.0.5');
      expect(namesOf(fromPod)).toEqual(['a', 'b']);
      // Pod b sees pod a; pod a sees itself as the node, or its answer would not come back this way.
      expect(fromPod.filter((answer) => answer.startsWith('b')).every((answer) => answer.includes(` ${pods.a} `))).toBe(true);
      expect(fromPod.filter((answer) => answer.startsWith('a')).every((answer) => answer.includes(' 10.209.16.1 '))).toBe(true);
      expect(namesOf(await dialMany('node', '10.209.0.5'))).toEqual(['a', 'b']);
    });

    it('keep a client with its endpoint', async () => {
      await backend.set('default/web', [forward({ affinityMs: 60_000 })]);
      const first = await dial('b', '10.209.0.5');
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toEqual(namesOf([first]));
      // Another Service does not change that.
      await backend.set('default/other', [forward({ service: 'default/other', address: '10.209.0.6' })]);
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toEqual(namesOf([first]));
      // The affinity of a Service may go, and come again.
      await backend.set('default/web', [forward({})]);
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toEqual(['a', 'b']);
      await backend.set('default/web', [forward({ affinityMs: 60_000 })]);
      expect(namesOf(await dialMany('b', '10.209.0.5'))).toHaveLength(1);
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

    it('keep the port of a client whose address they change', async () => {
      await backend.set('default/web', [forward({ address: '*', port: 30_080, masquerade: 'always' })]);
      const script = `require('net').connect({ host: '${outside.node}', port: 30080, localPort: 23456 }).pipe(process.stdout);`;
      const answer = await inside('client', process.execPath, '-e', script);
      expect(answer.trim()).toMatch(/^[ab] 10\.209\.16\.1 23456$/);
    });

    it('serve a ServiceCIDR that was added, whose addresses have no node ports and no other Service', async () => {
      const own = forward({ address: '10.110.0.5', endpoints: [{ address: pods.a, port: 8_080 }] });
      const thief = forward({ ...own, service: 'default/thief', masquerade: 'always', endpoints: [{ address: pods.b, port: 8_080 }] });
      await backend.set('default/thief', [thief, forward({ address: '*', port: 30_081, service: 'default/thief', masquerade: 'always' })]);
      await backend.set('default/web', [own]);
      for (const from of ['b', 'client']) expect(namesOf(await dialMany(from, '10.110.0.5')), from).toEqual(['a']);
      await expect(dial('client', '10.110.0.5', 30_081, 1)).rejects.toThrow();
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

    it('let clients of the source ranges of a load balancer in, and drop all others', async () => {
      const balancer = (sources: string[]) => forward({ address: '198.51.100.7', masquerade: 'always', sources });
      await backend.set('default/web', [forward({}), balancer(['192.0.2.0/30', '192.0.2.0/24'])]);
      expect(namesOf(await dialMany('client', '198.51.100.7'))).toEqual(['a', 'b']);
      // The rule is of that address: pods go on to reach the Service by its own.
      await expect(dial('a', '198.51.100.7', 80, 1)).rejects.toThrow();
      expect(namesOf(await dialMany('a', '10.209.0.5'))).toEqual(['a', 'b']);
      await backend.set('default/web', [forward({}), balancer(['203.0.113.0/24'])]);
      await expect(dial('client', '198.51.100.7', 80, 1)).rejects.toThrow();
      await backend.set('default/web', [forward({}), forward({ address: '198.51.100.7', masquerade: 'always' })]);
      expect(namesOf(await dialMany('client', '198.51.100.7'))).toEqual(['a', 'b']);
    });

    it('drop packets for a policy Local without an endpoint here, and lead pods of the node to all endpoints', async () => {
      const balancer: Partial<Forward> = { address: '198.51.100.7', masquerade: 'never' };
      // As the node that announces it has it.
      await inside('node', 'ip', 'addr', 'add', '198.51.100.7/32', 'dev', 'lan');
      await backend.set('default/web', [forward({ ...balancer, endpoints: [], isElsewhere: true })]);
      // A refusal would come at once.
      await expect(dial('client', '198.51.100.7', 80, 1)).rejects.not.toThrow(/refused/i);
      const all = forward({}).endpoints;
      await backend.set('default/web', [forward({ ...balancer, endpoints: [{ address: pods.a, port: 8_080 }], insideEndpoints: all })]);
      expect(namesOf(await dialMany('client', '198.51.100.7'))).toEqual(['a']);
      expect(clientsOf(await dialMany('client', '198.51.100.7'))).toEqual([outside.client]);
      expect(namesOf(await dialMany('b', '198.51.100.7'))).toEqual(['a', 'b']);
      expect(namesOf(await dialMany('node', '198.51.100.7'))).toEqual(['a', 'b']);
      await inside('node', 'ip', 'addr', 'del', '198.51.100.7/32', 'dev', 'lan');
    });

    it('lead UDP of one client to another endpoint when its own is gone', async () => {
      const udp = (address: string): Forward => forward({ protocol: 'UDP', port: 53, endpoints: [{ address, port: 5_353 }] });
      await backend.set('default/dns', [udp(pods.a)]);
      const script = 'exec 3<>/dev/udp/10.209.0.5/53; while read -r _; do echo x >&3; timeout 5 head -n 1 <&3 || echo lost; done';
      const [enter, where] = network.entry('client');
      const client = spawn(enter, [where, 'bash', '-c', script], {
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
