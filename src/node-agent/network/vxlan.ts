import { formatAddress, parseRange } from '../../machinery/addresses.ts';
import type { IpCommands } from './ip-commands.ts';

/** The kernel's device for packets to pods of machines behind a router. */
export const vxlanDevice = 'midship-vxlan';
/** As flannel has them, so that what is said about its firewall rules holds here. */
const vni = 1;
const port = 8_472;
/** Headers of Ethernet, IP, UDP and VXLAN around each packet. */
export const vxlanOverheadBytes = 50;

export interface VxlanOptions {
  /** This machine's part of the pods' addresses. */
  readonly podCidr: string;
  readonly nodeAddress: string;
  /** The link that has that address. */
  readonly link: { readonly name: string; readonly mtu: number };
}

/** A machine that is reached through the device. */
export interface VxlanPeer {
  readonly podCidr: string;
  readonly nodeAddress: string;
}

/** The first address of a machine's range, which is no pod's, is that of its device. */
export const deviceAddressOf = (podCidr: string): string => formatAddress(parseRange(podCidr).first);

/**
 * The hardware address of a machine's device. It follows from the range that the control plane gave the machine. So no machine has to say
 * its own, and none can say that of another.
 */
export function hardwareAddressOf(podCidr: string): string {
  const { first } = parseRange(podCidr);
  const bytes = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return [0x0a, 0x58, ...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Makes the device as it should be, and leaves one that is so alone. @throws Error of `ip` */
export async function ensureVxlan({ podCidr, nodeAddress, link }: VxlanOptions, { list, run }: IpCommands): Promise<void> {
  const address = hardwareAddressOf(podCidr);
  const mtu = link.mtu - vxlanOverheadBytes;
  const [present] = await list<LinkEntry>('-d', 'link', 'show', 'dev', vxlanDevice).catch(() => []);
  const has = present?.linkinfo?.info_data;
  const isRight =
    present?.address === address && has?.id === vni && has.port === port && has.local === nodeAddress && has.link === link.name;
  if (present !== undefined && !isRight) await run('link', 'del', vxlanDevice);
  if (!isRight) {
    const tunnel = ['id', String(vni), 'local', nodeAddress, 'dev', link.name, 'dstport', String(port), 'nolearning'];
    await run('link', 'add', vxlanDevice, 'address', address, 'type', 'vxlan', ...tunnel);
  }
  await run('link', 'set', vxlanDevice, 'mtu', String(mtu), 'up');
  await run('addr', 'replace', `${deviceAddressOf(podCidr)}/32`, 'dev', vxlanDevice);
}

/** Says where each peer's device is; nothing is learned from packets. @throws Error of `ip` or `bridge` */
export async function syncVxlanPeers(peers: readonly VxlanPeer[], { list, listBridge, run, runBridge }: IpCommands): Promise<void> {
  const wanted = new Map(peers.map(({ podCidr, nodeAddress }) => [hardwareAddressOf(podCidr), nodeAddress]));
  const forwarding = await listBridge<FdbEntry>('fdb', 'show', 'dev', vxlanDevice);
  const present = new Map(forwarding.map(({ mac, dst = '' }) => [mac, dst]));
  for (const [mac, dst] of wanted)
    if (present.get(mac) !== dst) await runBridge('fdb', 'replace', mac, 'dev', vxlanDevice, 'dst', dst, 'self', 'permanent');
  for (const [mac, dst] of present)
    if (!wanted.has(mac) && dst !== '') await runBridge('fdb', 'del', mac, 'dev', vxlanDevice, 'dst', dst, 'self');
  const neighbours = new Map(peers.map(({ podCidr }) => [deviceAddressOf(podCidr), hardwareAddressOf(podCidr)]));
  const known = await list<NeighbourEntry>('neigh', 'show', 'dev', vxlanDevice, 'nud', 'permanent');
  for (const [address, mac] of neighbours)
    if (!known.some(({ dst, lladdr }) => dst === address && lladdr === mac))
      await run('neigh', 'replace', address, 'lladdr', mac, 'dev', vxlanDevice, 'nud', 'permanent');
  for (const { dst } of known) if (!neighbours.has(dst)) await run('neigh', 'del', dst, 'dev', vxlanDevice);
}

export const removeVxlan = async ({ run }: IpCommands): Promise<void> => {
  // There may be none.
  await run('link', 'del', vxlanDevice).catch(() => undefined);
};

interface LinkEntry {
  readonly address?: string;
  readonly linkinfo?: {
    readonly info_data?: { readonly id?: number; readonly port?: number; readonly local?: string; readonly link?: string };
  };
}

interface FdbEntry {
  readonly mac: string;
  readonly dst?: string;
}

interface NeighbourEntry {
  readonly dst: string;
  readonly lladdr?: string;
}
