import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { invariant } from '../../base/invariant.ts';
import type { Log } from '../../base/log.ts';
import type { Redactor } from '../../base/redactor.ts';
import { type DynamicObject, keyOf } from '../../machinery/object.ts';
import type { ObjectId } from './objects/object-id.ts';
import { type AppRecords, newAppRecords, type RecordChanges } from './records/app-records.ts';
import { dueNow } from './records/attempt.ts';
import { redactedChange } from './status/redacted-feed.ts';
import type { Inventory } from './sync/inventory.ts';
import { contentOf } from './target/target.ts';

/** The records of all apps, by key. Only the app controller has it, so it alone stores records. */
export interface RecordKeeper {
  of(key: string): AppRecords | undefined;
  /** The records of an app; new ones when it has none. */
  open(key: string): AppRecords;
  forget(key: string): void;
  /** Stores new values at once. An app without records has nothing to store. */
  store(key: string, changes: RecordChanges): void;
  /** Reads the records that earlier processes wrote of the app, unless that is done. */
  load(app: Kustomization): Promise<AppRecords>;
  /** Writes the history down. A failure is logged, because a revision is in force without a record of it. */
  writeHistory(app: Kustomization): Promise<void>;
  /** An object of an app changed: a try that failed for it, and a look at its deletion, are due now. */
  noteObject(key: string, id: ObjectId, object: DynamicObject | undefined): void;
  /** Another app lets an object go. True when this app was refused the object until now, and may try again. */
  noteHandover(key: string, id: ObjectId): boolean;
  /** The next sync compares all objects with the spec; `failed`: the next try after a failure is due now as well. */
  forgetGeneration(key: string, failed: 'keep' | 'forget'): void;
}

export interface RecordKeeperOptions {
  readonly inventory: Inventory;
  readonly redactor: Redactor;
  readonly log: Log;
}

/** Records as the keeper alone may change them. */
type Stored = { -readonly [Name in keyof AppRecords]: AppRecords[Name] };

export function createRecordKeeper({ inventory, redactor, log }: RecordKeeperOptions): RecordKeeper {
  const records = new Map<string, Stored>();
  const store: RecordKeeper['store'] = (key, { inForce, attempt, prune, announced }) => {
    const state = records.get(key);
    if (state === undefined) return;
    if (inForce !== undefined) state.inForce = inForce;
    if (attempt !== undefined) state.attempt = attempt;
    if (prune !== undefined) state.prune = prune;
    if (announced !== undefined) state.announced = announced;
  };
  const loadedOf = (app: Kustomization): AppRecords => {
    const state = records.get(keyOf(app));
    invariant(state !== undefined, `no records of app ${keyOf(app)}`);
    return state;
  };

  return {
    of: (key) => records.get(key),
    open(key) {
      const state = records.get(key) ?? newAppRecords(key);
      records.set(key, state);
      return state;
    },
    forget: (key) => void records.delete(key),
    store,
    async load(app) {
      const state = loadedOf(app);
      if (!state.ownership.isLoaded) {
        const history = await inventory.load(app, state);
        store(state.key, { announced: { ...state.announced, history } });
      }
      return state;
    },
    async writeHistory(app) {
      const { key, announced } = loadedOf(app);
      const redact = (text: string): string => redactor.text(text, key);
      const history = announced.history.map((entry) => ({
        ...entry,
        changes: entry.changes.map((change) => redactedChange(change, redact)),
      }));
      await inventory.writeHistory(app, history).catch((err: unknown) => log.error({ kustomization: key, err }, 'Could not write history'));
    },
    noteObject(key, id, object) {
      const state = records.get(key);
      if (state === undefined) return;
      const { ownership, prune, attempt } = state;
      if (object === undefined && ownership.doomed.has(id)) store(key, { prune: { ...prune, lookAt: 0 } });
      // An object that could not be written has changed: another try may succeed, and need not wait for its turn.
      const failed = attempt.failing.get(id);
      if (failed !== undefined && failed !== contentOf(object)) store(key, { attempt: dueNow(attempt) });
    },
    noteHandover(key, id) {
      const attempt = records.get(key)?.attempt;
      if (attempt?.failed === undefined || !attempt.failing.has(id)) return false;
      const failing = new Map([...attempt.failing].filter(([each]) => each !== id));
      store(key, { attempt: { ...dueNow(attempt), failing } });
      return true;
    },
    forgetGeneration(key, of) {
      const state = records.get(key);
      if (state === undefined) return;
      const { inForce, attempt } = state;
      const failed = attempt.failed === undefined || of === 'forget' ? undefined : { ...attempt.failed, generation: -1 };
      store(key, { inForce: { ...inForce, generation: -1 }, attempt: { ...attempt, failed } });
    },
  };
}
