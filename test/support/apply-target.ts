import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import type { Kustomization } from '../../src/api/kustomize/v1/kustomization.ts';
import { createRedactor } from '../../src/base/redactor.ts';
import type { Client, Patch } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createResourceMapper } from '../../src/gitops/apply/objects/resource-mapper.ts';
import { createExpressions } from '../../src/gitops/apply/observe/expressions.ts';
import { overriddenBy } from '../../src/gitops/apply/observe/takeover.ts';
import { type DesiredObject, planObjects } from '../../src/gitops/apply/plan/plan.ts';
import { type AppRecords, newAppRecords } from '../../src/gitops/apply/records/app-records.ts';
import { startAttempt } from '../../src/gitops/apply/records/attempt-record.ts';
import { createInventory } from '../../src/gitops/apply/sync/inventory.ts';
import type { SyncOutcome, SyncRequest } from '../../src/gitops/apply/sync/syncer.ts';
import { createTarget, type Target } from '../../src/gitops/apply/target/target.ts';
import type { BuildError, BuildResult } from '../../src/gitops/manifests/manifest.ts';
import type { KnownRevision } from '../../src/gitops/sources/follow/known-revision.ts';
import { type DynamicObject, deepFreeze, type KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import type { EventRecorder } from '../../src/reconcile/event-recorder.ts';
import { startTestApi } from './api.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';
import { until } from './until.ts';

/** A write of the engine that the server is about to get. */
export interface EngineWrite {
  /** `apply ConfigMap a`, `create ConfigMap a`, `delete ConfigMap a`, or `patch ConfigMap a` for other patches. */
  readonly text: string;
  readonly isDryRun: boolean;
}

export interface ApplyTargetOptions {
  readonly spec?: Partial<Kustomization['spec']>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Runs before each write of the engine reaches the server; an error that it throws is the server's answer. */
  onWrite?(write: EngineWrite): Promise<void> | void;
  /** Names the app that has an object at the newest revision, by the name of the object. */
  claimantOf?(name: string): string | undefined;
}

/** One app on a cluster in memory, with the parts that write to the cluster and without the engine around them. */
export interface ApplyTarget {
  readonly app: Kustomization;
  readonly state: AppRecords;
  readonly target: Target;
  readonly clock: ManualClock;
  /** As whoever runs kubectl. */
  readonly people: Client;
  /** As the engine. */
  readonly client: Client;
  readonly recorder: EventRecorder;
  /** Writes of the engine that were no dry runs, in order. The inventory is left out. */
  readonly writes: readonly string[];
  /** Messages of the Events on the app. */
  readonly events: readonly string[];
  /** Apps that were handed objects. */
  readonly handovers: readonly string[];
  /** Tries to put the objects in force; `rollout` goes on where an earlier outcome stopped. */
  sync(objects: readonly KubeObject[], options?: SyncOptions): Promise<SyncOutcome>;
  /** Gives an object of the app as it is sent. */
  plan(object: KubeObject): Promise<DesiredObject>;
  /** Waits until the caches have the newest state of the server. */
  catchUp(resource: Resource): Promise<void>;
  /** Prunes doomed objects. */
  prune(options?: Partial<Parameters<Target['pruner']['prune']>[2]>): ReturnType<Target['pruner']['prune']>;
}

export interface SyncOptions extends Partial<Pick<SyncRequest, 'attempt' | 'signal'>> {
  readonly errors?: readonly BuildError[];
}

export const home = 'flux-system';
export const namespace = 'web';

/** An object of the namespace `web`. */
export const objectOf = (kind: string, name: string, rest: object = {}, annotations: Readonly<Record<string, string>> = {}): KubeObject =>
  deepFreeze({
    apiVersion: kind === 'Deployment' ? 'apps/v1' : kind === 'Job' ? 'batch/v1' : 'v1',
    kind,
    metadata: { namespace, name, ...(Object.keys(annotations).length === 0 ? {} : { annotations }) },
    ...rest,
  });

/** Ends with the test. */
export async function startApplyTarget(options: ApplyTargetOptions = {}): Promise<ApplyTarget> {
  const api = await startTestApi();
  const abort = new AbortController();
  onTestFinished(async () => {
    abort.abort();
    await api.stop();
  });
  const people = api.clientFor(undefined, 'kubectl/test');
  for (const name of [home, namespace]) await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const clock = createManualClock();
  const writes: string[] = [];
  const events: string[] = [];
  const handovers: string[] = [];
  const own = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
  const client = observed(own, async (write) => {
    await options.onWrite?.(write);
    if (!write.isDryRun && !write.text.includes('midship-')) writes.push(write.text);
  });
  const recorder: EventRecorder = { record: (_, { reason, message }) => void events.push(`${reason}: ${message}`) };
  const mapper = createResourceMapper({ client, clock });
  const informers = createInformerSet({ client, clock, log: pino({ level: 'silent' }), random: () => 0 });
  informers.start({ signal: abort.signal });

  const app: Kustomization = {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'shop', namespace: home, uid: 'uid-shop', generation: 1, annotations: { ...options.annotations } },
    spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' }, ...options.spec },
  };
  const state = newAppRecords(`${home}/shop`);
  let built: BuildResult = { digest: '', manifests: [], errors: [] };
  const target = createTarget(
    { client, informers },
    {
      builder: { build: async () => built, redactor: createRedactor() },
      inventory: createInventory({ client, onHistory: () => undefined }),
      claims: {
        othersThan: async () => (id) => {
          const claimant = options.claimantOf?.(id.split('_')[1] ?? '');
          return claimant === undefined ? undefined : { app: claimant, file: 'other.yaml', source: `${home}/cluster`, target: '' };
        },
        isFirst: () => false,
        claimants: async () => () => [],
        lettingGo: async () => () => false,
        invalidate: () => undefined,
      },
      expressions: createExpressions(),
      recorder,
      clock,
      isOverridden: overriddenBy(),
      appOf: () => app,
      recordsOf: (key) => (key === state.key ? state : newAppRecords(key)),
      objectChanged: () => undefined,
      handedOver: (key) => void handovers.push(key),
      wake: () => undefined,
      drifted: () => undefined,
    },
  );
  let commits = 0;
  return {
    app,
    state,
    target,
    clock,
    people,
    client,
    recorder,
    writes,
    events,
    handovers,
    sync(objects, { errors = [], attempt = { rollout: undefined, failed: undefined }, signal = abort.signal } = {}) {
      // A wave that goes on is one of the same build.
      if (attempt.rollout === undefined) {
        commits += 1;
        const manifests = objects.map((object) => ({ file: `${object.metadata.name}.yaml`, line: 1, object, blob: '' }));
        built = { digest: `digest-${commits}`, manifests, errors };
      }
      const record = startAttempt(revisionOf(commits), clock, () => undefined);
      return target.syncer.sync({ app, state, record, inForce: state.inForce, attempt, signal });
    },
    async plan(object) {
      const manifest = { file: `${object.metadata.name}.yaml`, line: 1, object, blob: '' };
      const { objects } = await planObjects({
        app,
        manifests: [manifest],
        mapper,
        before: new Map(),
      });
      const [desired] = objects.values();
      if (desired === undefined) throw new Error(`no resource of kind ${object.kind}`);
      return desired;
    },
    async catchUp(resource) {
      const { metadata } = await people.list(resource, {});
      await until(() => informers.get(resource).resourceVersion >= Number(metadata.resourceVersion), {
        intervalMs: 2,
        what: `the cache of ${resource.resource} has version ${metadata.resourceVersion}`,
      });
    },
    prune: (more = {}) =>
      target.pruner.prune(app, state, { revision: 'main@sha1:1', guarded: true, isRevert: false, signal: abort.signal, ...more }),
  };
}

function revisionOf(commits: number): KnownRevision {
  const sha = String(commits).padStart(40, '0');
  return {
    commit: {
      sha,
      tree: `tree-${commits}`,
      parents: [],
      author: 'Mara',
      email: 'mara@example.com',
      subject: 'change',
      message: 'change',
      committedAt: 0,
      revision: `main@sha1:${sha}`,
    },
    // A place in a file is looked for in its text, which is empty here.
    source: { readBlob: async () => new Uint8Array() } as unknown as KnownRevision['source'],
    url: '',
    branch: 'main',
    seenAt: 0,
    lastFetchAt: 0,
  };
}

/** A client that hands each write to `before`. */
function observed(client: Client, before: (write: EngineWrite) => Promise<void>): Client {
  const nameOf = ({ type }: Patch): string => (type === 'apply' ? 'apply' : 'patch');
  const textOf = (verb: string, { kind }: Resource, name = ''): string => `${verb} ${kind} ${name}`;
  return {
    ...client,
    async create(resource, object, options) {
      await before({ text: textOf('create', resource, object.metadata.name), isDryRun: options?.dryRun === true });
      return client.create(resource, object, options);
    },
    async patch(resource, ref, patch, options) {
      await before({ text: textOf(nameOf(patch), resource, ref.name), isDryRun: options?.dryRun === true });
      return client.patch(resource, ref, patch, options);
    },
    async delete(resource, ref, options) {
      await before({ text: textOf('delete', resource, ref.name), isDryRun: false });
      return client.delete(resource, ref, options);
    },
  };
}

/** Data of a ConfigMap. */
export const dataOf = (object: DynamicObject | KubeObject): unknown => (object as { readonly data?: unknown }).data;
