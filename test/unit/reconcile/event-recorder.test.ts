import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Event } from '../../../src/api/core/v1/event.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { Client, Patch } from '../../../src/client/client.ts';
import type { KubeObject, ObjectRef } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { forbidden, internalError, notFound } from '../../../src/machinery/status-error.ts';
import { createEventQueue } from '../../../src/reconcile/event-recorder.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const eventsResource = { group: '', resource: 'events' };

/** The Events of a server, as far as a recorder writes them. */
function createServer() {
  const stored = new Map<string, Event>();
  let refusal: Error | undefined;
  const client = {
    async create(_: Resource, object: Event) {
      if (refusal !== undefined) throw refusal;
      stored.set(`${object.metadata.namespace}/${object.metadata.name}`, object);
      return object;
    },
    async patch(_: Resource, ref: ObjectRef, patch: Patch) {
      const key = `${ref.namespace}/${ref.name}`;
      const event = stored.get(key);
      if (event === undefined) throw notFound(eventsResource, ref.name);
      stored.set(key, { ...event, ...(patch.body as object) });
      return event;
    },
  } as unknown as Client;
  return {
    client,
    stored,
    refuse(err: Error | undefined) {
      refusal = err;
    },
    counts: () => [...stored.values()].map(({ message, count }) => `${count} ${message}`),
  };
}

const pod = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', uid: `uid-${name}` } });

function start(server = createServer()) {
  const clock = createManualClock();
  const metrics = createMetrics();
  const queue = createEventQueue({ client: server.client, clock, log: pino({ level: 'silent' }), metrics });
  const flush = async (): Promise<void> => {
    clock.advance(20);
    for (let i = 0; i < 4; i += 1) await turn();
  };
  return { server, clock, metrics, queue, recorder: queue.recorder('test-controller', 'node-1'), flush };
}

describe('event recorder', () => {
  it('writes events in a batch, with where they come from', async () => {
    const { server, recorder, flush } = start();
    recorder.record(pod('a'), { type: 'Normal', reason: 'Started', message: 'Started it', fieldPath: 'spec.containers{web}' });
    expect(server.stored.size).toBe(0);
    await flush();
    expect([...server.stored.values()]).toMatchObject([
      {
        type: 'Normal',
        reason: 'Started',
        message: 'Started it',
        count: 1,
        source: { component: 'test-controller', host: 'node-1' },
        involvedObject: { kind: 'Pod', name: 'a', namespace: 'default', uid: 'uid-a', fieldPath: 'spec.containers{web}' },
        firstTimestamp: '2026-01-01T00:00:00Z',
      },
    ]);
  });

  it('counts the same event on one object', async () => {
    const { server, recorder, flush } = start();
    const again = () => recorder.record(pod('a'), { type: 'Warning', reason: 'BackOff', message: 'Back-off' });
    again();
    again();
    await flush();
    again();
    await flush();
    expect(server.counts()).toEqual(['3 Back-off']);
  });

  it('combines what has too many messages of one reason', async () => {
    const { server, recorder, flush } = start();
    for (let i = 0; i < 30; i += 1) recorder.record(pod('a'), { type: 'Normal', reason: 'SuccessfulCreate', message: `Created pod: ${i}` });
    await flush();
    expect(server.counts()).toHaveLength(11);
    expect(server.counts().at(-1)).toBe('20 (combined from similar events): Created pod: 29');
  });

  it('starts a new event when the old one has expired', async () => {
    const { server, recorder, flush } = start();
    const again = () => recorder.record(pod('a'), { type: 'Normal', reason: 'Pulled', message: 'Pulled' });
    again();
    await flush();
    server.stored.clear();
    again();
    await flush();
    await flush();
    expect(server.counts()).toEqual(['2 Pulled']);
  });

  it('drops the oldest at its bound and counts it', async () => {
    const { recorder, metrics, queue } = start();
    for (let i = 0; i < 10_005; i += 1) recorder.record(pod(`p${i}`), { type: 'Normal', reason: 'Created', message: 'Created' });
    expect(queue.pending).toBe(10_000);
    expect(await metrics.text()).toContain('midship_events_dropped_total{reason="queue_full"} 5');
  });

  it('gives up what is refused and tries again what fails, a few times', async () => {
    const { server, recorder, flush, queue, metrics } = start();
    server.refuse(forbidden(eventsResource, '', 'unable to create new content in namespace default because it is being terminated'));
    recorder.record(pod('a'), { type: 'Normal', reason: 'Killing', message: 'Stopping' });
    await flush();
    expect(queue.pending).toBe(0);
    server.refuse(internalError('disk full'));
    recorder.record(pod('b'), { type: 'Normal', reason: 'Killing', message: 'Stopping' });
    await flush();
    expect(queue.pending).toBe(1);
    server.refuse(undefined);
    await flush();
    expect(server.counts()).toEqual(['1 Stopping']);
    expect(await metrics.text()).toContain('midship_events_dropped_total{reason="refused"} 1');
  });

  it('writes what waits when it stops', async () => {
    const { server, recorder, queue } = start();
    for (let i = 0; i < 600; i += 1) recorder.record(pod(`p${i}`), { type: 'Normal', reason: 'Created', message: 'Created' });
    await queue.stop();
    expect(server.stored.size).toBe(600);
  });
});
