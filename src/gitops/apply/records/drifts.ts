import { BoundedMap } from '../../../base/bounded-map.ts';
import type { FieldPath } from '../objects/fields.ts';
import type { ObjectId } from '../objects/object-id.ts';

/** A difference from what was applied. */
export interface Drift {
  readonly id: ObjectId;
  readonly change: string;
  readonly by: string;
  /** Git says none of it: when it is gone again, nothing differs any more. */
  readonly isAddition?: true;
  /** Milliseconds since the epoch. */
  readonly detectedAt: number;
  /** Reason that it is not put back: the policy says so, or it was put back too often until this time (milliseconds since the epoch). */
  readonly left?: 'detect' | { readonly until: number };
}

/**
 * `Deployment web/shop: spec.replicas 3 → 9 by kubectl`. A manager follows values always. Readers without rights get the line without
 * values, and the end of a value must not look like a manager.
 */
export function driftLine(object: string, { change, by }: Pick<Drift, 'change' | 'by'>): string {
  const manager = by === '' && change.includes(' → ') ? 'an unknown manager' : by;
  return `${object}: ${change}${manager === '' ? '' : ` by ${manager}`}`;
}

/** Fields of a live object that are not what Git says, and that stay. */
export interface ObjectNotes {
  /** `replicas: 6 by HorizontalPodAutoscaler shop (Git says 4)`; empty when no autoscaler has set another number. */
  readonly replicas: string;
  /** `spec.template.spec.containers[istio-proxy] by istiod`: additions of managers whose fields are not taken over; at most 5. */
  readonly additions: readonly string[];
  /** Fields that left Git, that nobody owns, and that an apply does not take away, as `spec.clusterIP None`; at most 5. */
  readonly leftOver: readonly { readonly path: FieldPath; readonly text: string }[];
}

/** A namespace in which nothing can be put back; times are of the monotonic clock. */
export interface BlockedNamespace {
  readonly reason: string;
  readonly since: number;
  readonly triedAt: number;
}

/** An object that could not be put back; `triedAt` is of the monotonic clock. */
export interface UnhealedObject {
  readonly reason: string;
  readonly tries: number;
  readonly triedAt: number;
}

/** The differences of an app's objects from what was applied, and what came of putting them back. */
export interface Drifts {
  readonly found: ReadonlyMap<ObjectId, Drift>;
  /** Notes of objects that have any. */
  readonly notes: ReadonlyMap<ObjectId, ObjectNotes>;
  readonly unhealed: ReadonlyMap<ObjectId, UnhealedObject>;
  readonly blockedNamespaces: ReadonlyMap<string, BlockedNamespace>;
  find(drift: Drift): void;
  /** Nothing differs any more, or the difference does not count. */
  settle(id: ObjectId): void;
  /** The object was written: neither a difference nor a failure is left. */
  heal(id: ObjectId): void;
  /** @param reason why the object could not be put back */
  fail(id: ObjectId, reason: string, now: number): void;
  /** Changes the notes of an object; an object that is what Git says has none. */
  note(id: ObjectId, change: Partial<ObjectNotes>): void;
  forgetNotes(id: ObjectId): void;
  /** @param blocked reasons of all namespaces in which nothing could be put back now */
  block(blocked: ReadonlyMap<string, string>, now: number): void;
  /** Times of the corrections of a field of an object within the last `windowMs`, oldest first. */
  recentCorrections(drift: Pick<Drift, 'id' | 'change'>, window: { readonly now: number; readonly windowMs: number }): readonly number[];
  /** Notes that a field was put back at `now`. */
  correct(drift: Pick<Drift, 'id' | 'change'>, window: { readonly now: number; readonly windowMs: number }): void;
  /** Times of the corrections of each field that is remembered. */
  corrections(): Iterable<readonly number[]>;
}

/** Fields whose corrections are remembered, for each app. */
const maxCorrectedFields = 1_000;

const noNotes: ObjectNotes = { replicas: '', additions: [], leftOver: [] };

export function createDrifts(): Drifts {
  const found = new Map<ObjectId, Drift>();
  const notes = new Map<ObjectId, ObjectNotes>();
  const unhealed = new Map<ObjectId, UnhealedObject>();
  const blockedNamespaces = new Map<string, BlockedNamespace>();
  const corrections = new BoundedMap<string, readonly number[]>(maxCorrectedFields);
  const recentCorrections: Drifts['recentCorrections'] = ({ id, change }, { now, windowMs }) =>
    (corrections.get(fieldOf(id, change)) ?? []).filter((at) => now - at < windowMs);

  return {
    found,
    notes,
    unhealed,
    blockedNamespaces,
    find: (drift) => void found.set(drift.id, drift),
    settle: (id) => void found.delete(id),
    heal(id) {
      found.delete(id);
      unhealed.delete(id);
    },
    fail: (id, reason, now) => void unhealed.set(id, { reason, tries: (unhealed.get(id)?.tries ?? 0) + 1, triedAt: now }),
    note(id, change) {
      const next = { ...(notes.get(id) ?? noNotes), ...change };
      if (next.replicas === '' && next.additions.length + next.leftOver.length === 0) notes.delete(id);
      else notes.set(id, next);
    },
    forgetNotes: (id) => void notes.delete(id),
    block(blocked, now) {
      for (const namespace of blockedNamespaces.keys()) if (!blocked.has(namespace)) blockedNamespaces.delete(namespace);
      for (const [namespace, reason] of blocked) {
        const since = blockedNamespaces.get(namespace)?.since ?? now;
        blockedNamespaces.set(namespace, { reason, since, triedAt: now });
      }
    },
    recentCorrections,
    correct(drift, window) {
      corrections.set(fieldOf(drift.id, drift.change), [...recentCorrections(drift, window), window.now]);
    },
    corrections: () => corrections.values(),
  };
}

/** Identifies a field that was put back by its object and the first word of the change. */
const fieldOf = (id: ObjectId, change: string): string => `${id} ${change.split(' ')[0]}`;
