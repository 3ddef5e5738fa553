import type { KindDefinition } from '../../machinery/kind.ts';
import { deepEqual, keyOf, type ObjectMeta, type ObjectRef } from '../../machinery/object.ts';
import { conflict, type StatusError } from '../../machinery/status-error.ts';
import { sameOwners } from './field-owners.ts';

/** Metadata as the server writes it: what clients may say is taken over, what the server owns is not. Fields have one order. */

type Draft = { -readonly [K in keyof ObjectMeta]: ObjectMeta[K] };

export interface NewMetadata {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly uid: string;
  readonly creationTimestamp: string;
  /** Undefined keeps what the client sent, on kinds whose generation nobody counts. */
  readonly generation: number | undefined;
}

/** The client means another object of this name. */
export function uidConflict(kind: KindDefinition, stored: ObjectRef & { readonly uid?: string }, given: string): StatusError {
  const { name, namespace } = stored;
  const key = `/registry/${kind.resource}/${namespace === undefined ? name : keyOf({ metadata: { name, namespace } })}`;
  const why = `Precondition failed: UID in precondition: ${given}, UID in object meta: ${stored.uid ?? ''}`;
  return conflict(kind, name, `StorageError: invalid object, Code: 4, Key: ${key}, ResourceVersion: 0, AdditionalErrorMsg: ${why}`);
}

/** Metadata of an object to be created. */
export function createdMetadata(given: ObjectMeta, { name, namespace, uid, creationTimestamp, generation }: NewMetadata): ObjectMeta {
  const draft: Draft = { name };
  if (given.generateName !== undefined && given.generateName !== '') draft.generateName = given.generateName;
  if (namespace !== undefined) draft.namespace = namespace;
  draft.uid = uid;
  const counted = generation ?? given.generation;
  if (counted !== undefined) draft.generation = counted;
  draft.creationTimestamp = creationTimestamp;
  copyClientFields(draft, given, undefined);
  return draft;
}

/**
 * Metadata of an update: `stored` wins except for fields that belong to clients. Parts that are equal are shared with
 * it.
 */
export function updatedMetadata(stored: ObjectMeta, given: ObjectMeta): ObjectMeta {
  const draft: Draft = { name: stored.name };
  if (given.generateName !== undefined && given.generateName !== '') draft.generateName = given.generateName;
  if (stored.namespace !== undefined) draft.namespace = stored.namespace;
  if (stored.uid !== undefined) draft.uid = stored.uid;
  if (stored.generation !== undefined) draft.generation = stored.generation;
  if (stored.creationTimestamp !== undefined) draft.creationTimestamp = stored.creationTimestamp;
  // Validation refuses changes that a client makes here.
  const deletionTimestamp = given.deletionTimestamp ?? stored.deletionTimestamp;
  if (deletionTimestamp !== undefined) draft.deletionTimestamp = deletionTimestamp;
  const deletionGracePeriodSeconds = given.deletionGracePeriodSeconds ?? stored.deletionGracePeriodSeconds;
  if (deletionGracePeriodSeconds !== undefined) draft.deletionGracePeriodSeconds = deletionGracePeriodSeconds;
  copyClientFields(draft, given, stored);
  return draft;
}

const clientFields = ['labels', 'annotations', 'ownerReferences', 'finalizers'] as const;

function copyClientFields(draft: Draft, given: ObjectMeta, stored: ObjectMeta | undefined): void {
  for (const field of clientFields) {
    const value = given[field];
    if (value === undefined || value === null || isEmpty(value)) continue;
    const kept = stored?.[field];
    (draft as Record<string, unknown>)[field] = kept !== undefined && deepEqual(kept, value) ? kept : value;
  }
  // A client that sends no owners changes none of them; one that sends an empty list gives them up.
  const owners = given.managedFields ?? stored?.managedFields;
  if (owners !== undefined) draft.managedFields = deepEqual(owners, stored?.managedFields) ? (stored?.managedFields ?? owners) : owners;
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false;
  return true;
}

/** True when two metadata of one object are equal, apart from resourceVersion and the times of the owners. */
export function sameMetadata(a: ObjectMeta, b: ObjectMeta): boolean {
  const left = a as unknown as Readonly<Record<string, unknown>>;
  const right = b as unknown as Readonly<Record<string, unknown>>;
  let fields = 0;
  for (const key in left) {
    if (key === 'resourceVersion') continue;
    fields += 1;
    if (key !== 'managedFields' && !deepEqual(left[key], right[key])) return false;
  }
  for (const key in right) if (key !== 'resourceVersion') fields -= 1;
  return fields === 0 && sameOwners(a.managedFields, b.managedFields);
}
