import type { Node } from './core/v1/node.ts';
import { labels } from './well-known.ts';

/** True for a Node whose agent says that it enforces NetworkPolicies on its pods. */
export const enforcesPolicies = ({ metadata }: Node): boolean => metadata.labels?.[labels.networkPolicy] === 'nftables';

/** True when each Node enforces NetworkPolicies. Pods of simulated nodes send no packets. */
export function enforcesPoliciesEverywhere(all: Iterable<Node>): boolean {
  let count = 0;
  for (const node of all) {
    if (node.metadata.labels?.[labels.midshipSimulated] === 'true') continue;
    if (!enforcesPolicies(node)) return false;
    count += 1;
  }
  return count > 0;
}
