import { type Event, events } from '../api/core/v1/event.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';

export interface RecentEvents {
  /** Newest first. */
  list(): readonly Event[];
  /** About one object, newest first; at most 20. */
  about(object: InvolvedObject): readonly Event[];
  onChange(listener: () => void): () => void;
}

export interface InvolvedObject {
  readonly kind: string;
  /** Empty for objects of the cluster. */
  readonly namespace: string;
  readonly name: string;
}

const byObject = 'web-involved';
const maxAbout = 20;
const keyOfObject = ({ kind, namespace, name }: InvolvedObject): string => `${kind}/${namespace}/${name}`;
const objectIndex = ({ involvedObject: { kind = '', namespace = '', name = '' } }: Event): readonly string[] => [
  keyOfObject({ kind, namespace, name }),
];

/** The newest events of the cluster. The cache may hold thousands; what is kept here is bounded, so that no page sorts them all. */
export function createRecentEvents(informers: InformerSet, capacity = 200): RecentEvents {
  const recent = new Map<string, Event>();
  const listeners = new Set<() => void>();
  const cached = informers.get(events);
  cached.addIndex(byObject, objectIndex);
  cached.addHandler(({ before, after }) => {
    const object = after ?? before;
    if (object === undefined) return;
    if (after === undefined) recent.delete(keyOf(object));
    else recent.set(keyOf(object), after);
    // Cut rarely: one sort in `capacity` events.
    if (recent.size >= capacity * 2) {
      for (const event of newestFirst(recent.values()).slice(capacity)) recent.delete(keyOf(event));
    }
    for (const listener of listeners) listener();
  });
  return {
    about: (object) => newestFirst(cached.byIndex(byObject, keyOfObject(object))).slice(0, maxAbout),
    list: () => newestFirst(recent.values()).slice(0, capacity),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

const newestFirst = (all: Iterable<Event>): Event[] =>
  [...all]
    .map((event) => ({ event, at: lastSeenMs(event) }))
    .sort((a, b) => b.at - a.at)
    .map(({ event }) => event);

export function lastSeenMs({ lastTimestamp, series, eventTime, metadata }: Event): number {
  return Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '') || 0;
}
