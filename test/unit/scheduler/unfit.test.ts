import { describe, expect, it } from 'vitest';
import { describeClaims, describeUnfit } from '../../../src/scheduler/unfit.ts';

const unfit = { nodes: 3, refusal: undefined, reasons: new Map([['Insufficient cpu', 2]]), resolvable: [], plugins: new Set<string>() };

describe('the text of FailedScheduling', () => {
  it('says nothing about preemption when pods are removed for this one', () => {
    expect(describeUnfit(unfit)).toBe('0/3 nodes are available: 2 Insufficient cpu.');
  });

  it('ends with the reason why no pod is removed', () => {
    expect(describeUnfit(unfit, { preemption: 'not eligible due to preemptionPolicy=Never.' })).toBe(
      '0/3 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.',
    );
  });

  it('says first that no claim is given back, as Kubernetes 1.36 does of each pod', () => {
    const claims = describeClaims(false, { refusal: undefined, isGivenBack: false });
    expect(describeUnfit(unfit, { claims, preemption: 'none' })).toBe(
      '0/3 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: none',
    );
    expect(describeUnfit(unfit, { claims })).toBe('0/3 nodes are available: 2 Insufficient cpu. no new claims to deallocate');
  });

  it.each([
    { hasClaims: true, refusal: undefined, isGivenBack: false, text: 'still not schedulable' },
    { hasClaims: true, refusal: undefined, isGivenBack: true, text: 'deallocation of ResourceClaim completed' },
    { hasClaims: true, refusal: 'no such claim', isGivenBack: false, text: 'no new claims to deallocate' },
  ])('says of a pod with claims: $text', ({ hasClaims, text, ...outcome }) => {
    expect(describeClaims(hasClaims, outcome)).toBe(text);
  });
});
