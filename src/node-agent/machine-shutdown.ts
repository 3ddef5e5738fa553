import { execFile } from 'node:child_process';
import type { Pod } from '../api/core/v1/pod.ts';
import { configAnnotations } from '../api/well-known.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { PodWorker } from './pod-worker.ts';

/** Milliseconds that pods have to end in when the machine goes down. */
export interface ShutdownPeriods {
  /** For all of them. 0: pods are ended as at any other stop. */
  readonly allMs: number;
  /** The end of it, which is kept for critical ones. */
  readonly criticalMs: number;
}

/** A pod of `system-cluster-critical` or above. */
const criticalPriority = 2_000_000_000;
const pollMs = 100;
const questionMs = 5_000;

export interface PodEndOptions {
  readonly workers: readonly PodWorker[];
  readonly periods: ShutdownPeriods;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Ends the pods of a machine that goes down: critical ones after the others, since those may need them to the end. It resolves when all
 * have ended, or their time is over.
 *
 * @see KEP-2000
 */
export async function endPodsInOrder({ workers, periods: { allMs, criticalMs }, clock, log }: PodEndOptions): Promise<void> {
  const { signal } = new AbortController();
  for (const [critical, periodMs] of [
    [false, allMs - criticalMs],
    [true, criticalMs],
  ] as const) {
    const group = workers.filter(({ pod, hasEnded }) => !hasEnded && isCritical(pod) === critical);
    log.info({ pods: group.length, critical, periodMs }, 'Ended pods because the machine goes down');
    for (const worker of group) worker.endForShutdown(Math.max(0, Math.floor(periodMs / 1_000)));
    const deadline = clock.monotonicMs() + periodMs;
    while (group.some(({ hasEnded }) => !hasEnded) && clock.monotonicMs() < deadline) await sleep(clock, pollMs, signal);
  }
}

/** True for a pod that the node must not lose: one of high priority, or one that a file of the node says. */
export const isCritical = ({ metadata, spec }: Pod): boolean =>
  (spec.priority ?? 0) >= criticalPriority || (metadata.annotations?.[configAnnotations.source] ?? 'api') !== 'api';

/**
 * True when systemd takes the machine down, so that this program is ended with it. False where there is no systemd.
 *
 * A kubelet holds systemd back by a lock. Here the time in which the unit of this program may stop does that.
 */
export function isMachineStopping(searchPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { timeout: questionMs, env: { PATH: searchPath, LC_ALL: 'C' } };
    // It says the state by its exit code, too: anything but `running` is a failure.
    execFile('systemctl', ['is-system-running'], options, (_, stdout) => resolve(stdout.trim() === 'stopping'));
  });
}
