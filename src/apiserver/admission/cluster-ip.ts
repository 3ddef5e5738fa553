import { isIP } from 'node:net';
import { type Service, services } from '../../api/core/v1/service.ts';
import { invalidValue } from '../../api/field-errors.ts';
import { type ServiceCIDR, serviceCidrs } from '../../api/networking/v1/service-cidr.ts';
import { type AddressRange, formatAddress, inRange, parseRange, tryAddress, tryRange } from '../../machinery/addresses.ts';
import { isConditionTrue } from '../../machinery/conditions.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { keyOf } from '../../machinery/object.ts';
import { type FieldError, invalid, StatusError } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import type { StoreClaims } from './store-claims.ts';

export interface ClusterIpOptions {
  readonly registry: Pick<Registry, 'stateOf'>;
  /** Absent where this server alone gives addresses out. */
  readonly claims?: StoreClaims | undefined;
  /** `127.64.0.0/20`; its first address belongs to the `kubernetes` Service. */
  readonly serviceCidr: string;
  readonly random: () => number;
}

/**
 * Allocates the address of Services that need one. The taken addresses are those of the Services in memory and of writes under way. With
 * several servers an address is also claimed in the store, before its Service is stored.
 */
export function clusterIp({ registry, claims, serviceCidr, random }: ClusterIpOptions): AdmissionStep {
  const range = parseRange(serviceCidr);
  const reserved = new Set<string>();

  function takenAddresses(others: ReadonlySet<string> = noAddresses): Set<string> {
    const taken = new Set([...reserved, ...others]);
    for (const object of registry.stateOf(services).all.objects.values()) {
      const { clusterIP } = (object as Service).spec;
      if (clusterIP !== undefined) taken.add(clusterIP);
    }
    return taken;
  }

  function rangesNow(): readonly AddressRange[] {
    const more = [...registry.stateOf(serviceCidrs).all.objects.values()].flatMap((object) => readyRangesOf(object as ServiceCIDR));
    return [range, ...more.filter(({ first, size }) => first !== range.first || size !== range.size)];
  }

  /** @param others  addresses that other servers have claimed */
  function allocate({ kind, namespace, name, object, dryRun }: AdmissionRequest<Service>, others?: ReadonlySet<string>): string {
    const wanted = object.spec.clusterIP ?? '';
    if (wanted !== '') {
      // As on the real server, a dry run does not look at what others have. The Service of the API is made by every server at its start.
      const isFree = dryRun || isOfApi({ namespace, name });
      const why = refusalOf(wanted, rangesNow(), isFree ? noAddresses : takenAddresses(others));
      if (why === undefined) return wanted;
      throw invalid(kind, name, [invalidValue('spec.clusterIPs', [wanted], `failed to allocate IP ${wanted}: ${why}`)]);
    }
    if (dryRun) return formatAddress(range.first);
    if (isOfApi({ namespace, name })) return formatAddress(range.first + 1);
    const taken = takenAddresses(others);
    for (const each of rangesNow()) {
      const address = freeAddress(each, taken, random);
      if (address !== undefined) return address;
    }
    throw new StatusError({ code: 500, reason: 'InternalError', message: 'failed to allocate a serviceIP: range is full' });
  }

  async function claim(request: AdmissionRequest<Service>, shared: StoreClaims): Promise<Service> {
    const { onSettled } = request;
    const owner = claimantOf(request.object);
    const others = new Set<string>();
    for (;;) {
      const address = allocate(request, others);
      if (await shared.take(address, owner)) {
        onSettled(() => shared.release(address, owner));
        return withAddress(request.object, address);
      }
      others.add(address);
    }
  }

  return {
    name: 'ClusterIP',
    phase: 'allocation',
    appliesTo: (kind, operation) => operation !== 'delete' && isService(kind),
    admit(request) {
      const { before, object, kind, name } = request as AdmissionRequest<Service>;
      const { type = 'ClusterIP', clusterIP, clusterIPs = [] } = object.spec;
      const earlier = before?.spec.clusterIP ?? '';
      if (claims !== undefined && isIP(earlier) !== 0 && !request.dryRun) {
        request.onSettled(() => claims.release(earlier, claimantOf(object)));
      }
      if (type === 'ExternalName') return object;
      // Two fields that contradict each other are refused where the object is validated.
      if (clusterIPs.length > 0 && clusterIPs[0] !== (clusterIP ?? '')) return object;
      const errors = familyErrors(object);
      if (errors.length > 0) throw invalid(kind, name, errors);
      if (clusterIP === 'None') return withAddress(object, 'None');
      if (before !== undefined && clusterIP !== undefined && clusterIP === before.spec.clusterIP) return object;
      // Validation of the object refuses a value that is no address.
      if (clusterIP !== undefined && clusterIP !== '' && isIP(clusterIP) === 0) return object;
      // No other Service gets the address of the API.
      if (claims !== undefined && !request.dryRun && !isOfApi(request)) return claim(request as AdmissionRequest<Service>, claims);
      const address = allocate(request as AdmissionRequest<Service>);
      reserved.add(address);
      request.onSettled(() => void reserved.delete(address));
      return withAddress(object, address);
    },
  };
}

/** A range that is being deleted gives no address any more. Services have IPv4 alone. */
function readyRangesOf({ metadata, spec, status }: ServiceCIDR): readonly AddressRange[] {
  if (metadata.deletionTimestamp !== undefined || !isConditionTrue(status?.conditions, 'Ready')) return [];
  return (spec?.cidrs ?? []).flatMap((cidr) => tryRange(cidr) ?? []);
}

const noAddresses: ReadonlySet<string> = new Set();

/** There is one family of addresses. A headless Service without selector says nothing about its endpoints, and may name others. */
function familyErrors({ spec }: Service): readonly FieldError[] {
  if (spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0) return [];
  const errors: FieldError[] = [];
  for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
    if (family === 'IPv6') errors.push(invalidValue(`spec.ipFamilies[${index}]`, family, 'not configured on this cluster'));
  }
  if (spec.ipFamilyPolicy === 'RequireDualStack') {
    errors.push(invalidValue('spec.ipFamilyPolicy', spec.ipFamilyPolicy, 'this cluster is not configured for dual-stack services'));
  }
  return errors;
}

const isOfApi = ({ namespace, name }: Pick<AdmissionRequest, 'namespace' | 'name'>): boolean =>
  namespace === 'default' && name === 'kubernetes';

/** Names one Service among all that had and will have its name. */
export const claimantOf = (service: Service): string => `${keyOf(service)} ${service.metadata.uid ?? ''}`;

export const isService = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === 'services';

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

function refusalOf(address: string, ranges: readonly AddressRange[], taken: ReadonlySet<string>): string | undefined {
  const value = tryAddress(address);
  if (value === undefined || !ranges.some((range) => inRange(range, value) && value !== range.first)) {
    const valid = ranges.map(({ first, size }) => `${formatAddress(first)}/${32 - Math.log2(size)}`).join(', ');
    return `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${valid}`;
  }
  return taken.has(address) ? 'provided IP is already allocated' : undefined;
}

/** A free address, from a random start so that a freed one is not given away again at once. The first two are never free. */
function freeAddress({ first, size }: AddressRange, taken: ReadonlySet<string>, random: () => number): string | undefined {
  const usable = Math.max(size - 3, 0);
  const start = Math.floor(random() * usable);
  for (let n = 0; n < usable; n += 1) {
    const address = formatAddress(first + 2 + ((start + n) % usable));
    if (!taken.has(address)) return address;
  }
  return undefined;
}
