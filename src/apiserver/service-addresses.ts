import { isIP } from 'node:net';
import { type Service, services } from '../api/core/v1/service.ts';
import { type IPAddress, ipAddresses, isServiceAddress, serviceAddressLabels } from '../api/networking/v1/ip-address.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { createWorkLoop } from '../base/work-loop.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { tryGet } from '../client/try-get.ts';
import { deepEqual, keyOf } from '../machinery/object.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../machinery/status-error.ts';

export interface ServiceAddressesOptions {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
}

const byAddress = 'service-address';

const addressOf = ({ spec }: Service): readonly string[] => (isIP(spec.clusterIP ?? '') === 4 ? [spec.clusterIP ?? ''] : []);

/**
 * Keeps an IPAddress for each address of a Service. Upstream allocates by these objects. Here they only show the addresses of the
 * Services: one that is missing or too many does no harm and is put right.
 *
 * @see Kubernetes documentation, "Virtual IPs and Service Proxies", IP address objects
 */
export function createServiceAddresses({ client, informers, clock, log }: ServiceAddressesOptions): Component {
  const holders = informers.get(services);
  const addresses = informers.get(ipAddresses);
  holders.addIndex(byAddress, addressOf);
  const unsubscribe: (() => void)[] = [];
  const queue = createWorkLoop({
    clock,
    work: reconcile,
    onFailure: (address, err) => log.warn({ err, ipAddress: address }, 'Could not keep the object of an address'),
  });

  async function reconcile(address: string): Promise<void> {
    // Admission lets no two Services have one address; in their order of names, the first would be the parent.
    const [holder] = [...holders.byIndex(byAddress, address)].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    const stored = await tryGet(client, ipAddresses, { name: address });
    const parentRef = holder === undefined ? undefined : parentOf(holder);
    if (stored !== undefined && (deepEqual(stored.spec?.parentRef, parentRef) || !isServiceAddress(stored))) return;
    try {
      // A parent cannot be changed.
      if (stored !== undefined) await client.delete(ipAddresses, { name: address });
      if (parentRef === undefined) return;
      await client.create(ipAddresses, {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'IPAddress',
        metadata: { name: address, labels: serviceAddressLabels },
        spec: { parentRef },
      });
    } catch (err) {
      // Another server was faster; what it made is seen.
      if (!isNotFound(err) && !isAlreadyExists(err) && !isConflict(err)) throw err;
      queue.addRateLimited(address);
    }
  }

  return {
    name: 'service-addresses',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      unsubscribe.push(
        holders.addHandler(({ before, after }) => {
          for (const service of [before, after]) if (service !== undefined) for (const address of addressOf(service)) queue.add(address);
        }),
        addresses.addHandler(({ before, after }) => {
          const address = after ?? before;
          if (address !== undefined && isServiceAddress(address)) queue.add(address.metadata.name);
        }),
      );
    },
    async stop() {
      for (const remove of unsubscribe.splice(0)) remove();
      queue.close();
    },
  };
}

const parentOf = ({ metadata }: Service): NonNullable<NonNullable<IPAddress['spec']>['parentRef']> => ({
  resource: 'services',
  namespace: metadata.namespace ?? '',
  name: metadata.name,
});
