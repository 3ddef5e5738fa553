import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import { familyHead } from '../base/series.ts';
import { memoMisses } from '../lifecycle/step.ts';

/** One step of a lifecycle machine on one object. */
export interface StepRecord {
  readonly machine: string;
  readonly key: string;
  readonly from: string;
  readonly event: string;
  readonly to: string;
}

/** Every step that machines take: a line at debug, a counter, and the newest ones for the status page. */
export interface StepLog {
  record(step: StepRecord): void;
  /** A state that no event led to was found and accepted: someone else wrote it, or a notification was lost. */
  resynced(step: Omit<StepRecord, 'event'>): void;
  /** Newest first. */
  recent(): readonly (StepRecord & { readonly at: number })[];
}

export interface StepLogOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Steps kept for `recent`; older ones are forgotten. */
  readonly capacity?: number;
}

export function createStepLog({ clock, log, metrics, capacity = 256 }: StepLogOptions): StepLog {
  const ring: { readonly step: StepRecord; readonly at: number }[] = [];
  let written = 0;
  const counter = metrics.counter({
    name: 'midship_machine_steps_total',
    help: 'Steps of lifecycle machines that changed the state or asked for something.',
    labelNames: ['machine', 'event', 'to'],
  });
  const resyncs = metrics.counter({
    name: 'midship_machine_resyncs_total',
    help: 'Objects found in a state that no event had led to.',
    labelNames: ['machine'],
  });
  metrics.addCollector(memoLines);
  // By machine, event and state reached. A text of the three would have to be made and hashed for each step.
  const counts: Nested<Nested<Nested<{ inc(): void }>>> = new Map();

  return {
    record(step) {
      ring[written % capacity] = { step, at: clock.now() };
      written += 1;
      countOf(step).inc();
      if (log.isLevelEnabled('debug')) log.debug(step, 'Took machine step');
    },
    resynced(step) {
      resyncs.inc({ machine: step.machine });
      log.info(step, 'Accepted state that no event led to');
    },
    recent() {
      const newest = written % capacity;
      return [...ring.slice(newest), ...ring.slice(0, newest)].reverse().map(({ step, at }) => ({ ...step, at }));
    },
  };

  function countOf({ machine, event, to }: StepRecord): { inc(): void } {
    const ofEvent = within(within(counts, machine), event);
    let count = ofEvent.get(to);
    if (count === undefined) {
      count = counter.labels({ machine, event, to });
      ofEvent.set(to, count);
    }
    return count;
  }
}

type Nested<V> = Map<string, V>;

function within<V>(maps: Nested<Nested<V>>, key: string): Nested<V> {
  let map = maps.get(key);
  if (map === undefined) {
    map = new Map();
    maps.set(key, map);
  }
  return map;
}

function* memoLines(): Iterable<string> {
  yield familyHead('machine_memo_misses_total', 'Steps that XState had to be asked for.', 'counter');
  for (const [machine, misses] of memoMisses()) yield `machine_memo_misses_total{machine="${machine}"} ${misses}\n`;
}
