import { setMaxListeners } from 'node:events';
import { pino } from 'pino';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { type Kustomization, kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../../src/api/source/v1/git-repository.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import { type Activity, type ActivityFeed, createActivityFeed } from '../../src/base/contracts/activity.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { createRedactor } from '../../src/base/redactor.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createNamespaceController } from '../../src/controllers/namespace/namespace-controller.ts';
import { createEngine, type EngineOptions, redactEvent } from '../../src/gitops/engine.ts';
import { openLocalSource } from '../../src/gitops/sources/local-source.ts';
import type { OpenSource } from '../../src/gitops/sources/open-source.ts';
import { createControllerMetrics } from '../../src/reconcile/controller-metrics.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { startTestApi, type TestApi } from './api.ts';
import { newRepository, type WorkTree } from './git.ts';

const log = pino({ level: process.env.MIDSHIP_TEST_LOG ?? 'silent' });

/** The engine of one process, which can be stopped and restarted. */
export interface RunningEngine {
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

export interface StartEngineOptions {
  readonly client: Client;
  readonly openSource: OpenSource;
  readonly feed?: ActivityFeed;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Options of the engine itself. */
  readonly engine?: Partial<EngineOptions>;
}

/** Starts an engine with caches and events of its own, as a process of its own has them. */
export async function startEngine(options: StartEngineOptions): Promise<RunningEngine> {
  const { client, openSource, feed = createActivityFeed(), clock = systemClock, random = Math.random } = options;
  const abort = new AbortController();
  // Every informer waits on it.
  setMaxListeners(0, abort.signal);
  const registry = createMetrics();
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  const redactor = createRedactor();
  const queue = createEventQueue({ client, clock, log, metrics, redact: redactEvent(redactor) });
  const engine: Component = createEngine({
    client,
    informers,
    clock,
    log,
    recorder: queue.recorder('midship'),
    metrics: createControllerMetrics({ metrics, clock }),
    steps: createStepLog({ clock, log, metrics }),
    openSource,
    feed,
    redactor,
    gitopsMetrics: registry,
    random,
    ...options.engine,
  });
  informers.start({ signal: abort.signal });
  await queue.start({ signal: abort.signal });
  await engine.start({ signal: abort.signal });
  return {
    metrics: () => registry.text(),
    async stop() {
      await engine.stop();
      await queue.stop();
      abort.abort();
    },
  };
}

/** Namespaces of the apps and their source, and of their objects. */
export const home = 'flux-system';
export const namespace = 'web';

/**
 * Apps that follow the repository at `url`, each the directory of its name, with both namespaces. `apps` adds to the
 * spec of each app, `source` to that of the repository.
 */
export async function createApps(
  client: Client,
  url: string,
  apps: Readonly<Record<string, Partial<Kustomization['spec']>>> = { web: {} },
  source: Partial<GitRepository['spec']> = {},
): Promise<void> {
  for (const name of [home, namespace]) await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  await client.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'cluster', namespace: home },
    spec: { url, interval: '1s', ref: { branch: 'main' }, ...source },
  });
  for (const [name, spec] of Object.entries(apps)) {
    await client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name, namespace: home },
      spec: {
        interval: '1m',
        prune: true,
        path: `./${name}`,
        targetNamespace: namespace,
        sourceRef: { kind: 'GitRepository', name: 'cluster' },
        ...spec,
      },
    });
  }
}

/** The controller that lets deleted namespaces go; without it none is ever gone. */
export async function startNamespaces(client: Client): Promise<() => Promise<void>> {
  const abort = new AbortController();
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock: systemClock, log });
  const queue = createEventQueue({ client, clock: systemClock, log, metrics });
  const controller = createNamespaceController({
    client,
    informers,
    clock: systemClock,
    log,
    recorder: queue.recorder('namespace-controller'),
    metrics: createControllerMetrics({ metrics, clock: systemClock }),
    steps: createStepLog({ clock: systemClock, log, metrics }),
  });
  informers.start({ signal: abort.signal });
  await controller.start({ signal: abort.signal });
  return async () => {
    await controller.stop();
    abort.abort();
  };
}

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

export async function startEngineWorld(
  files: Readonly<Record<string, string>>,
  options: Partial<EngineOptions> = {},
): Promise<EngineWorld> {
  const api = await startTestApi();
  const client = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
  const admin = api.clientFor(undefined, 'kubectl/test');
  for (const name of ['flux-system', 'web']) await admin.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const repository = await newRepository('engine', files);
  const feed = createActivityFeed();
  const start = (): Promise<RunningEngine> =>
    startEngine({ client, feed, openSource: () => openLocalSource({ directory: repository.directory, url: 'test' }), engine: options });
  let engine = await start();
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
    metrics: () => engine.metrics(),
    async restartEngine() {
      await engine.stop();
      engine = await start();
    },
    async stop() {
      await engine.stop();
      await api.stop();
    },
  };
}
