import { describe, expect, it } from 'vitest';
import { ownFieldsOf } from '../../../../../src/gitops/apply/objects/fields.ts';
import {
  additionsIn,
  foldOwners,
  isPerson,
  overriddenBy,
  type TakeoverRules,
  withoutTaken,
} from '../../../../../src/gitops/apply/observe/takeover.ts';
import type { DynamicObject, ManagedFieldsEntry } from '../../../../../src/machinery/object.ts';
import { fieldSetFrom } from '../../../../../src/machinery/structured-merge/field-set.ts';

const entry = (manager: string, fieldsV1: object, more: Partial<ManagedFieldsEntry> = {}): ManagedFieldsEntry => ({
  manager,
  operation: 'Update',
  apiVersion: 'v1',
  time: '2026-01-01T00:00:00Z',
  fieldsType: 'FieldsV1',
  fieldsV1: fieldsV1 as never,
  ...more,
});
const own = entry('midship', { 'f:data': { 'f:a': {} } }, { operation: 'Apply' });
const object: DynamicObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { a: '1' } };
const live = (...managedFields: readonly ManagedFieldsEntry[]): DynamicObject => ({
  ...object,
  metadata: { name: 'a', managedFields },
  data: { a: '1', b: '2' },
});
const rules: TakeoverRules = { object, pointers: [], isTaken: overriddenBy() };
const owners = (folded: ReturnType<typeof foldOwners>): unknown =>
  folded?.managedFields.map(({ manager, operation, subresource, fieldsV1 }) => [manager, operation, subresource, fieldsV1]);

describe('managers whose fields become the app’s', () => {
  it('are people with kubectl, former appliers and those that are named, by their whole names', () => {
    const isOverridden = overriddenBy(['k9s']);
    const names = ['kubectl-edit', 'before-first-apply', 'kustomize-controller', 'helm', 'argocd-controller', 'k9s'];
    expect(names.every(isOverridden)).toBe(true);
    expect(['helm-operator', 'k9s-2', 'istiod', 'kube-controller-manager', 'midship', ''].some(isOverridden)).toBe(false);
    expect(names.filter(isPerson)).toEqual(['kubectl-edit', 'before-first-apply']);
  });
});

describe('a takeover', () => {
  it('puts their fields into our entry, and leaves those of subresources and of other managers', () => {
    const status = entry('kubectl-edit', { 'f:status': { 'f:x': {} } }, { subresource: 'status' });
    const scale = entry('kubectl', { 'f:spec': { 'f:replicas': {} } }, { subresource: 'scale' });
    const mesh = entry('istiod', { 'f:data': { 'f:mesh': {} } });
    const theirs = entry('kubectl-edit', { 'f:data': { 'f:b': {} } });
    expect(owners(foldOwners(live(own, status, scale, mesh, theirs), rules))).toEqual([
      ['kubectl-edit', 'Update', 'status', { 'f:status': { 'f:x': {} } }],
      ['kubectl', 'Update', 'scale', { 'f:spec': { 'f:replicas': {} } }],
      ['istiod', 'Update', undefined, { 'f:data': { 'f:mesh': {} } }],
      ['midship', 'Apply', undefined, { 'f:data': { 'f:a': {}, 'f:b': {} } }],
    ]);
    expect(foldOwners(live(own, status, scale, mesh), rules)).toBeUndefined();
  });

  it('takes of an entry in another version what the object has in this one', () => {
    const old = entry('helm', { 'f:data': { 'f:b': {}, 'f:gone': {} } }, { apiVersion: 'v1beta1' });
    const folded = foldOwners(live(own, old), rules);
    expect(folded?.taken).toEqual({ 'f:data': { 'f:b': {} } });
    expect(folded?.managedFields.map(({ manager }) => manager)).toEqual(['midship']);
  });

  it('leaves fields that others may have, or that the server did not let go before', () => {
    const theirs = entry('kubectl-edit', { 'f:data': { 'f:b': {} } });
    expect(foldOwners(live(own, theirs), { ...rules, pointers: ['/data/b'] })).toBeUndefined();
    expect(foldOwners(live(own, theirs), { ...rules, refused: fieldSetFrom({ 'f:data': { 'f:b': {} } }) })).toBeUndefined();
  });

  it('names a field that is ours, too, as no addition', () => {
    const theirs = entry('kubectl-edit', { 'f:data': { '.': {}, 'f:a': {}, 'f:b': {} } });
    const object = live(own, theirs);
    expect(additionsIn(object, ownFieldsOf(object), rules)).toEqual([{ path: ['f:data', 'f:b'], manager: 'kubectl-edit' }]);
  });

  it('takes away what an apply will take away, and nothing that another manager has as well', () => {
    const theirs = entry('kubectl-edit', { 'f:data': { 'f:b': {}, 'f:c': {} } });
    const mesh = entry('istiod', { 'f:data': { 'f:c': {} } });
    const before = { ...live(own, theirs, mesh), data: { a: '1', b: '2', c: '3' } };
    const folded = foldOwners(before, rules);
    expect(folded === undefined ? undefined : withoutTaken(before, folded).data).toEqual({ a: '1', c: '3' });
  });
});
