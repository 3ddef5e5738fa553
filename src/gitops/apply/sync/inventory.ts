import { createHash } from 'node:crypto';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../client/client.ts';
import type { ObjectRef } from '../../../machinery/object.ts';
import { type AppState, type InventoryRecord, setNotes, touchInventory } from '../app-state.ts';
import type { ObjectId } from '../objects/object-id.ts';
import { readRecord, writeRecord } from '../objects/secret-record.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { type HistoryEntry, historyRef, readHistory } from '../status/history.ts';

/** What an app owns and what it went through, kept beside it in the API so that a restart loses nothing. */
export interface Inventory {
  /** Fills `doomed` with everything the app ever owned: the first sync takes out what it still names. Fills the history. */
  load(app: Kustomization, state: AppState): Promise<void>;
  /** Persists `old ∪ intended` before the first write of a sync, and what is left after it. */
  write(
    app: Kustomization,
    state: AppState,
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
  /** Hears of the history of an app when it is read. */
  onHistory(app: Kustomization, history: readonly HistoryEntry[]): void;
}

export function createInventory({ client, onHistory }: InventoryOptions): Inventory {
  return {
    async load(app, state) {
      const record = await readRecord<InventoryRecord>(client, inventoryRef(app));
      // An app that Flux managed before has its inventory in the status alone.
      const entries = record?.entries ?? (app.status?.inventory?.entries ?? []).map((entry) => ({ ...entry, uid: undefined }));
      for (const { id, v, uid } of entries) if (!state.applied.has(id)) state.doomed.set(id, { version: v, uid });
      for (const { id, leftOver = [] } of record?.entries ?? []) if (leftOver.length > 0) setNotes(state, id, { leftOver });
      state.history = await readHistory(client, app);
      onHistory(app, state.history);
      if (record?.hooks !== undefined) {
        const { digest, complete, succeeded } = record.hooks;
        state.hooks = { digest, complete, succeeded: new Set(succeeded), cleaning: new Map() };
      }
      state.healthy = record?.healthy;
      state.autoReverted = record?.autoReverted ?? '';
      touchInventory(state);
      state.loaded = true;
    },
    async write(app, state, { revision, intended = new Map() }) {
      if (!state.inventoryDirty) return;
      const entries = new Map<ObjectId, InventoryRecord['entries'][number]>();
      const add = (id: ObjectId, v: string, uid: string | undefined, entryState: 'pending' | 'applied' | 'pruning'): void => {
        const { leftOver = [] } = state.notes.get(id) ?? {};
        entries.set(id, {
          id,
          v,
          ...(uid === undefined ? {} : { uid }),
          state: entryState,
          ...(leftOver.length === 0 ? {} : { leftOver }),
        });
      };
      for (const [id, { version, uid }] of state.doomed) add(id, version, uid, 'pruning');
      for (const [id, { desired, uid }] of state.applied) add(id, desired.resource.version, uid, 'applied');
      for (const [id, desired] of intended) {
        const known = state.applied.get(id);
        if (known?.desired.object !== desired.object) add(id, desired.resource.version, known?.uid, 'pending');
      }
      for (const [id, { resource }] of state.pending) if (!entries.has(id)) add(id, resource.version, undefined, 'pending');
      for (const [id, { resource }] of state.hookObjects) if (!entries.has(id)) add(id, resource.version, undefined, 'applied');
      const sorted = [...entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      const { digest, complete, succeeded } = state.hooks;
      const more = {
        ...(digest === '' ? {} : { hooks: { digest, complete, succeeded: [...succeeded] } }),
        ...(state.healthy === undefined ? {} : { healthy: state.healthy }),
        ...(state.autoReverted === '' ? {} : { autoReverted: state.autoReverted }),
      };
      const written = createHash('sha256')
        .update(JSON.stringify([sorted, more]))
        .digest('base64');
      if (written !== state.writtenInventory) {
        // Until it is answered either one may be there.
        state.writtenInventory = '';
        await writeRecord(client, {
          ref: inventoryRef(app),
          owner: app,
          value: { revision, entries: sorted, ...more } satisfies InventoryRecord,
        });
        state.writtenInventory = written;
      }
      state.inventoryDirty = intended.size > 0;
    },
    writeHistory: (app, history) => writeRecord(client, { ref: historyRef(app), owner: app, value: history }),
  };
}
