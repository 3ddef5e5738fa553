import { expect, it } from 'vitest';
import { createRuntimeHealth } from '../../../../src/node-agent/containerd/runtime-health.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

it('a runtime without an answer for 20 s is down, until it answers again', () => {
  const clock = createManualClock();
  const health = createRuntimeHealth(clock);
  clock.advance(20_000);
  expect(health.trouble).toBeUndefined();
  clock.advance(1);
  expect(health.trouble).toBe('container runtime is down');
  health.answered();
  expect(health.trouble).toBeUndefined();
});
