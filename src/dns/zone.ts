import { isIPv4, isIPv6 } from 'node:net';
import type { Answer } from 'dns-packet';
import type { Service } from '../api/core/v1/service.ts';
import type { EndpointSlice } from '../api/discovery/v1/endpoint-slice.ts';

/** The objects that names are made of. Every function answers from an index. */
export interface ServiceSource {
  hasNamespace(name: string): boolean;
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, service: string): readonly EndpointSlice[];
  servicesAt(address: string): readonly Service[];
  slicesAt(address: string): readonly EndpointSlice[];
  /** True for addresses in the range of any ServiceCIDR. */
  isServiceAddress(address: string): boolean;
  /** The name of a slice's Service; undefined for a slice without one. */
  serviceOf(slice: EndpointSlice): string | undefined;
}

export interface Zone {
  /** `cluster.local` */
  readonly domain: string;
  /** Address of this server. */
  readonly address: string;
  /** True for addresses of the cluster, whose names no other server knows. */
  owns(address: string): boolean;
  /** Changes with the records. */
  readonly serial: number;
}

export interface ZoneQuestion {
  /** In lower case, without the final dot. */
  readonly name: string;
  readonly type: string;
}

/** An empty `answers` says that the name exists without a record of the type. */
export interface ZoneAnswer {
  readonly exists: boolean;
  readonly answers: readonly Answer[];
  readonly additionals: readonly Answer[];
  /** The statement of the zone for answers without a record. */
  readonly authorities: readonly Answer[];
}

/** As CoreDNS: short, so that clients soon see other endpoints. */
const ttl = 5;
/** As in the specification's example; it changes with the program only. */
const versionTtl = 28_800;
const schemaVersion = '1.1.0';
const none: readonly Answer[] = [];
const absent: Found = { exists: false, answers: none, additionals: none };
const empty: Found = { exists: true, answers: none, additionals: none };

type Found = Omit<ZoneAnswer, 'authorities'>;
type Port = { readonly name?: string | undefined; readonly port?: number | undefined; readonly protocol?: string | undefined };

/** A name that SRV records point at, with its addresses. */
interface Target {
  readonly host: string;
  readonly addresses: readonly string[];
  readonly ports: readonly Port[];
}

/**
 * Answers a question about the cluster, as CoreDNS's kubernetes plugin does with `pods insecure`.
 *
 * @returns undefined for names of other zones
 * @see Kubernetes DNS-Based Service Discovery, version 1.1.0
 */
export function answerQuestion(question: ZoneQuestion, source: ServiceSource, zone: Zone): ZoneAnswer | undefined {
  const found = find(question, source, zone);
  if (found === undefined) return undefined;
  return { ...found, authorities: found.answers.length === 0 ? [soaOf(zone)] : none };
}

function find(question: ZoneQuestion, source: ServiceSource, zone: Zone): Found | undefined {
  const { name, type } = question;
  const address = addressOfReverse(name);
  if (address !== undefined) return findReverse(question, address, { source, zone });
  if (name === zone.domain) return findApex(type, zone);
  if (!name.endsWith(`.${zone.domain}`)) return undefined;
  const [root, namespace, service, ...rest] = name
    .slice(0, -zone.domain.length - 1)
    .split('.')
    .reverse();
  if (root === 'dns-version' && namespace === undefined) return findVersion(question);
  if (root === 'dns')
    return namespace === undefined
      ? empty
      : namespace === 'ns' && service === undefined
        ? addressRecords(question, [zone.address])
        : absent;
  if (root !== 'svc' && root !== 'pod') return absent;
  if (namespace === undefined) return empty;
  if (!source.hasNamespace(namespace)) return absent;
  if (service === undefined) return empty;
  if (root === 'pod') return rest.length === 0 ? findPod(question, service) : absent;
  const found = source.service(namespace, service);
  if (found === undefined || rest.includes('')) return absent;
  return findService(question, rest, { service: found, source, zone });
}

function findApex(type: string, zone: Zone): Found {
  const nameServer = `ns.dns.${zone.domain}`;
  if (type === 'SOA') return { ...empty, answers: [soaOf(zone)] };
  if (type !== 'NS') return empty;
  return {
    exists: true,
    answers: [{ name: zone.domain, type: 'NS', ttl, data: nameServer }],
    additionals: [{ name: nameServer, type: 'A', ttl, data: zone.address }],
  };
}

const findVersion = ({ name, type }: ZoneQuestion): Found =>
  type === 'TXT' ? { ...empty, answers: [{ name, type: 'TXT', ttl: versionTtl, data: schemaVersion }] } : empty;

/** `172-16-0-3.NAMESPACE.pod`: the address that the name spells, for certificates of pods. */
function findPod(question: ZoneQuestion, label: string): Found {
  const address = label.replaceAll('-', '.');
  if (isIPv4(address)) return addressRecords(question, [address]);
  return absent;
}

interface ServiceContext {
  readonly service: Service;
  readonly source: ServiceSource;
  readonly zone: Zone;
}

/** @param rest  labels left of the Service's name, the nearest first: an endpoint, or protocol and port */
function findService(question: ZoneQuestion, rest: readonly string[], { service, source, zone }: ServiceContext): Found {
  const { spec, metadata } = service;
  const { namespace = '', name } = metadata;
  if (spec.type === 'ExternalName') return rest.length === 0 ? findExternal(question, spec.externalName ?? '') : absent;
  if (rest.length > 2) return absent;
  const [first, port] = rest;
  const asksEndpoint = first !== undefined && !first.startsWith('_');
  if (asksEndpoint && port !== undefined) return absent;
  const host = `${name}.${namespace}.svc.${zone.domain}`;
  const isHeadless = spec.clusterIP === 'None';
  const targets: readonly Target[] =
    isHeadless || asksEndpoint
      ? endpointsOf(source.slices(namespace, name), host).filter((target) => !asksEndpoint || target.host === `${first}.${host}`)
      : [{ host, addresses: spec.clusterIPs ?? [spec.clusterIP ?? ''], ports: spec.ports ?? [] }];
  // The specification wants a headless Service without ready endpoints to be unknown.
  if (targets.length === 0) return absent;
  if (first === undefined || asksEndpoint) {
    return question.type === 'SRV'
      ? portRecords(question, targets)
      : addressRecords(
          question,
          targets.flatMap(({ addresses }) => addresses),
        );
  }
  const matching = targets
    .map((target) => ({
      ...target,
      ports: target.ports.filter(
        (each) =>
          `_${(each.protocol ?? 'TCP').toLowerCase()}` === first &&
          (each.name ?? '') !== '' &&
          (port === undefined || `_${each.name}`.toLowerCase() === port),
      ),
    }))
    .filter(({ ports }) => ports.length > 0);
  if (matching.length === 0) return absent;
  return port !== undefined && question.type === 'SRV' ? portRecords(question, matching) : empty;
}

function findExternal(question: ZoneQuestion, externalName: string): Found {
  if (isIPv4(externalName) || isIPv6(externalName)) return addressRecords(question, [externalName]);
  if (externalName === '' || question.type === 'SRV') return empty;
  return { ...empty, answers: [{ name: question.name, type: 'CNAME', ttl, data: externalName.replace(/\.$/, '').toLowerCase() }] };
}

/** Ready endpoints; absent means unknown, which counts as ready. */
function endpointsOf(slices: readonly EndpointSlice[], service: string): readonly Target[] {
  return slices.flatMap(({ endpoints, ports }) =>
    (endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap(({ addresses, hostname }) =>
        addresses.map((address) => ({ host: `${hostLabel(address, hostname)}.${service}`, addresses: [address], ports: ports ?? [] })),
      ),
  );
}

const hostLabel = (address: string, hostname: string | undefined): string =>
  hostname === undefined || hostname === '' ? address.replace(/[.:]/g, '-') : hostname.toLowerCase();

function addressRecords({ name, type }: ZoneQuestion, addresses: readonly string[]): Found {
  const isWanted = type === 'A' ? isIPv4 : type === 'AAAA' ? isIPv6 : () => false;
  const wanted = new Set(addresses.filter((address) => isWanted(address)));
  return { ...empty, answers: [...wanted].map((data): Answer => ({ name, type: type === 'A' ? 'A' : 'AAAA', ttl, data })) };
}

/** A record for each port of each target, and their addresses beside it. */
function portRecords({ name }: ZoneQuestion, targets: readonly Target[]): Found {
  const ports = new Map<string, { readonly target: string; readonly port: number }>();
  const addresses = new Map<string, Answer>();
  for (const { host, addresses: hostAddresses, ports: hostPorts } of targets) {
    for (const { port } of hostPorts) if (port !== undefined) ports.set(`${host}:${port}`, { target: host, port });
    for (const data of hostAddresses) {
      const type = isIPv4(data) ? 'A' : isIPv6(data) ? 'AAAA' : undefined;
      if (type !== undefined) addresses.set(`${host} ${data}`, { name: host, type, ttl, data });
    }
  }
  const weight = Math.max(1, Math.floor(100 / Math.max(1, ports.size)));
  return {
    exists: true,
    answers: [...ports.values()].map((data): Answer => ({ name, type: 'SRV', ttl, data: { ...data, priority: 0, weight } })),
    additionals: ports.size === 0 ? none : [...addresses.values()],
  };
}

function findReverse({ name, type }: ZoneQuestion, address: string, { source, zone }: Omit<ServiceContext, 'service'>): Found | undefined {
  const suffix = `svc.${zone.domain}`;
  const names = new Set(source.servicesAt(address).map(({ metadata }) => `${metadata.name}.${metadata.namespace}.${suffix}`));
  if (names.size === 0) {
    for (const slice of source.slicesAt(address)) {
      const service = source.serviceOf(slice);
      const namespace = slice.metadata.namespace ?? '';
      if (service === undefined) continue;
      const isHeadless = source.service(namespace, service)?.spec.clusterIP === 'None';
      for (const { addresses, conditions, hostname = '' } of slice.endpoints ?? []) {
        if (!addresses.includes(address) || conditions?.ready === false || (!isHeadless && hostname === '')) continue;
        names.add(`${hostLabel(address, hostname)}.${service}.${namespace}.${suffix}`);
      }
    }
  }
  if (names.size === 0) return zone.owns(address) ? absent : undefined;
  return { ...empty, answers: type === 'PTR' ? [...names].map((data): Answer => ({ name, type: 'PTR', ttl, data })) : none };
}

/** `4.3.2.1.in-addr.arpa` is 1.2.3.4; undefined for every other name. */
function addressOfReverse(name: string): string | undefined {
  const suffix = '.in-addr.arpa';
  if (!name.endsWith(suffix)) return undefined;
  const address = name.slice(0, -suffix.length).split('.').reverse().join('.');
  return isIPv4(address) ? address : undefined;
}

const soaOf = ({ domain, serial }: Zone): Answer => ({
  name: domain,
  type: 'SOA',
  ttl,
  data: { mname: `ns.dns.${domain}`, rname: `hostmaster.${domain}`, serial, refresh: 7_200, retry: 1_800, expire: 86_400, minimum: ttl },
});
