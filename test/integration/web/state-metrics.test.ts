import { spawnSync } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createStateCollector } from '../../../src/web/state-metrics.ts';
import { startSeededApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

const promtool = '/usr/bin/promtool';
const log = createLog({ level: 'silent' });
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe('state collector', () => {
  it('writes series of what is there, and none of what is gone', async ({ skip }) => {
    const api = await startSeededApi(['web']);
    cleanups.push(() => api.stop());
    const client = api.clientFor();
    const running = new AbortController();
    // Every informer listens.
    setMaxListeners(0, running.signal);
    cleanups.push(() => running.abort());
    const informers = createInformerSet({ client, clock: systemClock, log });
    const metrics = createMetrics();
    metrics.addCollector(createStateCollector(informers));
    informers.start({ signal: running.signal });
    await informers.waitForSync({ signal: running.signal });

    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', namespace: 'web' } };
    await client.create(pods, { ...pod, spec: { containers: [{ name: 'main', image: 'host/sh' }] } });
    const series = /kube_pod_status_phase\{namespace="web",pod="a",uid="[^"]+",phase="Pending"\} 1\n/;
    await until(async () => series.test(await metrics.text()), { what: 'the pod has series' });
    await client.delete(pods, { name: 'a', namespace: 'web' });
    const text = await until(
      async () => {
        const now = await metrics.text();
        return !now.includes('pod="a"') && now;
      },
      { what: 'the series are gone' },
    );
    expect(text).toContain('kube_namespace_status_phase{namespace="web",phase="Active"} 1\n');

    const check = spawnSync(promtool, ['check', 'metrics'], { input: text, encoding: 'utf8' });
    if (check.error !== undefined) return skip('promtool is not installed');
    expect(check.stdout + check.stderr).toBe('');
  });
});
