import { describe, expect, it } from 'vitest';
import type { Service } from '../../../src/api/core/v1/service.ts';
import type { EndpointSlice } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { answerQuestion, type ServiceSource, type Zone } from '../../../src/dns/zone.ts';

const service = (name: string, spec: Service['spec']): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec,
});
const slice = (of: string, endpoints: EndpointSlice['endpoints'], ports: EndpointSlice['ports'] = []): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${of}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints,
  ports,
});

const services = [
  service('kubernetes', { clusterIP: '10.3.0.1', ports: [{ name: 'https', port: 443, protocol: 'TCP' }] }),
  service('plain', { clusterIP: '10.3.0.7', ports: [{ port: 80 }] }),
  service('headless', { clusterIP: 'None', ports: [{ name: 'https', port: 443 }] }),
  service('empty', { clusterIP: 'None', ports: [{ name: 'https', port: 443 }] }),
  service('foo', { type: 'ExternalName', externalName: 'www.example.com.' }),
  service('number', { type: 'ExternalName', externalName: '192.0.2.9' }),
];
const slices = [
  slice(
    'headless',
    [
      { addresses: ['10.3.0.100'], hostname: 'my-pet' },
      { addresses: ['10.3.0.101'], hostname: 'my-pet-2', conditions: { ready: true } },
      { addresses: ['10.3.0.102'], conditions: { ready: true } },
      { addresses: ['10.3.0.103'], conditions: { ready: false } },
    ],
    [{ name: 'https', port: 443, protocol: 'TCP' }],
  ),
  slice('empty', [{ addresses: ['10.3.0.104'], conditions: { ready: false } }], [{ name: 'https', port: 443 }]),
  slice('kubernetes', [{ addresses: ['10.3.9.9'] }], [{ name: 'https', port: 6443, protocol: 'TCP' }]),
];
const nameOf = (each: EndpointSlice): string | undefined => each.metadata.labels?.['kubernetes.io/service-name'];
const source: ServiceSource = {
  hasNamespace: (name) => name === 'default',
  service: (namespace, name) => services.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name),
  slices: (namespace, of) => slices.filter((each) => each.metadata.namespace === namespace && nameOf(each) === of),
  servicesAt: (address) => services.filter(({ spec }) => spec.clusterIP === address),
  isServiceAddress: () => false,
  slicesAt: (address) => slices.filter(({ endpoints }) => (endpoints ?? []).some(({ addresses }) => addresses.includes(address))),
  serviceOf: nameOf,
};
const zone: Zone = { domain: 'cluster.local', address: '10.3.0.10', owns: (address) => address.startsWith('10.3.'), serial: 7 };

/** `TYPE DATA` of each answer; `NXDOMAIN`, `NODATA`, or `elsewhere`. */
function ask(name: string, type = 'A'): string | readonly string[] {
  const found = answerQuestion({ name, type }, source, zone);
  if (found === undefined) return 'elsewhere';
  if (found.answers.length === 0) {
    expect(found.authorities).toMatchObject([{ type: 'SOA', name: 'cluster.local', data: { minimum: 5, serial: 7 } }]);
    return found.exists ? 'NODATA' : 'NXDOMAIN';
  }
  expect(found.authorities).toEqual([]);
  return found.answers.map((answer) => {
    expect(answer.name).toBe(name);
    return `${answer.type} ${'data' in answer ? (typeof answer.data === 'string' ? answer.data : JSON.stringify(answer.data)) : ''}`;
  });
}
const srv = (target: string, port: number, weight: number): string => `SRV ${JSON.stringify({ target, port, priority: 0, weight })}`;

describe('the specification, version 1.1.0, by its numbers', () => {
  it.each([
    ['2.2', 'dns-version.cluster.local', 'TXT', ['TXT 1.1.0']],
    ['2.3.1', 'kubernetes.default.svc.cluster.local', 'A', ['A 10.3.0.1']],
    ['2.3.2', '_https._tcp.kubernetes.default.svc.cluster.local', 'SRV', [srv('kubernetes.default.svc.cluster.local', 443, 100)]],
    ['2.3.2, an unnamed port', '_._tcp.plain.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['2.3.3', '1.0.3.10.in-addr.arpa', 'PTR', ['PTR kubernetes.default.svc.cluster.local']],
    ['2.4.1', 'headless.default.svc.cluster.local', 'A', ['A 10.3.0.100', 'A 10.3.0.101', 'A 10.3.0.102']],
    ['2.4.1, a hostname', 'my-pet.headless.default.svc.cluster.local', 'A', ['A 10.3.0.100']],
    ['2.4.1, an assigned name', '10-3-0-102.headless.default.svc.cluster.local', 'A', ['A 10.3.0.102']],
    ['2.4.1, an endpoint that is not ready', '10-3-0-103.headless.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['2.4.1, no ready endpoint', 'empty.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    [
      '2.4.2',
      '_https._tcp.headless.default.svc.cluster.local',
      'SRV',
      ['my-pet', 'my-pet-2', '10-3-0-102'].map((host) => srv(`${host}.headless.default.svc.cluster.local`, 443, 33)),
    ],
    ['2.4.3', '100.0.3.10.in-addr.arpa', 'PTR', ['PTR my-pet.headless.default.svc.cluster.local']],
    ['2.4.3, an assigned name', '102.0.3.10.in-addr.arpa', 'PTR', ['PTR 10-3-0-102.headless.default.svc.cluster.local']],
    ['2.5', 'foo.default.svc.cluster.local', 'A', ['CNAME www.example.com']],
    ['2.6', '10-3-0-104.default.pod.cluster.local', 'A', ['A 10.3.0.104']],
  ] as const)('%s: %s %s', (_, name, type, wanted) => {
    expect(ask(name, type)).toEqual(wanted);
  });
});

describe('names that have no such record', () => {
  it.each([
    ['an IPv6 address of a name that exists', 'kubernetes.default.svc.cluster.local', 'AAAA', 'NODATA'],
    ['the zone', 'cluster.local', 'A', 'NODATA'],
    ['parts of names', 'svc.cluster.local', 'A', 'NODATA'],
    ['a namespace', 'default.svc.cluster.local', 'A', 'NODATA'],
    ['a protocol', '_tcp.kubernetes.default.svc.cluster.local', 'SRV', 'NODATA'],
    ['a protocol without a port', '_udp.kubernetes.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['an unknown port', '_http._tcp.kubernetes.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['an unknown namespace', 'kubernetes.other.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['an unknown Service', 'missing.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['a search domain of a foreign name', 'www.example.com.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['too many labels', 'a.b.c.kubernetes.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['an empty label', '.kubernetes.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['a pod without an address', 'web.default.pod.cluster.local', 'A', 'NXDOMAIN'],
    ['ports of another host', '_https._tcp.foo.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['an address of the cluster without a name', '9.9.3.10.in-addr.arpa', 'PTR', 'NXDOMAIN'],
    ['an address of others', '1.2.0.192.in-addr.arpa', 'PTR', 'elsewhere'],
    ['another zone', 'www.example.com', 'A', 'elsewhere'],
    ['a zone that ends alike', 'mycluster.local', 'A', 'elsewhere'],
  ] as const)('%s: %s %s', (_, name, type, wanted) => {
    expect(ask(name, type)).toBe(wanted);
  });
});

describe('answers that CoreDNS adds', () => {
  it('knows the zone and its server', () => {
    expect(ask('cluster.local', 'NS')).toEqual(['NS ns.dns.cluster.local']);
    expect(ask('ns.dns.cluster.local')).toEqual(['A 10.3.0.10']);
    expect(ask('cluster.local', 'SOA')).toHaveLength(1);
  });

  it('names the ports of a Service without a port in the question, and the addresses of targets', () => {
    expect(ask('plain.default.svc.cluster.local', 'SRV')).toEqual([srv('plain.default.svc.cluster.local', 80, 100)]);
    const found = answerQuestion({ name: '_https._tcp.headless.default.svc.cluster.local', type: 'SRV' }, source, zone);
    expect(found?.additionals).toContainEqual({ name: 'my-pet.headless.default.svc.cluster.local', type: 'A', ttl: 5, data: '10.3.0.100' });
  });

  it('answers with the address where an external name is one', () => {
    expect(ask('number.default.svc.cluster.local')).toEqual(['A 192.0.2.9']);
  });
});
