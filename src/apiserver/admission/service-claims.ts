import { isIP } from 'node:net';
import { type Service, services } from '../../api/core/v1/service.ts';
import type { Clock } from '../../base/clock.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { claimantOf, isService } from './cluster-ip.ts';
import { portsOf } from './node-port.ts';
import { createStoreClaims, type StoreClaims } from './store-claims.ts';

/** Claims of the values that Services have alone; undefined where this server alone gives them out. */
export interface ServiceClaims {
  readonly addresses: StoreClaims | undefined;
  readonly ports: StoreClaims | undefined;
}

export function createServiceClaims(registry: Registry, clock: Clock): ServiceClaims {
  const specOf = (owner: string): Service['spec'] | undefined => {
    const [key = '', uid] = owner.split(' ');
    const service = registry.get(services, key) as Service | undefined;
    return service?.metadata.uid === uid ? service?.spec : undefined;
  };
  return {
    addresses: createStoreClaims({
      registry,
      clock,
      what: 'cluster-ips',
      holds: (owner, value) => specOf(owner)?.clusterIP === value,
    }),
    ports: createStoreClaims({
      registry,
      clock,
      what: 'node-ports',
      holds(owner, value) {
        const spec = specOf(owner);
        return spec !== undefined && portsOf(spec).has(Number(value));
      },
    }),
  };
}

/** Gives the values of a Service back when it is gone, before its client gets the answer: the client may use them at once. */
export function releaseServiceClaims({ addresses, ports }: ServiceClaims): AdmissionStep {
  return {
    name: 'ServiceClaims',
    phase: 'validating',
    isIdle: () => addresses === undefined,
    appliesTo: (kind, operation) => operation === 'delete' && isService(kind),
    admit(request) {
      const { object, dryRun, onSettled } = request as AdmissionRequest<Service>;
      if (dryRun) return object;
      const owner = claimantOf(object);
      const { clusterIP = '' } = object.spec;
      if (addresses !== undefined && isIP(clusterIP) !== 0) onSettled(() => addresses.release(clusterIP, owner));
      if (ports !== undefined) for (const port of portsOf(object.spec)) onSettled(() => ports.release(port, owner));
      return object;
    },
  };
}
