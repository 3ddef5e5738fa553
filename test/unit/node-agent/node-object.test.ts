import { expect, it } from 'vitest';
import { defaultEviction } from '../../../src/api/eviction-settings.ts';
import { allocatableOf, capacityOf } from '../../../src/node-agent/node-object.ts';

it('a node offers its memory and disk without what is left when it evicts pods', () => {
  const machine = { machineID: '', bootID: '', kernelVersion: '', osImage: '', architecture: 'amd64', cpus: 2, memoryKiB: 1_048_576 };
  const capacity = capacityOf({ ...machine, diskKiB: 61_255_492 });
  expect(capacity).toEqual({ cpu: '2', 'ephemeral-storage': '61255492Ki', memory: '1048576Ki', pods: '110' });
  expect(allocatableOf(capacity, defaultEviction)).toEqual({
    ...capacity,
    memory: String(924 * 1024 ** 2),
    'ephemeral-storage': '56453061427',
  });
});
