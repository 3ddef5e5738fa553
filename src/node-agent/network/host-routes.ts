import { writeFile } from 'node:fs/promises';
import { type Node, nodes } from '../../api/core/v1/node.ts';
import type { NetworkBackend } from '../../api/network/backend.ts';
import { annotations } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createIpCommands, type IpCommands, wireguardDevice } from './ip-commands.ts';
import { createKernelSync } from './kernel-sync.ts';
import { deviceAddressOf, ensureVxlan, removeVxlan, syncVxlanPeers, type VxlanPeer, vxlanDevice, vxlanOverheadBytes } from './vxlan.ts';
import { isWireguardKey, removeWireguard, syncWireguard, type WireguardKey, wireguardOverheadBytes } from './wireguard.ts';

export interface HostRoutesOptions {
  readonly nodeName: string;
  readonly nodeAddress: string;
  /** This machine's part of the pods' addresses. */
  readonly podCidr: string;
  readonly backend: NetworkBackend;
  /** For the backend `wireguard`: the key of this machine, and a client that may write its Node. */
  readonly wireguard?: { readonly key: WireguardKey; readonly client: Client };
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
}

/** Marks routes as ours in the kernel, so that those of a killed process are found; above the numbers that others reserve. */
const protocol = '117';
/** Between two looks at the kernel, which drops the routes of a link that goes down. */
const lookMs = 10_000;

/**
 * Routes the pods of every other node to that node. The route is direct where they share a segment, as with flannel's host-gw.
 * A machine behind a router is reached through a VXLAN device (flannel's `DirectRouting`). With WireGuard every packet to another machine
 * is encrypted. Changes arrive with the Nodes, and all of them are compared with the kernel's tables.
 */
export function createHostRoutes(options: HostRoutesOptions): Component {
  const { nodeName, informers, clock, log: parent } = options;
  const log = parent.child({ component: 'host-routes' });
  const informer = informers.get(nodes);
  const commands = createIpCommands();
  let unsubscribe: () => void = () => undefined;
  const kernel = createKernelSync({
    clock,
    log,
    failureText: 'Could not route to the pods of another node',
    nextLookMs: () => lookMs,
    async sync() {
      await publishKey();
      const { key } = options.wireguard ?? {};
      await syncRoutes({ ...options, ...(key === undefined ? {} : { key }) }, peersOf(informer.list(), nodeName), { commands, log });
    },
  });

  /** Other machines encrypt for the key that the Node names. */
  async function publishKey(): Promise<void> {
    if (options.wireguard === undefined) return;
    const { client, key } = options.wireguard;
    const { publicKey } = key;
    if (keyOf(informer.get({ name: nodeName })) === publicKey) return;
    const body = { metadata: { annotations: { [annotations.wireguardPublicKey]: publicKey } } };
    await client.patch(nodes, { name: nodeName }, { type: 'merge', body });
  }

  return {
    name: 'host-routes',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      // The kernel drops what arrives for others unless it is a router.
      await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
      unsubscribe = informer.addHandler(({ before, after }) => {
        if (peerText(before) !== peerText(after)) kernel.queue();
      });
      kernel.queue();
      await kernel.settled();
    },
    async stop() {
      unsubscribe();
      await kernel.stop();
      await removeHostRoutes(commands).catch((err: unknown) => log.warn({ err }, 'Could not remove routes'));
    },
  };
}

/** Another machine. */
export interface Peer extends VxlanPeer {
  /** Absent: it names no key of WireGuard, or one that an older Node has. */
  readonly publicKey?: string;
}

/** Every other node that has a range and an address. */
export function peersOf(all: Iterable<Node>, nodeName: string): readonly Peer[] {
  const peers: Peer[] = [];
  const keys = new Set<string>();
  // A machine may write its own Node alone. By the key of another one it would take that one's packets away, though never read them.
  for (const node of [...all].sort(byAge)) {
    const podCidr = node.spec?.podCIDR ?? '';
    const nodeAddress = addressOf(node);
    const publicKey = keyOf(node);
    const isOwn = publicKey !== undefined && !keys.has(publicKey);
    if (isOwn) keys.add(publicKey);
    if (node.metadata.name === nodeName || podCidr === '' || nodeAddress === undefined) continue;
    peers.push({ podCidr, nodeAddress, ...(isOwn ? { publicKey } : {}) });
  }
  return peers;
}

function byAge(a: Node, b: Node): number {
  const [of, from] = [a.metadata, b.metadata];
  if (of.creationTimestamp === from.creationTimestamp) return of.name < from.name ? -1 : 1;
  return (of.creationTimestamp ?? '') < (from.creationTimestamp ?? '') ? -1 : 1;
}

function keyOf(node: Node | undefined): string | undefined {
  const text = node?.metadata.annotations?.[annotations.wireguardPublicKey] ?? '';
  return isWireguardKey(text) ? text : undefined;
}

const addressOf = ({ status }: Node): string | undefined => status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;

const peerText = (node: Node | undefined): string | undefined =>
  node && `${node.spec?.podCIDR ?? ''} ${addressOf(node) ?? ''} ${keyOf(node) ?? ''}`;

/** Removes routes and devices, also those of a process that was killed. */
export async function removeHostRoutes(commands: IpCommands = createIpCommands()): Promise<void> {
  for (const { dst } of await commands.list<RouteEntry>('route', 'show', 'proto', protocol))
    await commands.run('route', 'del', dst, 'proto', protocol).catch(() => undefined);
  await removeVxlan(commands);
  await removeWireguard(commands);
}

/** The largest packet that pods may send. @throws Error when no link has the address */
export async function podMtuOf(backend: NetworkBackend, nodeAddress: string): Promise<number> {
  const { mtu } = await linkOf(nodeAddress, createIpCommands());
  return mtu - overheadBytes[backend];
}

const overheadBytes = { 'host-gw': 0, vxlan: vxlanOverheadBytes, wireguard: wireguardOverheadBytes } as const;

async function linkOf(nodeAddress: string, { list }: IpCommands): Promise<{ readonly name: string; readonly mtu: number }> {
  const all = await list<{ readonly ifname?: string; readonly mtu?: number }>('addr', 'show', 'to', `${nodeAddress}/32`);
  const found = all.find(({ ifname }) => ifname !== undefined);
  if (found?.ifname === undefined || found.mtu === undefined) throw new Error(`no link of this machine has the address ${nodeAddress}`);
  return { name: found.ifname, mtu: found.mtu };
}

interface RouteEntry {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
}

interface SyncTools {
  readonly commands: IpCommands;
  readonly log: Log;
}

/** Brings the kernel's tables in line with the peers. @throws Error of the first thing that cannot be set, after all others are */
export async function syncRoutes(
  options: Pick<HostRoutesOptions, 'backend' | 'nodeAddress' | 'podCidr'> & { readonly key?: WireguardKey },
  all: readonly Peer[],
  { commands, log }: SyncTools,
): Promise<void> {
  const { backend, nodeAddress, podCidr, key } = options;
  const failures: unknown[] = [];
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    await work().catch((err: unknown) => failures.push(err));
  };
  const distant: VxlanPeer[] = [];
  // A machine without a key gets no packet: one that is not encrypted would be no answer.
  const encrypted = all.flatMap(({ publicKey, ...peer }) => (publicKey === undefined ? [] : [{ ...peer, publicKey }]));
  const peers = backend === 'wireguard' ? encrypted : all;
  if (backend === 'wireguard' && key !== undefined)
    await attempt(async () => syncWireguard({ podCidr, key, mtu: (await linkOf(nodeAddress, commands)).mtu }, encrypted, commands));
  if (backend === 'vxlan') {
    await attempt(async () => ensureVxlan({ podCidr, nodeAddress, link: await linkOf(nodeAddress, commands) }, commands));
    for (const peer of peers) if (await isBehindRouter(peer.nodeAddress, commands)) distant.push(peer);
    await attempt(() => syncVxlanPeers(distant, commands));
  }
  const present = new Map(
    (await commands.list<RouteEntry>('route', 'show', 'proto', protocol)).map((route) => [route.dst, wayText(route.gateway, route.dev)]),
  );
  for (const peer of peers) {
    const isDistant = distant.includes(peer);
    const gateway = backend === 'wireguard' ? undefined : isDistant ? deviceAddressOf(peer.podCidr) : peer.nodeAddress;
    const device = backend === 'wireguard' ? wireguardDevice : isDistant ? vxlanDevice : undefined;
    if (present.get(peer.podCidr) === wayText(gateway, device)) continue;
    await attempt(async () => {
      const way = gateway === undefined ? [] : ['via', gateway, ...(device === undefined ? [] : ['onlink'])];
      const through = device === undefined ? [] : ['dev', device];
      await commands.run('route', 'replace', peer.podCidr, ...way, ...through, 'proto', protocol);
      log.info({ range: peer.podCidr, gateway: gateway ?? device, node: peer.nodeAddress }, 'Routed pods to their node');
    });
  }
  const wanted = new Set(peers.map((peer) => peer.podCidr));
  for (const range of present.keys()) {
    if (!wanted.has(range)) await attempt(() => commands.run('route', 'del', range, 'proto', protocol));
  }
  if (failures.length > 0) throw failures[0];
}

/** The kernel names the link of each route; only those of our devices matter. */
const wayText = (gateway: string | undefined, device: string | undefined): string =>
  `${gateway ?? ''} ${device === vxlanDevice || device === wireguardDevice ? device : ''}`;

/** A machine of the same segment is reached without a gateway. One that no route reaches counts as distant: a route may come. */
async function isBehindRouter(nodeAddress: string, { list }: IpCommands): Promise<boolean> {
  const [route] = await list<RouteEntry>('route', 'get', nodeAddress).catch(() => []);
  return route === undefined || route.gateway !== undefined;
}
