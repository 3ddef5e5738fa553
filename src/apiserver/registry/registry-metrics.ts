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
  yield* gaugeLines('stored_object_bytes', 'Memory of all stored objects, which the storage quota limits.', memory.objects.bytes);
  yield* gaugeLines('heap_is_full', '1 while writes that need memory are refused because the heap is nearly full.', isHeapFull ? 1 : 0);
  yield* gaugeLines('event_window_bytes', 'Memory of the changes that watches may start after.', memory.windows.bytes);
  yield '# HELP apiserver_storage_objects Stored objects by resource.\n# TYPE apiserver_storage_objects gauge\n';
  for (const { kind, all } of states.values()) {
    const resource = kind.group === '' ? kind.resource : `${kind.resource}.${kind.group}`;
    yield `apiserver_storage_objects{resource="${resource}"} ${all.objects.size}\n`;
  }
  yield* counterLines('encodes_total', 'Objects encoded to JSON, for the store or a watch.', counters.encodes);
  yield* counterLines('noop_writes_total', 'Writes that changed nothing and were not made.', counters.noopWrites);
  yield* counterLines(
    'watch_predicate_calls_total',
    'Objects compared with a selector because no index answered.',
    counters.watchPredicateCalls,
  );
}

function* counterLines(name: string, help: string, value: number): Iterable<string> {
  yield `# HELP ${name} ${help}\n# TYPE ${name} counter\n${name} ${value}\n`;
}

function* gaugeLines(name: string, help: string, value: number): Iterable<string> {
  yield `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}
