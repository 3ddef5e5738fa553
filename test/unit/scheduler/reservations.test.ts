import { describe, expect, it } from 'vitest';
import { NodeRecord } from '../../../src/scheduler/cache.ts';
import { defaultProfile } from '../../../src/scheduler/configuration/configuration.ts';
import type { ReservePlugin } from '../../../src/scheduler/plugin.ts';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { createProfile } from '../../../src/scheduler/profile.ts';
import { createReservations } from '../../../src/scheduler/reservations.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { detachedHandle } from '../../support/scheduler-profile.ts';

const pod = createShapeReader().read(podOf('web'));
const node = new NodeRecord('n1');

function setUp(plugins: Readonly<Record<string, Partial<ReservePlugin>>>) {
  const seen: string[] = [];
  const reserves = Object.entries(plugins).map(([name, plugin]) => ({
    name,
    concerns: () => true,
    reserve: () => void seen.push(`reserve ${name}`),
    unreserve: () => void seen.push(`unreserve ${name}`),
    ...plugin,
  }));
  const profile = { ...createProfile(detachedHandle(createManualClock()), defaultProfile), reserves };
  return { seen, reservations: createReservations(() => profile) };
}

describe('reservations for a pod on its node', () => {
  it('are all or none: a refusal gives back what was taken, last first', () => {
    const { seen, reservations } = setUp({ First: {}, Second: {}, Full: { reserve: () => 'no disk is left' } });
    expect(reservations.reserve(pod, node)).toEqual({ plugin: 'Full', message: 'no disk is left' });
    expect(seen).toEqual(['reserve First', 'reserve Second', 'unreserve Full', 'unreserve Second', 'unreserve First']);
  });

  it('are not asked of plugins that the pod does not concern', () => {
    const { seen, reservations } = setUp({ Other: { concerns: () => false, preBind: () => Promise.reject(new Error('not asked')) } });
    expect(reservations.reserve(pod, node)).toBeUndefined();
    expect(reservations.preBind(pod, node)).toBeUndefined();
    expect(seen).toEqual([]);
  });

  it('name the plugin whose PreBind failed', async () => {
    const { reservations } = setUp({ Slow: { preBind: () => Promise.reject(new Error('timed out')) } });
    await expect(reservations.preBind(pod, node)).rejects.toThrow('running PreBind plugin "Slow": timed out');
  });

  it('end a PreBind that waits for a pod which is gone', async () => {
    const untilAborted = (_: unknown, __: unknown, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const { reservations } = setUp({ Slow: { preBind: untilAborted } });
    const prepared = reservations.preBind(pod, node);
    reservations.release(pod.key);
    await expect(prepared).rejects.toThrow('the pod needs no node any more');
  });
});
