import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { waitingClient } from '../../../src/client/waiting-client.ts';
import { notFound, serviceUnavailable } from '../../../src/machinery/status-error.ts';
import { startTestApi } from '../../support/api.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('a client that waits for a server', () => {
  it('asks again while the answer is 503, gives up in time, and passes on every other error', async () => {
    const api = await startTestApi();
    const clock = createManualClock();
    const errors = [serviceUnavailable('not yet', 1), serviceUnavailable('not yet', 1), notFound(configMaps, 'x')];
    const told: string[] = [];
    let asked = 0;
    const get = async (): Promise<never> => {
      asked += 1;
      throw errors.shift() ?? serviceUnavailable('never', 1);
    };
    const client = waitingClient(
      { ...api.clientFor(), get },
      {
        clock,
        forMs: 5_000,
        signal: new AbortController().signal,
        onRefusal: ({ message }) => void told.push(message),
        giveUp: (err) => new Error(`gave up: ${err.message}`),
      },
    );
    const settled = async (answer: Promise<unknown>): Promise<unknown> => {
      let error: unknown;
      void answer.catch((err: unknown) => {
        error = err;
      });
      for (let turn = 0; error === undefined && turn < 100; turn += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(1_000);
      }
      return error;
    };
    const ref = { namespace: 'default', name: 'x' };
    expect(await settled(client.get(configMaps, ref))).toMatchObject({ reason: 'NotFound' });
    expect(asked).toBe(3);
    asked = 0;
    expect(await settled(client.get(configMaps, ref))).toMatchObject({ message: 'gave up: never' });
    expect(asked).toBe(6);
    expect(told).toEqual(['not yet', 'never']);
    await api.stop();
  });
});
