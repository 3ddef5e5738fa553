import { namespaces } from '../api/core/v1/namespace.ts';
import { services } from '../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { serviceCidrs } from '../api/networking/v1/service-cidr.ts';
import { labels } from '../api/well-known.ts';
import type { InformerSet } from '../client/informer.ts';
import { inRange, tryAddress, tryRange } from '../machinery/addresses.ts';
import type { ServiceSource } from './zone.ts';

const byService = 'dns-service';
const byAddress = 'dns-address';

/** The caches as the zone asks them. Their indexes change with each object, so no question costs a list. */
export function createServiceSource(informers: InformerSet): ServiceSource {
  const namespaceInformer = informers.get(namespaces);
  const serviceInformer = informers.get(services);
  const sliceInformer = informers.get(endpointSlices);
  const rangeInformer = informers.get(serviceCidrs);
  serviceInformer.addIndex(byAddress, ({ spec }) =>
    (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((address) => address !== '' && address !== 'None'),
  );
  sliceInformer.addIndex(byService, (slice) => {
    const service = serviceOf(slice);
    return service === undefined ? [] : [`${slice.metadata.namespace}/${service}`];
  });
  sliceInformer.addIndex(byAddress, ({ endpoints }) => [...new Set((endpoints ?? []).flatMap(({ addresses }) => addresses))]);
  return {
    hasNamespace: (name) => namespaceInformer.getByKey(name) !== undefined,
    service: (namespace, name) => serviceInformer.getByKey(`${namespace}/${name}`),
    slices: (namespace, service) => sliceInformer.byIndex(byService, `${namespace}/${service}`),
    servicesAt: (address) => serviceInformer.byIndex(byAddress, address),
    slicesAt: (address) => sliceInformer.byIndex(byAddress, address),
    isServiceAddress(address) {
      const value = tryAddress(address);
      if (value === undefined) return false;
      for (const { spec } of rangeInformer.list()) if (spec?.cidrs?.some((cidr) => isIn(cidr, value))) return true;
      return false;
    },
    serviceOf,
  };
}

function isIn(cidr: string, value: number): boolean {
  const range = tryRange(cidr);
  return range !== undefined && inRange(range, value);
}

const serviceOf = ({ metadata }: EndpointSlice): string | undefined => metadata.labels?.[labels.serviceName];
