import { pino } from 'pino';
import { nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { systemClock } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import { createInformerSet } from '../../client/informer-set.ts';
import { nodeNameOf } from '../../lifecycle/pod-scheduling.facts.ts';
import { keyOf } from '../../machinery/object.ts';
import { isForbidden } from '../../machinery/status-error.ts';
import { createSchedulerCache } from '../../scheduler/cache.ts';
import { createClusterFacts } from '../../scheduler/cluster-facts.ts';
import { defaultProfile } from '../../scheduler/configuration/configuration.ts';
import { createShapeReader } from '../../scheduler/pod-record.ts';
import { createProfile } from '../../scheduler/profile.ts';
import { type NodeVerdict, verdictsFor } from '../../scheduler/verdicts.ts';

export type { NodeVerdict };

/** Longest wait for the objects that the scheduler looks at. */
const maxReadMs = 10_000;

/**
 * Asks the scheduler's filters about each node for a pod that waits for one, with the plugins of upstream's default profile. It reads the
 * cluster once. Undefined for a pod that has a node, or that its gates hold. Undefined, too, when this user may not read nodes and all
 * pods, or when the cluster did not answer in time.
 */
export async function readNodeVerdicts(client: Client, pod: Pod): Promise<readonly NodeVerdict[] | undefined> {
  if (nodeNameOf(pod) !== undefined || (pod.spec.schedulingGates?.length ?? 0) > 0 || !(await mayRead(client))) return undefined;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error('the cluster was not read in time')), maxReadMs);
  try {
    const log = pino({ level: 'silent' });
    const informers = createInformerSet({ client, clock: systemClock, log });
    const profile = createProfile({ client, informers, clock: systemClock, log }, defaultProfile);
    const cache = createSchedulerCache({ clock: systemClock, ...createClusterFacts(informers) });
    const [nodeInformer, podInformer] = [informers.get(nodes), informers.get(pods)];
    informers.start({ signal: abort.signal });
    await informers.waitForSync({ signal: abort.signal });
    const shapes = createShapeReader();
    for (const node of nodeInformer.list()) cache.setNode(node);
    for (const other of podInformer.list()) {
      const phase = other.status?.phase;
      const nodeName = nodeNameOf(other);
      if (nodeName !== undefined && phase !== 'Succeeded' && phase !== 'Failed') cache.setPod(shapes.read(other), nodeName);
    }
    return verdictsFor(shapes.read(podInformer.getByKey(keyOf(pod)) ?? pod), profile, cache);
  } catch (err) {
    if (abort.signal.aborted) return undefined;
    throw err;
  } finally {
    clearTimeout(timer);
    abort.abort(new Error('everything was read'));
  }
}

/** An informer would try forever to list what the user may not see. */
async function mayRead(client: Client): Promise<boolean> {
  try {
    await Promise.all([client.list(nodes, { limit: 1 }), client.list(pods, { limit: 1 })]);
    return true;
  } catch (err) {
    if (isForbidden(err)) return false;
    throw err;
  }
}
