import { familyHead, familyOf } from '../../base/series.ts';
import type { Storage } from '../../storage/storage.ts';
import type { RegistryMemory, ResourceState } from './resource-state.ts';
import type { RegistryCounters } from './watch-record.ts';

interface RegistryFigures {
  readonly memory: RegistryMemory;
  readonly counters: RegistryCounters;
  readonly states: ReadonlyMap<string, ResourceState>;
  readonly isHeapFull: boolean;
  /** The revision that the memory has. */
  readonly revision: number;
  readonly storage: Pick<Storage, 'compactedRevision' | 'failure'>;
  /** Time since the memory was known to have all that was acknowledged; 0 where this process alone writes. */
  readonly ageMs: number;
}

/** Sizes and counters of the registry, in the text form of Prometheus. */
export function* registryLines(figures: RegistryFigures): Iterable<string> {
  const { memory, counters, states, isHeapFull, revision, storage, ageMs } = figures;
  yield gauge('store_revision', 'Newest revision of the store that this server has in memory.', revision);
  yield gauge('store_compacted_revision', 'Revision up to which the store has forgotten replaced values.', storage.compactedRevision);
  yield gauge('store_lag_seconds', 'Time since the memory was known to have every acknowledged write.', ageMs / 1_000);
  yield gauge('store_read_only', '1 while the store refuses writes.', storage.failure === undefined ? 0 : 1);
  yield gauge('stored_object_bytes', 'Memory of all stored objects, which the storage quota limits.', memory.objects.bytes);
  yield gauge('heap_is_full', '1 while writes that need memory are refused because the heap is nearly full.', isHeapFull ? 1 : 0);
  yield gauge('event_window_bytes', 'Memory of the changes that watches may start after.', memory.windows.bytes);
  yield familyHead('apiserver_storage_objects', 'Stored objects by resource.', 'gauge');
  for (const { kind, all } of states.values()) {
    const resource = kind.group === '' ? kind.resource : `${kind.resource}.${kind.group}`;
    yield `apiserver_storage_objects{resource="${resource}"} ${all.objects.size}\n`;
  }
  yield counter('encodes_total', 'Objects encoded to JSON, for the store or a watch.', counters.encodes);
  yield counter('noop_writes_total', 'Writes that changed nothing and were not made.', counters.noopWrites);
  yield counter('watch_predicate_calls_total', 'Objects compared with a selector because no index answered.', counters.watchPredicateCalls);
}

const counter = (name: string, help: string, value: number): string => familyOf({ name, help, type: 'counter' }, value);
const gauge = (name: string, help: string, value: number): string => familyOf({ name, help, type: 'gauge' }, value);
