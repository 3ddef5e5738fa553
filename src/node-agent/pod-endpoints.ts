import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { InformerSet } from '../client/informer.ts';

/** The Services that send connections to pods. */
export interface PodEndpoints {
  /** Resolves when no Service sends new connections to the pod any more, at the latest after `maxMs`. */
  untilUnused(podUid: string, maxMs: number): Promise<void>;
}

const byReadyPod = 'readyPod';
const controller = 'endpointslice-controller.k8s.io';
/**
 * The proxies of all machines read the same change at the same time. Their rules follow at most 100 ms later, and a transaction of the
 * kernel takes as long again.
 */
const proxyLagMs = 300;

/**
 * Follows the EndpointSlices, which every node may read and each proxy has in its cache anyway. Slices that people write are
 * left out: nobody takes a deleted pod out of them.
 */
export function createPodEndpoints(informers: InformerSet, clock: Clock): PodEndpoints {
  const informer = informers.get(endpointSlices);
  const waiting = new Map<string, Set<() => void>>();
  /** Times at which a pod left its last slice; forgotten once the proxies have followed. */
  const left = new Map<string, number>();
  informer.addIndex(byReadyPod, readyPodsOf);
  const isUsed = (uid: string): boolean => informer.byIndex(byReadyPod, uid).length > 0;

  informer.addHandler(({ before }) => {
    if (before === undefined) return;
    const now = clock.monotonicMs();
    for (const [uid, at] of left) {
      if (now - at <= proxyLagMs) break;
      left.delete(uid);
    }
    for (const uid of readyPodsOf(before)) {
      if (isUsed(uid)) continue;
      left.delete(uid);
      left.set(uid, now);
      for (const go of waiting.get(uid) ?? []) go();
    }
  });

  return {
    async untilUnused(podUid, maxMs) {
      const deadline = clock.monotonicMs() + maxMs;
      if (isUsed(podUid)) {
        await new Promise<void>((resolve) => {
          const waiters = waiting.get(podUid) ?? new Set();
          const cancel = clock.after(maxMs, go);
          function go(): void {
            cancel();
            waiters.delete(go);
            if (waiters.size === 0) waiting.delete(podUid);
            resolve();
          }
          waiting.set(podUid, waiters.add(go));
        });
      }
      const leftAt = left.get(podUid);
      const now = clock.monotonicMs();
      const lag = leftAt === undefined ? 0 : Math.min(leftAt + proxyLagMs, deadline) - now;
      if (lag > 0) await new Promise<void>((resolve) => clock.after(lag, resolve));
    },
  };
}

function readyPodsOf({ metadata, endpoints }: EndpointSlice): readonly string[] {
  if (metadata.labels?.[labels.endpointSliceManagedBy] !== controller) return [];
  return endpoints.flatMap(({ conditions, targetRef }) =>
    conditions?.ready !== false && targetRef?.uid !== undefined ? [targetRef.uid] : [],
  );
}
