import { afterEach, expect, it } from 'vitest';
import { events } from '../../../../src/api/core/v1/event.ts';
import { nodes } from '../../../../src/api/core/v1/node.ts';
import { services } from '../../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../../src/api/discovery/v1/endpoint-slice.ts';
import { serviceCidrs } from '../../../../src/api/networking/v1/service-cidr.ts';
import type { RunProgram } from '../../../../src/base/nft/run-program.ts';
import { createAnnouncedAddresses, neighbourOf } from '../../../../src/node-agent/network/announced-addresses.ts';
import { announcerOf } from '../../../../src/node-agent/network/announcer-election.ts';
import { createIpCommands } from '../../../../src/node-agent/network/ip-commands.ts';
import { type ControlPlane, startControlPlane } from '../../../support/control-plane.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';
import { until } from '../../../support/until.ts';

const namespace = 'default';
const names = ['a', 'b', 'c'] as const;
type Name = (typeof names)[number];
const addressOf = (name: Name): string => `192.0.2.${names.indexOf(name) + 1}`;

/** The addresses of a link, as `ip` shows and changes them. */
class Kernel {
  readonly own: string;
  readonly added = new Map<string, string>();

  constructor(own: string) {
    this.own = own;
  }

  readonly run: RunProgram = async (_, args) => {
    const [command, address = ''] = [args.join(' '), /([0-9.]+)\/32/.exec(args.join(' '))?.[1]];
    if (command.includes('addr add')) this.added.set(address, args.at(-1) ?? '');
    if (command.includes('addr del') && !this.added.delete(address)) throw new Error('Cannot assign requested address');
    if (!command.includes('addr show')) return '';
    const own = { local: this.own, prefixlen: 24 };
    const others = [...this.added].map(([local, protocol]) => ({ local, prefixlen: 32, protocol: `0x${Number(protocol).toString(16)}` }));
    return JSON.stringify([{ ifname: 'eth0', addr_info: [own, ...others] }]);
  };
}

let plane: ControlPlane;
let clock: ManualClock;
const kernels = new Map<Name, Kernel>();
const announced: string[] = [];
afterEach(() => plane.stop());

async function start(): Promise<void> {
  clock = createManualClock();
  announced.length = 0;
  for (const name of names) kernels.set(name, new Kernel(addressOf(name)));
  plane = await startControlPlane({
    controllers: names.map((nodeName) => (dependencies) => {
      const commands = createIpCommands((kernels.get(nodeName) ?? new Kernel('')).run);
      const announce = async (address: string) => void announced.push(`${nodeName} ${address}`);
      return createAnnouncedAddresses({ ...dependencies, clock, nodeName, nodeAddress: addressOf(nodeName), commands, announce });
    }),
  });
  await setPool('192.0.2.100-192.0.2.199');
  for (const name of names) {
    await plane.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    await setReady(name, 'True');
  }
}
const setPool = async (pool: string): Promise<void> => {
  const metadata = { name: 'kubernetes', annotations: { 'midship.dev/load-balancer-pool': pool } };
  const isThere = (await plane.client.list(serviceCidrs)).items.length > 0;
  if (isThere) await plane.client.patch(serviceCidrs, { name: 'kubernetes' }, { type: 'merge', body: { metadata } });
  else
    await plane.client.create(serviceCidrs, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata,
      spec: { cidrs: ['127.64.0.0/20'] },
    });
};
const setReady = (name: Name, status: string) =>
  plane.client.patch(
    nodes,
    { name },
    { type: 'merge', body: { status: { conditions: [{ type: 'Ready', status }] } } },
    { subresource: 'status' },
  );
async function addService(name: string, ip: string, policy: 'Cluster' | 'Local' = 'Cluster'): Promise<void> {
  await plane.client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { type: 'LoadBalancer', externalTrafficPolicy: policy, ports: [{ port: 80 }] },
  });
  const body = { status: { loadBalancer: { ingress: [{ ip, ipMode: 'VIP' }] } } };
  await plane.client.patch(services, { namespace, name }, { type: 'merge', body }, { subresource: 'status' });
}
const addEndpoint = (service: string, nodeName: Name) =>
  plane.client.create(endpointSlices, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${service}-${nodeName}`, namespace, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.42.0.9'], nodeName, conditions: { ready: true } }],
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  });
const holdersOf = (ip: string): string => names.filter((name) => kernels.get(name)?.added.has(ip) === true).join(' ');
const isHeldBy = (ip: string, wanted: string) =>
  until(() => holdersOf(ip) === wanted, { what: () => `${ip} is at ${wanted}, and not at ${holdersOf(ip)}` });
const electedOf = (ip: string, among: readonly Name[] = names): Name => announcerOf(ip, among) as Name;

it('gives an address to one node, which announces it several times and says so', async () => {
  await start();
  await addService('web', '192.0.2.100');
  await addEndpoint('web', 'b');
  const elected = electedOf('192.0.2.100');
  await isHeldBy('192.0.2.100', elected);
  expect(kernels.get(elected)?.added.get('192.0.2.100')).toBe('117');
  await until(
    () => {
      clock.advance(1_100);
      return announced.length === 5;
    },
    { what: 'five announcements' },
  );
  clock.advance(60_000);
  expect(new Set(announced)).toEqual(new Set([`${elected} 192.0.2.100`]));
  const event = await until(
    async () => (await plane.client.list(events, { namespace })).items.find(({ reason }) => reason === 'nodeAssigned'),
    { what: 'the Event' },
  );
  expect(event.message).toBe(`announcing from node "${elected}" with protocol "layer2"`);
});

it('moves the address of a lost node to another one, and back when it returns', async () => {
  await start();
  await addService('web', '192.0.2.100');
  await addEndpoint('web', 'b');
  const elected = electedOf('192.0.2.100');
  const others = names.filter((name) => name !== elected);
  await isHeldBy('192.0.2.100', elected);
  await setReady(elected, 'Unknown');
  await isHeldBy('192.0.2.100', electedOf('192.0.2.100', others));
  await setReady(elected, 'True');
  await isHeldBy('192.0.2.100', elected);
});

it('announces from a node with an endpoint where the policy is Local, and from none without endpoints', async () => {
  await start();
  await addService('web', '192.0.2.100', 'Local');
  await addService('mark', '192.0.2.101');
  await addEndpoint('mark', 'a');
  await isHeldBy('192.0.2.101', electedOf('192.0.2.101'));
  expect(holdersOf('192.0.2.100')).toBe('');
  const [, ...rest] = [electedOf('192.0.2.100'), ...names.filter((name) => name !== electedOf('192.0.2.100'))];
  const [only = 'a', other = 'a'] = rest;
  await addEndpoint('web', only);
  await isHeldBy('192.0.2.100', only);
  await plane.client.delete(endpointSlices, { namespace, name: `web-${only}` });
  await addEndpoint('web', other);
  await isHeldBy('192.0.2.100', other);
});

it('announces no address outside of the pool, and gives up those that leave it', async () => {
  await start();
  await addService('foreign', '198.51.100.1');
  await addService('web', '192.0.2.100');
  for (const name of ['foreign', 'web']) await addEndpoint(name, 'a');
  await isHeldBy('192.0.2.100', electedOf('192.0.2.100'));
  expect(holdersOf('198.51.100.1')).toBe('');
  await setPool('192.0.2.150-192.0.2.199');
  await isHeldBy('192.0.2.100', '');
  await setPool('no pool at all');
  await setPool('198.51.100.0/24');
  await isHeldBy('198.51.100.1', electedOf('198.51.100.1'));
});

it('takes up what a killed process left, and leaves addresses of others alone', async () => {
  await start();
  const elected = electedOf('192.0.2.100');
  const kernel = kernels.get(elected);
  kernel?.added.set('192.0.2.100', '117').set('192.0.2.180', '117').set('192.0.2.190', '3');
  await addService('web', '192.0.2.100');
  await addEndpoint('web', 'a');
  await until(() => kernel?.added.has('192.0.2.180') === false, { what: 'the address of no Service goes' });
  await isHeldBy('192.0.2.100', elected);
  expect([...(kernel?.added.keys() ?? [])].sort()).toEqual(['192.0.2.100', '192.0.2.190']);
  await plane.restart();
  await isHeldBy('192.0.2.100', elected);
});

it('spreads addresses over nodes, and moves only those of the node that goes', () => {
  const all = Array.from({ length: 300 }, (_, index) => `10.0.0.${index}`);
  const before = all.map((address) => announcerOf(address, names));
  for (const name of names) expect(before.filter((each) => each === name).length).toBeGreaterThan(60);
  const after = all.map((address) => announcerOf(address, ['a', 'c']));
  expect(after.filter((each, index) => before[index] !== 'b' && each !== before[index])).toEqual([]);
});

it('asks for the last neighbour of its segment that is not itself', () => {
  const ask = (nodeAddress: string, prefixLength: number) => neighbourOf({ name: 'eth0', nodeAddress, prefixLength });
  expect(ask('192.0.2.1', 24)).toBe('192.0.2.254');
  expect(ask('192.0.2.254', 24)).toBe('192.0.2.253');
  expect(ask('192.0.2.1', 32)).toBeUndefined();
});
