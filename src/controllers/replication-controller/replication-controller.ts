import { type ReplicationController, replicationControllers } from '../../api/core/v1/replication-controller.ts';
import { type LabelSelector, type Labels, selectorOfLabels } from '../../machinery/selector.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createReplicaController } from '../replica-set/replica-controller.ts';

/** Keeps as many pods as each ReplicationController requests: a ReplicaSet in all but its selector, which is a map of labels. */
export const createReplicationController = (dependencies: ControllerDependencies): Controller =>
  createReplicaController({ resource: replicationControllers, name: 'replicationmanager', selectorOf }, dependencies);

/** By the map of labels, which is one frozen object until someone changes it. */
const compiled = new WeakMap<Labels, LabelSelector>();

function selectorOf({ spec: { selector = {} } }: ReplicationController): LabelSelector {
  let known = compiled.get(selector);
  if (known === undefined) {
    known = selectorOfLabels(selector);
    compiled.set(selector, known);
  }
  return known;
}
