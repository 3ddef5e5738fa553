import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import { Superseded, type SyncFailure } from '../plan/sync-failure.ts';
import type { AppObject } from './app-object.ts';
import type { Pass } from './pass.ts';
import type { PassingFailure } from './passing-failure.ts';
import { failureOf, type Go, type SyncEnd } from './sync-revision.ts';

/** Attempts under way, one of each app at most. */
export interface SyncAttempts {
  /** Runs one attempt to its end, with a bound of time. @throws when the pass is given up */
  run(pass: Pass, go: Go): Promise<SyncEnd>;
  /** A newer revision came: the attempt of the app is given up between two objects. */
  supersede(key: string): void;
  /** A variable of the app changed: an attempt that began before may have read the old value. */
  noteChange(key: string): void;
  /** True when a variable of the app changed since its last attempt began. */
  readOldValues(key: string): boolean;
  forget(key: string): void;
}

export interface SyncAttemptsOptions {
  readonly clock: Clock;
  readonly object: Pick<AppObject, 'addFinalizer'>;
  /** Reads the records that earlier processes wrote of the app, unless that is done. */
  load(app: Kustomization): Promise<void>;
  passingFailure(pass: Pass, failure: SyncFailure): Promise<PassingFailure | undefined>;
}

/** Longest time of an attempt at a revision; it is then given up and tried again. */
const maxSyncMs = 10 * 60_000;

export function createSyncAttempts({ clock, object, load, passingFailure }: SyncAttemptsOptions): SyncAttempts {
  const running = new Map<string, AbortController>();
  const changed = new Set<string>();
  return {
    run,
    supersede: (key) => running.get(key)?.abort(new Superseded()),
    noteChange: (key) => void changed.add(key),
    readOldValues: (key) => changed.has(key),
    forget: (key) => void changed.delete(key),
  };

  async function run(pass: Pass, go: Go): Promise<SyncEnd> {
    const { app, state } = pass;
    const abort = new AbortController();
    const cancelDeadline = clock.after(maxSyncMs, () => abort.abort(new Error('the sync did not end in time')));
    running.set(state.key, abort);
    changed.delete(state.key);
    try {
      await object.addFinalizer(app);
      await load(app);
      const signal = AbortSignal.any([pass.signal, abort.signal]);
      const { inForce, attempt } = state;
      const outcome = await pass.target.syncer.sync({ app, state, record: go.record, inForce, attempt, signal });
      return { type: 'synced', outcome };
    } catch (err) {
      if (pass.signal.aborted) throw err;
      const { aborted, reason } = abort.signal;
      if (reason instanceof Superseded) return { type: 'superseded' };
      go.record.end('failed');
      const cause = aborted ? reason : err;
      const failure = failureOf(cause);
      return { type: 'failed', cause, failure, passing: await passingFailure(pass, failure) };
    } finally {
      cancelDeadline();
      running.delete(state.key);
    }
  }
}
