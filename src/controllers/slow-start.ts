/** The largest batch: more requests at once would hold up everyone else's. */
const maxBatch = 100;

/**
 * Calls `action` `count` times in parallel batches of 1, 2, 4, … up to 100. A batch with a failure is the last one. So a request that is
 * always refused (a quota, a namespace that is being deleted) is not made a thousand times.
 *
 * @returns the number of successes and, when it stopped early, the first failure
 */
export async function slowStart(
  count: number,
  action: (index: number) => Promise<void>,
): Promise<{ readonly succeeded: number; readonly failure?: unknown }> {
  let succeeded = 0;
  let size = 1;
  for (let start = 0; start < count; start += size, size = Math.min(maxBatch, size * 2)) {
    const batch = Array.from({ length: Math.min(size, count - start) }, (_, index) => action(start + index));
    const outcomes = await Promise.allSettled(batch);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    succeeded += outcomes.filter((outcome) => outcome.status === 'fulfilled').length;
    if (failed !== undefined) return { succeeded, failure: failed.reason };
  }
  return { succeeded };
}

/** Calls `action` for each item, at most 100 at a time. */
export async function inBatches<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += maxBatch) await Promise.all(items.slice(start, start + maxBatch).map(action));
}
