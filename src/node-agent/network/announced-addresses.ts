import { createSocket } from 'node:dgram';
import { takesLoadBalancers } from '../../api/core/v1/load-balanced-node.ts';
import { nodes } from '../../api/core/v1/node.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { readyEndpointsOn } from '../../api/discovery/v1/serving-endpoints.ts';
import { slicesByService } from '../../api/discovery/v1/slices-by-service.ts';
import { serviceCidrs } from '../../api/networking/v1/service-cidr.ts';
import { annotations } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { InformerSet } from '../../client/informer.ts';
import { type AddressPool, parseAddressPool } from '../../machinery/address-pool.ts';
import { formatAddress, parseRange } from '../../machinery/addresses.ts';
import { keyOf } from '../../machinery/object.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { announcerOf } from './announcer-election.ts';
import { createIpCommands, type IpCommands } from './ip-commands.ts';
import { createKernelSync } from './kernel-sync.ts';

export interface AnnouncedAddressesOptions {
  readonly nodeName: string;
  readonly nodeAddress: string;
  readonly informers: InformerSet;
  readonly recorder: EventRecorder;
  readonly clock: Clock;
  readonly log: Log;
  readonly commands?: IpCommands;
  /** Tells the segment where an address is now; default: by ARP. */
  readonly announce?: (address: string, link: Link) => Promise<void>;
}

/** The link of the machine that has its address. */
export interface Link {
  readonly name: string;
  readonly nodeAddress: string;
  readonly prefixLength: number;
}

/** Marks addresses as ours in the kernel, as routes are. */
const protocol = '117';
/** Between two looks at the kernel, which drops the addresses of a link that is made again. */
const lookMs = 10_000;
/** A neighbour ignores another answer for a second after the last one, and a packet may be lost. */
const announcements = 5;
const announcementMs = 1_100;

/**
 * Gives this machine the addresses of load balancers that it is to announce: those of the pool whose Service elects it. The kernel answers
 * for them by ARP then, and the proxy leads their connections to endpoints.
 *
 * A machine that cannot see the API keeps its addresses: with the control plane away, no other one would take them.
 */
export function createAnnouncedAddresses(options: AnnouncedAddressesOptions): Component {
  const { nodeName, nodeAddress, informers, recorder, clock, log: parent, commands = createIpCommands() } = options;
  const announce = options.announce ?? ((address, link) => announceByArp(address, link, commands));
  const log = parent.child({ component: 'load-balancer-addresses' });
  const serviceInformer = informers.get(services);
  const nodeInformer = informers.get(nodes);
  const sliceInformer = informers.get(endpointSlices);
  const rangeInformer = informers.get(serviceCidrs);
  const unsubscribe: (() => void)[] = [];
  /** Announcements that an address is still to get. */
  const due = new Map<string, number>();
  const kernel = createKernelSync({
    clock,
    log,
    failureText: 'Could not announce addresses of load balancers',
    nextLookMs: () => (due.size > 0 ? announcementMs : lookMs),
    sync,
  });

  async function sync(): Promise<void> {
    const wanted = wantedAddresses();
    const present = await ownAddresses(commands);
    if (wanted.size === 0 && present.length === 0) return;
    const link = await linkOf(nodeAddress, commands);
    for (const { address, device } of present) {
      if (wanted.has(address)) continue;
      await commands.run('addr', 'del', `${address}/32`, 'dev', device);
      due.delete(address);
      log.info({ address }, 'Gave up the address of a load balancer');
    }
    for (const [address, service] of wanted) {
      if (!present.some((each) => each.address === address)) {
        await commands.run('addr', 'add', `${address}/32`, 'dev', link.name, 'proto', protocol);
        due.set(address, announcements);
        log.info({ address, service: keyOf(service) }, 'Took the address of a load balancer');
        recorder.record(service, {
          type: 'Normal',
          reason: 'nodeAssigned',
          message: `announcing from node "${nodeName}" with protocol "layer2"`,
        });
      }
    }
    for (const [address, left] of due) {
      await announce(address, link);
      if (left > 1) due.set(address, left - 1);
      else due.delete(address);
    }
  }

  function wantedAddresses(): ReadonlyMap<string, Service> {
    const wanted = new Map<string, Service>();
    const pool = poolNow();
    if (pool === undefined) return wanted;
    const able = [...nodeInformer.list()].filter(takesLoadBalancers).map(({ metadata }) => metadata.name);
    for (const service of serviceInformer.list()) {
      const addresses = announcedAddressesOf(service, pool);
      if (addresses.length === 0) continue;
      const slices = sliceInformer.byIndex(slicesByService.name, keyOf(service));
      const withEndpoints = new Set(able.filter((name) => readyEndpointsOn(slices, name) > 0));
      const isLocal = service.spec.externalTrafficPolicy === 'Local';
      const hasEndpoints = slices.some(({ endpoints }) => endpoints?.some(({ conditions }) => conditions?.ready !== false) === true);
      const candidates = isLocal ? [...withEndpoints] : hasEndpoints ? able : [];
      for (const address of addresses) if (announcerOf(address, candidates) === nodeName) wanted.set(address, service);
    }
    return wanted;
  }

  let parsed: { readonly text: string; readonly pool: AddressPool | undefined } = { text: '', pool: undefined };
  /** The control plane writes it; what it cannot have written announces nothing. */
  function poolNow(): AddressPool | undefined {
    const text = rangeInformer.get({ name: 'kubernetes' })?.metadata.annotations?.[annotations.loadBalancerPool] ?? '';
    if (text === parsed.text) return parsed.pool;
    let pool: AddressPool | undefined;
    try {
      pool = text === '' ? undefined : parseAddressPool(text);
    } catch (err) {
      log.warn({ err, pool: text }, 'Could not read the pool of load balancers');
    }
    parsed = { text, pool };
    return pool;
  }

  return {
    name: 'load-balancer-addresses',
    async start({ signal }) {
      sliceInformer.addIndex(slicesByService.name, slicesByService.keysOf);
      await informers.waitForSync({ signal });
      unsubscribe.push(
        serviceInformer.addHandler(({ before, after }) => {
          if (before?.spec.type === 'LoadBalancer' || after?.spec.type === 'LoadBalancer') kernel.queue();
        }),
        sliceInformer.addHandler(({ before, after }) => {
          const keys = [before, after].flatMap((slice) => (slice === undefined ? [] : slicesByService.keysOf(slice)));
          if (keys.some((key) => serviceInformer.getByKey(key)?.spec.type === 'LoadBalancer')) kernel.queue();
        }),
        // Heartbeats change Nodes all the time.
        nodeInformer.addHandler(({ before, after }) => {
          if ((before !== undefined && takesLoadBalancers(before)) !== (after !== undefined && takesLoadBalancers(after))) kernel.queue();
        }),
        rangeInformer.addHandler(kernel.queue),
      );
      kernel.queue();
      await kernel.settled();
    },
    async stop() {
      for (const remove of unsubscribe) remove();
      await kernel.stop();
      await removeAnnouncedAddresses(commands).catch((err: unknown) => log.warn({ err }, 'Could not give up addresses'));
    },
  };
}

/** Addresses of a Service in the pool. Those outside of it are announced by others. */
function announcedAddressesOf({ metadata, spec, status }: Service, pool: AddressPool): readonly string[] {
  if (spec.type !== 'LoadBalancer' || metadata.deletionTimestamp !== undefined) return [];
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip = '', ipMode }) => (ipMode !== 'Proxy' && pool.has(ip) ? [ip] : []));
}

/** Removes the addresses that this program gave the machine, also those of a process that was killed. */
export async function removeAnnouncedAddresses(commands: IpCommands = createIpCommands()): Promise<void> {
  for (const { address, device } of await ownAddresses(commands)) await commands.run('addr', 'del', `${address}/32`, 'dev', device);
}

interface AddressEntry {
  readonly ifname?: string;
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly protocol?: string }[];
}

async function ownAddresses({ list }: IpCommands): Promise<readonly { readonly address: string; readonly device: string }[]> {
  const entries = await list<AddressEntry>('addr', 'show');
  return entries.flatMap(({ ifname, addr_info = [] }) =>
    addr_info.flatMap(({ local, protocol: found }) =>
      ifname !== undefined && local !== undefined && Number(found) === Number(protocol) ? [{ address: local, device: ifname }] : [],
    ),
  );
}

async function linkOf(nodeAddress: string, { list }: IpCommands): Promise<Link> {
  for (const { ifname, addr_info = [] } of await list<AddressEntry>('addr', 'show', 'to', `${nodeAddress}/32`)) {
    const prefixLength = addr_info.find(({ local }) => local === nodeAddress)?.prefixlen;
    if (ifname !== undefined && prefixLength !== undefined) return { name: ifname, nodeAddress, prefixLength };
  }
  throw new Error(`no link of this machine has the address ${nodeAddress}`);
}

/**
 * Makes the kernel ask the whole segment for a neighbour in the name of `address`. Machines that know the
 * address learn its new place by that, as RFC 826 has it. So neither a program nor a right to send raw packets is needed.
 */
async function announceByArp(address: string, link: Link, { run }: IpCommands): Promise<void> {
  const neighbour = neighbourOf(link);
  if (neighbour === undefined) return;
  // A neighbour that is known is not asked for; that there is none is no failure.
  await run('neigh', 'del', neighbour, 'dev', link.name).catch(() => undefined);
  const socket = createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address, port: 0 }, () => {
        // The port of the discard service; whether somebody has the neighbour's address does not matter.
        socket.send('', 9, neighbour, (err) => (err === null ? resolve() : reject(err)));
      });
    });
  } finally {
    socket.close();
  }
}

/** The last address of the segment, or the one before where this machine has that. Undefined: the link has no neighbours. */
export function neighbourOf({ nodeAddress, prefixLength }: Link): string | undefined {
  if (prefixLength > 30) return undefined;
  const { first, size } = parseRange(`${nodeAddress}/${prefixLength}`);
  const last = formatAddress(first + size - 2);
  return last === nodeAddress ? formatAddress(first + size - 3) : last;
}
