import { describe, expect, it } from 'vitest';
import { type Change, changeOf, EventWindow, WindowMemory } from '../../../../src/apiserver/registry/event-window.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';

const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } } as KubeObject;
const change = (revision: number, beforeBytes: number, afterBytes = beforeBytes): Change =>
  changeOf({ revision, key: 'a', before: beforeBytes === 0 ? undefined : object, after: object, beforeBytes, afterBytes });
const revisions = (changes: readonly Change[] | undefined): readonly number[] | undefined => changes?.map(({ revision }) => revision);

describe('the windows of all resources', () => {
  it('forget the oldest change of all when their memory is full, of whatever resource it is', () => {
    const memory = new WindowMemory(10_000);
    const pods = new EventWindow(0, memory);
    const leases = new EventWindow(0, memory);
    pods.add(change(1, 4_000));
    leases.add(change(2, 4_000));
    pods.add(change(3, 4_000));
    expect(pods.since(0)).toBeUndefined();
    expect(pods.completeAfter).toBe(1);
    expect(revisions(pods.since(1))).toEqual([3]);
    expect(revisions(leases.since(0))).toEqual([2]);
    expect(memory.bytes).toBeLessThanOrEqual(10_000);
  });

  it('count each version of an object once: what a change made is the current one, or what the next change replaces', () => {
    const memory = new WindowMemory(1_000_000);
    const window = new EventWindow(0, memory);
    window.add(change(1, 0, 100_000));
    expect(memory.bytes).toBeLessThan(1_000);
    for (let revision = 2; revision <= 6; revision += 1) window.add(change(revision, 100_000));
    expect(memory.bytes).toBeGreaterThan(500_000);
    expect(memory.bytes).toBeLessThan(510_000);
  });

  it('hold no more than their memory, however many large updates come', () => {
    const memory = new WindowMemory(8_000_000);
    const window = new EventWindow(0, memory);
    for (let revision = 1; revision <= 2_000; revision += 1) {
      window.add(change(revision, 1_000_000));
      expect(memory.bytes).toBeLessThanOrEqual(8_000_000);
    }
    expect(revisions(window.since(1_993))).toEqual([1_994, 1_995, 1_996, 1_997, 1_998, 1_999, 2_000]);
    expect(window.since(1_992)).toBeUndefined();
  });

  it('give the memory back when a resource is no longer served', () => {
    const memory = new WindowMemory(10_000);
    const gone = new EventWindow(0, memory);
    const rest = new EventWindow(0, memory);
    gone.add(change(1, 3_000));
    rest.add(change(2, 3_000));
    gone.close();
    expect(memory.bytes).toBeLessThan(4_000);
    rest.add(change(3, 3_000));
    rest.add(change(4, 4_000));
    expect(revisions(rest.since(2))).toEqual([3, 4]);
    expect(rest.since(1)).toBeUndefined();
  });

  it('forget the older half when memory is short', () => {
    const memory = new WindowMemory(1_000_000);
    const window = new EventWindow(0, memory);
    for (let revision = 1; revision <= 10; revision += 1) window.add(change(revision, 10_000));
    memory.halve();
    expect(revisions(window.since(5))).toEqual([6, 7, 8, 9, 10]);
    expect(window.since(4)).toBeUndefined();
  });

  it('do not keep a change that is larger than all of them', () => {
    const memory = new WindowMemory(1_000);
    const window = new EventWindow(0, memory);
    window.add(change(1, 1_500_000));
    expect(memory.bytes).toBe(0);
    expect(window.completeAfter).toBe(1);
    expect(window.since(1)).toEqual([]);
  });
});
