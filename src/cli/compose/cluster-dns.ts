import { services } from '../../api/core/v1/service.ts';
import { readBoundedFile } from '../../base/bounded-file.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { parseResolverConfig, type ResolverConfig } from '../../base/resolv-conf.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createDnsServer } from '../../dns/dns-server.ts';
import { createHostResolvers } from '../../dns/host-resolvers.ts';
import { createServiceSource } from '../../dns/service-source.ts';
import type { NodeDns } from '../../node-agent/agent-context.ts';
import type { Network } from '../data-directory.ts';
import { Failure } from '../failure.ts';
import { dnsPort, dnsService, publishClusterDns } from './cluster-dns-service.ts';
import { podRangeOf } from './container-node.ts';

export interface ClusterDnsOptions {
  /** Reads the Service. */
  readonly client: Client;
  /** Publishes the Service, with the rights of the API server itself; absent: it is there. */
  readonly ownClient?: Client;
  readonly informers: InformerSet;
  readonly network: Network;
  /** `resolv.conf` of this machine; undefined: the one that the machine uses. */
  readonly resolverFile: string | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The name server of a cluster, and what its pods need to know of it. */
export interface ClusterDnsPart {
  readonly pods: NodeDns;
  /** Makes the server. @param podCidr  addresses of the pods that may ask */
  createServer(podCidr: string): Component;
}

/** Key of the Service, as in every cluster; this process serves its address. */
export const dnsServiceKey = `${dnsService.namespace}/${dnsService.name}`;
const domain = 'cluster.local';
const maxFileBytes = 1024 * 1024;

/**
 * Opens cluster DNS on this machine, whose pods ask it at the address of its Service.
 *
 * @throws Failure from the server's start when another program has port 53
 */
export async function openClusterDns({
  client,
  ownClient,
  informers,
  network,
  resolverFile: chosenFile,
  clock,
  random,
  log,
  metrics,
}: ClusterDnsOptions): Promise<ClusterDnsPart> {
  if (ownClient !== undefined) await publishClusterDns(ownClient, network);
  const { spec } = await client.get(services, dnsService);
  const address = spec.clusterIP ?? '';
  const addresses = [address, network.nodeAddress(0)];
  const resolverFile = chosenFile ?? (await findResolverFile());
  const createServer = (podCidr: string): Component => {
    const server = createDnsServer({
      addresses,
      port: dnsPort,
      domain,
      // A machine that joined knows the range of its own pods, and each machine answers its own.
      ranges: [podRangeOf(network, podCidr), network.serviceCidr],
      source: createServiceSource(informers),
      upstreams: createHostResolvers({ path: resolverFile, own: addresses, clock }),
      synced: (options) => informers.waitForSync(options),
      clock,
      random,
      log: log.child({ component: 'cluster-dns' }),
      metrics,
    });
    return { name: server.name, stop: () => server.stop(), start: (options) => server.start(options).catch(explainTakenPort) };
  };
  const explainTakenPort = (cause: NodeJS.ErrnoException): never => {
    if (cause.code !== 'EADDRINUSE') throw cause;
    throw new Failure('cluster DNS cannot start', {
      why: `Another program of this machine has port ${dnsPort} of all addresses, ${addresses.join(' and ')} included.`,
      fix: 'Bind that program to its own addresses (dnsmasq: bind-interfaces), or stop it.',
      cause,
    });
  };
  return { pods: { address, domain, machine: () => readResolverFile(resolverFile) }, createServer };
}

/** The file of systemd-resolved where the usual one names only its local stub, which pods do not reach; as kubeadm chooses. */
async function findResolverFile(): Promise<string> {
  const usual = '/etc/resolv.conf';
  const { servers } = await readResolverFile(usual);
  const ofSystemd = '/run/systemd/resolve/resolv.conf';
  if (servers.some((address) => address !== '127.0.0.53')) return usual;
  return (await readResolverFile(ofSystemd)).servers.length > 0 ? ofSystemd : usual;
}

const readResolverFile = async (path: string): Promise<ResolverConfig> => {
  const text = await readBoundedFile(path, maxFileBytes).then(
    (bytes) => bytes.toString('utf8'),
    // Without a file, resolvers ask the machine itself.
    () => '',
  );
  return parseResolverConfig(text);
};
