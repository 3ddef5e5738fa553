import type { StorageEvent, StoredEntry } from '../../storage/storage.ts';
import { decode } from './encoding.ts';
import { splitStoreKey } from './keys.ts';
import type { ResourceState } from './resource-state.ts';

/** A change that makes the memory of one resource like the store. */
export interface Difference {
  readonly state: ResourceState;
  readonly key: string;
  readonly event: StorageEvent;
}

/**
 * The changes from what is in memory to what a read of the whole store found at `revision`. They bring no history: an object that was
 * changed often has one. One that was deleted and made again has a deletion before it, since its followers know it by its UID.
 */
export function* differences(
  states: ReadonlyMap<string, ResourceState>,
  entries: Iterable<StoredEntry>,
  revision: number,
): Generator<Difference> {
  const gone = new Map<ResourceState, Set<string>>();
  for (const state of states.values()) {
    // Kinds that were read from the store later than this are newer.
    if (state.since < revision) gone.set(state, new Set(state.all.objects.keys()));
  }
  for (const { key: storeKey, text, revision: written } of entries) {
    const { prefix, key } = splitStoreKey(storeKey);
    const state = states.get(prefix);
    if (state === undefined || state.since >= revision) continue;
    gone.get(state)?.delete(key);
    const before = state.get(key);
    if (before?.metadata.resourceVersion === String(written)) continue;
    if (before !== undefined && before.metadata.uid !== decode(text, written).metadata.uid)
      yield { state, key, event: { type: 'delete', key: storeKey, revision: written } };
    yield { state, key, event: { type: 'put', key: storeKey, revision: written, created: before === undefined, value: { text } } };
  }
  for (const [state, keys] of gone) for (const key of keys) yield { state, key, event: { type: 'delete', key: '', revision } };
}
