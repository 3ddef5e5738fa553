import { describe, expect, it } from 'vitest';
import { defaultProfile } from '../../../src/scheduler/configuration/configuration.ts';
import { createHelpedPods } from '../../../src/scheduler/helped-pods.ts';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { createProfile } from '../../../src/scheduler/profile.ts';
import { createSchedulingQueue } from '../../../src/scheduler/queue.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { detachedHandle } from '../../support/scheduler-profile.ts';

function setUp() {
  const clock = createManualClock();
  const profile = createProfile(detachedHandle(clock), defaultProfile);
  const queue = createSchedulingQueue({ clock });
  const shapes = createShapeReader();
  const helped = createHelpedPods(() => profile);
  const park = (name: string, ...rejectedBy: readonly string[]) => {
    const pod = queue.add(shapes.read(podOf(name)));
    pod.rejectedBy = new Set(rejectedBy);
    queue.park(pod);
  };
  const take = () => helped.take(queue.parked()).map(({ record }) => record.pod.metadata.name);
  return { helped, park, take };
}

describe('parked pods after a change', () => {
  it('are tried again when the change may turn the answer of a plugin that rejected them', () => {
    const { helped, park, take } = setUp();
    park('tainted', 'TaintToleration');
    park('large', 'NodeResourcesFit');
    park('both', 'TaintToleration', 'NodeResourcesFit');
    helped.note('NodeTaintsChanged');
    expect(take()).toEqual(['tainted', 'both']);
    helped.note('AssignedPodDeleted');
    expect(take()).toEqual(['large', 'both']);
  });

  it('are tried again by any change when no plugin rejected them, as without any node', () => {
    const { helped, park, take } = setUp();
    park('early');
    expect(take()).toEqual([]);
    helped.note('NodeRemoved');
    expect(take()).toEqual(['early']);
  });

  it('are tried once for all changes noted until then', () => {
    const { helped, park, take } = setUp();
    park('large', 'NodeResourcesFit');
    helped.note('NodeAdded');
    helped.note('NodeAllocatableChanged');
    expect(helped.hasChanges).toBe(true);
    expect(take()).toEqual(['large']);
    expect(helped.hasChanges).toBe(false);
    expect(take()).toEqual([]);
  });
});
