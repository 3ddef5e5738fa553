import { describe, expect, it } from 'vitest';
import type { Pod, PodSpec } from '../../../src/api/core/v1/pod.ts';
import { heldRequestsOf } from '../../../src/scheduler/held-requests.ts';
import { requestsOf } from '../../../src/scheduler/requests.ts';

const container = (name: string, cpu: string, more: object = {}) => ({ name, resources: { requests: { cpu } }, ...more });
const milliCpu = (spec: object): number => requestsOf(spec as PodSpec).milliCpu;

describe('requestsOf', () => {
  it('sums containers and adds the overhead', () => {
    expect(milliCpu({ containers: [container('a', '100m'), container('b', '1')], overhead: { cpu: '50m' } })).toBe(1_150);
  });

  it('takes the largest init container when that is more', () => {
    expect(milliCpu({ containers: [container('a', '100m')], initContainers: [container('i', '1'), container('j', '2')] })).toBe(2_000);
  });

  it('counts sidecars with the containers and with the init containers after them', () => {
    const sidecar = container('s', '500m', { restartPolicy: 'Always' });
    expect(milliCpu({ containers: [container('a', '100m')], initContainers: [sidecar] })).toBe(600);
    expect(milliCpu({ containers: [container('a', '100m')], initContainers: [sidecar, container('i', '1')] })).toBe(1_500);
    expect(milliCpu({ containers: [container('a', '100m')], initContainers: [container('i', '1'), sidecar] })).toBe(1_000);
  });

  it('scores a container that requests nothing as upstream does', () => {
    const { scoredMilliCpu, scoredMemory, milliCpu: requested } = requestsOf({ containers: [{ name: 'a' }] } as unknown as PodSpec);
    expect([scoredMilliCpu, scoredMemory, requested]).toEqual([100, 200 * 1024 * 1024, 0]);
  });
});

describe('a pod that is resized on its node', () => {
  const cpu = (amount: string) => ({ requests: { cpu: amount } });
  const milliHeld = (wanted: string, granted: string | undefined, has: string, reason?: string): number => {
    const status = {
      containerStatuses: [
        { name: 'a', ...(granted === undefined ? {} : { allocatedResources: { cpu: granted }, resources: cpu(has) }) },
        { name: 'b', allocatedResources: { cpu: '1' }, resources: cpu('1') },
      ],
      conditions: reason === undefined ? [] : [{ type: 'PodResizePending', status: 'True', reason }],
    };
    const spec = { containers: [container('a', wanted), container('b', '1')] };
    const held = heldRequestsOf({ spec, status } as unknown as Pod);
    if (wanted === granted && granted === has) expect(held).toBeUndefined();
    return requestsOf(spec as unknown as PodSpec, held).milliCpu - 1_000;
  };

  it.each<[string, number, ...Parameters<typeof milliHeld>]>([
    ['nothing differs', 500, '500m', '500m', '500m'],
    ['its node cannot resize', 500, '500m', undefined, ''],
    ['it wants more', 2_000, '2', '500m', '500m'],
    ['its node grants more later', 2_000, '2', '500m', '500m', 'Deferred'],
    ['its node can never grant it', 500, '2', '500m', '500m', 'Infeasible'],
    ['it wants less, and still has more', 2_000, '500m', '500m', '2'],
    ['it wants less, and its node has not heard of it', 2_000, '500m', '2', '2'],
  ])('counts the amount that is held: %s', (_, expected, ...given) => {
    expect(milliHeld(...given)).toBe(expected);
  });
});
