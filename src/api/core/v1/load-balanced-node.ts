import { isConditionTrue } from '../../../machinery/conditions.ts';
import { labels } from '../../well-known.ts';
import type { Node } from './node.ts';

/** Set by the cluster autoscaler on a Node that it is about to remove. */
const aboutToGo = 'ToBeDeletedByClusterAutoscaler';

/**
 * True for Nodes that may get connections of load balancers.
 *
 * @see Kubernetes, k8s.io/cloud-provider, service controller, node predicates
 */
export const takesLoadBalancers = ({ metadata, spec, status }: Node): boolean =>
  metadata.deletionTimestamp === undefined &&
  metadata.labels?.[labels.excludeFromLoadBalancers] === undefined &&
  spec?.taints?.some(({ key }) => key === aboutToGo) !== true &&
  isConditionTrue(status?.conditions, 'Ready');
