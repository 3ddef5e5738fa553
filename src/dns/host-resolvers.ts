import { isIP } from 'node:net';
import { readBoundedFile } from '../base/bounded-file.ts';
import type { Clock } from '../base/clock.ts';
import { parseResolverConfig } from '../base/resolv-conf.ts';
import type { ServerAddress } from './upstream.ts';

export interface HostResolversOptions {
  /** `/etc/resolv.conf` */
  readonly path: string;
  /** Addresses of this server: asking itself would never end. */
  readonly own: readonly string[];
  readonly clock: Clock;
}

const maxFileBytes = 1024 * 1024;
const maxServers = 3;
const dnsPort = 53;
/** Machines that move between networks get other servers. */
const rereadMs = 5_000;

/** The resolvers of the machine, read again at most every five seconds. A file that cannot be read names none. */
export function createHostResolvers({ path, own, clock }: HostResolversOptions): () => Promise<readonly ServerAddress[]> {
  let known: Promise<readonly ServerAddress[]> | undefined;
  let readAt = 0;
  return () => {
    if (known === undefined || clock.monotonicMs() - readAt > rereadMs) {
      readAt = clock.monotonicMs();
      known = readBoundedFile(path, maxFileBytes).then(
        (text) => serversOf(text.toString('utf8'), own),
        () => [],
      );
    }
    return known;
  };
}

function serversOf(text: string, own: readonly string[]): readonly ServerAddress[] {
  const { servers } = parseResolverConfig(text);
  // A zone names a link, which the address alone does not.
  return servers
    .filter((address) => isIP(address.replace(/%.*$/, '')) !== 0 && !own.includes(address))
    .slice(0, maxServers)
    .map((address) => ({ address, port: dnsPort }));
}
