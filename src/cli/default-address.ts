import { execFileSync } from 'node:child_process';
import { networkInterfaces } from 'node:os';

/** A network interface with its IPv4 addresses beside loopback. */
export interface AddressedInterface {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** Interfaces of this program, and of others for their guests: no other machine is behind them. */
const guestInterface = /^(?:midship-|veth|docker|podman|br-|cni|flannel|virbr|lo$)/;
const listMs = 10_000;

/**
 * Chooses the address by which other machines reach this one. It is that of the default route with the least metric. The kernel keeps the
 * route while the cable is out, and the address stays the right one. Without such a route it is the first of an interface that is not for
 * guests.
 *
 * @param routes  `/proc/net/route`
 * @returns undefined where no interface has one
 */
export function tryDefaultAddress(routes: string, interfaces: readonly AddressedInterface[]): string | undefined {
  const defaults = routes
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .sort((one, other) => Number(one[6]) - Number(other[6]))
    .flatMap(([device]) => interfaces.filter(({ name }) => name === device));
  for (const { addresses } of [...defaults, ...interfaces.filter(({ name }) => !guestInterface.test(name))])
    if (addresses[0] !== undefined) return addresses[0];
  return undefined;
}

interface ShownInterface {
  readonly ifname: string;
  readonly addr_info?: readonly { readonly local?: string; readonly scope?: string }[];
}

/** The interfaces of this machine. Node leaves out those without a carrier, so `ip` is asked first. */
export function readInterfaces(): readonly AddressedInterface[] {
  try {
    const text = execFileSync('ip', ['-j', '-4', 'address'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: listMs });
    return (JSON.parse(text) as readonly ShownInterface[]).map(({ ifname, addr_info: all = [] }) => ({
      name: ifname,
      addresses: all.flatMap(({ local, scope }) => (local !== undefined && scope === 'global' ? [local] : [])),
    }));
  } catch {
    // A machine without iproute2 may be a control plane alone. Its interfaces with a carrier are known.
    return Object.entries(networkInterfaces()).map(([name, all = []]) => ({
      name,
      addresses: all.flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : [])),
    }));
  }
}
