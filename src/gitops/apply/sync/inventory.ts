import { createHash } from 'node:crypto';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../client/client.ts';
import type { ObjectRef } from '../../../machinery/object.ts';
import type { ObjectId } from '../objects/object-id.ts';
import { readRecord, writeRecord } from '../objects/secret-record.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { AppRecords } from '../records/app-records.ts';
import { type HistoryEntry, historyRef, readHistory } from '../records/history.ts';
import type { InventoryRecord } from '../records/ownership.ts';

type Entry = InventoryRecord['entries'][number];

/** Records that the inventory Secret is made of. */
type OwnedRecords = Pick<AppRecords, 'ownership' | 'drifts'>;

/** Objects and history of an app, kept beside it in the API so that a restart loses nothing. */
export interface Inventory {
  /** Fills `doomed` with everything the app ever owned: the first sync takes out what it still names. Gives the history. */
  load(app: Kustomization, state: OwnedRecords): Promise<readonly HistoryEntry[]>;
  /** Persists `old ∪ intended` before the first write of a sync, and what is left after it. */
  write(
    app: Kustomization,
    state: OwnedRecords,
    options: { readonly revision: string; readonly intended?: ReadonlyMap<ObjectId, DesiredObject> },
  ): Promise<void>;
  writeHistory(app: Kustomization, history: readonly HistoryEntry[]): Promise<void>;
}

/** The object that keeps an app's inventory. */
export const inventoryRef = ({ metadata }: Kustomization): ObjectRef => ({
  namespace: metadata.namespace,
  name: `midship-inventory-${metadata.name}`,
});

export interface InventoryOptions {
  readonly client: Client;
  /** Gets the history of an app when it is read. */
  onHistory(app: Kustomization, history: readonly HistoryEntry[]): void;
}

export function createInventory({ client, onHistory }: InventoryOptions): Inventory {
  return {
    async load(app, { ownership, drifts }) {
      const record = await readRecord<InventoryRecord>(client, inventoryRef(app));
      // An app that Flux managed before has its inventory in the status alone.
      const entries = record?.entries ?? (app.status?.inventory?.entries ?? []).map((entry) => ({ ...entry, uid: undefined }));
      const history = await readHistory(client, app);
      onHistory(app, history);
      for (const { id, leftOver = [] } of record?.entries ?? []) if (leftOver.length > 0) drifts.note(id, { leftOver });
      ownership.load(record ?? {}, {
        entries: entries.map(({ id, v, uid }) => [id, { version: v, uid }] as const),
        completed: new Map((record?.entries ?? []).flatMap(({ id, completed }) => (completed === undefined ? [] : [[id, completed]]))),
      });
      return history;
    },
    async write(app, { ownership, drifts }, { revision, intended = new Map() }) {
      if (!ownership.isDirty && !ownership.hasNewCompletions) return;
      const { completed } = ownership;
      const entries = new Map<ObjectId, Entry>();
      const add = (id: ObjectId, entry: Pick<Entry, 'v' | 'state'> & { readonly uid?: string | undefined }): void => {
        const { v, state, uid } = entry;
        const { leftOver = [] } = drifts.notes.get(id) ?? {};
        const digest = completed.get(id);
        entries.set(id, {
          ...{ id, v, ...(uid === undefined ? {} : { uid }), state },
          ...(leftOver.length === 0 ? {} : { leftOver }),
          ...(digest === undefined ? {} : { completed: digest }),
        });
      };
      for (const [id, { version, uid }] of ownership.doomed) add(id, { v: version, uid, state: 'pruning' });
      for (const [id, { desired, uid }] of ownership.applied) add(id, { v: desired.resource.version, uid, state: 'applied' });
      for (const [id, desired] of intended) {
        const known = ownership.applied.get(id);
        if (known?.desired.object !== desired.object) add(id, { v: desired.resource.version, uid: known?.uid, state: 'pending' });
      }
      for (const [id, { resource }] of ownership.pending) if (!entries.has(id)) add(id, { v: resource.version, state: 'pending' });
      for (const [id, { resource }] of ownership.hookObjects) if (!entries.has(id)) add(id, { v: resource.version, state: 'applied' });
      const sorted = [...entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      const { digest, complete, succeeded } = ownership.hooks;
      const more = {
        ...(digest === '' ? {} : { hooks: { digest, complete, succeeded: [...succeeded] } }),
        ...(ownership.healthy === undefined ? {} : { healthy: ownership.healthy }),
        ...(ownership.autoReverted === '' ? {} : { autoReverted: ownership.autoReverted }),
      };
      const written = createHash('sha256')
        .update(JSON.stringify([sorted, more]))
        .digest('base64');
      if (written !== ownership.written) {
        // Until it is answered either one may be there.
        ownership.wrote('');
        await writeRecord(client, {
          ref: inventoryRef(app),
          owner: app,
          value: { revision, entries: sorted, ...more } satisfies InventoryRecord,
        });
        ownership.wrote(written);
      }
      ownership.settle({ isDirty: intended.size > 0, completed });
    },
    writeHistory: (app, history) => writeRecord(client, { ref: historyRef(app), owner: app, value: history }),
  };
}
