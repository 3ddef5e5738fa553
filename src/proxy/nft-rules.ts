import { createHash } from 'node:crypto';
import type { EndpointAddress } from '../api/discovery/v1/serving-endpoints.ts';
import { hook, type NftFrame, type NftRules } from '../base/nft/rules.ts';
import { deepEqual } from '../machinery/object.ts';
import { anyNodeAddress, type Forward, forwardKey } from './table.ts';

export interface NftTable {
  /** Name of the one table, family `ip`, that all rules are in. */
  readonly name: string;
  /** Addresses of pods: their own stay as the source of their connections. */
  readonly podCidr: string;
  /** Addresses of the pods of all nodes. */
  readonly clusterCidr: string;
  /** Addresses of Services: none of them is one of the node. */
  readonly serviceCidr: string;
}

const masqueradeMark = '0x4000';
const maxClients = 65_535;

/** Chains that every table has, with their rules in order. */
const baseChains = ({ serviceCidr }: NftTable): NftFrame['chains'] => {
  const ofNode = `fib daddr type local ip daddr != { 127.0.0.0/8, ${serviceCidr} } meta l4proto . th dport vmap`;
  return [
    ['mark-for-masquerade', [`meta mark set meta mark or ${masqueradeMark}`]],
    // A reset ends the client's wait at once; the other kind costs it a second.
    ['reject-chain', ['meta l4proto tcp reject with tcp reset', 'reject']],
    ['services', ['ip daddr . meta l4proto . th dport vmap @service-ips', `${ofNode} @service-nodeports`]],
    ['endpoints-check', ['ip daddr . meta l4proto . th dport vmap @no-endpoint-services', `${ofNode} @no-endpoint-nodeports`]],
    ['firewall-check', ['ip daddr . meta l4proto . th dport vmap @firewall-ips', `${ofNode} @firewall-nodeports`]],
    [
      'masquerading',
      [
        `meta mark and ${masqueradeMark} == 0 return`,
        `meta mark set meta mark xor ${masqueradeMark}`,
        // Connections that stay on the node come back without help. A client keeps its port where that is free. TCP timestamps depend on
        // the port, and a pod drops connections that look older than the former one (decision 0088).
        'oifname != "lo" masquerade',
      ],
    ],
    // Before the address changes, since a Service without endpoints has none to change to.
    ['filter-prerouting', [hook('filter', 'prerouting', -110), 'ct state new jump firewall-check']],
    ['filter-input', [hook('filter', 'input', -110), 'ct state new jump endpoints-check']],
    ['filter-forward', [hook('filter', 'forward', -110), 'ct state new jump endpoints-check']],
    ['filter-output', [hook('filter', 'output', -110), 'ct state new jump firewall-check', 'ct state new jump endpoints-check']],
    ['nat-prerouting', [hook('nat', 'prerouting', -100), 'jump services']],
    ['nat-output', [hook('nat', 'output', -100), 'jump services']],
    ['nat-postrouting', [hook('nat', 'postrouting', 100), 'jump masquerading']],
  ];
};

const addressKey = 'type ipv4_addr . inet_proto . inet_service : verdict;';
const portKey = 'type inet_proto . inet_service : verdict;';
const maps: Readonly<Record<string, string>> = {
  'service-ips': addressKey,
  'service-nodeports': portKey,
  'no-endpoint-services': addressKey,
  'no-endpoint-nodeports': portKey,
  'firewall-ips': addressKey,
  'firewall-nodeports': portKey,
};

/** The parts that the table has without a Service. */
export const frameOf = (table: NftTable): NftFrame => ({ name: table.name, maps, chains: baseChains(table) });

/**
 * Two Services that want one address and port: the one whose cluster address it is has it, else the first of `forwards`. A ServiceCIDR that
 * was added has addresses that are no part of `serviceCidr`, and `externalIPs` of another Service may name them.
 */
export function rulesOf(forwards: Iterable<Forward>, { podCidr }: Pick<NftTable, 'podCidr'>): NftRules {
  const sets = new Map<string, string>();
  const endpointChains = new Map<string, readonly string[]>();
  const serviceChains = new Map<string, readonly string[]>();
  const elements = new Map<string, string>();
  const taken = new Set<string>();
  const clusterFirst = [...forwards].sort((a, b) => Number(isOfCluster(b)) - Number(isOfCluster(a)));
  for (const forward of clusterFirst) {
    const { address, port, protocol, endpoints, insideEndpoints, masquerade, affinityMs, sources } = forward;
    const isNodePort = address === anyNodeAddress;
    const key = `${isNodePort ? '' : `${address} . `}${protocol.toLowerCase()} . ${port}`;
    if (taken.has(key)) continue;
    taken.add(key);
    if (sources !== undefined) {
      const chain = `firewall-${digest(forwardKey(forward))}-${label(forward)}`;
      serviceChains.set(chain, [...sources.map((range) => `ip saddr ${range} return`), 'drop']);
      elements.set(`${isNodePort ? 'firewall-nodeports' : 'firewall-ips'} ${key}`, `goto ${chain}`);
    }
    if (endpoints.length === 0) {
      elements.set(
        `${isNodePort ? 'no-endpoint-nodeports' : 'no-endpoint-services'} ${key}`,
        forward.isElsewhere === true ? 'drop' : 'goto reject-chain',
      );
      continue;
    }
    const targets = addEndpoints(forward, endpoints);
    const inside = insideEndpoints === undefined || deepEqual(insideEndpoints, endpoints) ? [] : addEndpoints(forward, insideEndpoints);
    const insideChain = `inside-${digest(forwardKey(forward))}-${label(forward)}`;
    if (inside.length > 0) serviceChains.set(insideChain, choiceOf(inside, affinityMs));
    const chain = `service-${digest(forwardKey(forward))}-${label(forward)}`;
    serviceChains.set(chain, [
      ...(masquerade === 'always'
        ? ['jump mark-for-masquerade']
        : masquerade === 'outside'
          ? [`ip saddr != ${podCidr} jump mark-for-masquerade`]
          : []),
      ...(inside.length === 0
        ? []
        : [
            `ip saddr ${podCidr} goto ${insideChain}`,
            'fib saddr type local jump mark-for-masquerade',
            `fib saddr type local goto ${insideChain}`,
          ]),
      ...choiceOf(targets, affinityMs),
    ]);
    elements.set(`${isNodePort ? 'service-nodeports' : 'service-ips'} ${key}`, `goto ${chain}`);
  }
  return { sets, chains: new Map([...endpointChains, ...serviceChains]), elements };

  /** The chains of endpoints, which all addresses of a Service's port share. */
  function addEndpoints(forward: Forward, endpoints: readonly EndpointAddress[]): readonly Target[] {
    const { protocol, affinityMs } = forward;
    const targets = endpoints.map((endpoint) => endpointNames(forward, endpoint));
    for (const { chain, clients, endpoint } of targets) {
      if (affinityMs !== undefined)
        sets.set(clients, `type ipv4_addr; size ${maxClients}; flags dynamic,timeout; timeout ${Math.ceil(affinityMs / 1_000)}s;`);
      endpointChains.set(chain, [
        `ip saddr ${endpoint.address} jump mark-for-masquerade`,
        ...(affinityMs === undefined ? [] : [`update @${clients} { ip saddr }`]),
        `meta l4proto ${protocol.toLowerCase()} dnat to ${endpoint.address}:${endpoint.port}`,
      ]);
    }
    return targets;
  }
}

/** Connections to cluster addresses alone keep the source of pods and change that of others. */
const isOfCluster = ({ masquerade }: Forward): boolean => masquerade === 'outside';

/** The rules that lead to one of the endpoints. */
function choiceOf(targets: readonly Target[], affinityMs: number | undefined): readonly string[] {
  const choices = targets.map((target, index) => `${index} : goto ${target.chain}`).join(', ');
  return [
    ...(affinityMs === undefined ? [] : targets.map((target) => `ip saddr @${target.clients} goto ${target.chain}`)),
    `numgen random mod ${targets.length} vmap { ${choices} }`,
  ];
}

interface Target {
  readonly chain: string;
  readonly clients: string;
  readonly endpoint: EndpointAddress;
}

/** The chain of an endpoint, which all addresses of a Service's port share, and the set of clients that stay with it. */
function endpointNames(forward: Forward, endpoint: EndpointAddress): Target {
  const { service, portName, protocol, affinityMs } = forward;
  const id = digest(service, portName, protocol, forwardKey(endpoint));
  return {
    endpoint,
    chain: `endpoint-${id}-${label(forward)}`,
    clients: `clients-${digest(id, String(affinityMs))}-${label(forward)}`,
  };
}

const digest = (...parts: readonly string[]): string => createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 12);

/** For people who read the rules; the digest before it is what tells names apart. */
const label = ({ service }: Forward): string => service.replace(/[^a-z0-9-]/g, '_').slice(0, 64);
