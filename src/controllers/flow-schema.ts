import { flowSchemas, withDangling } from '../api/flowcontrol/v1/flow-schema.ts';
import { priorityLevelConfigurations } from '../api/flowcontrol/v1/priority-level-configuration.ts';
import { timestampOf } from '../base/clock.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';

/** Says on each FlowSchema whether its priority level is there; without it the schema counts for nothing. */
export function createFlowSchemaController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock } = dependencies;
  const schemas = informers.get(flowSchemas);
  const levels = informers.get(priorityLevelConfigurations);

  const controller = createInformedController(dependencies, {
    name: 'flow-schema',
    reconcile,
  });
  schemas.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(after.metadata.name);
  });
  // Levels are few, and come and go rarely: every one looks at all schemas.
  levels.addHandler(({ before, after }) => {
    if (before === undefined || after === undefined) for (const { metadata } of schemas.list()) controller.enqueue(metadata.name);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<undefined> {
    const schema = schemas.get({ name });
    if (schema === undefined) return;
    const level = schema.spec?.priorityLevelConfiguration.name ?? '';
    const told = withDangling(schema, levels.get({ name: level }) !== undefined, timestampOf(clock.now()));
    if (told === schema) return;
    try {
      await client.update(flowSchemas, told, { subresource: 'status', signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}
