import { serviceCidrs } from '../api/networking/v1/service-cidr.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { createWorkLoop } from '../base/work-loop.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { defaultServiceRange, ensureServiceRange, type ServiceRange } from './bootstrap.ts';

export interface DefaultServiceCidrOptions {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  readonly informers: InformerSet;
  readonly range: ServiceRange;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Makes the ServiceCIDR `kubernetes` again when somebody deletes it: machines that join read it, and its range goes on being used.
 *
 * @see Kubernetes, pkg/controlplane/controller/defaultservicecidr
 */
export function createDefaultServiceCidr({ client, informers, range, clock, log }: DefaultServiceCidrOptions): Component {
  const queue = createWorkLoop({
    clock,
    work: () => ensureServiceRange(client, range),
    onFailure: (serviceCidr, err) => log.warn({ err, serviceCidr }, 'Could not keep the default range of Services'),
  });
  let unsubscribe: (() => void) | undefined;
  return {
    name: 'default-service-cidr',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      // It may have gone while no server had this work.
      queue.add(defaultServiceRange);
      unsubscribe = informers.get(serviceCidrs).addHandler(({ before, after }) => {
        if (after === undefined && before?.metadata.name === defaultServiceRange) queue.add(defaultServiceRange);
      });
    },
    async stop() {
      unsubscribe?.();
      queue.close();
    },
  };
}
