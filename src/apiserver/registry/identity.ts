import { invalidValue } from '../../api/field-errors.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject, ObjectRef } from '../../machinery/object.ts';
import { badRequest, conflict, invalid } from '../../machinery/status-error.ts';
import { uidConflict } from './metadata.ts';

/** Checks that a body is about the object that its path names, at the version that its client knows. */

export function checkNamespace(kind: KindDefinition, namespace: string | undefined, given: string | undefined): void {
  if (!kind.namespaced || given === undefined || given === '' || given === namespace) return;
  throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
}

/** @throws StatusError `BadRequest` for another name or namespace, `Conflict` for another UID or version than the stored one */
export function checkIdentity(kind: KindDefinition, ref: ObjectRef, { before, wanted, isPatch = false }: Bodies): void {
  const { name, namespace, uid, resourceVersion } = wanted.metadata ?? {};
  if ((name ?? '') === '') {
    throw badRequest(`the name of the object (${ref.name} based on URL) was undeterminable: name must be provided`);
  }
  if (name !== ref.name) throw badRequest(`the name of the object (${name}) does not match the name on the URL (${ref.name})`);
  checkNamespace(kind, ref.namespace, namespace);
  const stored = before.metadata;
  if (uid !== undefined && uid !== '' && uid !== stored.uid) {
    // Only a PUT says by its uid which object it means.
    throw isPatch ? invalid(kind, ref.name, [invalidValue('metadata.uid', uid, 'field is immutable')]) : uidConflict(kind, stored, uid);
  }
  if (resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== stored.resourceVersion) throw conflict(kind, ref.name);
}

interface Bodies {
  readonly before: KubeObject;
  readonly wanted: KubeObject;
  readonly isPatch?: boolean;
}

export function checkAppliedName(patch: unknown, name: string): void {
  const metadata = (patch as { readonly metadata?: { readonly name?: unknown } } | null | undefined)?.metadata;
  const given = metadata?.name;
  if (typeof given !== 'string' || given === '' || given === name) return;
  throw badRequest(`the name of the object (${given}) does not match the name on the URL (${name})`);
}

/** Checks that an object created under a name of the URL says that name itself. */
export function checkNewName(object: KubeObject, name: string): void {
  checkAppliedName(object, name);
  if ((object.metadata?.name ?? '') !== '') return;
  throw badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`);
}

export function checkAppliedUid(kind: KindDefinition, name: string, { metadata }: KubeObject): void {
  const { uid } = metadata;
  if (uid === undefined || uid === '') return;
  throw conflict(kind, name, `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`);
}
