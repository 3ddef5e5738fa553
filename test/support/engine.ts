import { pino } from 'pino';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { gitRepositories } from '../../src/api/source/v1/git-repository.ts';
import { type Activity, createActivityFeed } from '../../src/base/activity.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createEngine } from '../../src/gitops/engine.ts';
import { openLocalSource } from '../../src/gitops/sources/local-source.ts';
import { createControllerMetrics } from '../../src/reconcile/controller-metrics.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { startTestApi, type TestApi } from './api.ts';
import { newRepository, type WorkTree } from './git.ts';

const log = pino({ level: process.env.MIDSHIP_TEST_LOG ?? 'silent' });
const clock = systemClock;

/** An API server with the engine on it, following a repository of its own. */
export interface EngineWorld {
  /** For whoever serves it to clients over the wire. */
  readonly api: TestApi;
  readonly client: Client;
  readonly repository: WorkTree;
  activities(): readonly Activity[];
  readonly metrics: () => Promise<string>;
  restartEngine(): Promise<void>;
  stop(): Promise<void>;
}

export async function startEngineWorld(files: Readonly<Record<string, string>>): Promise<EngineWorld> {
  const api = await startTestApi();
  const client = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
  const admin = api.clientFor(undefined, 'kubectl/test');
  for (const name of ['flux-system', 'web']) await admin.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const repository = await newRepository('engine', files);
  const feed = createActivityFeed();
  let registry = createMetrics();
  let stop: () => Promise<void> = async () => undefined;
  const start = async (): Promise<void> => {
    const abort = new AbortController();
    registry = createMetrics();
    const metrics = createMetrics();
    const informers = createInformerSet({ client, clock, log });
    const queue = createEventQueue({ client, clock, log, metrics });
    const engine: Component = createEngine({
      client,
      informers,
      clock,
      log,
      recorder: queue.recorder('midship'),
      metrics: createControllerMetrics({ metrics, clock }),
      steps: createStepLog({ clock, log, metrics }),
      openSource: () => openLocalSource({ directory: repository.directory, url: 'test' }),
      feed,
      gitopsMetrics: registry,
      random: Math.random,
    });
    informers.start({ signal: abort.signal });
    await queue.start({ signal: abort.signal });
    await engine.start({ signal: abort.signal });
    stop = async () => {
      await engine.stop();
      await queue.stop();
      abort.abort();
    };
  };
  await start();
  await admin.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'cluster', namespace: 'flux-system' },
    spec: { url: 'https://example.com/test.git', interval: '1s', ref: { branch: 'main' } },
  });
  return {
    api,
    client: admin,
    repository,
    activities: feed.recent,
    metrics: () => registry.text(),
    async restartEngine() {
      await stop();
      await start();
    },
    async stop() {
      await stop();
      await api.stop();
    },
  };
}
