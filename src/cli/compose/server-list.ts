import { createHash } from 'node:crypto';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import { tryReadText } from '../../base/pki/key-pair.ts';
import type { InformerSet } from '../../client/informer.ts';

/** The servers of a cluster, as an agent knows them. */
export interface ServerList {
  /** In the order in which this node tries them: `https://HOST:PORT`. */
  urls(): readonly string[];
  /** Learns them of the cluster from now on, and keeps them in the file for the next start. */
  follow(informers: InformerSet): void;
}

export interface ServerListOptions {
  /** The server of the command line; it counts as long as no other is known. */
  readonly server: string;
  readonly nodeName: string;
  readonly path: string;
  readonly log: Log;
}

const maxServers = 32;

export async function openServerList({ server, nodeName, path, log }: ServerListOptions): Promise<ServerList> {
  let known = inOrder(parseServers(await tryReadText(path)), nodeName);
  let writing: Promise<void> = Promise.resolve();
  return {
    // Its address may be that of a balancer, which no slice names; it is the last resort.
    urls: () => (known.length === 0 || known.includes(server) ? (known.length === 0 ? [server] : known) : [...known, server]),
    follow(informers) {
      const slices = informers.get(endpointSlices, { namespace: 'default', labelSelector: `${labels.serviceName}=kubernetes` });
      slices.addHandler(() => {
        const found = [...slices.list()].flatMap(({ endpoints, ports }) =>
          endpoints.flatMap(({ addresses }) => addresses.map((address) => `https://${address}:${ports?.[0]?.port ?? 6443}`)),
        );
        // None at all is a moment between two writes; whom we knew may answer.
        if (found.length === 0) return;
        const ordered = inOrder([...new Set(found)].slice(0, maxServers), nodeName);
        if (ordered.join() === known.join()) return;
        known = ordered;
        writing = writing
          .then(() => writeDurableFile(path, `${JSON.stringify(ordered)}\n`))
          .catch((err: unknown) => log.warn({ err, path }, 'Could not keep addresses of servers'));
      });
    },
  };
}

/** Each node has an order of its own, so that load is even and the clients of a dead server spread over the others. */
const inOrder = (servers: readonly string[], nodeName: string): readonly string[] =>
  servers
    .map((server) => ({ server, rank: createHash('sha256').update(`${nodeName} ${server}`).digest('hex') }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ server }) => server);

/** Nothing of a file that a power cut or an editor left damaged: the cluster tells the addresses again. */
function parseServers(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  try {
    const servers = JSON.parse(text) as unknown;
    if (!Array.isArray(servers)) return [];
    return servers.filter((each): each is string => typeof each === 'string' && /^https:\/\/[^/?#\s]+$/.test(each)).slice(0, maxServers);
  } catch {
    // No JSON: like an absent file.
    return [];
  }
}
