import { type Announced, nothingAnnounced } from './announced.ts';
import { type Attempt, type HeldPrune, noAttempt, nothingHeld } from './attempt.ts';
import { createDrifts, type Drifts } from './drifts.ts';
import { type InForce, nothingInForce } from './in-force.ts';
import { createObjectHealths, type ObjectHealths } from './object-healths.ts';
import { createOwnership, type Ownership } from './ownership.ts';

/**
 * The knowledge of the engine about an app. All of it can be found out again, from the tree, the inventory Secret and the live objects.
 * It is kept so that nothing has to be done twice.
 *
 * `ownership`, `drifts` and `health` change with the events of objects: each has verbs, and its own file changes it. The others are
 * values. An act gives new ones, and the app controller alone stores them.
 */
export interface AppRecords {
  readonly key: string;
  readonly ownership: Ownership;
  readonly drifts: Drifts;
  readonly health: ObjectHealths;
  readonly inForce: InForce;
  readonly attempt: Attempt;
  readonly prune: HeldPrune;
  readonly announced: Announced;
}

/** Records of an app's objects, which events and writes of objects change. */
export type ObjectRecords = Pick<AppRecords, 'key' | 'ownership' | 'drifts' | 'health'>;

/** New values of records, as an act gives them. */
export type RecordChanges = Partial<Pick<AppRecords, 'inForce' | 'attempt' | 'prune' | 'announced'>>;

export const newAppRecords = (key: string): AppRecords => ({
  key,
  ownership: createOwnership(),
  drifts: createDrifts(),
  health: createObjectHealths(),
  inForce: nothingInForce,
  attempt: noAttempt,
  prune: nothingHeld,
  announced: nothingAnnounced,
});
