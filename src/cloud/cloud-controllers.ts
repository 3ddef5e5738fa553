import type { Component } from '../base/component.ts';
import type { InformerSet } from '../client/informer.ts';
import type { AddressPool } from '../machinery/address-pool.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import type { CloudProvider } from './cloud-provider.ts';
import { createLocalProvider } from './local/local-provider.ts';
import { createCloudNodeController } from './node-controller.ts';
import { createCloudNodeLifecycleController } from './node-lifecycle-controller.ts';
import type { RemoteCloud } from './remote/cloud-requests.ts';
import { createRemoteProvider } from './remote/remote-provider.ts';
import { createRouteController } from './route-controller.ts';
import { createCloudServiceController } from './service-controller.ts';

export interface CloudSettings {
  /** A provider in a process of its own; undefined: the built-in one. */
  readonly remote?: RemoteCloud;
  /** Addresses for Services of type LoadBalancer, which nodes announce; undefined: Services get the addresses of the nodes. */
  readonly pool?: AddressPool;
  /** False: the built-in provider makes no load balancers. */
  readonly hasLoadBalancers: boolean;
  /** Ports of nodes that no Service may have, with the part that has them. */
  readonly reservedPorts: ReadonlyMap<number, string>;
}

export interface CloudControllersOptions {
  /** The parts of a controller, for the component of that name. */
  dependencies(component: string): ControllerDependencies;
  readonly settings: CloudSettings;
  /** Addresses of all pods; undefined where nodes have theirs from this machine, and no cloud routes them. */
  readonly clusterCidr: string | undefined;
}

/** The controllers for what the provider can do. */
export function createCloudControllers({ dependencies, settings, clusterCidr }: CloudControllersOptions): readonly Component[] {
  const { instances, loadBalancers, routes } = providerOf(settings, dependencies('service-controller').informers);
  return [
    ...(instances === undefined
      ? []
      : [
          createCloudNodeController({ ...dependencies('cloud-node-controller'), instances }),
          createCloudNodeLifecycleController({ ...dependencies('cloud-node-lifecycle-controller'), instances }),
        ]),
    createCloudServiceController({ ...dependencies('service-controller'), loadBalancers }),
    ...(routes === undefined || clusterCidr === undefined
      ? []
      : [createRouteController({ ...dependencies('route_controller'), routes, clusterCidr })]),
  ];
}

function providerOf({ remote, pool, hasLoadBalancers, reservedPorts }: CloudSettings, informers: InformerSet): CloudProvider {
  if (remote !== undefined) return createRemoteProvider(remote);
  return hasLoadBalancers ? createLocalProvider({ informers, pool, reservedPorts }) : { name: 'none' };
}
