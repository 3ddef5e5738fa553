import { replicaSets } from '../../api/apps/v1/replica-set.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createReplicaController } from './replica-controller.ts';

/** Keeps as many pods as each ReplicaSet requests. */
export const createReplicaSetController = (dependencies: ControllerDependencies): Controller =>
  createReplicaController(
    { resource: replicaSets, name: 'replicaset', selectorOf: ({ spec }) => compileLabelSelector(spec.selector) },
    dependencies,
  );
