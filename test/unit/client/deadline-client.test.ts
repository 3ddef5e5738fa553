import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { withDeadline } from '../../../src/client/deadline-client.ts';
import { startTestApi } from '../../support/api.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('a client with a deadline', () => {
  it('gives up a request that is not answered, and says so', async () => {
    const api = await startTestApi();
    const clock = createManualClock();
    const silent = { ...api.clientFor(), get: () => new Promise<never>(() => undefined) };
    const reasons: string[] = [];
    const client = withDeadline(silent, { clock, timeoutMs: 10_000, onUnreachable: (reason) => reasons.push(reason) });
    const asked = client.get(configMaps, { namespace: 'default', name: 'x' });
    clock.advance(10_001);
    await expect(asked).rejects.toMatchObject({ reason: 'Timeout', code: 504 });
    expect(reasons).toEqual(['no answer within 10 s']);
    expect((await client.list(configMaps)).items).toEqual([]);
    expect(reasons).toHaveLength(1);
    await api.stop();
  });
});
