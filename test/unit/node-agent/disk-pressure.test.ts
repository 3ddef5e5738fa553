import { expect, it } from 'vitest';
import { createDiskPressure } from '../../../src/node-agent/disk-pressure.ts';
import { createManualClock } from '../../support/manual-clock.ts';

it('a disk with less than a tenth left presses until five minutes after it has more', async () => {
  const clock = createManualClock();
  let availableBytes = 100;
  const pressure = createDiskPressure({ clock, measure: async () => ({ sizeBytes: 1_000, availableBytes }) });
  expect(await pressure.look()).toBe(false);
  expect(pressure.condition).toMatchObject({ type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure' });
  availableBytes = 99;
  expect(await pressure.look()).toBe(true);
  expect(pressure.condition).toMatchObject({ status: 'True', reason: 'KubeletHasDiskPressure', message: 'kubelet has disk pressure' });
  expect(await pressure.look()).toBe(false);
  availableBytes = 500;
  clock.advance(4 * 60_000);
  expect(await pressure.look()).toBe(false);
  clock.advance(60_000);
  expect(await pressure.look()).toBe(true);
  expect(pressure.condition.status).toBe('False');
});
