import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseAddressPool } from '../machinery/address-pool.ts';
import { parseRange } from '../machinery/addresses.ts';
import type { CloudFlagSettings, MachinesSettings } from './configuration.ts';
import { Failure } from './failure.ts';

/** Flags of `server` for the cloud below the cluster. */
export interface CloudFlags {
  readonly loadBalancerPool?: string;
  readonly cloudProviderUrl?: string;
  readonly cloudProviderTokenFile?: string;
}

export const withCloudFlags = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--load-balancer-pool <ranges>',
        'addresses of this segment for Services of type LoadBalancer, announced by ARP: 192.168.1.240-192.168.1.250; default: those of the nodes',
      ).argParser(parsePool),
    )
    .addOption(
      new Option('--cloud-provider-url <url>', 'provider of machines, load balancers and routes in a process of its own').argParser(
        parseProviderUrl,
      ),
    )
    .addOption(new Option('--cloud-provider-token-file <file>', 'file with the token that it asks for'));

/** @throws Failure for flags that do not fit each other */
export function cloudSettingsOf(
  { loadBalancerPool, cloudProviderUrl, cloudProviderTokenFile }: CloudFlags,
  { clusterCidr, serviceCidr, nodeAddress, externalAddress }: MachinesSettings,
): CloudFlagSettings {
  if (loadBalancerPool !== undefined && cloudProviderUrl !== undefined) {
    throw new Failure('--load-balancer-pool and --cloud-provider-url exclude each other', {
      why: 'Both give Services of type LoadBalancer their addresses.',
      fix: 'Leave one of them out.',
    });
  }
  if (cloudProviderTokenFile !== undefined && cloudProviderUrl === undefined) {
    throw new Failure('--cloud-provider-token-file needs --cloud-provider-url', {
      why: 'The token is for that provider.',
      fix: 'Name the provider, or leave the token out.',
    });
  }
  if (cloudProviderUrl !== undefined) {
    const remote = {
      url: cloudProviderUrl,
      ...(cloudProviderTokenFile === undefined ? {} : { tokenFile: resolve(cloudProviderTokenFile) }),
    };
    return { remote };
  }
  if (loadBalancerPool === undefined) return {};
  const pool = parseAddressPool(loadBalancerPool);
  for (const [what, range] of [
    ['pods', clusterCidr],
    ['Services', serviceCidr],
    ['this machine', `${nodeAddress}/32`],
    ...(externalAddress === undefined ? [] : [['this machine', `${externalAddress}/32`] as const]),
  ] as const) {
    if (!pool.overlaps(parseRange(range))) continue;
    throw new Failure(`--load-balancer-pool ${loadBalancerPool} has addresses of ${what}`, {
      why: `${range} is in use.`,
      fix: 'Name addresses of the segment that nothing has and that no DHCP server gives out.',
    });
  }
  return { pool };
}

function parsePool(value: string): string {
  try {
    return parseAddressPool(value).text;
  } catch (err) {
    throw new InvalidArgumentError(
      `Ranges such as 192.168.1.240-192.168.1.250 or 192.168.2.0/28: ${err instanceof Error ? err.message : String(err)}.`,
    );
  }
}

/** Without TLS only on this machine: the answers decide which nodes are removed. */
function parseProviderUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isLocal = url?.protocol === 'http:' && /^(localhost|127\.[0-9.]+|\[::1\])$/.test(url.hostname);
  if (url === undefined || (url.protocol !== 'https:' && !isLocal) || url.username !== '' || url.search !== '' || url.hash !== '')
    throw new InvalidArgumentError('An address such as https://cloud.example.com; http:// is for this machine alone.');
  return url.href.replace(/\/+$/, '');
}
