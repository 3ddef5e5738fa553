import { describe, expect, it } from 'vitest';
import type { PodSpec } from '../../../src/api/core/v1/pod.ts';
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
