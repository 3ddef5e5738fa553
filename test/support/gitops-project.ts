import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import type { Condition } from '../../src/api/flux.ts';
import { type Kustomization, kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import { ingresses } from '../../src/api/networking/v1/ingress.ts';
import { gitRepositories } from '../../src/api/source/v1/git-repository.ts';
import { systemClock } from '../../src/base/clock.ts';
import { type Activity, createActivityFeed } from '../../src/base/contracts/activity.ts';
import { installFluxDefinitions } from '../../src/cli/flux-definitions.ts';
import type { Client } from '../../src/client/client.ts';
import { createHttpClient } from '../../src/client/http-client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { openLocalSource } from '../../src/gitops/sources/local-source.ts';
import { isNotFound } from '../../src/machinery/status-error.ts';
import { startTestApi } from './api.ts';
import { startTestApiServer } from './api-server.ts';
import { type RunningEngine, startEngine, startNamespaces } from './engine.ts';
import { withLateWatches } from './faults.ts';
import { newRepository, type WorkTree } from './git.ts';
import { until } from './until.ts';

/** A cluster that the behaviours of the GitOps engine are shown on, and the engine on it. */
export interface GitOpsTarget {
  /** As whoever runs kubectl there. */
  readonly client: Client;
  readonly engineClient: Client;
  /** Nobody else writes status there: a test may play the controllers. */
  readonly isBare: boolean;
  stop(): Promise<void>;
}

/** Delay of watch events on the late target, in milliseconds. */
const watchDelayMs = Number(process.env.MIDSHIP_CONFORMANCE_WATCH_DELAY_MS ?? 300);

/**
 * The target that alone runs. Without it all run but the plain one in process, which late watches and HTTP make harder: `npm run fault`
 * names it.
 */
const onlyTarget = process.env.MIDSHIP_CONFORMANCE_TARGET;
const isWanted = (name: string): boolean => (onlyTarget === undefined ? name !== 'in process' : name === onlyTarget);

/**
 * Targets of the suite: in process, in process with late watches, over HTTP, and any cluster that
 * `MIDSHIP_CONFORMANCE_KUBECONFIG` names. `MIDSHIP_CONFORMANCE_BARE=true` says that this cluster has an API server and
 * no controllers. There one file must run after another (`--no-file-parallelism`): the engine of each handles all apps
 * of the cluster.
 */
const targets: Readonly<Record<string, () => Promise<GitOpsTarget>>> = {
  'in process': startInProcess,
  async 'in process, heard of late'() {
    const target = await startInProcess();
    return { ...target, engineClient: withLateWatches(target.engineClient, { maxDelayMs: watchDelayMs, random: Math.random }) };
  },
  async 'over HTTP'() {
    const server = await startTestApiServer();
    const stopNamespaces = await startNamespaces(server.api.clientFor());
    const engineClient = createHttpClient({ ...(await loadKubeconfig(server.kubeconfig)), userAgent: 'midship/test' });
    return {
      client: server.client,
      engineClient,
      isBare: true,
      async stop() {
        engineClient.close();
        await stopNamespaces();
        await server.stop();
      },
    };
  },
  ...(process.env.MIDSHIP_CONFORMANCE_KUBECONFIG === undefined
    ? {}
    : { 'the cluster of MIDSHIP_CONFORMANCE_KUBECONFIG': () => openCluster(process.env.MIDSHIP_CONFORMANCE_KUBECONFIG ?? '') }),
};

async function startInProcess(): Promise<GitOpsTarget> {
  const api = await startTestApi();
  const stopNamespaces = await startNamespaces(api.clientFor());
  return {
    client: api.clientFor(undefined, 'kubectl/test'),
    engineClient: api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test'),
    isBare: true,
    async stop() {
      await stopNamespaces();
      await api.stop();
    },
  };
}

async function openCluster(path: string): Promise<GitOpsTarget> {
  const connection = await loadKubeconfig(path);
  const client = createHttpClient({ ...connection, userAgent: 'kubectl/test' });
  const engineClient = createHttpClient({ ...connection, userAgent: 'midship/test' });
  await installFluxDefinitions({ client, clock: systemClock, signal: AbortSignal.timeout(60_000) });
  return {
    client,
    engineClient,
    isBare: process.env.MIDSHIP_CONFORMANCE_BARE === 'true',
    async stop() {
      client.close();
      engineClient.close();
    },
  };
}

/** One repository with apps of its own, in a namespace of its own; its objects go into a second one. */
export interface Project {
  readonly client: Client;
  readonly isBare: boolean;
  readonly repository: WorkTree;
  /** Namespace of the apps and their source. */
  readonly home: string;
  /** Namespace of their objects. */
  readonly namespace: string;
  activities(): readonly Activity[];
  metrics(): Promise<string>;
  /** Stops the engine and starts another one, which knows nothing; `between` runs while there is none. */
  restartEngine(between?: () => Promise<void>): Promise<void>;
  /** An app of the directory of its name. */
  app(name: string, spec?: Partial<Kustomization['spec']>, annotations?: Readonly<Record<string, string>>): Promise<Kustomization>;
  read(name: string): Promise<Kustomization>;
  /** A merge patch of an app. */
  change(name: string, body: unknown): Promise<Kustomization>;
  /** Waits until the app is ready at the commit; the newest one by default. */
  applied(name: string, sha?: string): Promise<void>;
  condition(name: string, type: string): Promise<Condition | undefined>;
  /** Waits for a condition that fits. */
  conditionIs(name: string, type: string, fits: (condition: Condition) => boolean): Promise<Condition>;
  /** The key `a` of a ConfigMap; undefined when there is none. */
  dataOf(name: string): Promise<string | undefined>;
}

export interface Suite {
  project(files: Readonly<Record<string, string>>): Promise<Project>;
}

/**
 * Runs the tests that `define` makes on every target: one cluster and one engine for a file. The tests mostly wait, so the targets run
 * side by side; those of one target share its engine and run one after the other.
 */
export function describeOnTargets(name: string, define: (suite: Suite) => void): void {
  for (const [targetName, start] of Object.entries(targets)) {
    if (!isWanted(targetName)) continue;
    describe.concurrent(targetName, () => {
      describe.sequential(name, () => defineOn(start, define));
    });
  }
}

function defineOn(start: () => Promise<GitOpsTarget>, define: (suite: Suite) => void): void {
  let target: GitOpsTarget;
  let engine: RunningEngine;
  const feed = createActivityFeed(5_000);
  const cleanups: (() => Promise<void>)[] = [];
  const directories = new Map<string, string>();
  const startAgain = async (): Promise<void> => {
    engine = await startEngine({
      client: target.engineClient,
      feed,
      openSource(url) {
        const directory = directories.get(url);
        if (directory === undefined) throw new Error(`no repository ${url}`);
        return openLocalSource({ directory, url });
      },
    });
  };
  beforeAll(async () => {
    target = await start();
    await startAgain();
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
  afterAll(async () => {
    await engine?.stop();
    await target?.stop();
  });

  define({
    async project(files) {
      const { client } = target;
      const id = randomBytes(4).toString('hex');
      const home = `flux-${id}`;
      const namespace = `web-${id}`;
      for (const each of [home, namespace]) {
        await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: each } });
      }
      const repository = await newRepository(`project-${id}`, files);
      const url = pathToFileURL(repository.directory).href.replace('file:', 'https:').replace('///', `//${id}.example.com/`);
      directories.set(url, repository.directory);
      await client.create(gitRepositories, {
        apiVersion: 'source.toolkit.fluxcd.io/v1',
        kind: 'GitRepository',
        metadata: { name: 'cluster', namespace: home },
        spec: { url, interval: '1s', ref: { branch: 'main' } },
      });
      cleanups.push(async () => {
        await client.deleteCollection(kustomizations, { namespace: home });
        await until(async () => (await client.list(kustomizations, { namespace: home })).items.length === 0, {
          what: async () => `the apps are gone, not: ${JSON.stringify((await client.list(kustomizations, { namespace: home })).items)}`,
        });
        await client.deleteCollection(gitRepositories, { namespace: home });
        for (const each of [home, namespace]) await client.delete(namespaces, { name: each });
        await rm(repository.directory, { recursive: true, force: true });
      });
      const ref = (name: string) => ({ namespace: home, name });
      const read = (name: string): Promise<Kustomization> => client.get(kustomizations, ref(name));
      const condition = async (name: string, type: string): Promise<Condition | undefined> =>
        (await read(name)).status?.conditions?.find((each) => each.type === type);
      return {
        client,
        isBare: target.isBare,
        repository,
        home,
        namespace,
        activities: () => feed.recent(),
        metrics: () => engine.metrics(),
        async restartEngine(between) {
          await engine.stop();
          await between?.();
          await startAgain();
        },
        app: (name, spec = {}, annotations = {}) =>
          client.create(kustomizations, {
            apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
            kind: 'Kustomization',
            metadata: { ...ref(name), annotations },
            spec: {
              interval: '1m',
              prune: true,
              path: `./${name}`,
              targetNamespace: namespace,
              sourceRef: { kind: 'GitRepository', name: 'cluster' },
              ...spec,
            },
          }),
        read,
        change: (name, body) => client.patch(kustomizations, ref(name), { type: 'merge', body }, { fieldManager: 'kubectl-edit' }),
        async applied(name, sha) {
          const wanted = sha ?? (await repository.git('rev-parse', 'HEAD'));
          await until(
            async () => {
              const { status, metadata } = await read(name);
              return (
                status?.lastAppliedRevision === `main@sha1:${wanted}` &&
                status.observedGeneration === metadata.generation &&
                status.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
              );
            },
            {
              intervalMs: 20,
              what: async () => `${name} is ready at ${wanted}: ${JSON.stringify((await read(name)).status, undefined, 1)}`,
            },
          );
        },
        condition,
        conditionIs: (name, type, fits) =>
          until(
            async () => {
              const found = await condition(name, type);
              return found !== undefined && fits(found) && found;
            },
            { intervalMs: 20, what: async () => `${type} of ${name}: ${JSON.stringify((await read(name)).status, undefined, 1)}` },
          ),
        async dataOf(name) {
          try {
            return (await client.get(configMaps, { namespace, name })).data?.a;
          } catch (err) {
            if (isNotFound(err)) return undefined;
            throw err;
          }
        },
      };
    },
  });
}

/** Manifests of the suite; their namespace is the app's target namespace. */
export const configMap = (name: string, value = '1', annotations: Readonly<Record<string, string>> = {}): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  annotations: ${JSON.stringify(annotations)}\ndata: {a: "${value}"}\n`;

export const deployment = (replicas: number, field = 'replicas'): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  ${field}: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: host/node}
`;

/** Is not healthy before it has an address, which no controller of a bare cluster gives: a test decides when. */
export const gate = (name: string, annotations: Readonly<Record<string, string>> = {}): string => `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: ${name}
  annotations: ${JSON.stringify(annotations)}
spec:
  ingressClassName: none
  defaultBackend: {service: {name: web, port: {number: 80}}}
`;

/** Gives a gate the address that makes it healthy. */
export async function openGate({ client, namespace }: Pick<Project, 'client' | 'namespace'>, name: string): Promise<void> {
  await client.patch(
    ingresses,
    { namespace, name },
    { type: 'merge', body: { status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } } } },
    { subresource: 'status', fieldManager: 'test' },
  );
}
