import { expect, it } from 'vitest';
import { allocatableOf, capacityOf } from '../../../src/node-agent/node-object.ts';

it('a node offers its disk without the tenth at which it evicts pods', () => {
  const machine = { machineID: '', bootID: '', kernelVersion: '', osImage: '', architecture: 'amd64', cpus: 2, memoryKiB: 1_024 };
  const capacity = capacityOf({ ...machine, diskKiB: 61_255_492 });
  expect(capacity).toEqual({ cpu: '2', 'ephemeral-storage': '61255492Ki', memory: '1024Ki', pods: '110' });
  expect(allocatableOf(capacity)).toEqual({ ...capacity, 'ephemeral-storage': '56453061427' });
});
