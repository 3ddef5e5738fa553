import { type Service, type ServicePort, type ServiceSpec, services } from '../../api/core/v1/service.ts';
import { invalidValue } from '../../api/field-errors.ts';
import { internalError, invalid, type StatusError } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { claimantOf, isService } from './cluster-ip.ts';
import type { StoreClaims } from './store-claims.ts';

export interface NodePortOptions {
  readonly registry: Pick<Registry, 'stateOf'>;
  /** Absent where this server alone gives ports out. */
  readonly claims?: StoreClaims | undefined;
  readonly random: () => number;
}

/** Ports of nodes that Services may have, as upstream's default. */
const first = 30_000;
const size = 2_768;
/** Ports at the start of the range that are given away last, so that people find those they name free. */
const lastChoice = 86;
/** Port in the answer to a dry run: none of the range. */
const dryRunPort = 32_769;

/**
 * Gives the ports of NodePort and LoadBalancer Services their port on the nodes. As with addresses, what is taken is what the Services in
 * memory say, plus what writes under way have reserved. With several servers a port is also claimed in the store. Ports of one number
 * share a node port over their protocols.
 */
export function nodePorts({ registry, claims, random }: NodePortOptions): AdmissionStep {
  const reserved = new Set<number>();

  const takenPorts = (others: ReadonlySet<number>): Set<number> => {
    const taken = new Set([...reserved, ...others]);
    for (const object of registry.stateOf(services).all.objects.values()) addPorts(taken, (object as Service).spec);
    return taken;
  };

  /** @param others  ports that other servers have claimed */
  function allocate(request: AdmissionRequest<Service>, others: ReadonlySet<number> = noPorts): Allocated {
    const { object, before } = request;
    const operation = allocation(request, () => takenPorts(others), random);
    const ports = before === undefined ? newPorts(object.spec, operation) : changedPorts(object.spec, before.spec, operation);
    const spec = withHealthCheckPort({ ...object.spec, ports }, before?.spec, operation);
    return { allocated: operation.allocated, service: operation.allocated.size === 0 ? object : { ...object, spec } };
  }

  async function claim(request: AdmissionRequest<Service>, shared: StoreClaims): Promise<Service> {
    const owner = claimantOf(request.object);
    const others = new Set<number>();
    for (;;) {
      const { allocated, service } = allocate(request, others);
      let lost: number | undefined;
      for (const port of allocated) {
        if (await shared.take(port, owner)) request.onSettled(() => shared.release(port, owner));
        else lost = port;
        if (lost !== undefined) break;
      }
      if (lost === undefined) return service;
      others.add(lost);
    }
  }

  return {
    name: 'NodePort',
    phase: 'allocation',
    appliesTo: (kind, operation) => operation !== 'delete' && isService(kind),
    admit(request) {
      const { object, before } = request as AdmissionRequest<Service>;
      const { type } = object.spec;
      if (claims !== undefined && before !== undefined && !request.dryRun) {
        for (const port of portsOf(before.spec)) request.onSettled(() => claims.release(port, claimantOf(object)));
      }
      if (type !== 'NodePort' && type !== 'LoadBalancer') return object;
      if (claims !== undefined && !request.dryRun) return claim(request as AdmissionRequest<Service>, claims);
      const { allocated, service } = allocate(request as AdmissionRequest<Service>);
      if (!request.dryRun) {
        for (const port of allocated) reserved.add(port);
        request.onSettled(() => {
          for (const port of allocated) reserved.delete(port);
        });
      }
      return service;
    },
  };
}

interface Allocated {
  readonly allocated: ReadonlySet<number>;
  readonly service: Service;
}

const noPorts: ReadonlySet<number> = new Set();

/** The ports that one write takes. */
interface Allocation {
  readonly allocated: ReadonlySet<number>;
  /** Reason why `port` is not available; undefined when it now belongs to this write. */
  take(port: number): string | undefined;
  /** @throws StatusError 500 when there is none */
  takeAny(): number;
  refusal(index: number, port: number, why: string): StatusError;
}

function allocation({ kind, name, dryRun }: AdmissionRequest<Service>, takenPorts: () => Set<number>, random: () => number): Allocation {
  const allocated = new Set<number>();
  let known: Set<number> | undefined;
  const isTaken = (port: number): boolean => {
    known ??= takenPorts();
    return known.has(port) || allocated.has(port);
  };
  return {
    allocated,
    take(port) {
      // A dry run does not ask whether a port is in the range, as on the real server.
      if (!dryRun && (port < first || port >= first + size)) {
        return `provided port is not in the valid range. The range of valid ports is ${first}-${first + size - 1}`;
      }
      if (isTaken(port)) return 'provided port is already allocated';
      allocated.add(port);
      return undefined;
    },
    takeAny() {
      const port = dryRun ? dryRunPort + allocated.size : freePort(isTaken, random);
      if (port === undefined) throw internalError('failed to allocate a nodePort: range is full');
      allocated.add(port);
      return port;
    },
    refusal: (index, port, why) => invalid(kind, name, [invalidValue(`spec.ports[${index}].nodePort`, port, why)]),
  };
}

/** From a random start, so that a freed port is not given away again at once. */
function freePort(isTaken: (port: number) => boolean, random: () => number): number | undefined {
  for (const [from, count] of [
    [first + lastChoice, size - lastChoice],
    [first, lastChoice],
  ] as const) {
    const start = Math.floor(random() * count);
    for (let n = 0; n < count; n += 1) {
      const port = from + ((start + n) % count);
      if (!isTaken(port)) return port;
    }
  }
  return undefined;
}

const isWanted = (port: number | null | undefined): port is number => port !== undefined && port !== null && port !== 0;

/** A LoadBalancer may reach pods without node ports. */
const allocates = ({ type, allocateLoadBalancerNodePorts }: ServiceSpec): boolean =>
  type === 'NodePort' || allocateLoadBalancerNodePorts !== false;

function newPorts(spec: ServiceSpec, operation: Allocation): readonly ServicePort[] {
  const ports = spec.ports ?? [];
  const byPort = new Map<number, number>();
  return ports.map((entry, index) => {
    if (!isWanted(entry.nodePort) && !allocates(spec)) return entry;
    const shared = byPort.get(entry.port);
    if (shared !== undefined) {
      if (!isWanted(entry.nodePort)) return { ...entry, nodePort: shared };
      return entry.nodePort === shared ? entry : takeNamed(entry, { port: entry.nodePort, index }, operation);
    }
    const wanted = ports.find(({ port, nodePort }) => port === entry.port && isWanted(nodePort))?.nodePort;
    const result =
      wanted === undefined ? { ...entry, nodePort: operation.takeAny() } : takeNamed(entry, { port: wanted, index }, operation);
    byPort.set(entry.port, result.nodePort ?? 0);
    return result;
  });
}

function changedPorts(spec: ServiceSpec, before: ServiceSpec, operation: Allocation): readonly ServicePort[] {
  const own = new Set<number>();
  addPorts(own, before);
  return (spec.ports ?? []).map((entry, index) => {
    if (!isWanted(entry.nodePort)) return allocates(spec) ? { ...entry, nodePort: operation.takeAny() } : entry;
    if (own.has(entry.nodePort) || operation.allocated.has(entry.nodePort)) return entry;
    return takeNamed(entry, { port: entry.nodePort, index }, operation);
  });
}

function takeNamed(
  entry: ServicePort,
  { port, index }: { readonly port: number; readonly index: number },
  operation: Allocation,
): ServicePort {
  const why = operation.take(port);
  if (why !== undefined) throw operation.refusal(index, port, why);
  return { ...entry, nodePort: port };
}

/** A load balancer that sends to nodes with pods only asks each node, at a port of its own, whether it has some. */
function withHealthCheckPort(spec: ServiceSpec, before: ServiceSpec | undefined, operation: Allocation): ServiceSpec {
  if (spec.type !== 'LoadBalancer' || spec.externalTrafficPolicy !== 'Local') return spec;
  const wanted = spec.healthCheckNodePort;
  if (before?.type === 'LoadBalancer' && before.externalTrafficPolicy === 'Local' && isWanted(before.healthCheckNodePort)) return spec;
  if (!isWanted(wanted)) return { ...spec, healthCheckNodePort: operation.takeAny() };
  const why = operation.take(wanted);
  if (why !== undefined) throw internalError(`failed to allocate requested HealthCheck NodePort ${wanted}: ${why}`);
  return spec;
}

/** The node ports of a Service, that of its health check too. */
export function portsOf(spec: ServiceSpec): ReadonlySet<number> {
  const ports = new Set<number>();
  addPorts(ports, spec);
  return ports;
}

function addPorts(ports: Set<number>, { ports: entries = [], healthCheckNodePort }: ServiceSpec): void {
  for (const { nodePort } of entries) if (isWanted(nodePort)) ports.add(nodePort);
  if (isWanted(healthCheckNodePort)) ports.add(healthCheckNodePort);
}
