import type { KubeObject } from '../machinery/object.ts';

/**
 * What the cache holds, or the answer to our own last write when the cache has not heard of that yet: over HTTP it may be a pass behind,
 * and what is compared with an older object would not be written.
 */
export function newerOf<T extends KubeObject>(cached: T, written: T | undefined): T {
  if (written === undefined || written.metadata.uid !== cached.metadata.uid) return cached;
  return Number(written.metadata.resourceVersion) > Number(cached.metadata.resourceVersion) ? written : cached;
}
