import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { timestampOf } from '../../../src/base/clock.ts';
import { createEventExpiryController } from '../../../src/controllers/event-expiry.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const minute = 60_000;

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

describe('event expiry', () => {
  it('deletes what has not happened for an hour, and nothing else', async () => {
    const started = await startControlPlane({ controllers: [createEventExpiryController] });
    plane = started;
    const seen = (minutesAgo: number): string => timestampOf(Date.now() - minutesAgo * minute);
    const record = (name: string, first: string, last: string) =>
      started.client.create(events, {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name, namespace: 'default' },
        involvedObject: { kind: 'Pod', namespace: 'default', name: 'web' },
        reason: 'Started',
        message: 'Started',
        type: 'Normal',
        firstTimestamp: first,
        lastTimestamp: last,
      });
    await record('old', seen(70), seen(61));
    await record('again', seen(500), seen(59));
    await record('new', seen(0), seen(0));
    // The first look was at an empty store.
    await started.restart();
    const left = await until(
      async () => {
        const { items } = await started.client.list(events, { namespace: 'default' });
        return items.length < 3 && items;
      },
      { what: 'old event to go', intervalMs: 5 },
    );
    expect(left.map(({ metadata }) => metadata.name).toSorted()).toEqual(['again', 'new']);
  });
});
