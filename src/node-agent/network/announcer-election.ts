import { createHash } from 'node:crypto';

/**
 * The node that announces an address, among those that may. Every node finds the same one by itself. When it is lost, the next in the
 * order of hashes follows, and the addresses of one node spread over all others.
 *
 * @see MetalLB, layer 2 mode, `ShouldAnnounce`
 */
export function announcerOf(address: string, candidates: readonly string[]): string | undefined {
  const order = (node: string): string => createHash('sha256').update(`${node}#${address}`).digest('hex');
  let first: string | undefined;
  let least = '';
  for (const candidate of candidates) {
    const hash = order(candidate);
    if (first !== undefined && hash >= least) continue;
    first = candidate;
    least = hash;
  }
  return first;
}
