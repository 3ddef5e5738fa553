import { describe, expect, it } from 'vitest';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { describeUnfit } from '../../../src/scheduler/unfit.ts';
import { podOf } from '../../support/cluster-objects.ts';

const shape = (spec: Parameters<typeof podOf>[1] = {}) => createShapeReader().read(podOf('a', spec)).shape;
const unfit = { nodes: 3, refusal: undefined, reasons: new Map([['Insufficient cpu', 2]]), resolvable: 2, plugins: new Set<string>() };

describe('the text about preemption', () => {
  it('is that there are no victims where removing pods would help', () => {
    expect(describeUnfit({ ...unfit, nodes: 2 }, shape())).toBe(
      '0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.',
    );
  });

  it('is that it is not supported for a pod that might have found some', () => {
    expect(describeUnfit(unfit, shape({ priority: 1_000 }))).toBe(
      '0/3 nodes are available: 2 Insufficient cpu. preemption: not supported: preemption of pods with a lower priority.',
    );
  });

  it('is the policy of the pod when that is Never', () => {
    expect(describeUnfit(unfit, shape({ priority: 1_000, preemptionPolicy: 'Never' }))).toBe(
      '0/3 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.',
    );
  });
});
