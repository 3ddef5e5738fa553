import { describe, expect, it } from 'vitest';
import { isListingOf, noRules, writeChange, writeTable } from '../../../src/base/nft/rules.ts';
import { frameOf, rulesOf } from '../../../src/proxy/nft-rules.ts';
import type { Forward } from '../../../src/proxy/table.ts';

const table = { name: 'midship-proxy-7', podCidr: '10.7.16.0/24', clusterCidr: '10.7.0.0/16', serviceCidr: '10.7.0.0/20' };
const forward = (changes: Partial<Forward> = {}): Forward => ({
  address: '10.7.0.5',
  port: 80,
  protocol: 'TCP',
  masquerade: 'outside',
  service: 'shop/web',
  portName: '',
  affinityMs: undefined,
  endpoints: [{ address: '10.7.16.2', port: 8_080 }],
  ...changes,
});
const other = { address: '10.7.16.3', port: 8_080 };
/** Digests in order of their appearance, so that what is compared can be read. */
const readable = (text: string): string[] => {
  const seen = new Map<string, string>();
  const named = text.replace(/\b(service|endpoint|clients)-([0-9a-f]{12})-shop_web/g, (_, kind: string, id: string) => {
    const name = seen.get(`${kind}${id}`) ?? `${kind}${[...seen.keys()].filter((key) => key.startsWith(kind)).length + 1}`;
    seen.set(`${kind}${id}`, name);
    return name;
  });
  return named.trim().split('\n');
};
const change = (before: readonly Forward[], after: readonly Forward[]): string[] =>
  readable(writeChange(table, rulesOf(before, table), rulesOf(after, table)));

describe('the whole table', () => {
  it('takes the place of one that may be there, in one transaction', () => {
    const lines = readable(
      writeTable(frameOf(table), rulesOf([forward({ affinityMs: 10_000, endpoints: [...forward().endpoints, other] })], table)),
    );
    expect(lines.slice(0, 3)).toEqual(['add table ip midship-proxy-7', 'delete table ip midship-proxy-7', 'table ip midship-proxy-7 {']);
    expect(lines).toContain(
      '    fib daddr type local ip daddr != { 127.0.0.0/8, 10.7.0.0/20 } meta l4proto . th dport vmap @service-nodeports',
    );
    expect(lines.slice(lines.indexOf('}') + 1)).toEqual([
      'add set ip midship-proxy-7 clients1 { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }',
      'add set ip midship-proxy-7 clients2 { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }',
      'add chain ip midship-proxy-7 endpoint1',
      'flush chain ip midship-proxy-7 endpoint1',
      'add chain ip midship-proxy-7 endpoint2',
      'flush chain ip midship-proxy-7 endpoint2',
      'add chain ip midship-proxy-7 service1',
      'flush chain ip midship-proxy-7 service1',
      'add rule ip midship-proxy-7 endpoint1 ip saddr 10.7.16.2 jump mark-for-masquerade',
      'add rule ip midship-proxy-7 endpoint1 update @clients1 { ip saddr }',
      'add rule ip midship-proxy-7 endpoint1 meta l4proto tcp dnat to 10.7.16.2:8080',
      'add rule ip midship-proxy-7 endpoint2 ip saddr 10.7.16.3 jump mark-for-masquerade',
      'add rule ip midship-proxy-7 endpoint2 update @clients2 { ip saddr }',
      'add rule ip midship-proxy-7 endpoint2 meta l4proto tcp dnat to 10.7.16.3:8080',
      'add rule ip midship-proxy-7 service1 ip saddr != 10.7.16.0/24 jump mark-for-masquerade',
      'add rule ip midship-proxy-7 service1 ip saddr @clients1 goto endpoint1',
      'add rule ip midship-proxy-7 service1 ip saddr @clients2 goto endpoint2',
      'add rule ip midship-proxy-7 service1 numgen random mod 2 vmap { 0 : goto endpoint1, 1 : goto endpoint2 }',
      'add element ip midship-proxy-7 service-ips { 10.7.0.5 . tcp . 80 : goto service1 }',
    ]);
  });
});

describe('a change', () => {
  it('is empty for equal rules, and leaves other Services alone', () => {
    expect(change([forward()], [forward()])).toEqual(['']);
    const more = forward({ service: 'shop/more', address: '10.7.0.6' });
    const text = writeChange(table, rulesOf([forward(), more], table), rulesOf([forward({ endpoints: [other] }), more], table));
    expect(text).not.toContain('shop_more');
  });

  it('in endpoints keeps the address, and the chains of those that stay', () => {
    expect(change([forward()], [forward({ endpoints: [...forward().endpoints, other] })])).toEqual([
      'add chain ip midship-proxy-7 endpoint1',
      'flush chain ip midship-proxy-7 endpoint1',
      'add chain ip midship-proxy-7 service1',
      'flush chain ip midship-proxy-7 service1',
      'add rule ip midship-proxy-7 endpoint1 ip saddr 10.7.16.3 jump mark-for-masquerade',
      'add rule ip midship-proxy-7 endpoint1 meta l4proto tcp dnat to 10.7.16.3:8080',
      'add rule ip midship-proxy-7 service1 ip saddr != 10.7.16.0/24 jump mark-for-masquerade',
      'add rule ip midship-proxy-7 service1 numgen random mod 2 vmap { 0 : goto endpoint2, 1 : goto endpoint1 }',
    ]);
  });

  it('to no endpoints refuses connections, and removes what leads nowhere after what leads to it', () => {
    expect(change([forward({ affinityMs: 10_000 })], [forward({ affinityMs: 10_000, endpoints: [] })])).toEqual([
      'delete element ip midship-proxy-7 service-ips { 10.7.0.5 . tcp . 80 }',
      'add element ip midship-proxy-7 no-endpoint-services { 10.7.0.5 . tcp . 80 : goto reject-chain }',
      'flush chain ip midship-proxy-7 endpoint1',
      'flush chain ip midship-proxy-7 service1',
      'delete chain ip midship-proxy-7 endpoint1',
      'delete chain ip midship-proxy-7 service1',
      'delete set ip midship-proxy-7 clients1',
    ]);
  });
});

describe('addresses', () => {
  const keys = (...forwards: Forward[]): string[] => [...rulesOf(forwards, table).elements.keys()];

  it('for node ports are all of the node, and a Service and its ports share the chains of endpoints', () => {
    const nodePort = forward({ address: '*', port: 30_080, masquerade: 'always' });
    expect(keys(forward(), nodePort)).toEqual(['service-ips 10.7.0.5 . tcp . 80', 'service-nodeports tcp . 30080']);
    expect(rulesOf([forward(), nodePort], table).chains.size).toBe(3);
  });

  it('that two Services want go to the first', () => {
    const rules = rulesOf([forward(), forward({ service: 'shop/thief' })], table);
    expect([...rules.elements.values()]).toEqual([expect.stringContaining('shop_web')]);
    expect([...rules.chains.keys()].join()).not.toContain('thief');
  });

  it.each([1, 0])('that another Service wants as an external address stay with their own, which has %s endpoints', (count) => {
    const thief = forward({ service: 'shop/thief', masquerade: 'always' });
    const rules = rulesOf([thief, forward({ endpoints: forward().endpoints.slice(0, count) })], table);
    expect([...rules.elements.values()]).toEqual([count === 0 ? 'goto reject-chain' : expect.stringContaining('shop_web')]);
    expect([...rules.chains.keys()].join()).not.toContain('thief');
  });

  it('mark connections for masquerade by policy', () => {
    const marks = (masquerade: Forward['masquerade']): readonly string[] =>
      [...rulesOf([forward({ masquerade })], table).chains.values()].at(-1)?.slice(0, -1) ?? [];
    expect(marks('outside')).toEqual(['ip saddr != 10.7.16.0/24 jump mark-for-masquerade']);
    expect(marks('always')).toEqual(['jump mark-for-masquerade']);
    expect(marks('never')).toEqual([]);
  });

  it('with a policy Local lead pods of the node and the node itself to all endpoints', () => {
    const local = forward({ address: '192.0.2.9', masquerade: 'never', insideEndpoints: [{ address: '10.7.16.2', port: 8_080 }, other] });
    const chain = [...rulesOf([local], table).chains].find(([name]) => name.startsWith('service-'))?.[1] ?? [];
    expect(chain).toEqual([
      expect.stringMatching(/^ip saddr 10\.7\.16\.0\/24 goto inside-/),
      'fib saddr type local jump mark-for-masquerade',
      expect.stringMatching(/^fib saddr type local goto inside-/),
      expect.stringMatching(/^numgen random mod 1 vmap/),
    ]);
  });

  it('without an endpoint on the node drop packets where other nodes have one', () => {
    const verdicts = (changes: Partial<Forward>): string[] => [
      ...rulesOf([forward({ ...changes, endpoints: [] })], table).elements.values(),
    ];
    expect(verdicts({})).toEqual(['goto reject-chain']);
    expect(verdicts({ isElsewhere: true })).toEqual(['drop']);
  });

  it('with ranges of clients drop all others, also those whose ranges overlap', () => {
    const rules = rulesOf([forward({ address: '192.0.2.9', sources: ['192.0.2.0/24', '192.0.2.128/25'] })], table);
    expect([...rules.elements].find(([key]) => key === 'firewall-ips 192.0.2.9 . tcp . 80')?.[1]).toMatch(/^goto firewall-/);
    expect([...rules.chains].find(([name]) => name.startsWith('firewall-'))?.[1]).toEqual([
      'ip saddr 192.0.2.0/24 return',
      'ip saddr 192.0.2.128/25 return',
      'drop',
    ]);
  });
});

it('a listing without a rule, chain or element is none of these rules', () => {
  const chains = ['mark-for-masquerade', 'reject-chain', 'services', 'endpoints-check', 'firewall-check', 'masquerading'];
  const hooks = ['filter-prerouting', 'filter-input', 'filter-forward', 'filter-output', 'nat-prerouting', 'nat-output', 'nat-postrouting'];
  const counts = [1, 2, 2, 2, 2, 3, 1, 1, 1, 2, 1, 1, 1];
  const items = [...chains, ...hooks].flatMap((name, index) => [
    { chain: { name } },
    ...Array.from({ length: counts[index] ?? 0 }, () => ({ rule: { chain: name } })),
  ]);
  const listing = (nftables: object[]): string => JSON.stringify({ nftables });
  expect(isListingOf(listing(items), frameOf(table), noRules)).toBe(true);
  expect(isListingOf(listing(items.slice(0, -1)), frameOf(table), noRules)).toBe(false);
  expect(isListingOf(listing([...items, { map: { elem: [['x', 'y']] } }]), frameOf(table), noRules)).toBe(false);
  expect(isListingOf(listing(items), frameOf(table), rulesOf([forward()], table))).toBe(false);
});
