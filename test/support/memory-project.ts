import { onTestFinished } from 'vitest';
import { type Kustomization, kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../src/client/client.ts';
import type { EngineOptions } from '../../src/gitops/engine.ts';
import { isConditionTrue } from '../../src/machinery/conditions.ts';
import { startTestApi } from './api.ts';
import { createApps, home, startEngine } from './engine.ts';
import { createMemoryRepository } from './memory-repository.ts';
import { until } from './until.ts';

/** Apps of a repository in memory and the engine that applies them, on an API server in process; all of it ends with the test. */
export interface MemoryProject {
  /** As whoever runs kubectl. */
  readonly people: Client;
  /** Puts a commit with exactly these files on the branch; gives its SHA. */
  commit(files: Readonly<Record<string, string>>): string;
  /** Moves the branch, as a force-push does. */
  moveTo(sha: string): void;
  metrics(): Promise<string>;
  /** Ends the engine and starts another one, which knows only what the API keeps. */
  restart(): Promise<void>;
  /** The two halves of `restart`. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Waits until the app is ready at the newest commit. */
  applied(app: string): Promise<unknown>;
}

export interface MemoryProjectOptions {
  readonly files: Readonly<Record<string, string>>;
  /** Additions to the specs of the apps, by name; one app `web` when absent. */
  readonly apps?: Readonly<Record<string, Partial<Kustomization['spec']>>>;
  /** Wraps the engine's client. */
  wrap?(client: Client, people: Client): Client;
  /** Makes what has to be there before the engine starts. */
  prepare?(people: Client): Promise<unknown>;
  readonly engine?: Partial<EngineOptions>;
}

export async function startMemoryProject({
  files,
  apps,
  wrap,
  prepare,
  engine: options = {},
}: MemoryProjectOptions): Promise<MemoryProject> {
  const api = await startTestApi();
  onTestFinished(() => api.stop());
  const people = api.clientFor(undefined, 'kubectl/test');
  const url = 'https://example.com/memory.git';
  const repository = createMemoryRepository(url);
  const commit = (next: Readonly<Record<string, string>>): string => repository.commit('change', new Map(Object.entries(next)));
  commit(files);
  await createApps(people, url, apps);
  await prepare?.(people);
  const own = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
  const start = () => startEngine({ client: wrap?.(own, people) ?? own, openSource: async () => repository.source, engine: options });
  let engine = await start();
  onTestFinished(() => engine.stop());
  return {
    people,
    commit,
    moveTo: (sha) => repository.moveTo(sha),
    metrics: () => engine.metrics(),
    async restart() {
      await engine.stop();
      engine = await start();
    },
    stop: () => engine.stop(),
    async start() {
      engine = await start();
    },
    applied: (app) =>
      until(
        async () => {
          const { status } = await people.get(kustomizations, { namespace: home, name: app });
          return status?.lastAppliedRevision === `main@sha1:${repository.head}` && isConditionTrue(status.conditions, 'Ready');
        },
        { timeoutMs: 15_000, what: async () => JSON.stringify((await people.list(kustomizations)).items.map(({ status }) => status)) },
      ),
  };
}
