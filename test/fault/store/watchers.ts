import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, WatchLine } from './api.ts';
import type { History, WatchEnd, WatchEventRecord } from './history.ts';
import { itemOf, list, pathOf } from './traffic.ts';

export interface WatcherOptions {
  readonly watcher: number;
  readonly resource: string;
  /** Color of its selector; undefined: everything. */
  readonly color?: string;
  /** It begins by a list, or by the objects as events of the watch itself. */
  readonly begins: 'list' | 'initial events';
  readonly apis: readonly Api[];
  readonly random: () => number;
  readonly history: History;
  readonly signal: AbortSignal;
}

/** A watcher that goes on from its last revision, on another server if need be, and lists again when that has expired. */
export interface Watcher {
  /** The revision up to which it has everything. */
  readonly revision: number;
  readonly ended: Promise<void>;
}

let sessions = 0;
const pauseMs = 50;

export function startWatcher(options: WatcherOptions): Watcher {
  const { begins, apis, random, signal } = options;
  let revision = 0;
  let isResumed = false;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      const server = Math.floor(random() * apis.length);
      const api = apis[server] as Api;
      if (revision === 0 && begins === 'list') {
        const listed = await list({ ...options, client: -1 - options.watcher, api, server }, options.resource, true);
        revision = listed?.revision ?? 0;
        isResumed = false;
      }
      if (revision !== 0 || begins === 'initial events') {
        const why = await watchOnce(api, server);
        if (why === 'expired') revision = 0;
      }
      await sleep(random() * pauseMs);
    }
  }

  async function watchOnce(api: Api, server: number): Promise<WatchEnd['why']> {
    const seconds = 3 + Math.floor(random() * 4);
    const session = { api, server, after: revision === 0 ? undefined : revision, isResumed: isResumed && revision !== 0, seconds };
    return watchSession({ ...options, ...session }, (reached) => {
      revision = Math.max(reached, revision);
      isResumed = true;
    });
  }

  const ended = run();
  return {
    get revision() {
      return revision;
    },
    ended,
  };
}

interface SessionOptions extends Pick<WatcherOptions, 'watcher' | 'resource' | 'color' | 'history' | 'signal'> {
  readonly api: Api;
  readonly server: number;
  readonly after: number | undefined;
  readonly isResumed: boolean;
  readonly seconds: number;
}

/**
 * One watch from begin to end.
 *
 * @param onRevision  everything up to this revision has been delivered
 */
export async function watchSession(
  { watcher, resource, color, api, server, after, isResumed, seconds, history, signal }: SessionOptions,
  onRevision: (revision: number) => void,
): Promise<WatchEnd['why']> {
  sessions += 1;
  const session = sessions;
  const query = new URLSearchParams({ watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: String(seconds) });
  if (after === undefined) {
    query.set('sendInitialEvents', 'true');
    query.set('resourceVersionMatch', 'NotOlderThan');
  } else query.set('resourceVersion', String(after));
  if (color !== undefined) query.set('labelSelector', `color=${color}`);
  history.append({
    ...{ type: 'watch', watcher, session, server, resource, isResumed, at: performance.now() },
    ...(color === undefined ? {} : { color }),
    ...(after === undefined ? {} : { after }),
  });
  let isInitial = after === undefined;
  const onLine = (line: WatchLine): void => {
    const record = eventOf(line, resource, isInitial);
    if (record === undefined) return;
    if (record.event === 'INITIAL_END') isInitial = false;
    history.append({ type: 'event', session, at: performance.now(), ...record });
    if (!isInitial) onRevision(record.revision);
  };
  const why = await api.watch(`${pathOf(resource)}?${query}`, { signal, onLine }).then(
    (code) => (code === 200 ? 'ended' : code === 410 ? 'expired' : 'refused'),
    () => 'broken' as const,
  );
  history.append({ type: 'watch-end', session, why, at: performance.now() });
  return why;
}

function eventOf(
  { type, object }: WatchLine,
  resource: string,
  isInitial: boolean,
): Pick<WatchEventRecord, 'event' | 'key' | 'revision' | 'value'> | undefined {
  if (type === 'BOOKMARK') {
    const isEnd = object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
    return { event: isEnd ? 'INITIAL_END' : 'BOOKMARK', key: '', value: '', revision: Number(object.metadata.resourceVersion) };
  }
  const item = itemOf(resource, object);
  // Others of the namespace are no part of the history.
  if (item.value === '') return undefined;
  return { ...item, event: isInitial ? 'INITIAL' : (type as 'ADDED' | 'MODIFIED' | 'DELETED') };
}
