import { describe, expect, it } from 'vitest';
import type { Service } from '../../../src/api/core/v1/service.ts';
import type { EndpointSlice } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { createBalancer } from '../../../src/proxy/balancer.ts';
import { anyNodeAddress, diffForwards, type Forward, forwardKey, serviceTable } from '../../../src/proxy/table.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const service = (spec: Service['spec']): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop' },
  spec,
});
const slice = (endpoints: EndpointSlice['endpoints'], ports: EndpointSlice['ports'] = [{ name: 'http', port: 8080 }]): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'shop' },
  addressType: 'IPv4',
  endpoints,
  ports,
});
const web = service({ clusterIP: '127.64.0.9', ports: [{ name: 'http', port: 80 }] });

describe('the table of a Service', () => {
  it('leads each port to the ready endpoints that have it by name', () => {
    const endpoints = [
      { addresses: ['127.64.16.3'], conditions: { ready: true } },
      { addresses: ['127.64.16.2'] },
      { addresses: ['127.64.16.4'], conditions: { ready: false, serving: true, terminating: true } },
    ];
    const { forwards } = serviceTable(web, [slice(endpoints), slice(endpoints, [{ name: 'admin', port: 9 }])]);
    expect(forwards).toEqual([
      {
        address: '127.64.0.9',
        port: 80,
        service: 'shop/web',
        protocol: 'TCP',
        masquerade: 'outside',
        portName: 'http',
        affinityMs: undefined,
        endpoints: [
          { address: '127.64.16.2', port: 8080 },
          { address: '127.64.16.3', port: 8080 },
        ],
      },
    ]);
  });

  it('falls back to endpoints that still serve while they end', () => {
    const { forwards } = serviceTable(web, [
      slice([
        { addresses: ['127.64.16.4'], conditions: { ready: false, serving: true, terminating: true } },
        { addresses: ['127.64.16.5'], conditions: { ready: false, serving: false } },
      ]),
    ]);
    expect(forwards[0]?.endpoints).toEqual([{ address: '127.64.16.4', port: 8080 }]);
  });

  it.each(['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'])('should implement %s', (label) => {
    const labelled = { ...web, metadata: { ...web.metadata, labels: { [label]: 'other' } } };
    expect(serviceTable(labelled, [slice([{ addresses: ['127.64.16.2'] }])])).toEqual({ forwards: [], unsupported: [] });
  });

  it('is empty for headless Services and names elsewhere, and says what is not done', () => {
    expect(serviceTable(service({ clusterIP: 'None', ports: [{ port: 80 }] }), [])).toEqual({ forwards: [], unsupported: [] });
    expect(serviceTable(service({ type: 'ExternalName', externalName: 'example.org' }), [])).toEqual({ forwards: [], unsupported: [] });
    const { forwards, unsupported } = serviceTable(service({ clusterIP: '127.64.0.9', ports: [{ port: 53, protocol: 'UDP' }] }), []);
    expect(forwards).toEqual([]);
    expect(unsupported).toEqual([
      { reason: 'ProtocolNotSupported', message: 'Port 53 of 127.64.0.9: protocol UDP is not supported by the proxy of this host' },
    ]);
  });
});

describe('node ports', () => {
  const abilities = { protocols: ['TCP'] } as const;
  const addresses = [{ address: '127.64.16.1', nodeName: 'a' }, { address: '127.64.17.1', nodeName: 'b' }, { address: '127.0.0.1' }];
  const spec = { clusterIP: '127.64.0.9', type: 'NodePort' as const, ports: [{ name: 'http', port: 80, nodePort: 30_080 }] };
  const endpoints = [
    { addresses: ['127.64.16.2'], nodeName: 'a', conditions: { ready: true } },
    { addresses: ['127.64.17.2'], nodeName: 'b', conditions: { ready: true } },
  ];
  const leads = (given: Service['spec'], ready = endpoints): Record<string, readonly string[]> =>
    Object.fromEntries(
      serviceTable(service(given), [slice(ready)], { nodeAddresses: addresses, abilities }).forwards.map((forward) => [
        forwardKey(forward),
        forward.endpoints.map(({ address }) => address),
      ]),
    );

  it('lead from every address of a node to every endpoint', () => {
    const all = ['127.64.16.2', '127.64.17.2'];
    expect(leads(spec)).toEqual({
      '127.64.0.9:80': all,
      '127.64.16.1:30080': all,
      '127.64.17.1:30080': all,
      '127.0.0.1:30080': all,
    });
  });

  it('lead to the endpoints of the node alone where the Service wants it so', () => {
    expect(leads({ ...spec, externalTrafficPolicy: 'Local' }, endpoints.slice(0, 1))).toEqual({
      '127.64.0.9:80': ['127.64.16.2'],
      '127.64.16.1:30080': ['127.64.16.2'],
      '127.64.17.1:30080': [],
      '127.0.0.1:30080': ['127.64.16.2'],
    });
  });

  it('are all there is: other ways from outside are said not to be there', () => {
    const given = { ...spec, type: 'LoadBalancer' as const, externalIPs: ['192.0.2.1', '192.0.2.2'] };
    const { unsupported } = serviceTable(service(given), [], { nodeAddresses: addresses, abilities });
    expect(unsupported).toEqual([
      { reason: 'ExternalIPsNotSupported', message: 'externalIPs 192.0.2.1, 192.0.2.2 are not served by the proxy of this host' },
    ]);
  });
});

describe('the table of one node with rules of the kernel', () => {
  const abilities = {
    protocols: ['TCP', 'UDP', 'SCTP'],
    nodeName: 'a',
    servesAddress: (address: string) => !address.startsWith('10.7.'),
  } as const;
  const nodeAddresses = [{ address: anyNodeAddress, nodeName: 'a' }];
  const endpoints = [
    { addresses: ['10.7.16.2'], nodeName: 'a' },
    { addresses: ['10.7.17.2'], nodeName: 'b' },
  ];
  const all = ['10.7.16.2', '10.7.17.2'];
  const ready = [slice(endpoints), slice(endpoints, [{ name: 'dns', port: 53, protocol: 'UDP' }])];
  const balancer = (spec: Service['spec'], ingress: object[]): Service => ({ ...service(spec), status: { loadBalancer: { ingress } } });
  const ways = (given: Service): unknown[] =>
    serviceTable(given, ready, { nodeAddresses, abilities }).forwards.map((forward) => [
      forwardKey(forward),
      forward.masquerade,
      forward.endpoints.map(({ address }) => address),
    ]);
  const spec = { clusterIP: '10.7.0.9', type: 'LoadBalancer' as const, ports: [{ name: 'http', port: 80, nodePort: 30_080 }] };

  it('has node ports, external addresses and those that a load balancer forwards unchanged', () => {
    const given = { ...spec, externalIPs: ['192.0.2.1', '2001:db8::1'] };
    expect(ways(balancer(given, [{ ip: '192.0.2.9' }, { ip: '192.0.2.10', ipMode: 'Proxy' }, { hostname: 'x' }]))).toEqual([
      ['10.7.0.9:80', 'outside', all],
      ['*:30080', 'always', all],
      ['192.0.2.1:80', 'always', all],
      ['192.0.2.9:80', 'always', all],
    ]);
  });

  it('keeps endpoints of the node alone, and the address of a client, where the policies are Local', () => {
    const given = { ...spec, externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local', externalIPs: ['192.0.2.1'] };
    expect(ways(balancer(given, []))).toEqual([
      ['10.7.0.9:80', 'outside', ['10.7.16.2']],
      ['*:30080', 'never', ['10.7.16.2']],
      ['192.0.2.1:80', 'never', ['10.7.16.2']],
    ]);
  });

  it('gives no Service an address of the cluster: it would take connections to the API', () => {
    const given = balancer({ ...spec, externalIPs: ['10.7.0.1', '192.0.2.1'] }, [{ ip: '10.7.0.10' }]);
    const { forwards, unsupported } = serviceTable(given, ready, { nodeAddresses, abilities });
    expect(forwards.map(forwardKey)).toEqual(['10.7.0.9:80', '*:30080', '192.0.2.1:80']);
    expect(unsupported).toEqual([
      {
        reason: 'ExternalAddressRefused',
        message: 'external addresses 10.7.0.1, 10.7.0.10 are not served: they are addresses of the cluster; take others',
      },
    ]);
  });

  it('has UDP', () => {
    expect(ways(service({ clusterIP: '10.7.0.9', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }))).toEqual([
      ['10.7.0.9:53/UDP', 'outside', all],
    ]);
  });

  it('has source ranges for the addresses of a load balancer alone, and shuts them for ranges of IPv6', () => {
    const sourcesOf = (ranges: string[]) =>
      serviceTable(balancer({ ...spec, externalIPs: ['192.0.2.1'], loadBalancerSourceRanges: ranges }, [{ ip: '192.0.2.9' }]), ready, {
        nodeAddresses,
        abilities,
      }).forwards.map((forward) => [forwardKey(forward), forward.sources]);
    const others = [
      ['10.7.0.9:80', undefined],
      ['*:30080', undefined],
      ['192.0.2.1:80', undefined],
    ];
    expect(sourcesOf([' 192.0.2.0/24', '2001:db8::/32'])).toEqual([...others, ['192.0.2.9:80', ['192.0.2.0/24']]]);
    expect(sourcesOf(['2001:db8::/32'])).toEqual([...others, ['192.0.2.9:80', []]]);
    expect(sourcesOf(['192.0.2.0/24', '0.0.0.0/0'])).toEqual([...others, ['192.0.2.9:80', undefined]]);
  });

  it('opens the ports of a load balancer that has the address of the node on every address of the node', () => {
    const table = (ip: string, own: string) =>
      serviceTable(balancer(spec, [{ ip }]), ready, { nodeAddresses, abilities, ownAddresses: [own] });
    expect(table('192.0.2.1', '192.0.2.1').forwards.map(forwardKey)).toEqual(['10.7.0.9:80', '*:30080', '192.0.2.1:80', '*:80']);
    expect(table('192.0.2.1', '192.0.2.2').forwards.map(forwardKey)).toEqual(['10.7.0.9:80', '*:30080', '192.0.2.1:80']);
    // Such a node has one of the addresses of the cluster.
    expect(table('10.7.16.1', '10.7.16.1')).toMatchObject({ forwards: [{}, {}, { address: '*', port: 80 }], unsupported: [] });
  });

  it('says of endpoints that are on other nodes alone that they are elsewhere', () => {
    const given = balancer({ ...spec, externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' }, [{ ip: '192.0.2.9' }]);
    const { forwards } = serviceTable(given, [slice([{ addresses: ['10.7.17.2'], nodeName: 'b' }])], { nodeAddresses, abilities });
    expect(forwards.map(({ endpoints, isElsewhere }) => [endpoints.length, isElsewhere])).toEqual([
      [0, true],
      [0, true],
      [0, true],
    ]);
    expect(forwards.at(-1)?.insideEndpoints).toEqual([{ address: '10.7.17.2', port: 8080 }]);
  });

  describe('with topology hints', () => {
    const hinted = (name: string, zone: string, more: object = {}) => ({
      addresses: [`10.7.16.${name.length}`],
      nodeName: name,
      hints: { forZones: [{ name: zone }], ...more },
    });
    const web = service({ clusterIP: '10.7.0.9', ports: [{ name: 'http', port: 80 }] });
    const chosen = (endpoints: EndpointSlice['endpoints'], zone?: string) =>
      serviceTable(web, [slice(endpoints)], { nodeAddresses, abilities, zone }).forwards[0]?.endpoints.map(({ address }) => address);

    it('takes the endpoints of its zone, and all where no hint is for it', () => {
      const endpoints = [hinted('b', 'east'), hinted('cc', 'west')];
      expect(chosen(endpoints, 'west')).toEqual(['10.7.16.2']);
      expect(chosen(endpoints, 'north')).toEqual(['10.7.16.1', '10.7.16.2']);
      expect(chosen(endpoints)).toEqual(['10.7.16.1', '10.7.16.2']);
    });

    it('takes all where one ready endpoint has no hint', () => {
      const endpoints = [hinted('b', 'west'), { addresses: ['10.7.16.9'], nodeName: 'd' }];
      expect(chosen(endpoints, 'west')).toEqual(['10.7.16.1', '10.7.16.9']);
    });

    it('takes those of the node first', () => {
      const forNode = (node: string) => ({ forNodes: [{ name: node }] });
      const endpoints = [hinted('b', 'west', forNode('b')), hinted('aa', 'west', forNode('a')), hinted('ccc', 'east', forNode('c'))];
      expect(chosen(endpoints, 'west')).toEqual(['10.7.16.2']);
      expect(chosen([endpoints[0] as never, endpoints[2] as never], 'west')).toEqual(['10.7.16.1']);
    });
  });
});

describe('the difference of tables', () => {
  const forward = (port: number, ...addresses: string[]): Forward => ({
    address: '127.64.0.9',
    port,
    service: 'shop/web',
    protocol: 'TCP',
    masquerade: 'outside',
    portName: '',
    affinityMs: undefined,
    endpoints: addresses.map((address) => ({ address, port: 1 })),
  });
  const tableOf = (...forwards: Forward[]) => new Map(forwards.map((entry) => [forwardKey(entry), entry]));

  it('names what comes, changes and goes, and leaves other Services alone', () => {
    const other = { ...forward(9), service: 'shop/other' };
    const current = tableOf(forward(1, 'a'), forward(2, 'a'), forward(3, 'a'), other);
    expect(diffForwards(current, 'shop/web', [forward(1, 'a'), forward(2, 'b'), forward(4)])).toEqual({
      add: [forward(4)],
      update: [forward(2, 'b')],
      remove: ['127.64.0.9:3'],
    });
  });
});

describe('the balancer', () => {
  const forward = (addresses: readonly string[], affinityMs?: number): Forward => ({
    address: '127.64.0.9',
    port: 80,
    service: 'shop/web',
    protocol: 'TCP',
    masquerade: 'outside',
    portName: '',
    affinityMs,
    endpoints: addresses.map((address) => ({ address, port: 1 })),
  });
  const none = new Set<string>();

  it('takes one endpoint after the other, and skips those that were tried', () => {
    const balancer = createBalancer(forward(['a', 'b', 'c']), createManualClock());
    expect([1, 2, 3, 4].map(() => balancer.choose('x', none)?.address)).toEqual(['a', 'b', 'c', 'a']);
    expect(balancer.choose('x', new Set(['b:1', 'c:1']))?.address).toBe('a');
    expect(balancer.choose('x', new Set(['a:1', 'b:1', 'c:1']))).toBeUndefined();
  });

  it('keeps a client at its endpoint for the time of the affinity, while that endpoint is there', () => {
    const clock = createManualClock();
    const balancer = createBalancer(forward(['a', 'b'], 1_000), clock);
    expect([balancer.choose('x', none)?.address, balancer.choose('y', none)?.address]).toEqual(['a', 'b']);
    expect([1, 2, 3].map(() => balancer.choose('x', none)?.address)).toEqual(['a', 'a', 'a']);
    balancer.update(forward(['b'], 1_000));
    expect(balancer.choose('x', none)?.address).toBe('b');
    balancer.update(forward(['a', 'b', 'c'], 1_000));
    clock.advance(1_001);
    const later = balancer.choose('x', none)?.address;
    expect(balancer.choose('x', none)?.address).toBe(later);
  });
});
