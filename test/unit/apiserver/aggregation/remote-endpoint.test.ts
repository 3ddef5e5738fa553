import { describe, expect, it } from 'vitest';
import type { APIService } from '../../../../src/api/apiregistration/v1/api-service.ts';
import type { Service } from '../../../../src/api/core/v1/service.ts';
import type { EndpointSlice } from '../../../../src/api/discovery/v1/endpoint-slice.ts';
import { endpointOf } from '../../../../src/apiserver/aggregation/remote-endpoint.ts';

const apiService: APIService = {
  apiVersion: 'apiregistration.k8s.io/v1',
  kind: 'APIService',
  metadata: { name: 'v1.shop.example' },
  spec: { groupPriorityMinimum: 1, versionPriority: 1, service: { namespace: 'default', name: 'shop', port: 443 } },
};
const service = (spec: Service['spec']): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'shop', namespace: 'default' },
  spec,
});
const slice = (endpoints: EndpointSlice['endpoints']): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'shop-1', namespace: 'default' },
  addressType: 'IPv4',
  endpoints,
  ports: [
    { name: 'metrics', port: 9 },
    { name: 'https', port: 8443 },
  ],
});
const resolve = (found: Service | undefined, slices: readonly EndpointSlice[], random = 0) =>
  endpointOf(apiService, { service: (key) => (key === 'default/shop' ? found : undefined), slices: () => slices, random: () => random });
const https = service({ ports: [{ name: 'https', port: 443 }] });

describe('the endpoint of an APIService', () => {
  it('is a ready one of its Service, at the port of that name', () => {
    const slices = [
      slice([
        { addresses: ['10.0.0.1'], conditions: { ready: false } },
        { addresses: ['10.0.0.2'], conditions: { ready: true } },
        { addresses: ['10.0.0.3'] },
      ]),
    ];
    const serverName = 'shop.default.svc';
    expect(resolve(https, slices)).toEqual({ type: 'endpoint', address: '10.0.0.2', port: 8443, serverName });
    expect(resolve(https, slices, 0.99)).toEqual({ type: 'endpoint', address: '10.0.0.3', port: 8443, serverName });
  });

  it('is the host that an ExternalName says', () => {
    expect(resolve(service({ type: 'ExternalName', externalName: 'shop.example' }), [])).toMatchObject({
      address: 'shop.example',
      port: 443,
    });
  });

  it('is missing for the reasons that the real server gives', () => {
    const reasonOf = (...args: Parameters<typeof resolve>) => {
      const found = resolve(...args);
      return found.type === 'problem' ? `${found.reason}: ${found.message}` : found.address;
    };
    expect(reasonOf(undefined, [])).toBe('ServiceNotFound: service/shop in "default" is not present');
    expect(reasonOf(service({ ports: [{ port: 80 }] }), [])).toBe(
      'ServicePortError: service/shop in "default" is not listening on port 443',
    );
    expect(reasonOf(https, [])).toBe('EndpointsNotFound: cannot find endpointslices for service/shop in "default"');
    const missing = 'MissingEndpoints: endpointslices for service/shop in "default" have no addresses with port name';
    expect(reasonOf(https, [slice([])])).toBe(`${missing} "https"`);
    expect(reasonOf(service({ ports: [{ port: 443 }] }), [slice([{ addresses: ['10.0.0.2'] }])])).toBe(`${missing} ""`);
  });
});
