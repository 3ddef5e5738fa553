import { describe, expect, it } from 'vitest';
import { type OwnerState, verdictOf } from '../../../../src/controllers/garbage-collector/verdict.ts';
import type { KubeObject, OwnerReference } from '../../../../src/machinery/object.ts';

const reference = (uid: string): OwnerReference => ({ apiVersion: 'v1', kind: 'ConfigMap', name: uid, uid });

function judge(states: Readonly<Record<string, OwnerState>>, more: { finalizers?: readonly string[]; hasDependents?: boolean } = {}) {
  const object: KubeObject = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: 'child',
      ownerReferences: Object.keys(states).map(reference),
      ...(more.finalizers === undefined ? {} : { finalizers: more.finalizers }),
    },
  };
  return verdictOf(object, { ownerStates: new Map(Object.entries(states)), hasDependents: more.hasDependents === true });
}

describe('the verdict on an object', () => {
  it('keeps an object without owners, and one whose owners are all there', () => {
    expect(judge({})).toEqual({ action: 'keep' });
    expect(judge({ a: 'solid', b: 'solid' })).toEqual({ action: 'keep' });
  });

  it('waits while one owner has an unknown kind, however many others are gone', () => {
    expect(judge({ a: 'dangling', b: 'unknown-kind' })).toEqual({ action: 'wait' });
    expect(judge({ a: 'solid', b: 'unknown-kind' })).toEqual({ action: 'wait' });
  });

  it('drops lost owners, and owners that wait for their dependents, while another one is there', () => {
    expect(judge({ a: 'solid', b: 'dangling', c: 'waiting-for-dependents' })).toEqual({
      action: 'drop-owners',
      lost: [reference('b'), reference('c')],
    });
  });

  it('deletes an object whose owners are gone, in the way that its finalizer names', () => {
    expect(judge({ a: 'dangling' })).toEqual({ action: 'delete', propagationPolicy: 'Background' });
    expect(judge({ a: 'dangling' }, { finalizers: ['orphan'] })).toEqual({ action: 'delete', propagationPolicy: 'Orphan' });
    expect(judge({ a: 'dangling' }, { finalizers: ['foregroundDeletion'] })).toEqual({ action: 'delete', propagationPolicy: 'Foreground' });
  });

  it('hands foreground deletion down to an object with dependents, and deletes a leaf in the background', () => {
    const states = { a: 'dangling', b: 'waiting-for-dependents' } as const;
    expect(judge(states, { hasDependents: true })).toEqual({ action: 'delete', propagationPolicy: 'Foreground' });
    expect(judge(states)).toEqual({ action: 'delete', propagationPolicy: 'Background' });
    expect(judge({ a: 'dangling' }, { hasDependents: true })).toEqual({ action: 'delete', propagationPolicy: 'Background' });
  });
});
