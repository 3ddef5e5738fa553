import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import type { Client } from '../../client/client.ts';
import { eachPage } from '../../client/each-page.ts';
import type { Informer } from '../../client/informer.ts';
import { tryGet } from '../../client/try-get.ts';
import { isOver } from '../../lifecycle/job.facts.ts';
import { controllerOf, keyOf, refOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import { isTracked } from './pod-facts.ts';

/**
 * Jobs that an earlier leader may have worked on. The caches list Jobs and pods at different moments, so one of them may lack its last
 * writes. A pod that runs once too often cannot be undone.
 */
export interface JobInheritance {
  /** Notes a Job that the cache shows; only unfinished ones before `close` count. */
  add(job: Job): void;
  /** Every Job that comes from now on is this leader's. */
  close(): void;
  /** True while the caches lack something of the Job or its pods that the server has. Asks the server until they agree once. */
  isBehind(job: Job, signal: AbortSignal): Promise<boolean>;
  forget(uid: string): void;
}

export interface JobInheritanceOptions {
  readonly client: Client;
  readonly podInformer: Informer<Pod>;
}

export function createJobInheritance({ client, podInformer }: JobInheritanceOptions): JobInheritance {
  const inherited = new Set<string>();
  let isClosed = false;

  async function agreesWithServer(job: Job, signal: AbortSignal): Promise<boolean> {
    const { namespace, uid, resourceVersion } = job.metadata;
    const stored = await tryGet(client, jobs, refOf(keyOf(job)));
    if (stored?.metadata.uid !== uid || stored?.metadata.resourceVersion !== resourceVersion) return false;
    const labelSelector = compileLabelSelector(job.spec.selector).toString();
    for await (const { items } of eachPage(client, pods, { namespace, labelSelector, signal })) {
      for (const pod of items) if (controllerOf(pod)?.uid === uid && !isCached(pod)) return false;
    }
    return true;
  }

  /** The finalizer tells whether the status of the Job accounts for the pod. */
  function isCached(pod: Pod): boolean {
    const cached = podInformer.getByKey(keyOf(pod));
    return cached !== undefined && cached.metadata.uid === pod.metadata.uid && isTracked(cached) === isTracked(pod);
  }

  return {
    add(job) {
      if (!isClosed && !isOver(job)) inherited.add(job.metadata.uid ?? '');
    },
    close() {
      isClosed = true;
    },
    async isBehind(job, signal) {
      const { uid = '' } = job.metadata;
      if (!inherited.has(uid)) return false;
      if (!(await agreesWithServer(job, signal))) return true;
      inherited.delete(uid);
      return false;
    },
    forget: (uid) => void inherited.delete(uid),
  };
}
