import type { DeleteOptions } from '../../client/client.ts';
import type { InformerScope } from '../../client/informer.ts';
import { preconditionsOf } from '../../client/preconditions.ts';
import { type KubeObject, keyOf, refOf } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

/** Objects of one kind that end by themselves. */
export interface ExpiryRule<T extends KubeObject> {
  /** Names the queue and the `controller` label. */
  readonly name: string;
  readonly resource: Resource<T>;
  readonly scope?: InformerScope;
  readonly propagationPolicy?: NonNullable<DeleteOptions['propagationPolicy']>;
  /** When the object may go, in milliseconds since the epoch; undefined or not a number while it stays. */
  deadlineOf(object: T): number | undefined;
}

/** Deletes the objects of a rule when their time is over, and none that changed since it was judged. */
export function createExpiryController<T extends KubeObject>(rule: ExpiryRule<T>, dependencies: ControllerDependencies): Controller {
  const { client, informers, clock } = dependencies;
  const { name, resource, propagationPolicy } = rule;
  const informer = informers.get(resource, rule.scope);

  const controller = createInformedController(dependencies, {
    name,
    workers: 1,
    async reconcile(key, { signal }) {
      const object = informer.getByKey(key);
      const deadline = object === undefined ? undefined : rule.deadlineOf(object);
      if (object === undefined || deadline === undefined || Number.isNaN(deadline)) return undefined;
      const remainingMs = deadline - clock.now();
      if (remainingMs > 0) return { requeueAfterMs: remainingMs };
      try {
        await client.delete(resource, refOf(key), {
          preconditions: preconditionsOf(object),
          signal,
          ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
        });
      } catch (err) {
        // Changed meanwhile: its event brings it back here.
        if (!isNotFound(err) && !isConflict(err)) throw err;
      }
      return undefined;
    },
  });
  informer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
  });
  return controller;
}
