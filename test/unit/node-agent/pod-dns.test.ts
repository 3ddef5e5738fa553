import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { parseResolverConfig } from '../../../src/base/resolv-conf.ts';
import { composePodDns } from '../../../src/node-agent/pod-dns.ts';

const cluster = { address: '10.7.0.10', domain: 'cluster.local' };
const machine = parseResolverConfig(`# of a machine
nameserver 192.0.2.1
search first.example.
search corp.example. cluster.local
nameserver 192.0.2.2
options ndots:2 rotate
options timeout:1 edns0
`);
const pod = (spec: Partial<Pod['spec']>): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop' },
  spec: { containers: [], ...spec },
});
const clusterSearches = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'];
const ofCluster = { servers: ['10.7.0.10'], searches: clusterSearches, options: ['ndots:5'] };

it('the last search and options lines of a machine count, and its servers add up', () => {
  expect(machine).toEqual({
    servers: ['192.0.2.1', '192.0.2.2'],
    searches: ['corp.example', 'cluster.local'],
    options: ['timeout:1', 'edns0'],
  });
});

describe('the policy of a pod', () => {
  it.each([
    ['ClusterFirst', {}, ofCluster],
    ['ClusterFirst', { hostNetwork: true }, machine],
    ['ClusterFirstWithHostNet', { hostNetwork: true }, ofCluster],
    ['Default', {}, machine],
    ['None', { dnsConfig: { nameservers: ['192.0.2.9'] } }, { servers: ['192.0.2.9'], searches: [], options: [] }],
  ] as const)('%s %j', (dnsPolicy, spec, wanted) => {
    expect(composePodDns(pod({ dnsPolicy, ...spec }), cluster, machine)).toEqual({ config: wanted, cuts: [] });
  });
});

it('the dnsConfig of a pod is added, and its options replace those of the same name', () => {
  const dnsConfig = {
    nameservers: ['10.7.0.10', '192.0.2.9'],
    searches: ['svc.cluster.local', 'my.example'],
    options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
  };
  expect(composePodDns(pod({ dnsConfig }), cluster, machine).config).toEqual({
    servers: ['10.7.0.10', '192.0.2.9'],
    searches: [...clusterSearches, 'my.example'],
    options: ['ndots:2', 'edns0'],
  });
});

describe('the limits of resolvers', () => {
  it('are three servers', () => {
    const dnsConfig = { nameservers: ['192.0.2.4', '192.0.2.5', '192.0.2.6'] };
    expect(composePodDns(pod({ dnsConfig }), cluster, machine)).toMatchObject({
      config: { servers: ['10.7.0.10', '192.0.2.4', '192.0.2.5'] },
      cuts: [
        'Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.7.0.10 192.0.2.4 192.0.2.5',
      ],
    });
  });

  it('are 32 domains of 2,048 characters together', () => {
    const short = Array.from({ length: 40 }, (_, index) => `d${index}.example`);
    const { config, cuts } = composePodDns(pod({ dnsConfig: { searches: short } }), cluster, machine);
    expect(config.searches).toEqual([...clusterSearches, ...short].slice(0, 32));
    expect(cuts[0]).toMatch(
      /^Search Line limits were exceeded, some search paths have been omitted, the applied search line is: shop\.svc/,
    );
    const long = Array.from({ length: 20 }, (_, index) => `${index}${'a'.repeat(200)}.example`);
    const characters = composePodDns(pod({ dnsConfig: { searches: long } }), cluster, machine).config.searches.join(' ').length;
    expect(characters).toBeLessThanOrEqual(2_048);
    expect(characters).toBeGreaterThan(2_048 - 220);
  });
});
