/** IPv4 addresses of a /24 handed to pods: `.1` is the node's own and `.255` stays free. */
export interface AddressPool {
  readonly nodeAddress: string;
  /** The next free address; an address that was released comes last again, so that late connections to its old pod find no other. */
  take(): string | undefined;
  /** Marks an address found in use; false when it is not of this pool or taken already. */
  reserve(address: string): boolean;
  release(address: string): void;
}

const firstHost = 2;
const lastHost = 254;

/** @throws Error when `podCidr` is not of the form a.b.c.0/24 */
export function createAddressPool(podCidr: string): AddressPool {
  const match = /^(\d{1,3}\.\d{1,3}\.\d{1,3})\.0\/24$/.exec(podCidr);
  const prefix = match?.[1];
  if (prefix === undefined || prefix.split('.').some((part) => Number(part) > 255)) {
    throw new Error(`pod CIDR ${podCidr} is not a /24`);
  }
  const taken = new Set<number>();
  let next = firstHost;

  const hostOf = (address: string): number | undefined => {
    const dot = address.lastIndexOf('.');
    const host = Number(address.slice(dot + 1));
    return address.slice(0, dot) === prefix && Number.isInteger(host) && host >= firstHost && host <= lastHost ? host : undefined;
  };

  return {
    nodeAddress: `${prefix}.1`,
    take() {
      for (let tried = firstHost; tried <= lastHost; tried += 1) {
        const host = next;
        next = next === lastHost ? firstHost : next + 1;
        if (!taken.has(host)) {
          taken.add(host);
          return `${prefix}.${host}`;
        }
      }
      return undefined;
    },
    reserve(address) {
      const host = hostOf(address);
      if (host === undefined || taken.has(host)) return false;
      taken.add(host);
      return true;
    },
    release(address) {
      const host = hostOf(address);
      if (host !== undefined) taken.delete(host);
    },
  };
}
