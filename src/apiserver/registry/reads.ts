import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { expired, StatusError } from '../../machinery/status-error.ts';
import type { ListPage, ListRequest, Watching, WatchRecord, WatchRequest } from '../kube-api.ts';
import { formatContinueToken, parseContinueToken } from './continue-token.ts';
import { type Filter, filterOf, matches } from './filter.ts';
import { listVersionOf, watchStartOf } from './list-options.ts';
import { type OldPageRequest, readOldPage } from './old-pages.ts';
import type { Registry } from './registry.ts';
import type { ResourceState } from './resource-state.ts';
import type { Watcher } from './watch-hub.ts';
import { bookmarkOf, FoundRecord, SharedChange } from './watch-record.ts';

/** Lists and watches, answered from the registry's memory. */

/** Longest wait of a request for a revision that does not exist yet. */
const waitForRevisionMs = 3000;

const inconsistentContinueText =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, ' +
  'or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an ' +
  'inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

export async function listObjects(registry: Registry, kind: KindDefinition, request: ListRequest): Promise<ListPage> {
  const version = listVersionOf(request);
  const filter = filterOf(kind, request);
  const state = registry.stateOf(kind);
  // The real server's watch cache answers resourceVersion=0 whole; reflectors rely on getting everything in one piece.
  const limit = version.type === 'any' || (request.limit ?? 0) <= 0 ? Number.POSITIVE_INFINITY : (request.limit ?? 0);
  if (request.continue !== undefined && request.continue !== '') {
    const { revision, after } = parseContinueToken(request.continue);
    // Another server may have given it out.
    await reach(registry, revision);
    if (revision === -1) return pageOf({ state, filter, limit, after, revision: registry.revision, past: undefined });
    const page = await pastPage(registry, { state, filter, limit, after, revision });
    if (page === undefined) throw expired(inconsistentContinueText, formatContinueToken({ revision: -1, after }));
    return page;
  }
  switch (version.type) {
    case 'any':
    case 'newest':
      return pageOf({ state, filter, limit, after: '', revision: registry.revision, past: undefined });
    case 'notOlderThan':
      await reach(registry, version.revision);
      return pageOf({ state, filter, limit, after: '', revision: registry.revision, past: undefined });
    case 'exact': {
      await reach(registry, version.revision);
      const page = await pastPage(registry, { state, filter, limit, after: '', revision: version.revision });
      if (page === undefined) throw expired('The resourceVersion for the provided list is too old.');
      return page;
    }
    default:
      return version satisfies never;
  }
}

/**
 * Waits until this server has seen what a client has seen elsewhere.
 *
 * @throws StatusError 400 for a version that is none, 504 for one that does not come
 */
export async function reachVersion(registry: Registry, resourceVersion: string): Promise<void> {
  const version = listVersionOf({ resourceVersion });
  if (version.type === 'notOlderThan') await reach(registry, version.revision);
}

async function reach(registry: Registry, revision: number): Promise<void> {
  if (await registry.waitFor(revision, waitForRevisionMs)) return;
  throw new StatusError({
    code: 504,
    reason: 'Timeout',
    message: `Timeout: Too large resource version: ${revision}, current: ${registry.revision}`,
    details: { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }], retryAfterSeconds: 1 },
  });
}

/**
 * Differences between `revision` and now: each changed key with its object at that revision. Undefined when the history
 * is gone.
 */
type Past = ReadonlyMap<string, KubeObject | undefined>;

function pastOf(state: ResourceState, revision: number, current: number): Past | undefined {
  if (revision > current) return undefined;
  const changes = state.window.since(revision);
  if (changes === undefined) return undefined;
  const past = new Map<string, KubeObject | undefined>();
  for (const { key, before } of changes) if (!past.has(key)) past.set(key, before);
  return past;
}

/** Out of memory, or else out of a store that has the past; undefined when it is gone. */
async function pastPage(registry: Registry, request: OldPageRequest): Promise<ListPage | undefined> {
  const past = pastOf(request.state, request.revision, registry.revision);
  return past === undefined ? await readOldPage(registry, request) : pageOf({ ...request, past });
}

interface PageRequest extends OldPageRequest {
  readonly past: Past | undefined;
}

function pageOf({ state, filter, limit, after, revision, past }: PageRequest): ListPage {
  const candidates = state.candidates(filter);
  let keys = candidates.keys();
  if (past !== undefined && past.size > 0) {
    // Objects that were there then and are gone now, or in another set, come in; those made since go out.
    const gone = [...past].filter(
      ([key, object]) => object !== undefined && !candidates.objects.has(key) && matches(state.kind, filter, object),
    );
    keys = keys.filter((key) => !past.has(key) || past.get(key) !== undefined);
    if (gone.length > 0) keys = [...keys, ...gone.map(([key]) => key)].sort();
  }
  const items: KubeObject[] = [];
  let at = after === '' ? 0 : firstAfter(keys, after);
  let last = '';
  for (; at < keys.length && items.length < limit; at += 1) {
    const key = keys[at] ?? '';
    const object = past?.has(key) === true ? past.get(key) : candidates.objects.get(key);
    if (object === undefined || !matches(state.kind, filter, object)) continue;
    items.push(object);
    last = key;
  }
  const resourceVersion = String(revision);
  if (at >= keys.length) return { items, resourceVersion };
  const token = formatContinueToken({ revision, after: last });
  return filter.selective
    ? { items, resourceVersion, continue: token }
    : { items, resourceVersion, continue: token, remainingItemCount: keys.length - at };
}

function firstAfter(keys: readonly string[], after: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? '') <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

export async function watchObjects(registry: Registry, kind: KindDefinition, request: WatchRequest): Promise<Watching> {
  const start = watchStartOf(request);
  const filter = filterOf(kind, request);
  const state = registry.stateOf(kind);
  const bookmarks = request.allowBookmarks === true;
  if (start.initialEvents) await reach(registry, start.revision);
  // A version that another server gave out. One that never comes is waited for by the watch itself, as upstream.
  else if (registry.storage.isShared) await registry.waitFor(start.revision, waitForRevisionMs);
  if (request.signal.aborted) return { bookmark: () => undefined };
  // From here to the hub nothing awaits: between the state that is sent and the changes that follow there is no gap.
  const initial = start.initialEvents
    ? currentState(registry, state, filter)
    : changesSince(registry, { state, filter, revision: start.revision });
  if (start.closingBookmark) initial.push(bookmarkOf(kind, registry.revision, { initialEventsEnd: true }));
  const after = start.initialEvents || start.revision === 0 ? registry.revision : Math.max(start.revision, registry.revision);
  const watcher: Watcher = { filter, consumer: request, bookmarks, after, pending: [] };
  state.hub.add(watcher);
  request.signal.addEventListener('abort', () => state.hub.remove(watcher), { once: true });
  if (initial.length > 0) request.onEvents(initial);
  return {
    bookmark() {
      // Watchers have got all that the registry has seen: dispatching is one step.
      if (bookmarks && !request.signal.aborted) request.onEvents([bookmarkOf(kind, registry.revision)]);
    },
  };
}

function currentState(registry: Registry, state: ResourceState, filter: Filter): WatchRecord[] {
  const records: WatchRecord[] = [];
  const candidates = state.candidates(filter);
  for (const key of candidates.keys()) {
    const object = candidates.objects.get(key);
    if (object !== undefined && matches(state.kind, filter, object)) records.push(new FoundRecord(object, registry.counters));
  }
  return records;
}

interface WatchStart {
  readonly state: ResourceState;
  readonly filter: Filter;
  readonly revision: number;
}

function changesSince(registry: Registry, { state, filter, revision }: WatchStart): WatchRecord[] {
  if (revision === 0 || revision >= registry.revision) return [];
  const changes = state.window.since(revision);
  if (changes === undefined) throw expired(`too old resource version: ${revision} (${state.window.completeAfter})`);
  const records: WatchRecord[] = [];
  for (const change of changes) {
    const { before, after } = change;
    const had = before !== undefined && matches(state.kind, filter, before) ? before : undefined;
    const has = after !== undefined && matches(state.kind, filter, after) ? after : undefined;
    const shared = new SharedChange(change, registry.counters);
    if (has !== undefined) records.push(had === undefined ? shared.added(has) : shared.modified(has));
    else if (had !== undefined) records.push(shared.deleted(had));
  }
  return records;
}
