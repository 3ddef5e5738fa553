import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import type { Scale } from '../../../src/api/autoscaling/v1/scale.ts';
import type { Client } from '../../../src/client/client.ts';
import { createScaleTargets } from '../../../src/controllers/scale-targets.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const scaleOf = (replicas: number, resourceVersion: string, uid = 'u'): Scale =>
  ({ apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { name: 'web', uid, resourceVersion }, spec: { replicas } }) as Scale;

/** Targets of an API whose stored scale is another version than the one that was read. */
function targetsOver(stored: Scale) {
  const written: (number | undefined)[] = [];
  const client = {
    get: async () => stored,
    async update(_resource: unknown, { metadata, spec }: Scale) {
      if (metadata.resourceVersion !== stored.metadata.resourceVersion)
        throw new StatusError({ code: 409, reason: 'Conflict', message: 'the object has been modified' });
      written.push(spec?.replicas);
    },
  } as unknown as Client;
  const write = (replicas: number) =>
    createScaleTargets({ client, clock: createManualClock() }).write(
      { resource: deployments as never, ref: { name: 'web' }, scale: scaleOf(3, '1') },
      replicas,
      new AbortController().signal,
    );
  return { write, written };
}

describe('a scale that changed since it was read', () => {
  it('takes the new number when its replicas are the same', async () => {
    const { write, written } = targetsOver(scaleOf(3, '2'));
    await write(5);
    expect(written).toEqual([5]);
  });

  it.each([
    ['a person switched the autoscaler off by zero replicas', scaleOf(0, '2')],
    ['it is that of another object by now', scaleOf(3, '2', 'other')],
  ])('is left alone when %s', async (_, stored) => {
    const { write, written } = targetsOver(stored);
    await expect(write(5)).rejects.toMatchObject({ reason: 'Conflict' });
    expect(written).toEqual([]);
  });
});
