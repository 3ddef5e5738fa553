import type { KubeObject } from '../machinery/object.ts';

/**
 * The newer of the cached object and the answer to our own last write. Over HTTP the cache may be a pass behind. A
 * comparison with the older object would miss that a write is needed.
 */
export function newerOf<T extends KubeObject>(cached: T, written: T | undefined): T {
  if (written === undefined || written.metadata.uid !== cached.metadata.uid) return cached;
  return Number(written.metadata.resourceVersion) > Number(cached.metadata.resourceVersion) ? written : cached;
}
