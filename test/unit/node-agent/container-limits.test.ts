import { describe, expect, it } from 'vitest';
import type { Container, Pod } from '../../../src/api/core/v1/pod.ts';
import { limitsOf, oomScoreOf } from '../../../src/node-agent/container-limits.ts';

const gibibyte = 1024 ** 3;
const limitsOfContainer = (resources: Container['resources']) => {
  const container = { name: 'a', ...(resources === undefined ? {} : { resources }) };
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { containers: [container] } } as Pod;
  return limitsOf(pod, container, '8Gi');
};

describe('the order in which the kernel ends containers', () => {
  it('is the one of the quality of service classes, and the control plane comes last', () => {
    const scores = [
      oomScoreOf('Guaranteed', gibibyte, 8 * gibibyte),
      oomScoreOf('Burstable', 7 * gibibyte, 8 * gibibyte),
      oomScoreOf('Burstable', gibibyte, 8 * gibibyte),
      oomScoreOf('Burstable', 0, 8 * gibibyte),
      oomScoreOf('BestEffort', 0, 8 * gibibyte),
    ];
    expect(scores).toEqual([...scores].sort((a, b) => a - b));
    expect(new Set(scores).size).toBe(scores.length);
    expect(scores.every((score) => score >= 900 && score <= 1_000)).toBe(true);
  });
});

describe('the limits of a container', () => {
  it('are those of its resources; requests default to them', () => {
    expect(limitsOfContainer({ limits: { cpu: '250m', memory: '64Mi' } })).toEqual({
      memoryBytes: 64 * 1024 * 1024,
      cpuMilli: 250,
      cpuRequestMilli: 250,
      oomScoreAdjust: 900,
    });
    expect(limitsOfContainer({ requests: { cpu: '1' } })).toMatchObject({ cpuRequestMilli: 1_000 });
    expect(limitsOfContainer(undefined)).toEqual({ oomScoreAdjust: 1_000 });
  });

  it('are none where the amount is 0, and stay numbers that a kernel can hold', () => {
    expect(limitsOfContainer({ limits: { cpu: '0', memory: '0' } })).not.toHaveProperty('memoryBytes');
    expect(String(limitsOfContainer({ limits: { memory: '1e30' } }).memoryBytes)).toMatch(/^\d+$/);
  });
});
