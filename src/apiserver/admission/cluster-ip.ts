import { type Service, services } from '../../api/core/v1/service.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { invalid, notImplemented, StatusError } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import { type AddressRange, formatAddress, inRange, parseRange, tryAddress } from './addresses.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';

export interface ClusterIpOptions {
  readonly registry: Pick<Registry, 'stateOf'>;
  /** `127.64.0.0/20`; its first address belongs to the `kubernetes` Service. */
  readonly serviceCidr: string;
  readonly random: () => number;
}

/**
 * Gives Services of type ClusterIP their address. Which addresses are taken is what the Services in memory say, plus those of writes
 * under way: nothing of its own has to be stored or repaired.
 */
export function clusterIp({ registry, serviceCidr, random }: ClusterIpOptions): AdmissionStep {
  const range = parseRange(serviceCidr);
  const reserved = new Set<string>();

  function takenAddresses(): Set<string> {
    const taken = new Set(reserved);
    for (const object of registry.stateOf(services).all.objects.values()) {
      const { clusterIP } = (object as Service).spec;
      if (clusterIP !== undefined) taken.add(clusterIP);
    }
    return taken;
  }

  function allocate(request: AdmissionRequest<Service>): string {
    const { kind, namespace, name, object } = request;
    const wanted = object.spec.clusterIP ?? '';
    const taken = takenAddresses();
    if (wanted !== '') {
      const why = refusalOf(wanted, range, taken);
      if (why === undefined) return wanted;
      throw invalid(kind, name, [
        {
          type: 'FieldValueInvalid',
          field: 'spec.clusterIPs',
          message: `Invalid value: ${JSON.stringify([wanted])}: failed to allocate IP ${wanted}: ${why}`,
        },
      ]);
    }
    if (namespace === 'default' && name === 'kubernetes') return formatAddress(range.first + 1);
    return freeAddress(range, taken, random);
  }

  return {
    name: 'ClusterIP',
    phase: 'allocation',
    appliesTo: (kind, operation) => operation !== 'delete' && isService(kind),
    admit(request) {
      const { before } = request as AdmissionRequest<Service>;
      const object = before === undefined ? (request.object as Service) : keepAddress(request.object as Service, before as Service);
      const { type = 'ClusterIP', clusterIP } = object.spec;
      // A Service without its address would be a pretence, so the types that need more than an address are refused.
      if (type === 'NodePort' || type === 'LoadBalancer') throw notImplemented(`Services of type ${type}; use ClusterIP`);
      if (type !== 'ClusterIP' || clusterIP === 'None') return type === 'ClusterIP' ? withAddress(object, 'None') : object;
      if (before !== undefined && clusterIP !== undefined && clusterIP === (before as Service).spec.clusterIP) return object;
      const address = allocate({ ...(request as AdmissionRequest<Service>), object });
      reserved.add(address);
      request.onSettled(() => reserved.delete(address));
      return withAddress(object, address);
    },
  };
}

const isService = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === 'services';

/** Clients that replace a Service need not know its address. */
function keepAddress(service: Service, { spec }: Service): Service {
  if (spec.type !== 'ClusterIP' || (service.spec.type ?? 'ClusterIP') !== 'ClusterIP' || spec.clusterIP === undefined) return service;
  if ((service.spec.clusterIP ?? '') !== '') return service;
  return withAddress(service, spec.clusterIP);
}

function withAddress(service: Service, address: string): Service {
  const { spec } = service;
  const ipFamilies = spec.ipFamilies ?? ['IPv4'];
  const ipFamilyPolicy = spec.ipFamilyPolicy ?? 'SingleStack';
  const clusterIPs = spec.clusterIPs?.[0] === address ? spec.clusterIPs : [address];
  if (spec.clusterIP === address && spec.clusterIPs === clusterIPs && spec.ipFamilies !== undefined && spec.ipFamilyPolicy !== undefined) {
    return service;
  }
  return { ...service, spec: { ...spec, clusterIP: address, clusterIPs, ipFamilies, ipFamilyPolicy } };
}

function refusalOf(address: string, range: AddressRange, taken: ReadonlySet<string>): string | undefined {
  const value = tryAddress(address);
  if (value === undefined || !inRange(range, value) || value === range.first) {
    const { first, size } = range;
    return `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${formatAddress(first)}/${32 - Math.log2(size)}`;
  }
  return taken.has(address) ? 'provided IP is already allocated' : undefined;
}

/** A free address, from a random start so that a freed one is not given away again at once. The first two are never free. */
function freeAddress({ first, size }: AddressRange, taken: ReadonlySet<string>, random: () => number): string {
  const usable = Math.max(size - 3, 0);
  const start = Math.floor(random() * usable);
  for (let n = 0; n < usable; n += 1) {
    const address = formatAddress(first + 2 + ((start + n) % usable));
    if (!taken.has(address)) return address;
  }
  throw new StatusError({ code: 500, reason: 'InternalError', message: 'failed to allocate a serviceIP: range is full' });
}
