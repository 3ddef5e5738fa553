import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { BuildError, BuildResult } from '../../manifests/manifest.ts';
import type { ObjectId } from '../objects/object-id.ts';
import type { Plan } from '../plan/plan.ts';
import type { AttemptRecord } from './attempt-record.ts';

/** `force` takes fields from others, `recreate` deletes first. */
export type ApplyMode = 'apply' | 'force' | 'recreate';

/** A revision that is being put in force wave by wave. */
export interface Rollout {
  readonly build: BuildResult;
  /** `main@sha1:…` */
  readonly revision: string;
  readonly generation: number;
  /** Time of the monotonic clock. */
  readonly startedAt: number;
  readonly plan: Plan;
  /** The way in which each object is applied, as the dry run found. */
  readonly modes: ReadonlyMap<ObjectId, ApplyMode>;
  /** Namespaces and definitions that were made for it before all that needs them was tried out. */
  readonly made: ReadonlySet<ObjectId>;
  readonly changes: readonly ObjectChange[];
  /** When to look again although nothing changed. */
  readonly recheckMs: number | undefined;
}

/** A revision that could not be put in force, and when it is tried again. */
export interface FailedAttempt {
  readonly revision: string;
  readonly generation: number;
  /** Time of the monotonic clock. */
  readonly failedAt: number;
  /** 0: the app waits for another one, and its failure is not announced. */
  readonly failures: number;
  readonly retryMs: number;
}

/** The newest attempt to put a revision in force. */
export interface Attempt {
  /** Times of its phases; undefined before the first attempt of this process that changed something or failed. */
  readonly record: AttemptRecord | undefined;
  readonly rollout: Rollout | undefined;
  /** It failed, and is tried again with a back-off, not at each wake-up. */
  readonly failed: FailedAttempt | undefined;
  /** Objects whose errors keep the revision from being in force, as they were: when one changes, it is tried again at once. */
  readonly failing: ReadonlyMap<ObjectId, string>;
  readonly errors: readonly BuildError[];
}

export const noAttempt: Attempt = { record: undefined, rollout: undefined, failed: undefined, failing: new Map(), errors: [] };

/** The attempt with its next try due now. */
export const dueNow = (attempt: Attempt): Attempt =>
  attempt.failed === undefined ? attempt : { ...attempt, failed: { ...attempt.failed, failedAt: Number.NEGATIVE_INFINITY } };

/** Deletions that a person has to approve, and the next look at them. */
export interface HeldPrune {
  /** Reason that objects are not deleted; empty when none is held back. */
  readonly blocked: string;
  /** Looks at the same deletion, and when the next one is due, of the monotonic clock. */
  readonly looks: number;
  readonly lookAt: number;
  /** Deletions that were refused one after the other. */
  readonly failures: number;
}

export const nothingHeld: HeldPrune = { blocked: '', looks: 0, lookAt: 0, failures: 0 };
