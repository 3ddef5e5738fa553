import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConfigMap, configMaps } from '../../../src/api/core/v1/config-map.ts';
import type { Client } from '../../../src/client/client.ts';
import { untilObject } from '../../../src/client/until-object.ts';
import { expired } from '../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../support/api.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const ref = { namespace: 'default', name: 'answer' };
const map = (value?: string): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: ref,
  ...(value === undefined ? {} : { data: { value } }),
});

describe('following one object', () => {
  let api: TestApi;
  let client: Client;
  /** Watches that were asked for. */
  let watches: number;
  /** Acts of the next watches, in place of watching. */
  let instead: (() => Promise<void>)[];
  const clock = createManualClock();

  beforeEach(async () => {
    api = await startSeededApi(['default']);
    watches = 0;
    instead = [];
    const real = api.clientFor();
    client = {
      ...real,
      watch: (resource, options) => {
        watches += 1;
        return instead.shift()?.() ?? real.watch(resource, options);
      },
    };
  });
  afterEach(() => api.stop());

  const follow = (signal = new AbortController().signal) =>
    untilObject({ client, resource: configMaps, ref, clock, signal }, ({ data }) => data?.value);

  it('gives an answer that is there without a watch', async () => {
    await client.create(configMaps, map('now'));
    expect(await follow()).toBe('now');
    expect(watches).toBe(0);
  });

  it('waits for the answer, past changes without one and of other objects', async () => {
    await client.create(configMaps, map());
    const answer = follow();
    await until(() => watches === 1, { what: 'a watch' });
    await client.create(configMaps, { ...map('other'), metadata: { ...ref, name: 'other' } });
    await client.patch(configMaps, ref, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } });
    await client.patch(configMaps, ref, { type: 'merge', body: { data: { value: 'later' } } });
    expect(await answer).toBe('later');
  });

  it.each([
    ['ended', async () => undefined],
    ['is too old', async () => Promise.reject(expired('too old resource version'))],
  ])('looks again after a pause when the watch %s', async (_, end) => {
    await client.create(configMaps, map());
    instead = [end];
    const answer = follow();
    await until(() => watches === 1 && clock.pending > 0, { what: 'the pause' });
    await client.patch(configMaps, ref, { type: 'merge', body: { data: { value: 'in the pause' } } });
    clock.advance(1_000);
    expect(await answer).toBe('in the pause');
    expect(watches).toBe(1);
  });

  it('fails for an object that is not there, and for one that goes', async () => {
    await expect(follow()).rejects.toMatchObject({ reason: 'NotFound' });
    await client.create(configMaps, map());
    const answer = follow();
    answer.catch(() => undefined);
    await until(() => watches === 1, { what: 'a watch' });
    await client.delete(configMaps, ref);
    await until(() => clock.pending > 0, { what: 'the pause' });
    clock.advance(1_000);
    await expect(answer).rejects.toMatchObject({ reason: 'NotFound' });
  });

  it('fails with what the server refuses, and when its signal is aborted', async () => {
    await client.create(configMaps, map());
    instead = [async () => Promise.reject(new Error('refused'))];
    await expect(follow()).rejects.toThrow('refused');
    const abort = new AbortController();
    const answer = follow(abort.signal);
    answer.catch(() => undefined);
    await until(() => watches === 2, { what: 'a watch' });
    abort.abort(new Error('stopped'));
    await expect(answer).rejects.toThrow('stopped');
  });
});
