import type { Node } from '../api/core/v1/node.ts';
import type { Service } from '../api/core/v1/service.ts';

/**
 * The cloud below a cluster. Each part may be absent: the cluster then does without it, as a cluster of bare machines does.
 *
 * @see Kubernetes, k8s.io/cloud-provider, `cloudprovider.Interface`
 */
export interface CloudProvider {
  /** For people: `local`. */
  readonly name: string;
  readonly instances?: Instances;
  readonly loadBalancers?: LoadBalancers;
  readonly routes?: Routes;
}

/** The machines of the cloud. */
export interface Instances {
  /** The machine of a Node; undefined when there is none any more. @throws Error when that cannot be found out */
  find(node: Node, signal: AbortSignal): Promise<Instance | undefined>;
}

export interface Instance {
  /** `NAME://ID`, for `spec.providerID`. */
  readonly providerID: string;
  readonly isShutDown: boolean;
  /** Absent: those that the node reports itself. */
  readonly addresses?: readonly NodeAddress[];
  readonly instanceType?: string;
  readonly zone?: string;
  readonly region?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface NodeAddress {
  readonly type: string;
  readonly address: string;
}

/** The place at which clients find a load balancer, as the status of a Service has it. */
export interface LoadBalancerAddress {
  readonly ip?: string;
  readonly hostname?: string;
  /** `VIP`: the nodes see the address itself. `Proxy`: they see a port of their own. */
  readonly ipMode?: 'VIP' | 'Proxy';
}

/** Ways from outside to Services of type LoadBalancer. */
export interface LoadBalancers {
  /**
   * Makes the load balancer of a Service, or brings it in line. Asked again when the Service or the nodes change, and at each start.
   *
   * @param nodes  those that may get connections
   * @returns where clients find it
   * @throws LoadBalancerRefused when only a change of some object can help
   */
  ensure(service: Service, nodes: readonly Node[], signal: AbortSignal): Promise<readonly LoadBalancerAddress[]>;
  /** Removes what `ensure` made; nothing there is no failure. */
  remove(service: Service, signal: AbortSignal): Promise<void>;
  /** Takes note of a Service that is gone without `remove`. */
  forget?(key: string): void;
  /** True: `ensure` may answer differently when endpoints of a Service with traffic policy `Local` move to other nodes. */
  readonly followsEndpoints?: boolean;
}

/** A load balancer that cannot be made as things are. A change of an object asks again, and time alone does not. */
export class LoadBalancerRefused extends Error {}

/** Ways of packets to the pods of a Node, in the network of the cloud. */
export interface Routes {
  /** Undefined: the cloud has no routes. */
  list(signal: AbortSignal): Promise<readonly Route[] | undefined>;
  create(route: Route, signal: AbortSignal): Promise<void>;
  remove(route: Route, signal: AbortSignal): Promise<void>;
}

export interface Route {
  readonly nodeName: string;
  /** `10.42.1.0/24` */
  readonly destination: string;
}
