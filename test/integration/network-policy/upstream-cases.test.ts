import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Namespace } from '../../../src/api/core/v1/namespace.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { NetworkPolicy } from '../../../src/api/networking/v1/network-policy.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createNftKeeper, type NftKeeper } from '../../../src/base/nft/keeper.ts';
import { compilePolicies } from '../../../src/network-policy/compile.ts';
import { type PoliciesOnNode, policyFrame, policyRulesOf } from '../../../src/network-policy/policy-rules.ts';
import { run } from '../../support/cluster.ts';
import { KernelNetwork, whyNoKernelNetwork } from '../../support/kernel-network.ts';
import { type PolicyPod, policyNamespace, policyOf, policyPod, policyPods } from '../../support/policy-world.ts';

const table = 'midship-policy-208';
const gateway = '10.208.16.1';
const outside = { node: '192.0.2.1', client: '192.0.2.2' };
const network = new KernelNetwork('mspol');
const { runInNode } = network;
const keys = Object.keys(policyPods) as PolicyPod[];

const inside = (name: string, script: string): Promise<string> => network.inside(name, 'bash', '-c', script);

const why = await whyNoKernelNetwork(policyFrame(table));

/** Answers on two ports by TCP, and prints which of the addresses on its input it reaches. */
const server = `
const { connect, createServer } = require('net');
const reaches = (place) => new Promise((resolve) => {
  const [host, port] = place.split(':');
  const end = (does) => { socket.destroy(); resolve(does ? place : undefined); };
  const socket = connect({ host, port: Number(port) }, () => end(true)).on('error', () => end(false)).setTimeout(2000, () => end(false));
});
require('readline').createInterface({ input: process.stdin }).on('line', async (line) =>
  console.log((await Promise.all(line.split(' ').map(reaches))).filter(Boolean).join(' ')));
createServer((socket) => socket.on('error', () => {})).listen(81, '0.0.0.0');
createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(80, '0.0.0.0', () => console.log('up'));`;

/**
 * Sends the first packet of an association. No kernel that runs this has to know SCTP: the rules look at packets.
 *
 * @see RFC 9260, sections 3.1 and 3.3.2; the checksum is CRC32c
 */
const sctp = `
import socket, struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
if len(sys.argv) > 1:
    for port in sys.argv[2:]:
        head, chunk = struct.pack('!HHI', 40000, int(port), 0), struct.pack('!BBHIIHHI', 1, 0, 20, 7, 65536, 1, 1, 7)
        raw.sendto(head + struct.pack('<I', crc32c(head + bytes(4) + chunk)) + chunk, (sys.argv[1], 0))
else:
    print('up', flush=True)
    while True:
        packet, peer = raw.recvfrom(1500)
        print(peer[0], struct.unpack('!H', packet[22:24])[0], flush=True)`;
/** Prints address and port of each packet that arrives at ports 80 and 81. */
const udp = `
const { createSocket } = require('dgram');
for (const port of [80, 81]) createSocket('udp4').on('message', (_, from) => console.log(from.address + ' ' + port)).bind(port, port === 81 ? () => console.log('up') : undefined);`;
const whyNoSctp = (await run('sh', ['-c', 'command -v python3'])).code === 0 ? undefined : 'no python3, which can send such packets';
const receiverOf = { UDP: [process.execPath, '-e', udp], SCTP: ['python3', '-SE', '-c', sctp] } as const;
/** Sends a packet to each of the ports. */
const senderOf = (protocol: 'UDP' | 'SCTP', address: string, ports: readonly number[]): [string, ...string[]] =>
  protocol === 'UDP'
    ? ['bash', '-c', ports.map((port) => `echo x > /dev/udp/${address}/${port}`).join('; ')]
    : ['python3', '-SE', '-c', sctp, address, ...ports.map(String)];

interface World {
  readonly policies: readonly NetworkPolicy[];
  readonly pods?: readonly Pod[];
  readonly namespaces?: readonly Namespace[];
}

const allPods = keys.map((key) => policyPod(key, policyPods[key]));
const both = [policyNamespace('x'), policyNamespace('y')];

/** Judges one connection; ports are TCP. */
type Expected = (connection: { readonly from: PolicyPod; readonly to: PolicyPod; readonly port: 80 | 81 }) => boolean;

interface Case extends World {
  readonly name: string;
  readonly expected: Expected;
}

const pod = (name: string) => ({ podSelector: { matchLabels: { pod: name } } });
const inNamespace = (name: string) => ({ namespaceSelector: { matchLabels: { ns: name } } });
const toA = { podSelector: { matchLabels: { pod: 'a' } } };
const everything = { podSelector: {} };
const tcp = (port: number | string, endPort?: number) => ({
  protocol: 'TCP' as const,
  port,
  ...(endPort === undefined ? {} : { endPort }),
});
const isInX = (key: PolicyPod): boolean => key.startsWith('x/');

/** Names are those of upstream's `[sig-network] Netpol` suite. */
const cases: readonly Case[] = [
  {
    name: "should support a 'default-deny-ingress' policy",
    policies: [policyOf('p', everything)],
    expected: ({ to }) => !isInX(to),
  },
  {
    name: "should support a 'default-deny-all' policy",
    policies: [policyOf('p', { ...everything, policyTypes: ['Ingress', 'Egress'] })],
    expected: ({ from, to }) => !isInX(to) && !isInX(from),
  },
  {
    name: 'should enforce policy to allow traffic from pods within server namespace based on PodSelector',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [pod('b')] }] })],
    expected: ({ from, to }) => to !== 'x/a' || from === 'x/b',
  },
  {
    name: 'should enforce policy to allow ingress traffic for a target',
    policies: [policyOf('deny', everything), policyOf('p', { ...toA, ingress: [{}] })],
    expected: ({ to }) => to !== 'x/b',
  },
  {
    name: 'should enforce policy to allow ingress traffic from pods in all namespaces',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [{ namespaceSelector: {} }] }] })],
    expected: () => true,
  },
  {
    name: 'should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [inNamespace('y')] }] })],
    expected: ({ from, to }) => to !== 'x/a' || !isInX(from),
  },
  {
    name: 'should enforce policy based on PodSelector with MatchExpressions',
    policies: [
      policyOf('p', {
        ...toA,
        ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'In', values: ['b'] }] } }] }],
      }),
    ],
    expected: ({ from, to }) => to !== 'x/a' || from === 'x/b',
  },
  {
    name: 'should enforce policy based on NamespaceSelector with MatchExpressions using default ns label',
    policies: [
      policyOf('p', {
        ...toA,
        ingress: [
          {
            from: [{ namespaceSelector: { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['x'] }] } }],
          },
        ],
      }),
    ],
    expected: ({ from, to }) => to !== 'x/a' || !isInX(from),
  },
  {
    name: 'should enforce policy based on PodSelector or NamespaceSelector',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [inNamespace('y'), pod('b')] }] })],
    expected: () => true,
  },
  {
    name: 'should enforce policy based on PodSelector and NamespaceSelector',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [{ ...inNamespace('y'), ...pod('b') }] }] })],
    expected: ({ from, to }) => to !== 'x/a' || from === 'y/b',
  },
  {
    name: 'should enforce policy based on Ports',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [inNamespace('y')], ports: [tcp(81)] }] })],
    expected: ({ from, to, port }) => to !== 'x/a' || (!isInX(from) && port === 81),
  },
  {
    name: 'should enforce policy based on a range of ports (endPort)',
    policies: [policyOf('p', { ...toA, ingress: [{ ports: [tcp(70, 80), tcp(79), tcp(75, 80)] }] })],
    expected: ({ to, port }) => to !== 'x/a' || port === 80,
  },
  {
    name: 'should enforce multiple, stacked policies with overlapping podSelectors',
    policies: [
      policyOf('first', { ...toA, ingress: [{ from: [inNamespace('y')], ports: [tcp(80)] }] }),
      policyOf('second', { ...toA, ingress: [{ from: [inNamespace('y')], ports: [tcp(81)] }] }),
    ],
    expected: ({ from, to }) => to !== 'x/a' || !isInX(from),
  },
  {
    name: 'should support allow-all policy',
    policies: [policyOf('p', { ...everything, ingress: [{}] })],
    expected: () => true,
  },
  {
    name: 'should allow ingress access on one named port',
    policies: [policyOf('p', { ...everything, ingress: [{ ports: [tcp('serve-81')] }] })],
    expected: ({ to, port }) => !isInX(to) || port === 81,
  },
  {
    name: 'should allow egress access on one named port',
    policies: [policyOf('p', { ...toA, policyTypes: ['Egress'], egress: [{ ports: [tcp('serve-80')] }] })],
    expected: ({ from, port }) => from !== 'x/a' || port === 80,
  },
  {
    name: 'should deny ingress from pods on other namespaces',
    policies: [policyOf('p', { ...everything, ingress: [{ from: [everything] }] })],
    expected: ({ from, to }) => !isInX(to) || isInX(from),
  },
  {
    name: 'should deny egress from pods based on PodSelector',
    policies: [policyOf('p', { ...toA, policyTypes: ['Egress'] })],
    expected: ({ from }) => from !== 'x/a',
  },
  {
    name: 'should work with Ingress, Egress specified together',
    policies: [
      policyOf('p', {
        ...toA,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [pod('b')] }],
        egress: [{ ports: [tcp(80)] }],
      }),
    ],
    expected: ({ from, to, port }) => (to !== 'x/a' || from === 'x/b') && (from !== 'x/a' || port === 80),
  },
  {
    name: 'should support denying of egress traffic on the client side (even if the server explicitly allows this traffic)',
    policies: [
      policyOf('client', { ...toA, policyTypes: ['Egress'], egress: [{ to: [{ ...inNamespace('y'), ...pod('a') }] }] }),
      policyOf('server', { ...everything, ingress: [{ from: [{ ...inNamespace('x'), ...pod('a') }] }] }, 'y'),
    ],
    expected: ({ from, to }) => (from !== 'x/a' || to === 'y/a') && (isInX(to) || from === 'x/a'),
  },
  {
    name: 'should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector',
    policies: [policyOf('p', { ...toA, policyTypes: ['Egress'], egress: [{ to: [{ ...inNamespace('y'), ...pod('a') }] }] })],
    expected: ({ from, to }) => from !== 'x/a' || to === 'y/a',
  },
  {
    name: 'should enforce ingress policy allowing any port traffic to a server on a specific protocol',
    policies: [policyOf('p', { ...toA, ingress: [{ ports: [{ protocol: 'TCP' }] }] })],
    expected: () => true,
  },
  {
    name: 'should not allow access by TCP when a policy specifies only UDP',
    policies: [policyOf('p', { ...toA, ingress: [{ ports: [{ protocol: 'UDP', port: 81 }] }] })],
    expected: ({ to }) => to !== 'x/a',
  },
  {
    name: "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP'",
    policies: [policyOf('p', { ...toA, ingress: [{ ports: [{ protocol: 'SCTP', port: 80 }] }] })],
    expected: ({ to }) => to !== 'x/a',
  },
  {
    name: 'should enforce multiple ingress policies with ingress allow-all policy taking precedence',
    policies: [policyOf('some', { ...toA, ingress: [{ from: [pod('b')] }] }), policyOf('all', { ...everything, ingress: [{}] })],
    expected: () => true,
  },
  {
    name: 'should enforce multiple egress policies with egress allow-all policy taking precedence',
    policies: [
      policyOf('some', { ...toA, policyTypes: ['Egress'], egress: [{ to: [pod('b')] }] }),
      policyOf('all', { ...everything, policyTypes: ['Egress'], egress: [{}] }),
    ],
    expected: () => true,
  },
  {
    name: 'should allow egress access to server in CIDR block',
    policies: [policyOf('p', { ...toA, policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: `${policyPods['y/b']}/32` } }] }] })],
    expected: ({ from, to }) => from !== 'x/a' || to === 'y/b',
  },
  {
    name: 'should enforce except clause while egress access to server in CIDR block',
    policies: [
      policyOf('p', {
        ...toA,
        policyTypes: ['Egress'],
        // The address has bits beyond its prefix; the second hole lies in the first one.
        egress: [
          {
            to: [{ ipBlock: { cidr: '10.208.16.9/24', except: [`${policyPods['y/a']}/31`, `${policyPods['y/b']}/32`] } }],
          },
        ],
      }),
    ],
    expected: ({ from, to }) => from !== 'x/a' || isInX(to),
  },
  {
    name: 'should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed',
    policies: [
      policyOf('hole', {
        ...toA,
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: [`${policyPods['y/a']}/32`] } }] }],
      }),
      policyOf('block', { ...toA, policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: `${policyPods['y/a']}/32` } }] }] }),
    ],
    expected: () => true,
  },
  {
    name: 'should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector',
    policies: [policyOf('p', { ...toA, policyTypes: ['Egress'] }), policyOf('q', { ...toA, ingress: [{ from: [pod('b')] }] })],
    expected: ({ from, to }) => from !== 'x/a' && (to !== 'x/a' || from === 'x/b'),
  },
  {
    name: 'should enforce policies of a range of IPv6 as nobody of IPv4',
    policies: [policyOf('p', { ...toA, ingress: [{ from: [{ ipBlock: { cidr: 'fd00::/8' } }] }] })],
    expected: ({ to }) => to !== 'x/a',
  },
];

describe.skipIf(why !== undefined)(
  `network policies in the kernel (needs root and nft${why === undefined ? '' : `: ${why}`})`,
  { timeout: 60_000, shuffle: false },
  () => {
    const servers = new Map<string, { readonly child: ChildProcess; readonly ask: (line: string) => Promise<string> }>();
    let present: PoliciesOnNode = { spec: {}, addresses: new Map() };
    let keeper: NftKeeper<PoliciesOnNode>;

    beforeAll(async () => {
      await network.create();
      for (const [index, key] of keys.entries()) await network.connect(key, policyPods[key], { link: `veth${index}`, gateway });
      await network.connect('client', outside.client, { link: 'lan', gateway: outside.node });
      await Promise.all(
        [...keys, 'node', 'client'].map(async (name) => {
          const [enter, where] = network.entry(name);
          const child = spawn(enter, [where, process.execPath, '-e', server], {
            stdio: ['pipe', 'pipe', 'inherit'],
          });
          const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
          const ask = async (line: string): Promise<string> => {
            child.stdin.write(`${line}\n`);
            return String((await lines.next()).value);
          };
          servers.set(name, { child, ask });
          await lines.next();
        }),
      );
      keeper = createNftKeeper({
        frame: policyFrame(table),
        read: () => present,
        rulesOf: policyRulesOf,
        run: runInNode,
        clock: systemClock,
        log: createLog({ level: 'silent' }),
      });
    }, 120_000);
    afterAll(async () => {
      await keeper?.stop();
      for (const { child } of servers.values()) child.kill('SIGKILL');
      await network.remove();
    });

    const addressesOf = (pods: readonly Pod[]): ReadonlyMap<string, string> =>
      new Map(pods.map(({ metadata, status }) => [metadata.uid ?? '', status?.podIP ?? '']));
    async function enforce({ policies, pods = allPods, namespaces = both }: World): Promise<void> {
      const spec = compilePolicies({ policies, pods, namespaces, isCredible: () => true }).specOf('node');
      present = { spec, addresses: addressesOf(pods) };
      expect(await keeper.apply()).toBe(true);
    }

    /** `TO PORT` of what `from` reaches. */
    async function reached(from: string): Promise<ReadonlySet<string>> {
      const places = new Map<string, string>(
        keys.flatMap((to) => [80, 81].map((port) => [`${policyPods[to]}:${port}`, `${to} ${port}`] as const)),
      );
      const answer = await servers.get(from)?.ask([...places.keys()].join(' '));
      return new Set((answer ?? '').split(' ').flatMap((place) => places.get(place) ?? []));
    }
    /** Connections that are not as expected: `FROM TO PORT passes`. */
    async function wrong(expected: Expected): Promise<readonly string[]> {
      const rows = await Promise.all(
        keys.map(async (from) => {
          const passes = await reached(from);
          return keys.flatMap((to) =>
            ([80, 81] as const).flatMap((port) => {
              // A pod always reaches itself.
              const should = from === to || expected({ from, to, port });
              const does = passes.has(`${to} ${port}`);
              return does === should ? [] : [`${from} ${to} ${port} ${does ? 'passes' : 'is refused'}`];
            }),
          );
        }),
      );
      return rows.flat();
    }

    it.each(cases)('$name', async ({ expected, ...world }) => {
      await enforce(world);
      expect(await wrong(expected)).toEqual([]);
      // Probes of the node, and answers to it.
      expect((await reached('node')).size).toBe(8);
    });

    it('should enforce updated policy, pods and namespaces, and stop enforcing policies after they are deleted', async () => {
      const policies = [
        policyOf('p', { ...toA, ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 'red' } }, ...pod('b') }] }] }),
      ];
      await enforce({ policies });
      expect(await wrong(({ to }) => to !== 'x/a')).toEqual([]);
      const red = [policyNamespace('x'), policyNamespace('y', { team: 'red' })];
      await enforce({ policies, namespaces: red });
      expect(await wrong(({ from, to }) => to !== 'x/a' || from === 'y/b')).toEqual([]);
      const renamed = allPods.map((each) =>
        each.metadata.uid === 'y/a' ? policyPod('y/a', policyPods['y/a'], { labels: { pod: 'b' } }) : each,
      );
      await enforce({ policies, namespaces: red, pods: renamed });
      expect(await wrong(({ from, to }) => to !== 'x/a' || !isInX(from))).toEqual([]);
      await enforce({ policies: [] });
      expect(await wrong(() => true)).toEqual([]);
    });

    it('let nothing pass to and from a pod that the control plane has not looked at', async () => {
      await enforce({ policies: [], pods: allPods.filter(({ metadata }) => metadata.uid !== 'x/a') });
      present = { spec: present.spec, addresses: addressesOf(allPods) };
      await keeper.apply();
      expect(await wrong(({ from, to }) => from !== 'x/a' && to !== 'x/a')).toEqual([]);
    });

    it('let connections go on that were open, and judge clients from outside by their address', async () => {
      await enforce({ policies: [] });
      const [enter, where] = network.entry('y/b');
      const held = spawn(
        enter,
        [where, 'bash', '-c', `exec 3<>/dev/tcp/${policyPods['x/a']}/80; echo open; read -r _; echo hello >&3; timeout 5 head -n 1 <&3`],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      const lines = held.stdout.setEncoding('utf8')[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe('open\n');
      await enforce({ policies: [policyOf('p', { ...toA, ingress: [{ from: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }] })] });
      expect(await wrong(({ to }) => to !== 'x/a')).toEqual([]);
      expect((await reached('client')).size).toBe(8);
      held.stdin.write('\n');
      expect((await lines.next()).value).toBe('hello\n');
      await enforce({
        policies: [policyOf('p', { ...toA, ingress: [{ from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.2/32'] } }] }] })],
      });
      expect([...(await reached('client'))].filter((line) => line.startsWith('x/a'))).toEqual([]);
    });

    describe.each([
      ['UDP', undefined],
      ['SCTP', whyNoSctp],
    ] as const)('using %s', (protocol, whyNotHere) => {
      const port = (number: number) => ({ protocol, port: number });
      /** Pods whose packets arrive at `x/a`, with the port. Packets of the node, which always pass, end the look at each port. */
      async function arriving(): Promise<readonly string[]> {
        const [enter, where] = network.entry('x/a');
        const receiver = spawn(enter, [where, ...receiverOf[protocol]], { stdio: ['ignore', 'pipe', 'inherit'] });
        const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
        await lines.next();
        const send = (from: string, ...ports: readonly number[]) => network.inside(from, ...senderOf(protocol, policyPods['x/a'], ports));
        await Promise.all(keys.filter((from) => from !== 'x/a').map((from) => send(from, 80, 81)));
        await send('node', 80, 81);
        const seen: string[] = [];
        // Each port has a queue of its own, and nothing says which is read first.
        for (const open = new Set(['80', '81']); open.size > 0; ) {
          const [address, number = ''] = String((await lines.next()).value).split(' ');
          if (address === gateway) open.delete(number);
          else seen.push(`${keys.find((key) => policyPods[key] === address)} ${number}`);
        }
        receiver.kill();
        return seen.sort();
      }
      const all = ['x/b 80', 'x/b 81', 'y/a 80', 'y/a 81', 'y/b 80', 'y/b 81'];

      it.skipIf(whyNotHere !== undefined)(`should support a 'default-deny-ingress' policy (needs python3 for SCTP)`, async () => {
        await enforce({ policies: [] });
        expect(await arriving()).toEqual(all);
        await enforce({ policies: [policyOf('p', everything)] });
        expect(await arriving()).toEqual([]);
      });

      it.skipIf(whyNotHere !== undefined)(`should enforce policy based on Ports (needs python3 for SCTP)`, async () => {
        await enforce({ policies: [policyOf('p', { ...toA, ingress: [{ from: [inNamespace('y')], ports: [port(81)] }] })] });
        expect(await arriving()).toEqual(['y/a 81', 'y/b 81']);
      });

      it.skipIf(whyNotHere !== undefined)(
        `should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector (needs python3 for SCTP)`,
        async () => {
          await enforce({ policies: [policyOf('p', { ...toA, ingress: [{ from: [{ ...inNamespace('y'), ...pod('a') }] }] })] });
          expect(await arriving()).toEqual(['y/a 80', 'y/a 81']);
        },
      );
    });

    it('drop packets of a pod that names the address of another', async () => {
      await enforce({ policies: [policyOf('p', { ...toA, ingress: [{ from: [pod('b')] }] })] });
      const [enter, where] = network.entry('x/a');
      const receive = spawn(
        enter,
        [
          where,
          process.execPath,
          '-e',
          `const s = require('dgram').createSocket('udp4'); s.on('message', (m, f) => console.log(String(m) + ' ' + f.address)); s.bind(9, () => console.log('up'));`,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const lines = receive.stdout.setEncoding('utf8')[Symbol.asyncIterator]();
      await lines.next();
      // Without strict checks of its own the kernel passes such packets on.
      await inside('node', 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done');
      await inside('y/b', `ip addr add ${policyPods['x/b']}/32 dev lo`);
      const send = `const s = require('dgram').createSocket('udp4'); s.bind(0, '${policyPods['x/b']}', () => s.send(process.argv[1], 9, '${policyPods['x/a']}', () => s.close()));`;
      const sendFrom = (key: PolicyPod, text: string) => network.inside(key, process.execPath, '-e', send, text);
      await sendFrom('y/b', 'forged');
      await sendFrom('x/b', 'real');
      expect((await lines.next()).value).toBe(`real ${policyPods['x/b']}\n`);
      receive.kill();
      await inside('y/b', `ip addr del ${policyPods['x/b']}/32 dev lo`);
    });
  },
);
