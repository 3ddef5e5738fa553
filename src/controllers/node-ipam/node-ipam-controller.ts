import { nodes } from '../../api/core/v1/node.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createRangeSet } from './range-set.ts';

export interface NodeIpamOptions extends ControllerDependencies {
  /** Addresses of all pods: `10.42.0.0/16`. */
  readonly clusterCidr: string;
}

/** Prefix length of a node's part, as upstream: 254 pods. */
const nodeMaskSize = 24;

/**
 * Gives each Node its part of the pods' addresses, `spec.podCIDR`, for as long as the Node exists.
 *
 * @see Kubernetes, kube-controller-manager, `--allocate-node-cidrs` and its RangeAllocator
 */
export function createNodeIpamController(options: NodeIpamOptions): Controller {
  const { client, informers, recorder, clusterCidr } = options;
  const informer = informers.get(nodes);
  const ranges = createRangeSet(clusterCidr, nodeMaskSize);

  const controller = createInformedController(options, {
    name: 'node-ipam-controller',
    workers: 1,
    reconcile,
  });
  informer.addHandler(({ before, after }) => {
    const name = (after ?? before)?.metadata.name;
    if (name === undefined) return;
    const range = after?.spec?.podCIDR ?? '';
    if (after === undefined) {
      if (ranges.release(name)) wakeWaiting();
    } else if (range === '') controller.enqueue(name);
    else ranges.hold(name, range);
  });
  return controller;

  /** A range is free again. */
  function wakeWaiting(): void {
    for (const { metadata, spec } of informer.list()) if ((spec?.podCIDR ?? '') === '') controller.enqueue(metadata.name);
  }

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<undefined> {
    const node = informer.get({ name });
    if (node === undefined || (node.spec?.podCIDR ?? '') !== '') return;
    const range = ranges.take(name);
    if (range === undefined) {
      recorder.record(node, { type: 'Normal', reason: 'CIDRNotAvailable', message: `Node ${name} status is now: CIDRNotAvailable` });
      return;
    }
    try {
      // Not to another Node of that name: the part is given up with this one.
      const body = { metadata: { uid: node.metadata.uid }, spec: { podCIDR: range, podCIDRs: [range] } };
      await client.patch(nodes, { name }, { type: 'merge', body }, { signal });
    } catch (err) {
      // The handler learns what the Node has now, or that it went.
      if (!isConflict(err) && !isNotFound(err)) throw err;
    }
  }
}
