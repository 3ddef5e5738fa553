import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { validateObjectMeta } from '../../../src/api/object-meta.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';
import type { ObjectMeta } from '../../../src/machinery/object.ts';

const kind = configMaps as KindDefinition;
const object = (metadata: Partial<ObjectMeta>) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'a', namespace: 'b', ...metadata },
});
const fieldsOf = (metadata: Partial<ObjectMeta>, before?: Partial<ObjectMeta>) =>
  validateObjectMeta(kind, object(metadata), before === undefined ? undefined : object(before)).map((error) => error.field);

describe('metadata', () => {
  it('needs a name and a namespace that are DNS names', () => {
    expect(fieldsOf({})).toEqual([]);
    expect(fieldsOf({ name: 'a.b-c' })).toEqual([]);
    expect(fieldsOf({ name: '' })).toEqual(['metadata.name']);
    expect(fieldsOf({ name: 'A' })).toEqual(['metadata.name']);
    expect(fieldsOf({ name: 'a'.repeat(254) })).toEqual(['metadata.name']);
    expect(fieldsOf({ namespace: '' })).toEqual(['metadata.namespace']);
    expect(fieldsOf({ namespace: 'a.b' })).toEqual(['metadata.namespace']);
  });

  it('has no namespace on a cluster-scoped kind', () => {
    const errors = validateObjectMeta(namespaces as KindDefinition, object({}));
    expect(errors).toEqual([{ type: 'FieldValueForbidden', field: 'metadata.namespace', message: 'Forbidden: not allowed on this type' }]);
  });

  it('accepts a prefix for generated names that ends in a hyphen', () => {
    expect(fieldsOf({ generateName: 'web-' })).toEqual([]);
    expect(fieldsOf({ generateName: 'web_' })).toEqual(['metadata.generateName']);
  });

  it('has labels and annotations with qualified keys', () => {
    expect(fieldsOf({ labels: { 'a b': 'x', ok: 'not ok' } })).toEqual(['metadata.labels', 'metadata.labels']);
    expect(fieldsOf({ annotations: { 'Example.COM/Key': 'anything at all' } })).toEqual([]);
    expect(fieldsOf({ annotations: { '/x': '' } })).toEqual(['metadata.annotations']);
    expect(fieldsOf({ annotations: { x: 'y'.repeat(256 * 1024) } })).toEqual(['metadata.annotations']);
  });

  it('has at most one controller', () => {
    const owner = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u', controller: true };
    expect(fieldsOf({ ownerReferences: [owner] })).toEqual([]);
    expect(fieldsOf({ ownerReferences: [owner, owner] })).toEqual(['metadata.ownerReferences']);
    expect(fieldsOf({ ownerReferences: [{ ...owner, uid: '' }] })).toEqual(['metadata.ownerReferences.uid']);
  });

  it('does not change name, uid or creation time', () => {
    expect(fieldsOf({ uid: 'x' }, { uid: 'y' })).toEqual(['metadata.uid']);
    expect(fieldsOf({ creationTimestamp: '2026-01-01T00:00:00Z' }, {})).toEqual(['metadata.creationTimestamp']);
  });

  it('gets no new finalizers while it is being deleted', () => {
    const deleting = { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['a/b'] };
    expect(fieldsOf({ ...deleting, finalizers: [] }, deleting)).toEqual([]);
    const [error] = validateObjectMeta(kind, object({ ...deleting, finalizers: ['a/b', 'c/d'] }), object(deleting));
    expect(error?.message).toBe(
      'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d"}',
    );
  });
});
