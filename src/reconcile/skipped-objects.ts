import { BoundedMap } from '../base/bounded-map.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { ReportSkipped } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';
import { groupResourceOf } from '../machinery/resource.ts';
import type { EventRecorder } from './event-recorder.ts';

export interface SkipReporterOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly recorder: EventRecorder;
}

/** Versions of objects and parts that were reported; the oldest is forgotten, which at worst reports it once more. */
const maxReported = 1_000;

/**
 * Reports the objects that informers skip. Each has a log line, a counter and a Warning Event, once for each version and each part that
 * fails on it.
 *
 * An error about a Secret is reported by its name alone, since its message may repeat a value.
 */
export function createSkipReporter({ log, metrics, recorder }: SkipReporterOptions): ReportSkipped {
  const reported = new BoundedMap<string, true>(maxReported);
  const skips = metrics.counter({
    name: 'midship_skipped_objects_total',
    help: 'Objects that a part of the control plane could not work with and left out, by kind.',
    labelNames: ['resource'],
  });
  return ({ resource, object, part, err }) => {
    const { uid, resourceVersion } = object.metadata;
    const cause = err instanceof Error ? err : new Error(String(err));
    const isSecret = resource.group === '' && resource.resource === 'secrets';
    const words = isSecret ? cause.name : cause.message;
    const id = `${uid}|${resourceVersion}|${part}|${words}`;
    if (reported.has(id)) return;
    reported.set(id, true);
    skips.inc({ resource: groupResourceOf(resource) });
    log.error({ kind: object.kind, key: keyOf(object), part, ...(isSecret ? { reason: words } : { err: cause }) }, 'Skipped object');
    // An Event about an Event that cannot be read would be the next one that cannot be read.
    if (resource.resource === 'events') return;
    recorder.record(object, {
      type: 'Warning',
      reason: 'ObjectSkipped',
      message: `The control plane cannot work with this object and leaves it out (${part}: ${words}). Correct or delete it.`,
    });
  };
}
