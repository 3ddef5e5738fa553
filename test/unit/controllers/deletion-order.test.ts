import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { deletionOrder } from '../../../src/controllers/deletion-order.ts';

const now = Date.parse('2026-01-01T01:00:00Z');
const ago = (seconds: number): string => new Date(now - seconds * 1000).toISOString();

interface Shape {
  readonly node?: string;
  readonly phase?: string;
  readonly readyFor?: number;
  readonly cost?: number;
  readonly restarts?: number;
  readonly age?: number;
}

function pod(name: string, { node = 'n1', phase = 'Running', readyFor = 600, cost, restarts = 0, age = 600 }: Shape = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      uid: name,
      creationTimestamp: ago(age),
      ...(cost === undefined ? {} : { annotations: { 'controller.kubernetes.io/pod-deletion-cost': String(cost) } }),
    },
    spec: { containers: [], ...(node === '' ? {} : { nodeName: node }) },
    status: {
      phase,
      ...(readyFor < 0 ? {} : { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: ago(readyFor) }] }),
      containerStatuses: [{ name: 'web', image: '', imageID: '', ready: true, restartCount: restarts }],
    },
  };
}

const order = (pods: readonly Pod[], related: Readonly<Record<string, number>> = {}) =>
  deletionOrder(pods, { relatedOnNode: ({ spec }) => related[spec.nodeName ?? ''] ?? 1, now }).map(({ metadata }) => metadata.name);

describe('deletion order', () => {
  it.each<[string, Pod, Pod, Readonly<Record<string, number>>?]>([
    ['unassigned before assigned', pod('first', { node: '', phase: 'Pending' }), pod('second', { phase: 'Pending' })],
    ['pending before running', pod('first', { phase: 'Pending', readyFor: -1 }), pod('second', { readyFor: -1 })],
    ['not ready before ready', pod('first', { readyFor: -1 }), pod('second')],
    ['cheaper before dearer', pod('first', { cost: -5, readyFor: 3_000 }), pod('second', { readyFor: 10 })],
    ['crowded nodes first', pod('first', { node: 'crowded' }), pod('second', { node: 'lonely' }), { crowded: 3, lonely: 1 }],
    ['ready for a shorter time first', pod('first', { readyFor: 10 }), pod('second', { readyFor: 600 })],
    ['more restarts first', pod('first', { restarts: 4 }), pod('second', { restarts: 1 })],
    ['younger first', pod('first', { age: 601 }), pod('second', { age: 6_000 })],
  ])('%s', (_, first, second, related) => {
    expect(order([second, first], related)).toEqual(['first', 'second']);
    expect(order([first, second], related)).toEqual(['first', 'second']);
  });

  it('does not let seconds decide among pods of about the same age', () => {
    expect(order([pod('b', { age: 601 }), pod('a', { age: 640 })])).toEqual(['a', 'b']);
  });
});
