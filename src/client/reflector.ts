import { createBackoff } from '../base/backoff.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { KubeObject } from '../machinery/object.ts';
import { groupResourceOf, type Resource } from '../machinery/resource.ts';
import { isExpired, isNotFound } from '../machinery/status-error.ts';
import type { Client, WatchEvent } from './client.ts';
import { type DefinitionWatch, followDefinition } from './definition-watch.ts';
import { eachPage } from './each-page.ts';
import type { InformerScope } from './informer.ts';

/** The receiver of a reflector's objects and events. */
export interface ReflectorTarget<T extends KubeObject> {
  /** The whole state of the server; what is not in it does not exist any more. */
  replace(items: readonly T[], resourceVersion: string): void;
  /** Changes in order, never a bookmark; none when only the version moved on. */
  apply(events: readonly WatchEvent<T>[], resourceVersion: string): void;
}

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly resource: Resource<T>;
  readonly scope: InformerScope;
  readonly target: ReflectorTarget<T>;
  readonly signal: AbortSignal;
}

const minBackoffMs = 200;
const maxBackoffMs = 30_000;
/** A watch that ends sooner than this without an event counts as a failure. So a broken server is not asked in a tight loop. */
const shortWatchMs = 1_000;

/**
 * Follows one resource until `signal` is aborted: lists, then watches from the version of the list; when the version is too old it lists
 * again. Failures are logged and tried again with jittered back-off, so this never rejects.
 */
export async function reflect<T extends KubeObject>(options: ReflectorOptions<T>): Promise<void> {
  const { clock, log, resource, signal, target } = options;
  const name = groupResourceOf(resource);
  const backoff = createBackoff({ baseMs: minBackoffMs, maxMs: maxBackoffMs, jitter: 0.5, random: options.random });
  let version: string | undefined;
  /** While the kind is gone, so that its return is seen at once. */
  let definition: DefinitionWatch | undefined;
  while (!signal.aborted) {
    try {
      if (version === undefined) {
        const { items, resourceVersion } = await listAll(options);
        if (signal.aborted) return;
        target.replace(items, resourceVersion);
        version = resourceVersion;
        definition = undefined;
      }
      let healthy = false;
      const startedAt = clock.monotonicMs();
      try {
        await watchFrom(options, version, (newest) => {
          version = newest;
          healthy = true;
        });
      } finally {
        healthy ||= clock.monotonicMs() - startedAt >= shortWatchMs;
        if (healthy) backoff.forget(name);
      }
      if (healthy) continue;
    } catch (err) {
      if (signal.aborted) return;
      if (isExpired(err)) {
        log.info({ resource: name, resourceVersion: version }, 'Listed again after the watch expired');
        version = undefined;
        if (backoff.failures(name) === 0) {
          backoff.next(name);
          continue;
        }
      } else if (isNotFound(err) && version !== undefined) {
        // The definition, or this version of it, is gone. Its objects may still exist, so the cache keeps them until
        // the definition is back.
        log.info({ resource: name }, 'Followed a resource that is gone');
        version = undefined;
        definition = await followDefinition(options.client, resource, signal);
        // It may have come back before its definition was followed.
        continue;
      } else if (isNotFound(err) && definition !== undefined) {
        if (await isDefinedWithin(backoff.next(name), definition, { clock, signal })) backoff.forget(name);
        definition = await followDefinition(options.client, resource, signal);
        continue;
      } else {
        log.warn({ resource: name, err }, 'Could not follow resource');
      }
    }
    // The only way this wait ends early is that the reflector stops.
    await sleep(clock, backoff.next(name), signal).catch(() => undefined);
  }
}

/** Waits for the definition of a kind to change; false when it did not within the time. */
async function isDefinedWithin(
  ms: number,
  definition: DefinitionWatch,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const isChanged = await Promise.race([
    definition.changed(ended).then(() => true),
    sleep(clock, ms, ended).then(
      () => false,
      () => false,
    ),
  ]);
  stop.abort();
  return isChanged;
}

async function watchFrom<T extends KubeObject>(
  { client, resource, scope, signal, target }: ReflectorOptions<T>,
  resourceVersion: string,
  onVersion: (version: string) => void,
): Promise<void> {
  let newest = resourceVersion;
  await client.watch(resource, {
    ...scope,
    resourceVersion,
    signal,
    onEvents(events) {
      const last = events.at(-1);
      if (last === undefined || signal.aborted) return;
      const changes = events.some(({ type }) => type === 'BOOKMARK') ? events.filter(({ type }) => type !== 'BOOKMARK') : events;
      newest = last.object.metadata.resourceVersion ?? newest;
      target.apply(changes, newest);
      onVersion(newest);
    },
  });
}

async function listAll<T extends KubeObject>({ client, resource, scope, signal }: ReflectorOptions<T>) {
  const items: T[] = [];
  let resourceVersion = '0';
  for await (const page of eachPage(client, resource, { ...scope, signal })) {
    for (const item of page.items) items.push(item);
    resourceVersion = page.metadata.resourceVersion ?? '0';
  }
  return { items, resourceVersion };
}
