import { events } from '../api/core/v1/event.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';

/**
 * Counts the changes by hand that were put back within the last hour. Their Events are kept for an hour, so a restart does not forget
 * them. Returns a function that gives the number.
 */
export function countHealedDrifts(informers: InformerSet): () => number {
  const counts = new Map<string, number>();
  let total = 0;
  informers.get(events).addHandler(({ before, after }) => {
    const event = after ?? before;
    if (event?.reason !== 'DriftCorrected') return;
    const key = keyOf(event);
    const next = after === undefined ? 0 : (after.series?.count ?? after.count ?? 1);
    total += next - (counts.get(key) ?? 0);
    if (next === 0) counts.delete(key);
    else counts.set(key, next);
  });
  return () => total;
}
