import type { Ingress } from '../api/networking/v1/ingress.ts';
import type { IngressClass } from '../api/networking/v1/ingress-class.ts';
import { isServedHere } from '../api/networking/v1/ingress-ownership.ts';
import { annotations } from '../api/well-known.ts';
import { keyOf } from '../machinery/object.ts';
import { routingPath } from './request-path.ts';

/** The routes of all Ingresses of a cluster, by host and path. */
export interface RoutingTable {
  /** By lower-case host: `shop.example`, `*.example`, or empty for requests to other hosts. */
  readonly hosts: ReadonlyMap<string, HostRoutes>;
  /** For requests that no rule fits. */
  readonly fallback: Route | undefined;
  /** Secrets with certificates, by host as in `hosts`; a host without a Secret gets the proxy's own certificate. */
  readonly certificates: ReadonlyMap<string, CertificateRef>;
}

export interface HostRoutes {
  readonly exact: ReadonlyMap<string, Route>;
  /** By path without a slash at its end; `/` is empty. */
  readonly prefixes: ReadonlyMap<string, Route>;
  /** Length of the longest prefix: a request cannot make the search longer. */
  readonly longestPrefix: number;
  /** `spec.defaultBackend` of an Ingress with rules of this host. */
  readonly fallback: Route | undefined;
}

export interface Route {
  readonly backend: Backend;
  /** False: requests by plain HTTP are served although the host has a certificate. */
  readonly redirectsToTls: boolean;
}

/** A port of a Service. */
export interface Backend {
  /** `NAMESPACE/NAME` */
  readonly service: string;
  readonly port: string | number;
}

export interface CertificateRef {
  /** Key of the Secret; undefined: the Ingress names none. */
  readonly secret: string | undefined;
}

/** Something an Ingress asks for that it does not get. */
export interface IngressProblem {
  readonly ingress: Ingress;
  readonly reason: string;
  readonly message: string;
}

export interface BuiltTable {
  readonly table: RoutingTable;
  readonly problems: readonly IngressProblem[];
}

interface MutableHost {
  readonly exact: Map<string, Owned>;
  readonly prefixes: Map<string, Owned>;
  longestPrefix: number;
  fallback: Owned | undefined;
}

interface Owned extends Route {
  readonly owner: Ingress;
}

type Rule = NonNullable<Ingress['spec']['rules']>[number];
type Path = NonNullable<Rule['http']>['paths'][number];

/**
 * Makes one table of the Ingresses that this program serves. When two ask for the same host and path, the older one gets it, then the
 * first by namespace and name.
 *
 * @see Kubernetes, "Ingress": path types, multiple matches, hostname wildcards
 */
export function buildRoutingTable(ingresses: Iterable<Ingress>, classes: Iterable<IngressClass>): BuiltTable {
  const known = [...classes];
  const served = [...ingresses].filter((ingress) => ingress.metadata.deletionTimestamp === undefined && isServedHere(ingress, known));
  const hosts = new Map<string, MutableHost>();
  const certificates = new Map<string, CertificateRef & { readonly owner: Ingress }>();
  const problems: IngressProblem[] = [];
  let fallback: Owned | undefined;

  for (const ingress of served.sort(byAge)) {
    const report = (reason: string, message: string): void => void problems.push({ ingress, reason, message });
    const own = toRoute(ingress, ingress.spec.defaultBackend, report);
    const rules = ingress.spec.rules ?? [];
    if (rules.length === 0 && own !== undefined) {
      if (fallback === undefined) fallback = own;
      else report('Conflict', `defaultBackend is that of Ingress ${keyOf(fallback.owner)}, which is older`);
    }
    for (const { host = '', http } of rules) {
      const routes = hostOf(host.toLowerCase());
      routes.fallback ??= own;
      for (const path of http?.paths ?? []) addPath(routes, { ingress, host, path }, report);
    }
    addCertificates(ingress, report);
  }
  return { table: { hosts, fallback, certificates }, problems };

  function hostOf(host: string): MutableHost {
    const known = hosts.get(host);
    if (known !== undefined) return known;
    const routes: MutableHost = { exact: new Map(), prefixes: new Map(), longestPrefix: 0, fallback: undefined };
    hosts.set(host, routes);
    return routes;
  }

  function addCertificates(ingress: Ingress, report: Report): void {
    const ruled = (ingress.spec.rules ?? []).map(({ host = '' }) => host);
    for (const { hosts: named = [], secretName = '' } of ingress.spec.tls ?? []) {
      const secret = secretName === '' ? undefined : `${ingress.metadata.namespace}/${secretName}`;
      for (const host of named.length > 0 ? named : ruled) {
        const key = host.toLowerCase();
        const before = certificates.get(key);
        if (before === undefined) certificates.set(key, { secret, owner: ingress });
        else if (before.owner !== ingress && before.secret !== secret)
          report('Conflict', `the certificate of ${host || 'other hosts'} is that of Ingress ${keyOf(before.owner)}, which is older`);
      }
    }
  }
}

type Report = (reason: string, message: string) => void;

interface RulePath {
  readonly ingress: Ingress;
  readonly host: string;
  readonly path: Path;
}

function addPath(routes: MutableHost, { ingress, host, path: rule }: RulePath, report: Report): void {
  const { path: given = '', pathType, backend } = rule;
  const written = given === '' ? '/' : given;
  const place = `${host || '*'}${written}`;
  const path = isPattern(rule) ? undefined : routingPath(Buffer.from(written, 'utf8').toString('latin1'));
  if (path === undefined) {
    report('PathNotSupported', `path ${written} of ${host || '*'} is not supported: paths are literal, not regular expressions`);
    return;
  }
  const route = toRoute(ingress, backend, report);
  if (route === undefined) return;
  const isExact = pathType === 'Exact';
  const key = isExact ? path : prefixKey(path);
  const map = isExact ? routes.exact : routes.prefixes;
  const before = map.get(key);
  if (before === undefined) {
    map.set(key, route);
    if (!isExact) routes.longestPrefix = Math.max(routes.longestPrefix, key.length);
  } else if (before.owner !== ingress)
    report('Conflict', `${place} (${pathType}) is served for Ingress ${keyOf(before.owner)}, which is older`);
}

/** Other controllers take such paths as regular expressions. */
const isPattern = ({ path = '', pathType }: Path): boolean => pathType === 'ImplementationSpecific' && /[\^$*()[\]{}|+\\]/.test(path);

const prefixKey = (path: string): string => (path.endsWith('/') ? path.slice(0, -1) : path);

function toRoute(ingress: Ingress, backend: Path['backend'] | undefined, report: Report): Owned | undefined {
  if (backend === undefined || backend === null) return undefined;
  const { service, resource } = backend;
  if (service === undefined || service === null) {
    const { kind = '', name = '' } = resource ?? {};
    report('ResourceBackendNotSupported', `resource backends are not supported: ${kind} ${name} gets no requests`);
    return undefined;
  }
  const { name: portName = '', number: portNumber = 0 } = service.port ?? {};
  return {
    owner: ingress,
    backend: { service: `${ingress.metadata.namespace}/${service.name}`, port: portName === '' ? portNumber : portName },
    redirectsToTls: ingress.metadata.annotations?.[annotations.ingressTlsRedirect] !== 'false',
  };
}

function byAge({ metadata: a }: Ingress, { metadata: b }: Ingress): number {
  const [ofA, ofB] = [a.creationTimestamp ?? '', b.creationTimestamp ?? ''];
  if (ofA !== ofB) return ofA < ofB ? -1 : 1;
  return `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1;
}

/**
 * The route of a request. Undefined: nobody wants it.
 *
 * An exact host comes before a wildcard, which fits one label, and that before rules without a host. Only the rules of that host
 * count, as with ingress-nginx. Among them the longest path wins, and an exact one before a prefix.
 *
 * @param host  lower case, without a port
 * @param path  as `routingPath` gives it
 */
export function findRoute(table: RoutingTable, host: string, path: string): Route | undefined {
  const routes = lookUpHost(table.hosts, host) ?? table.hosts.get('');
  if (routes === undefined) return table.fallback;
  return routes.exact.get(path) ?? findPrefix(routes, path) ?? routes.fallback ?? table.fallback;
}

function findPrefix({ prefixes, longestPrefix }: HostRoutes, path: string): Route | undefined {
  const whole = prefixKey(path);
  // A prefix ends where an element of the path ends.
  let end = whole.length <= longestPrefix ? whole.length : whole.lastIndexOf('/', longestPrefix);
  while (end >= 0) {
    const found = prefixes.get(whole.slice(0, end));
    if (found !== undefined || end === 0) return found;
    end = whole.lastIndexOf('/', end - 1);
  }
  return undefined;
}

/** The entry of a host, or of the wildcard that its first label fits; undefined for neither. */
export function lookUpHost<T>(entries: ReadonlyMap<string, T>, host: string): T | undefined {
  if (host === '') return undefined;
  const dot = host.indexOf('.');
  return entries.get(host) ?? (dot > 0 ? entries.get(`*${host.slice(dot)}`) : undefined);
}

/** True when an Ingress asks for TLS for the host. */
export const hasTls = ({ certificates }: RoutingTable, host: string): boolean => lookUpHost(certificates, host) !== undefined;
