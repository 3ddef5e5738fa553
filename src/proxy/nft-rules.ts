import { createHash } from 'node:crypto';
import { anyNodeAddress, type EndpointAddress, type Forward, forwardKey } from './table.ts';

export interface NftTable {
  /** Name of the one table, family `ip`, that all rules are in. */
  readonly name: string;
  /** Addresses of pods: their own stay as the source of their connections. */
  readonly podCidr: string;
  /** Addresses of Services: none of them is one of the node. */
  readonly serviceCidr: string;
}

/** The rules of Services. Names of sets and chains depend on what they are for alone, so a change keeps those of all others. */
export interface NftRules {
  /** Definitions of the sets of clients by endpoint, by name. */
  readonly sets: ReadonlyMap<string, string>;
  /** Rules by chain. Chains of endpoints come before those of Services, which lead to them. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Verdicts by map and key, `service-ips 10.7.0.5 . tcp . 80`. */
  readonly elements: ReadonlyMap<string, string>;
}

export const noRules: NftRules = { sets: new Map(), chains: new Map(), elements: new Map() };

const masqueradeMark = '0x4000';
const maxClients = 65_535;

/** Chains that every table has, with their rules in order. */
const baseChains = ({ serviceCidr }: NftTable): readonly (readonly [string, readonly string[]])[] => {
  const ofNode = `fib daddr type local ip daddr != { 127.0.0.0/8, ${serviceCidr} } meta l4proto . th dport vmap`;
  const hook = (type: string, at: string, priority: string): string => `type ${type} hook ${at} priority ${priority};`;
  return [
    ['mark-for-masquerade', [`meta mark set meta mark or ${masqueradeMark}`]],
    // A reset ends the client's wait at once; the other kind costs it a second.
    ['reject-chain', ['meta l4proto tcp reject with tcp reset', 'reject']],
    ['services', ['ip daddr . meta l4proto . th dport vmap @service-ips', `${ofNode} @service-nodeports`]],
    ['endpoints-check', ['ip daddr . meta l4proto . th dport vmap @no-endpoint-services', `${ofNode} @no-endpoint-nodeports`]],
    [
      'masquerading',
      [
        `meta mark and ${masqueradeMark} == 0 return`,
        `meta mark set meta mark xor ${masqueradeMark}`,
        // Connections that stay on the node come back without help.
        'oifname != "lo" masquerade fully-random',
      ],
    ],
    // Before the address changes, since a Service without endpoints has none to change to.
    ['filter-input', [hook('filter', 'input', '-110'), 'ct state new jump endpoints-check']],
    ['filter-forward', [hook('filter', 'forward', '-110'), 'ct state new jump endpoints-check']],
    ['filter-output', [hook('filter', 'output', '-110'), 'ct state new jump endpoints-check']],
    ['nat-prerouting', [hook('nat', 'prerouting', '-100'), 'jump services']],
    ['nat-output', [hook('nat', 'output', '-100'), 'jump services']],
    ['nat-postrouting', [hook('nat', 'postrouting', '100'), 'jump masquerading']],
  ];
};

const addressKey = 'type ipv4_addr . inet_proto . inet_service : verdict;';
const portKey = 'type inet_proto . inet_service : verdict;';
const maps: Readonly<Record<string, string>> = {
  'service-ips': addressKey,
  'service-nodeports': portKey,
  'no-endpoint-services': addressKey,
  'no-endpoint-nodeports': portKey,
};

/** Two Services that want one address and port: the first of `forwards` has it. */
export function rulesOf(forwards: Iterable<Forward>, { podCidr }: Pick<NftTable, 'podCidr'>): NftRules {
  const sets = new Map<string, string>();
  const endpointChains = new Map<string, readonly string[]>();
  const serviceChains = new Map<string, readonly string[]>();
  const elements = new Map<string, string>();
  for (const forward of forwards) {
    const { address, port, protocol, endpoints, masquerade, affinityMs } = forward;
    const isNodePort = address === anyNodeAddress;
    const key = `${isNodePort ? '' : `${address} . `}${protocol.toLowerCase()} . ${port}`;
    if (elements.has(`${isNodePort ? 'service-nodeports' : 'service-ips'} ${key}`)) continue;
    if (endpoints.length === 0) {
      elements.set(`${isNodePort ? 'no-endpoint-nodeports' : 'no-endpoint-services'} ${key}`, 'goto reject-chain');
      continue;
    }
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
    const chain = `service-${digest(forwardKey(forward))}-${label(forward)}`;
    const choices = targets.map((target, index) => `${index} : goto ${target.chain}`).join(', ');
    serviceChains.set(chain, [
      ...(masquerade === 'always'
        ? ['jump mark-for-masquerade']
        : masquerade === 'outside'
          ? [`ip saddr != ${podCidr} jump mark-for-masquerade`]
          : []),
      ...(affinityMs === undefined ? [] : targets.map((target) => `ip saddr @${target.clients} goto ${target.chain}`)),
      `numgen random mod ${targets.length} vmap { ${choices} }`,
    ]);
    elements.set(`${isNodePort ? 'service-nodeports' : 'service-ips'} ${key}`, `goto ${chain}`);
  }
  return { sets, chains: new Map([...endpointChains, ...serviceChains]), elements };
}

/** The chain of an endpoint, which all addresses of a Service's port share, and the set of clients that stay with it. */
function endpointNames(
  forward: Forward,
  endpoint: EndpointAddress,
): { readonly chain: string; readonly clients: string; readonly endpoint: EndpointAddress } {
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

/** Makes the whole table in place of one that may be there, in one transaction. */
export function writeTable(table: NftTable, rules: NftRules): string {
  const lines = [`add table ip ${table.name}`, `delete table ip ${table.name}`, `table ip ${table.name} {`];
  for (const [name, definition] of Object.entries(maps)) lines.push(`  map ${name} { ${definition} }`);
  for (const [name, chainRules] of baseChains(table)) lines.push(`  chain ${name} {`, ...chainRules.map((rule) => `    ${rule}`), '  }');
  lines.push('}');
  return `${lines.join('\n')}\n${writeChange(table, noRules, rules)}`;
}

/** Leads from `before` to `after` in one transaction; empty when they are the same. */
export function writeChange({ name: table }: NftTable, before: NftRules, after: NftRules): string {
  const lines: string[] = [];
  const gone = (old: ReadonlyMap<string, unknown>, kept: ReadonlyMap<string, unknown>): string[] =>
    [...old.keys()].filter((key) => !kept.has(key));
  for (const [key, verdict] of before.elements) {
    if (after.elements.get(key) !== verdict) lines.push(`delete element ip ${table} ${elementText(key)}`);
  }
  for (const [name, definition] of after.sets) if (!before.sets.has(name)) lines.push(`add set ip ${table} ${name} { ${definition} }`);
  const changed = [...after.chains].filter(([name, rules]) => !sameRules(before.chains.get(name), rules));
  for (const [name] of changed) lines.push(`add chain ip ${table} ${name}`, `flush chain ip ${table} ${name}`);
  for (const [name, rules] of changed) lines.push(...rules.map((rule) => `add rule ip ${table} ${name} ${rule}`));
  for (const [key, verdict] of after.elements) {
    if (before.elements.get(key) !== verdict) lines.push(`add element ip ${table} ${elementText(key, verdict)}`);
  }
  const goneChains = gone(before.chains, after.chains);
  // All first lose their rules, since rules of one lead to another.
  for (const name of goneChains) lines.push(`flush chain ip ${table} ${name}`);
  for (const name of goneChains) lines.push(`delete chain ip ${table} ${name}`);
  for (const name of gone(before.sets, after.sets)) lines.push(`delete set ip ${table} ${name}`);
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

const sameRules = (before: readonly string[] | undefined, after: readonly string[]): boolean =>
  before !== undefined && before.length === after.length && before.every((rule, index) => rule === after[index]);

function elementText(mapAndKey: string, verdict?: string): string {
  const space = mapAndKey.indexOf(' ');
  const key = mapAndKey.slice(space + 1);
  return `${mapAndKey.slice(0, space)} { ${key}${verdict === undefined ? '' : ` : ${verdict}`} }`;
}

/** Removes the table; none is no failure. */
export const writeRemoval = ({ name }: Pick<NftTable, 'name'>): string => `add table ip ${name}\ndelete table ip ${name}\n`;

/**
 * Compares what `nft -j list table` says with the rules that should be there: the chains, the number of rules in each, and the keys of
 * maps. Clients of affinity change without a transaction.
 */
export function isListingOf(listing: string, table: NftTable, rules: NftRules): boolean {
  const { nftables = [] } = JSON.parse(listing) as { readonly nftables?: readonly NftItem[] };
  const counts = new Map<string, number>();
  let elements = 0;
  for (const { chain, rule, map } of nftables) {
    if (chain !== undefined) counts.set(chain.name, counts.get(chain.name) ?? 0);
    if (rule !== undefined) counts.set(rule.chain, (counts.get(rule.chain) ?? 0) + 1);
    if (map !== undefined) elements += map.elem?.length ?? 0;
  }
  const wanted = new Map(rules.chains.entries());
  for (const [name, chainRules] of baseChains(table))
    wanted.set(
      name,
      chainRules.filter((rule) => !rule.startsWith('type ')),
    );
  return (
    elements === rules.elements.size &&
    counts.size === wanted.size &&
    [...wanted].every(([name, chainRules]) => counts.get(name) === chainRules.length)
  );
}

interface NftItem {
  readonly chain?: { readonly name: string };
  readonly rule?: { readonly chain: string };
  readonly map?: { readonly elem?: readonly unknown[] };
}
