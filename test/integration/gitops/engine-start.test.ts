import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createActivityFeed } from '../../../src/base/contracts/activity.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createRedactor } from '../../../src/base/redactor.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createEngine } from '../../../src/gitops/engine.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { createControllerMetrics } from '../../../src/reconcile/controller-metrics.ts';
import { createEventQueue } from '../../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../../src/reconcile/step-log.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { createApps, home } from '../../support/engine.ts';
import { newRepository, type WorkTree } from '../../support/git.ts';
import { until } from '../../support/until.ts';

describe('the engine', () => {
  let api: TestApi;
  let repository: WorkTree;
  beforeAll(async () => {
    api = await startTestApi();
    repository = await newRepository('start', { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' });
  });
  afterAll(() => api.stop());

  it('starts over caches that are full already, as after a restart, and loses no object', async () => {
    const client = api.clientFor();
    await createApps(client, 'https://example.com/start.git');
    const clock = systemClock;
    const errors: string[] = [];
    const log = pino({ level: 'error' }, { write: (line) => void errors.push(line) });
    const metrics = createMetrics();
    const informers = createInformerSet({ client, clock, log });
    const abort = new AbortController();
    informers.get(gitRepositories);
    informers.start({ signal: abort.signal });
    await informers.waitForSync({ signal: AbortSignal.timeout(10_000) });
    const events = createEventQueue({ client, clock, log, metrics });
    const engine = createEngine({
      client,
      informers,
      clock,
      log,
      recorder: events.recorder('midship'),
      metrics: createControllerMetrics({ metrics, clock }),
      steps: createStepLog({ clock, log, metrics }),
      openSource: () => openLocalSource({ directory: repository.directory, url: 'test' }),
      feed: createActivityFeed(),
      redactor: createRedactor(),
      gitopsMetrics: createMetrics(),
      random: Math.random,
    });
    try {
      await engine.start({ signal: AbortSignal.timeout(10_000) });
      await until(async () => (await client.get(gitRepositories, { namespace: home, name: 'cluster' })).status?.artifact !== undefined, {
        what: 'the repository is followed',
      });
      expect(errors).toEqual([]);
    } finally {
      await engine.stop();
      await events.stop();
      abort.abort();
    }
  });
});
