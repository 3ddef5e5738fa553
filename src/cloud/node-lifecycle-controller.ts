import { type Node, nodes } from '../api/core/v1/node.ts';
import { taints } from '../api/well-known.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { Controller } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import type { Instances } from './cloud-provider.ts';

export interface CloudNodeLifecycleOptions extends ControllerDependencies {
  readonly instances: Instances;
}

/** Between two questions about a machine that is not ready, as upstream. */
const periodMs = 5_000;

/**
 * Removes Nodes whose machine is gone from the cloud, and taints those whose machine is shut down. Only Nodes that are not ready are
 * asked about: a machine that reports is there.
 *
 * @see Kubernetes, k8s.io/cloud-provider, node lifecycle controller
 */
export function createCloudNodeLifecycleController(options: CloudNodeLifecycleOptions): Controller {
  const { client, informers, recorder, instances } = options;
  const informer = informers.get(nodes);

  const controller = createInformedController(options, {
    name: 'cloud-node-lifecycle',
    minBackoffMs: periodMs,
    async reconcile(name, { signal }) {
      const node = informer.get({ name });
      if (node === undefined || isConditionTrue(node.status?.conditions, 'Ready')) {
        if (node !== undefined) await setShutDown(node, false, signal);
        return undefined;
      }
      // A Node without an identity may be one that the cloud is about to make.
      if ((node.spec?.providerID ?? '') === '') return { requeueAfterMs: periodMs };
      const instance = await instances.find(node, signal);
      if (instance === undefined) {
        const message = `Deleting node ${name} because it does not exist in the cloud provider`;
        recorder.record(node, { type: 'Normal', reason: 'DeletingNode', message });
        await client.delete(nodes, { name }, { ...preconditionsOf(node), signal }).catch(ignoreGone);
        return undefined;
      }
      await setShutDown(node, instance.isShutDown, signal);
      return { requeueAfterMs: periodMs };
    },
  });
  informer.addHandler(({ before, after }) => {
    if (after === undefined) return;
    const isReady = isConditionTrue(after.status?.conditions, 'Ready');
    if (before === undefined ? !isReady || isShutDown(after) : isReady !== isConditionTrue(before.status?.conditions, 'Ready'))
      controller.enqueue(after.metadata.name);
  });
  return controller;

  async function setShutDown(node: Node, wanted: boolean, signal: AbortSignal): Promise<void> {
    if (isShutDown(node) === wanted) return;
    const others = (node.spec?.taints ?? []).filter(({ key }) => key !== taints.shutDown);
    const next = wanted ? [...others, { key: taints.shutDown, effect: 'NoSchedule' }] : others;
    const { name, resourceVersion } = node.metadata;
    const body = { metadata: { resourceVersion }, spec: { taints: next } };
    await client.patch(nodes, { name }, { type: 'merge', body }, { signal }).catch((err: unknown) => {
      if (isConflict(err)) controller.enqueue(name);
      else ignoreGone(err);
    });
  }
}

const isShutDown = ({ spec }: Node): boolean => spec?.taints?.some(({ key }) => key === taints.shutDown) === true;

const preconditionsOf = ({ metadata: { uid } }: Node) => (uid === undefined ? {} : { preconditions: { uid } });

function ignoreGone(err: unknown): void {
  if (!isNotFound(err)) throw err;
}
