import type { Pod } from '../api/core/v1/pod.ts';
import type { ResolverConfig } from '../base/resolv-conf.ts';

/** The name server of the cluster, and the domain that it serves. */
export interface ClusterDns {
  readonly address: string;
  readonly domain: string;
}

export interface PodDns {
  readonly config: ResolverConfig;
  /** Messages of Events with reason `DNSConfigForming`: the parts that resolvers would not take. */
  readonly cuts: readonly string[];
}

const clusterOptions: readonly string[] = ['ndots:5'];
const maxServers = 3;
const maxSearches = 32;
const maxSearchCharacters = 2_048;
/** Some resolvers end the program at a longer one. */
const maxDomainCharacters = 253;

/**
 * Composes the `resolv.conf` of a pod from its `dnsPolicy` and `dnsConfig`, as the kubelet does.
 *
 * @param machine  what the machine's own says
 */
export function composePodDns({ metadata, spec }: Pod, cluster: ClusterDns, machine: ResolverConfig): PodDns {
  const usesCluster =
    spec.dnsPolicy === 'ClusterFirstWithHostNet' ||
    (spec.dnsPolicy !== 'Default' && spec.dnsPolicy !== 'None' && spec.hostNetwork !== true);
  const nothing: ResolverConfig = { servers: [], searches: [], options: [] };
  const base = usesCluster ? clusterConfig(cluster, metadata.namespace ?? '', machine) : spec.dnsPolicy === 'None' ? nothing : machine;
  const { nameservers = [], searches = [], options = [] } = spec.dnsConfig ?? {};
  return fitToLimits({
    servers: unique([...base.servers, ...nameservers]),
    searches: unique([...base.searches, ...searches]),
    options: spec.dnsConfig === undefined ? base.options : mergeOptions(base.options, options),
  });
}

const clusterConfig = ({ address, domain }: ClusterDns, namespace: string, machine: ResolverConfig): ResolverConfig => ({
  servers: [address],
  searches: unique([`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...machine.searches]),
  options: clusterOptions,
});

/** The domain of a pod that names its headless Service: `SUBDOMAIN.NAMESPACE.svc.DOMAIN`. */
export const podDomain = ({ metadata, spec }: Pod, { domain }: ClusterDns): string | undefined =>
  spec.subdomain === undefined || spec.subdomain === '' ? undefined : `${spec.subdomain}.${metadata.namespace}.svc.${domain}`;

const unique = (values: readonly string[]): readonly string[] => [...new Set(values)];

/** Options of the pod replace those of the same name. */
function mergeOptions(
  base: readonly string[],
  added: readonly { readonly name?: string | undefined; readonly value?: string | undefined }[],
): readonly string[] {
  const merged = new Map<string, string>();
  for (const option of base) {
    const [name = '', ...value] = option.split(':');
    merged.set(name, value.join(':'));
  }
  for (const { name = '', value = '' } of added) merged.set(name, value);
  return [...merged].map(([name, value]) => (value === '' ? name : `${name}:${value}`));
}

function fitToLimits({ servers, searches, options }: ResolverConfig): PodDns {
  const cuts: string[] = [];
  const fittingServers = servers.slice(0, maxServers);
  if (fittingServers.length < servers.length)
    cuts.push(
      `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${fittingServers.join(' ')}`,
    );
  const fittingSearches = searches.slice(0, maxSearches).filter((domain) => domain.length <= maxDomainCharacters);
  while (fittingSearches.join(' ').length > maxSearchCharacters) fittingSearches.pop();
  if (fittingSearches.length < searches.length)
    cuts.push(
      `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${fittingSearches.join(' ')}`,
    );
  return { config: { servers: fittingServers, searches: fittingSearches, options }, cuts };
}
