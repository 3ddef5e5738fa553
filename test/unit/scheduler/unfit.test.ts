import { describe, expect, it } from 'vitest';
import { describeUnfit } from '../../../src/scheduler/unfit.ts';

const unfit = { nodes: 3, refusal: undefined, reasons: new Map([['Insufficient cpu', 2]]), resolvable: [], plugins: new Set<string>() };

describe('the text of FailedScheduling', () => {
  it('says nothing about preemption when pods are removed for this one', () => {
    expect(describeUnfit(unfit, undefined)).toBe('0/3 nodes are available: 2 Insufficient cpu.');
  });

  it('ends with the reason why no pod is removed', () => {
    expect(describeUnfit(unfit, 'not eligible due to preemptionPolicy=Never.')).toBe(
      '0/3 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.',
    );
  });
});
