import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import type { ControllerMetrics } from './controller-metrics.ts';
import type { EventRecorder } from './event-recorder.ts';
import type { StepLog } from './step-log.ts';

/** Parameters that every controller takes. */
export interface ControllerDependencies {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
  /** Writes under this controller's own component name (`deployment-controller`). */
  readonly recorder: EventRecorder;
  readonly metrics: ControllerMetrics;
  readonly steps: StepLog;
}
