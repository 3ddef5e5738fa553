import type { NodeNetworkPolicySpec, PassPort, PassRule } from '../api/network/v1/node-network-policy.ts';
import { hook, type NftFrame, type NftRules } from '../base/nft/rules.ts';
import { type AddressRange, formatAddress, parseRange } from '../machinery/addresses.ts';

/** The policies of a node, and the pods that it has. */
export interface PoliciesOnNode {
  readonly spec: NodeNetworkPolicySpec;
  /** Addresses by uid, also of pods that the control plane has not looked at; nothing passes to and from those. */
  readonly addresses: ReadonlyMap<string, string>;
}

type Direction = 'ingress' | 'egress';

/**
 * The table without a pod. Packets between a pod and its own node do not pass the hook, so probes and cluster DNS always work, as upstream
 * says. A connection that is open goes on. A pod always reaches itself.
 *
 * Addresses of Services are those of endpoints by then, and the source is still that of the pod.
 */
export const policyFrame = (name: string): NftFrame => ({
  name,
  maps: { 'egress-pods': 'type ipv4_addr : verdict;', 'ingress-pods': 'type ipv4_addr : verdict;' },
  sets: { 'pods-themselves': 'type ipv4_addr . ipv4_addr;' },
  chains: [
    // As k3s does it: a program that is refused learns that at once, and does not wait for its time to run out.
    ['refuse', ['meta l4proto tcp reject with tcp reset', 'reject']],
    ['ingress', ['ip daddr vmap @ingress-pods']],
    [
      'filter-forward',
      [
        hook('filter', 'forward', 0),
        // The links of pods: one that names the address of another would be judged as that one.
        'iifname "veth*" fib saddr . iif oif missing drop',
        'ct state established,related accept',
        'ip saddr . ip daddr @pods-themselves accept',
        'ip saddr vmap @egress-pods',
        'goto ingress',
      ],
    ],
  ],
});

/** A pod that changes is an element that changes, as long as another pod of the node has the same rules. */
export function policyRulesOf({ spec, addresses }: PoliciesOnNode): NftRules {
  const sets = new Map<string, string>();
  const chains = new Map<string, readonly string[]>();
  const elements = new Map<string, string>();
  for (const { name, addresses: members = [] } of spec.groups ?? []) {
    sets.set(name, 'type ipv4_addr;');
    for (const address of members) elements.set(`${name} ${address}`, '');
  }
  for (const { name, endpoints = [] } of spec.endpointGroups ?? []) {
    sets.set(name, 'type ipv4_addr . inet_proto . inet_service;');
    for (const { address, protocol, port } of endpoints) elements.set(`${name} ${address} . ${protocol.toLowerCase()} . ${port}`, '');
  }
  const ruleSets = new Map((spec.ruleSets ?? []).map(({ name, rules = [] }) => [name, rules]));
  const policed = new Map((spec.pods ?? []).map((pod) => [pod.uid, pod]));
  for (const [uid, address] of addresses) {
    const pod = policed.get(uid);
    for (const direction of ['ingress', 'egress'] as const) {
      const name = pod?.[direction];
      const key = `${direction}-pods ${address}`;
      // A pod that took over the address of one that is ending comes later.
      elements.delete(key);
      if (pod === undefined) elements.set(key, 'goto refuse');
      else if (name !== undefined) {
        const rules = ruleSets.get(name) ?? [];
        chains.set(name, [...rules.flatMap((rule) => linesOf(rule, direction)), 'goto refuse']);
        elements.set(key, `goto ${name}`);
      }
    }
    if (pod === undefined || pod.ingress !== undefined || pod.egress !== undefined)
      elements.set(`pods-themselves ${address} . ${address}`, '');
  }
  return { sets, chains, elements };
}

/** Matches in egress lead on to the ingress of the other pod, which may be on this node, too. */
function linesOf({ groups = [], endpoints = [], blocks = [], ports = [] }: PassRule, direction: Direction): readonly string[] {
  const verdict = direction === 'egress' ? 'goto ingress' : 'accept';
  const peer = direction === 'egress' ? 'ip daddr' : 'ip saddr';
  const peers = [
    ...groups.map((name) => `${peer} @${name} `),
    ...blocks.map(
      ({ cidr, except = [] }) => `${peer} ${rangesText([cidr])} ${except.length === 0 ? '' : `${peer} != ${rangesText(except)} `}`,
    ),
  ];
  const places = ports.length === 0 ? [''] : portTexts(ports);
  const open = peers.length === 0 && endpoints.length === 0 ? [''] : peers;
  return [
    ...endpoints.map((name) => `${peer} . meta l4proto . th dport @${name} ${verdict}`),
    ...open.flatMap((from) => places.map((place) => `${from}${place}${verdict}`)),
  ];
}

/** A text for each protocol; the kernel takes no ranges that overlap. */
function portTexts(ports: readonly PassPort[]): readonly string[] {
  const byProtocol = new Map<string, AddressRange[]>();
  for (const { protocol, port, endPort = port } of ports) {
    const ranges = byProtocol.get(protocol) ?? [];
    ranges.push(port === undefined ? { first: 0, size: 65_536 } : { first: port, size: (endPort ?? port) - port + 1 });
    byProtocol.set(protocol, ranges);
  }
  return [...byProtocol].map(([protocol, ranges]) => {
    const merged = mergeRanges(ranges);
    const name = protocol.toLowerCase();
    if (merged[0]?.size === 65_536) return `meta l4proto ${name} `;
    return `${name} dport { ${merged.map(({ first, size }) => (size === 1 ? first : `${first}-${first + size - 1}`)).join(', ')} } `;
  });
}

const rangesText = (cidrs: readonly string[]): string =>
  `{ ${mergeRanges(cidrs.map(parseRange))
    .map(({ first, size }) => (size === 1 ? formatAddress(first) : `${formatAddress(first)}-${formatAddress(first + size - 1)}`))
    .join(', ')} }`;

function mergeRanges(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const merged: AddressRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const last = merged.at(-1);
    if (last === undefined || range.first > last.first + last.size) merged.push(range);
    else merged[merged.length - 1] = { first: last.first, size: Math.max(last.size, range.first + range.size - last.first) };
  }
  return merged;
}
