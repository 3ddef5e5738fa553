import type { AgentContext } from './agent-context.ts';

export interface OrphansOptions {
  readonly context: AgentContext;
  /** The pod is in the API. Only asked when all pods are known. */
  readonly isKnown: (podUid: string) => boolean;
}

/** The API knows nothing of these pods any more, and so nothing of their grace period. */
const graceMs = 2_000;

/** Ends what belongs to no pod of the API: sandboxes with their containers, and volumes. */
export async function endOrphans({ context, isKnown }: OrphansOptions): Promise<void> {
  const { runtime, volumes, metrics, log } = context;
  const startedAt = performance.now();
  const sandboxes = await runtime.list();
  metrics.relisted(performance.now() - startedAt);
  for (const { id, uid, namespace, name, containers } of sandboxes) {
    if (isKnown(uid)) continue;
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
    if (isKnown(uid)) continue;
    await volumes
      .remove(uid)
      .catch((err: unknown) => log.warn({ err, uid }, 'Could not remove the volumes of a pod that is not in the API'));
  }
}
