import { nodes } from '../api/core/v1/node.ts';
import { annotations } from '../api/well-known.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';

/** Upstream's steps. They overlap, so a cluster that grows and shrinks by a few nodes stays on one. */
const steps: readonly [Step, ...Step[]] = [
  { fewest: 0, most: 100, seconds: 0 },
  { fewest: 90, most: 500, seconds: 15 },
  { fewest: 450, most: 1_000, seconds: 30 },
  { fewest: 900, most: 2_000, seconds: 60 },
  { fewest: 1_800, most: Number.POSITIVE_INFINITY, seconds: 300 },
];

interface Step {
  readonly fewest: number;
  readonly most: number;
  readonly seconds: number;
}

/** Many nodes that join in a row are written once each; upstream writes with the next report of a kubelet, within as long. */
const writeDelayMs = 10_000;

/**
 * Says on each Node how long its kubelet may keep Secrets and ConfigMaps that it fetched, by the number of Nodes. Kubelets that watch
 * these objects, as those of Kubernetes do by default, do not need it.
 *
 * @see Kubernetes, kube-controller-manager, ttl-controller
 */
export function createNodeTtlController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const informer = informers.get(nodes);
  let count = 0;
  let step = steps[0];

  const controller = createInformedController(dependencies, { name: 'ttl-controller', workers: 1, reconcile });
  informer.addHandler(({ before, after }) => {
    if (before === undefined) count += 1;
    if (after === undefined) count -= 1;
    const next = stepOf(step, count);
    const isLeft = next !== step;
    step = next;
    if (isLeft) for (const { metadata } of informer.list()) controller.enqueueAfter(metadata.name, writeDelayMs);
    if (after !== undefined && secondsOn(after) !== String(step.seconds)) controller.enqueueAfter(after.metadata.name, writeDelayMs);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<undefined> {
    const node = informer.get({ name });
    const seconds = String(step.seconds);
    if (node === undefined || secondsOn(node) === seconds) return;
    try {
      const body = { metadata: { annotations: { [annotations.objectTtl]: seconds } } };
      await client.patch(nodes, { name }, { type: 'merge', body }, { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

/** The same step while it has room for the number of Nodes; else the nearest one that does. */
const stepOf = (current: Step, count: number): Step =>
  count > current.most
    ? (steps.find(({ most }) => count <= most) ?? current)
    : count < current.fewest
      ? (steps.findLast(({ fewest }) => count >= fewest) ?? current)
      : current;

const secondsOn = ({ metadata }: { readonly metadata: { readonly annotations?: Readonly<Record<string, string>> } }): string | undefined =>
  metadata.annotations?.[annotations.objectTtl];
