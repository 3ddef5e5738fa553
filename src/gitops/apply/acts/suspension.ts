import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import type { Ownership } from '../records/ownership.ts';
import type { AppObject } from './app-object.ts';
import type { Pass } from './pass.ts';

/** Suspended apps: the end of a suspension, and a look at what differs meanwhile. */
export interface Suspensions {
  /** Takes a suspension away that is over; then true, and the change of the object brings the next pass. */
  resumeWhenDue(app: Kustomization): Promise<boolean>;
  /** After a start, compares a suspended app once with the revision at which it was suspended. */
  survey(pass: Pass): Promise<void>;
}

export interface SuspensionsOptions extends Pick<ControllerDependencies, 'clock' | 'log' | 'recorder'> {
  readonly object: AppObject;
  /** Reads the records that earlier processes wrote of the app, unless that is done. */
  load(app: Kustomization): Promise<void>;
}

export function createSuspensions({ clock, log, recorder, object, load }: SuspensionsOptions): Suspensions {
  return {
    async resumeWhenDue(app) {
      const isDue = (now: Kustomization): boolean => (suspensionMs(now, clock.now()) ?? 1) <= 0;
      if (!isDue(app)) return false;
      if (!(await object.change(app, (now) => (isDue(now) ? withoutSuspension : undefined)))) return false;
      recorder.record(app, { type: 'Normal', reason: 'Resumed', message: 'the suspension is over' });
      return true;
    },
    async survey({ app, state, target, newest, signal }) {
      const sha = app.status?.lastAppliedRevision?.split('sha1:')[1];
      if (state.ownership.isLoaded || newest === undefined || sha === undefined) return;
      try {
        await load(app);
        const commit = await newest.source.resolve({ commit: sha }, { signal });
        await target.syncer.survey({ app, state, signal }, { ...newest, commit });
      } catch (err) {
        if (signal.aborted) throw err;
        log.warn({ kustomization: state.key, err }, 'Could not compare a suspended app');
      }
    },
  };
}

const withoutSuspension = {
  metadata: { annotations: { [annotations.suspendUntil]: null, [annotations.suspendReason]: null, [annotations.suspendedBy]: null } },
  spec: { suspend: null },
};

/** The time that an app stays suspended; undefined when no end is set. `now` is in milliseconds since the epoch. */
export function suspensionMs({ spec, metadata }: Kustomization, now: number): number | undefined {
  const until = Date.parse(metadata.annotations?.[annotations.suspendUntil] ?? '');
  return spec.suspend !== true || Number.isNaN(until) || metadata.deletionTimestamp !== undefined ? undefined : until - now;
}

/** The time until the first suspension of an object of an app ends; undefined when none ends. `now` is in milliseconds since the epoch. */
export function objectSuspensionMs({ applied }: Pick<Ownership, 'applied'>, now: number): number | undefined {
  let soonest: number | undefined;
  for (const { desired, skipped } of applied.values()) {
    const until = skipped === 'suspended' ? desired.policy.suspendedUntil : undefined;
    if (until !== undefined && Number.isFinite(until)) soonest = Math.min(soonest ?? until, until);
  }
  return soonest === undefined ? undefined : Math.max(0, soonest - now);
}
