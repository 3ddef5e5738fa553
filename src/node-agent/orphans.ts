import type { AgentContext } from './agent-context.ts';
import type { PodWorkers } from './pod-workers.ts';

/** The API knows nothing of these pods any more, and so nothing of their grace period. */
const graceMs = 2_000;

/** Ends what belongs to no pod of the API: sandboxes with their containers, and volumes. Call it when `workers` has all pods. */
export async function endOrphans(context: AgentContext, workers: Pick<PodWorkers, 'has'>): Promise<void> {
  const { runtime, volumes, metrics, log } = context;
  const startedAt = performance.now();
  const sandboxes = await runtime.list();
  metrics.relisted(performance.now() - startedAt);
  for (const { id, uid, namespace, name, containers } of sandboxes) {
    if (workers.has(uid)) continue;
    const pod = `${namespace}/${name}`;
    try {
      const running = containers.filter(({ state }) => state === 'running');
      await Promise.all(running.map((each) => runtime.stopContainer(each.id, graceMs)));
      await runtime.removePodSandbox(id);
      log.info({ pod, uid }, 'Removed pod that is not in the API');
    } catch (err) {
      log.warn({ err, pod, uid }, 'Could not remove pod that is not in the API');
    }
  }
  if (!runtime.runsPrograms) return;
  for (const uid of await volumes.list()) {
    if (workers.has(uid)) continue;
    await volumes
      .remove(uid)
      .catch((err: unknown) => log.warn({ err, uid }, 'Could not remove the volumes of a pod that is not in the API'));
  }
}
