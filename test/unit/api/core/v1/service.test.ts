import { describe, expect, it } from 'vitest';
import { type Service, type ServiceSpec, services } from '../../../../../src/api/core/v1/service.ts';
import { deepFreeze } from '../../../../../src/machinery/object.ts';
import { writeContext } from '../../../../support/write-context.ts';

function service(spec: ServiceSpec): Service {
  const object = { apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'd' }, spec };
  return services.defaults?.(object) ?? object;
}

const stored = deepFreeze(
  services.prepareForCreate?.(service({ ports: [{ port: 80 }], selector: { a: 'b' }, clusterIP: '127.64.0.9' }), writeContext) ??
    service({}),
);

function update(change: (spec: ServiceSpec) => ServiceSpec): { readonly spec: ServiceSpec; readonly fields: readonly string[] } {
  const object = { ...stored, spec: change(stored.spec) };
  const complete = services.defaults?.(object, stored) ?? object;
  const prepared = services.prepareForUpdate?.(complete, stored) ?? complete;
  return { spec: prepared.spec, fields: (services.validate?.(prepared, stored) ?? []).map(({ field }) => field) };
}

describe('a service', () => {
  it('takes its address from the old field when the new one is missing', () => {
    expect(stored.spec).toMatchObject({ clusterIP: '127.64.0.9', clusterIPs: ['127.64.0.9'], ipFamilies: ['IPv4'] });
  });

  it('keeps its address when an update does not mention it', () => {
    const { spec, fields } = update(({ clusterIP: _, clusterIPs: __, ipFamilies: ___, ...rest }) => ({ ...rest, ports: [{ port: 81 }] }));
    expect(spec).toMatchObject({ clusterIP: '127.64.0.9', clusterIPs: ['127.64.0.9'], ipFamilies: ['IPv4'] });
    expect(spec.ports).toEqual([{ port: 81, targetPort: 81, protocol: 'TCP' }]);
    expect(fields).toEqual([]);
  });

  it('does not change its address', () => {
    expect(update((spec) => ({ ...spec, clusterIP: '127.64.0.10' })).fields).toEqual(['spec.clusterIPs[0]']);
  });

  it('gives its address back when it becomes an external name', () => {
    const { spec, fields } = update((old) => ({ ...old, type: 'ExternalName', externalName: 'db.example' }));
    expect(spec.clusterIP).toBeUndefined();
    expect(spec.clusterIPs).toBeUndefined();
    expect(fields).toEqual([]);
  });

  it('accepts source ranges only for a load balancer', () => {
    const complaints = (type: string, ranges?: readonly string[], annotation?: string) => {
      const annotations = annotation === undefined ? {} : { 'service.beta.kubernetes.io/load-balancer-source-ranges': annotation };
      const made = service({ type, ports: [{ port: 80 }], ...(ranges === undefined ? {} : { loadBalancerSourceRanges: ranges }) });
      return (services.validate?.({ ...made, metadata: { ...made.metadata, annotations } }) ?? []).map(({ field, message }) => [
        field,
        message,
      ]);
    };
    const why = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';
    expect(complaints('LoadBalancer', [' 10.0.0.0/8', 'bad'])).toEqual([
      ['spec.LoadBalancerSourceRanges[1]', `Invalid value: "bad": ${why}`],
    ]);
    expect(complaints('ClusterIP', ['10.0.0.0/8'])).toEqual([
      ['spec.LoadBalancerSourceRanges', "Forbidden: may only be used when `type` is 'LoadBalancer'"],
    ]);
    expect(complaints('LoadBalancer', undefined, '10.0.0.0/8, 10.1')).toEqual([
      ['metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]', `Invalid value: "10.1": ${why}`],
    ]);
    expect(complaints('LoadBalancer', undefined, ' ')).toEqual([]);
  });

  it('names a port once for each protocol', () => {
    const ports = [
      { name: 'a', port: 53 },
      { name: 'b', port: 53, protocol: 'UDP' },
      { name: 'c', port: 53 },
    ];
    expect(services.validate?.(service({ ports }))?.map(({ field }) => field)).toEqual(['spec.ports[2]']);
  });

  it('shows ports, addresses and selector in its row', () => {
    const cells = (object: Service) => services.columns.slice(1).map((column) => column.cell(object, { now: 0 }));
    expect(cells(stored)).toEqual(['ClusterIP', '127.64.0.9', '<none>', '80/TCP', '<unknown>', 'a=b']);
    const external = service({ type: 'ExternalName', externalName: 'a.example' });
    expect(cells(external)).toEqual(['ExternalName', '<none>', 'a.example', '<none>', '<unknown>', '<none>']);
    const balanced = service({ type: 'LoadBalancer', clusterIP: '127.64.0.9', ports: [{ port: 80, nodePort: 32657 }] });
    expect(cells(balanced)).toEqual(['LoadBalancer', '127.64.0.9', '<pending>', '80:32657/TCP', '<unknown>', '<none>']);
  });
});
