import { type Controller, type ControllerOptions, createController } from './controller.ts';
import type { ControllerDependencies } from './dependencies.ts';

type InformedControllerOptions = Omit<ControllerOptions, 'clock' | 'log' | 'observer'>;

/**
 * A controller that works from the shared caches of the process. It waits until all of them are synced, unless `waitForSync` says
 * otherwise. Its metrics have its name.
 */
export function createInformedController(
  { clock, log, informers, metrics }: Pick<ControllerDependencies, 'clock' | 'log' | 'informers' | 'metrics'>,
  options: InformedControllerOptions,
): Controller {
  return createController({
    waitForSync: (wait) => informers.waitForSync(wait),
    ...options,
    clock,
    log,
    observer: metrics.observerOf(options.name),
  });
}
