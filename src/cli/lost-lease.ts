import { Failure } from './failure.ts';

/** The failure of a process that lost its lease. As with controller-runtime, it ends and does not compete again. */
export function lostLease(reason: unknown): Failure {
  return new Failure(reason instanceof Error ? reason.message : String(reason), {
    why: 'Another process may work on the cluster now; this one stopped at once, so that the two do not undo each other.',
    fix: 'Start it again, best by a supervisor (systemd, a Deployment): it waits until it can lead.',
    cause: reason,
  });
}
