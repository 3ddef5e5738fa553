import { familyHead, familyOf } from '../../base/series.ts';
import type { RegistryMemory, ResourceState } from './resource-state.ts';
import type { RegistryCounters } from './watch-record.ts';

interface RegistryFigures {
  readonly memory: RegistryMemory;
  readonly counters: RegistryCounters;
  readonly states: ReadonlyMap<string, ResourceState>;
  readonly isHeapFull: boolean;
}

/** Sizes and counters of the registry, in the text form of Prometheus. */
export function* registryLines({ memory, counters, states, isHeapFull }: RegistryFigures): Iterable<string> {
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
