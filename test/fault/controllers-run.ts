import { type DaemonSet, daemonSets } from '../../src/api/apps/v1/daemon-set.ts';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../src/api/apps/v1/replica-set.ts';
import { type StatefulSet, statefulSets } from '../../src/api/apps/v1/stateful-set.ts';
import { type Job, jobs } from '../../src/api/batch/v1/job.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { persistentVolumeClaims } from '../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { replicationControllers } from '../../src/api/core/v1/replication-controller.ts';
import { resourceQuotas } from '../../src/api/core/v1/resource-quota.ts';
import { services } from '../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../src/api/discovery/v1/endpoint-slice.ts';
import { podDisruptionBudgets } from '../../src/api/policy/v1/pod-disruption-budget.ts';
import { finalizers, labels } from '../../src/api/well-known.ts';
import { systemClock, timestampOf } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { startAll } from '../../src/base/shutdown.ts';
import { createControllers } from '../../src/cli/compose/controllers.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createLocalPathClassController } from '../../src/controllers/local-path/local-path-class.ts';
import { createLocalPathClaimController, createLocalPathVolumeController } from '../../src/controllers/local-path/local-path-controller.ts';
import { isPodFinished, isPodTerminating } from '../../src/controllers/pod-conditions.ts';
import { localPathProvisioner } from '../../src/lifecycle/local-path-volume.ts';
import { controllerOf, type KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { isConflict, isNotFound, notFound } from '../../src/machinery/status-error.ts';
import { createControllerMetrics } from '../../src/reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../../src/reconcile/dependencies.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { createScheduler } from '../../src/scheduler/scheduler.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { createFaults, createLife, endFaults, type FaultCounts, type Faults, type Life, withFaults } from '../support/faults.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { createRandom } from '../support/random.ts';

const namespace = 'shop';
const nodeNames = ['a', 'b', 'c'] as const;
const log = createLog({ level: 'silent' });

/** Workloads as people want them at the end; absent ones are deleted. */
interface Wanted {
  readonly image: string;
  readonly replicas: number;
}
type Workloads = Readonly<Record<WorkloadName, Wanted>> & { readonly colored: readonly string[]; readonly jobs: readonly string[] };
type WorkloadName = 'web' | 'bare' | 'old' | 'db' | 'agent';

const first: Workloads = {
  web: { image: 'host/v1', replicas: 3 },
  bare: { image: 'host/v1', replicas: 2 },
  old: { image: 'host/v1', replicas: 2 },
  db: { image: 'host/v1', replicas: 2 },
  agent: { image: 'host/v1', replicas: 0 },
  colored: ['a', 'b'],
  jobs: [],
};

const names: readonly WorkloadName[] = ['web', 'bare', 'old', 'db', 'agent'];

/**
 * One life of a cluster, seeded: people change, delete and make workloads of every kind. Meanwhile the process with all controllers and
 * the scheduler is killed in the middle of its calls, and its API refuses and does not answer. Then all that ends. The objects have to
 * be those of a cluster that only ever saw the last wishes.
 *
 * Calls interleave by time, so a seed gives the same acts and shares of faults, not the same call-by-call run.
 *
 * @throws Error with both ends when they differ
 */
export async function runOnce(seed: number, counts: FaultCounts): Promise<void> {
  const random = createRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const faults = createFaults(random, counts);
  const stage = await startStage(faults);
  let wanted = first;
  const done: string[] = [];
  try {
    await stage.wish(wanted);
    await stage.tick(10);
    Object.assign(faults, { refused: 0.05, unanswered: 0.05, lateEvents: 0.05 });
    for (let act = 0; act < 14; act += 1) {
      const { name, after } = await change(stage, wanted, { pick, random, act });
      wanted = after;
      done.push(name);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      await stage.tick(1 + Math.floor(random() * 8));
      if (random() < 0.4) {
        counts.set('kill in the middle of a call', (counts.get('kill in the middle of a call') ?? 0) + 1);
        await stage.kill(Math.floor(random() * 40));
      }
    }
    endFaults(faults);
    await stage.kill(0);
    await stage.wish(wanted);
    const end = await stage.end();
    const fresh = await startStage(createFaults(random, new Map()));
    try {
      await fresh.wish(wanted);
      const clean = await fresh.end();
      if (end !== clean)
        throw new Error(`seed ${seed} ends otherwise than a cluster without faults after ${done.join(', ')}:\n${difference(end, clean)}`);
    } finally {
      await fresh.stop();
    }
  } finally {
    await stage.stop();
  }
}

/** One act of a person: the wishes after it. */
async function change(
  stage: Stage,
  wanted: Workloads,
  { pick, random, act }: { readonly pick: <T>(items: readonly T[]) => T; readonly random: () => number; readonly act: number },
): Promise<{ readonly name: string; readonly after: Workloads }> {
  const workload = pick(names);
  const rolling = pick(['web', 'db', 'agent'] as const);
  const acts: readonly (readonly [string, () => Promise<void> | Workloads])[] = [
    ['scale', () => ({ ...wanted, [workload]: { ...wanted[workload], replicas: Math.floor(random() * 5) } })],
    // Pods of the other kinds keep their image while they run.
    ['new image', () => ({ ...wanted, [rolling]: { ...wanted[rolling], image: pick(['host/v1', 'host/v2', 'host/v3']) } })],
    ['other nodes', () => ({ ...wanted, colored: nodeNames.filter(() => random() < 0.6) })],
    ['job', () => ({ ...wanted, jobs: [...wanted.jobs, `once-${act}`] })],
    ['delete and create', () => stage.deleteWorkload(workload)],
    ['delete a pod', () => stage.deletePod(pick)],
    ['fail a pod', () => stage.failPod(pick)],
  ];
  const [name, run] = pick(acts);
  const after = (await run()) ?? wanted;
  await stage.wish(after);
  return { name, after };
}

interface Stage {
  /** Makes and changes objects as people wish; what is there and as wished stays. */
  wish(wanted: Workloads): Promise<void>;
  deleteWorkload(name: WorkloadName): Promise<void>;
  deletePod(pick: <T>(items: readonly T[]) => T): Promise<void>;
  failPod(pick: <T>(items: readonly T[]) => T): Promise<void>;
  /** Lets time pass, 25 ms each. */
  tick(times: number): Promise<void>;
  /** The process dies at one of its next calls; another one starts. */
  kill(afterCalls: number): Promise<void>;
  /** The objects that there are when nothing is written any more. */
  end(): Promise<string>;
  stop(): Promise<void>;
}

async function startStage(faults: Faults): Promise<Stage> {
  const clock = createManualClock(Math.floor(Date.now() / 1000) * 1000);
  const api = await startTestApi({ clock });
  const people = api.clientFor();
  const agents = new AbortController();
  await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  for (const name of nodeNames) await createNode(people, name, timestampOf(clock.now()));
  playAgents(people, agents.signal, () => timestampOf(clock.now()));
  let life = startLife({ api, clock, faults });
  let isStopped = false;

  async function tick(times: number): Promise<void> {
    for (let done = 0; done < times; done += 1) {
      if (life.isOver && !isStopped) life = startLife({ api, clock, faults });
      clock.advance(25);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async function quiet(): Promise<void> {
    let last = '';
    for (let same = 0, looks = 0; same < 10; looks += 1) {
      if (looks > 5_000) throw new Error('the controllers never come to rest');
      await tick(1);
      const { metadata } = await people.list(pods, { limit: 1 });
      same = metadata.resourceVersion === last ? same + 1 : 0;
      last = metadata.resourceVersion ?? '';
    }
  }

  const livePods = async (): Promise<readonly Pod[]> =>
    (await people.list(pods, { namespace })).items.filter((pod) => !isPodTerminating(pod) && controllerOf(pod)?.kind !== 'Job');

  return {
    wish: (wanted) => wish(people, wanted),
    async deleteWorkload(name) {
      const [resource] = workloadOf(name, first[name]);
      await ignoreNotFound(people.delete(resource, { namespace, name }, { propagationPolicy: 'Background' }));
    },
    async deletePod(pick) {
      const all = await livePods();
      if (all.length > 0) await ignoreNotFound(people.delete(pods, { namespace, name: pick(all).metadata.name }));
    },
    async failPod(pick) {
      const all = await livePods();
      if (all.length === 0) return;
      const body = { status: { phase: 'Failed', conditions: [] } };
      await ignoreNotFound(
        people.patch(pods, { namespace, name: pick(all).metadata.name }, { type: 'merge', body }, { subresource: 'status' }),
      );
    },
    tick,
    async kill(afterCalls) {
      const dying = life;
      dying.endAfter(afterCalls);
      for (let waited = 0; waited < 40 && !dying.isOver; waited += 1) await tick(1);
      dying.endAfter(0);
      await tick(1);
    },
    async end() {
      // Longer than any back-off.
      for (let round = 0; round < 6; round += 1) {
        await quiet();
        clock.advance(30_000);
      }
      await quiet();
      // Failed pods are kept for people to look at, so how many there are depends on the way.
      for (const pod of await livePods()) {
        if (isPodFinished(pod)) await ignoreNotFound(people.delete(pods, { namespace, name: pod.metadata.name }));
      }
      await quiet();
      return view(people);
    },
    async stop() {
      isStopped = true;
      life.endAfter(0);
      agents.abort(new Error('agents stop'));
      await api.stop();
    },
  };
}

/** A process with all controllers and the scheduler. */
function startLife({
  api,
  clock,
  faults,
}: {
  readonly api: TestApi;
  readonly clock: ReturnType<typeof createManualClock>;
  readonly faults: Faults;
}): Life {
  const life = createLife();
  const abort = new AbortController();
  life.onEnd(() => abort.abort(new Error('the process is dead')));
  const client = withFaults(api.clientFor(), faults, life);
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  const events = createEventQueue({ client, clock, log, metrics });
  const controllerMetrics = createControllerMetrics({ metrics, clock });
  const steps = createStepLog({ clock, log, metrics });
  const dependencies = (component: string): ControllerDependencies => ({
    ...{ client, informers, clock, log, steps },
    ...{ recorder: events.recorder(component), metrics: controllerMetrics },
  });
  const components = [
    ...createControllers({
      dependencies,
      caCertificate: undefined,
      admitsMachines: false,
      clusterCidr: undefined,
      // No agent sends heartbeats here.
      nodeGraceMs: Number.MAX_SAFE_INTEGER,
      rawReader: {
        readJson: async () => {
          throw notFound({ group: 'metrics.k8s.io', resource: 'pods' }, 'metrics');
        },
      },
    }),
    createLocalPathClassController(dependencies(localPathProvisioner)),
    createLocalPathClaimController(dependencies(localPathProvisioner)),
    createLocalPathVolumeController(dependencies(localPathProvisioner)),
    createScheduler({ ...dependencies('scheduler'), metrics, random: faults.random }),
  ];
  informers.start({ signal: abort.signal });
  // A process whose start fails ends, and its service manager starts it again.
  startAll([events, ...components], { clock, log, signal: abort.signal }).catch(() => life.endAfter(0));
  return life;
}

/** Volumes of simulated nodes need no directory. */
const nodeLabels = (name: string) => ({ [labels.hostname]: name, [labels.midshipSimulated]: 'true' });

async function createNode(client: Client, name: string, lastHeartbeatTime: string): Promise<void> {
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: nodeLabels(name) } });
  const capacity = { cpu: '64', memory: '64Gi', pods: '200', 'ephemeral-storage': '100Gi' };
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime, lastTransitionTime: lastHeartbeatTime };
  const body = { status: { capacity, allocatable: capacity, conditions: [ready] } };
  await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status' });
}

/** Plays the agents: bound pods run, or have done their work, and pods that leave are gone. */
function playAgents(client: Client, signal: AbortSignal, now: () => string): void {
  const informers = createInformerSet({ client, clock: systemClock, log });
  let started = 0;
  informers.get(pods).addHandler(({ after }) => {
    if (after === undefined || after.spec.nodeName === undefined) return;
    const ref = { namespace: after.metadata.namespace, name: after.metadata.name };
    if (isPodTerminating(after)) void ignoreNotFound(client.delete(pods, ref, { gracePeriodSeconds: 0 }));
    else if (after.status?.phase === 'Pending') {
      const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: now() }];
      started += 1;
      const podIP = `10.0.${started >> 8}.${started & 255}`;
      const status =
        after.spec.restartPolicy === 'Never' ? { phase: 'Succeeded' } : { phase: 'Running', conditions, podIP, podIPs: [{ ip: podIP }] };
      void ignoreNotFound(client.patch(pods, ref, { type: 'merge', body: { status } }, { subresource: 'status' }));
    }
  });
  informers.start({ signal });
}

async function ignoreNotFound(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (err) {
    if (!isNotFound(err) && !isConflict(err)) throw err;
  }
}

// ------------------------------------------------------------------------------------------------------------------------------- wishes

async function wish(client: Client, wanted: Workloads): Promise<void> {
  for (const name of names) await put(client, ...workloadOf(name, wanted[name]));
  for (const name of wanted.jobs) await put(client, jobs as unknown as Resource<KubeObject>, jobOf(name));
  for (const [resource, object] of others) await put(client, resource, object);
  for (const name of nodeNames) {
    const color = wanted.colored.includes(name) ? 'blue' : 'red';
    await client.patch(nodes, { name }, { type: 'merge', body: { metadata: { labels: { color } } } });
  }
}

/** Creates an object, or writes its spec. One that is being deleted is waited for by the next wish. */
async function put(client: Client, resource: Resource<KubeObject>, object: KubeObject): Promise<void> {
  const { name } = object.metadata;
  const { spec } = object as KubeObject & { readonly spec?: object };
  try {
    await client.get(resource, { namespace, name });
  } catch (err) {
    if (!isNotFound(err)) throw err;
    await client.create(resource, object);
    return;
  }
  if (resource === (jobs as unknown)) return;
  await client.patch(resource, { namespace, name }, { type: 'merge', body: { spec } });
}

const metadataOf = (name: string) => ({ name, namespace });
const templateOf = (name: string, image: string, spec: object = {}) => ({
  metadata: { labels: { app: name } },
  spec: { containers: [{ name: 'main', image }], terminationGracePeriodSeconds: 1, ...spec },
});

function workloadOf(name: WorkloadName, { image, replicas }: Wanted): readonly [Resource<KubeObject>, KubeObject] {
  const metadata = metadataOf(name);
  const selector = { matchLabels: { app: name } };
  const template = templateOf(name, image);
  const as = (resource: unknown, object: object) => [resource as Resource<KubeObject>, object as KubeObject] as const;
  switch (name) {
    case 'web':
      return as(deployments, { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec: { replicas, selector, template } });
    case 'bare':
      return as(replicaSets, { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata, spec: { replicas, selector, template } });
    case 'old':
      return as(replicationControllers, {
        ...{ apiVersion: 'v1', kind: 'ReplicationController', metadata },
        spec: { replicas, selector: { app: name }, template },
      });
    case 'db':
      return as(statefulSets, {
        ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata },
        spec: {
          ...{ replicas, selector, template, serviceName: name },
          persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Delete' },
          volumeClaimTemplates: [
            { metadata: { name: 'data' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } } },
          ],
        },
      });
    case 'agent':
      return as(daemonSets, {
        ...{ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata },
        spec: { selector, template: templateOf(name, image, { nodeSelector: { color: 'blue' } }) },
      });
    default:
      return name satisfies never;
  }
}

const jobOf = (name: string): KubeObject =>
  ({
    ...{ apiVersion: 'batch/v1', kind: 'Job', metadata: metadataOf(name) },
    spec: { completions: 3, parallelism: 2, completionMode: 'Indexed', template: templateOf(name, 'host/v1', { restartPolicy: 'Never' }) },
  }) as KubeObject;

const others: readonly (readonly [Resource<KubeObject>, KubeObject])[] = [
  [services, { apiVersion: 'v1', kind: 'Service', metadata: metadataOf('web'), spec: { selector: { app: 'web' }, ports: [{ port: 80 }] } }],
  [
    resourceQuotas,
    { apiVersion: 'v1', kind: 'ResourceQuota', metadata: metadataOf('all'), spec: { hard: { pods: '40', 'count/jobs.batch': '20' } } },
  ],
  [
    podDisruptionBudgets,
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: metadataOf('web'),
      spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
    },
  ],
].map(([resource, object]) => [resource as unknown as Resource<KubeObject>, object as unknown as KubeObject] as const);

// ---------------------------------------------------------------------------------------------------------------------------------- end

/** The objects as lines, without what differs from run to run: names that were generated, times, numbers of revisions. */
async function view(client: Client): Promise<string> {
  const list = async <T extends KubeObject>(resource: Resource<T>): Promise<readonly T[]> =>
    (await client.list(resource, { namespace })).items;
  const lines: string[] = [];
  const say = (what: string, value: unknown): void => void lines.push(`${what} ${JSON.stringify(value)}`);
  const conditionsOf = (status: Deployment['status'] | Job['status']): readonly string[] =>
    (status?.conditions ?? []).map((condition) => `${condition.type}=${condition.status} ${condition.reason ?? ''}`).sort();
  for (const { metadata, status } of await list(deployments)) {
    const { replicas, readyReplicas, updatedReplicas, availableReplicas } = status ?? {};
    say(`Deployment ${metadata.name}`, { replicas, readyReplicas, updatedReplicas, availableReplicas, conditions: conditionsOf(status) });
  }
  const sets = await list(replicaSets);
  for (const { metadata, spec, status } of [
    ...sets.filter(({ spec: { replicas } }) => replicas !== 0),
    ...(await list(replicationControllers)),
  ]) {
    const owner = metadata.ownerReferences?.[0]?.name ?? metadata.name;
    const { replicas, readyReplicas, availableReplicas, conditions } = status ?? {};
    say(`Replicas ${owner}`, { wanted: spec.replicas, replicas, readyReplicas, availableReplicas, conditions });
  }
  for (const { metadata, status } of await list(statefulSets)) say(`StatefulSet ${metadata.name}`, statefulCounts(status));
  for (const { metadata, status } of await list(daemonSets)) say(`DaemonSet ${metadata.name}`, daemonCounts(status));
  // A pod too many that still runs when its Job completes counts as failed, as upstream.
  for (const { metadata, status } of await list(jobs)) {
    const { active, succeeded, completedIndexes, uncountedTerminatedPods } = status ?? {};
    say(`Job ${metadata.name}`, { active, succeeded, completedIndexes, uncountedTerminatedPods, conditions: conditionsOf(status) });
  }
  const all = await list(pods);
  // A write that was done but not answered may run an index twice, as upstream; it counts once.
  for (const pod of all) if (!isSettled(pod)) lines.push(podLine(pod, sets));
  // A claim of a pod that was gone before its set shrank stays, as upstream: only a pod takes its claim along.
  const users = new Set(all.map(({ metadata }) => `data-${metadata.name}`));
  for (const { metadata, status } of (await list(persistentVolumeClaims)).filter(({ metadata: { name } }) => users.has(name))) {
    say(`Claim ${metadata.name}`, { phase: status?.phase, owners: metadata.ownerReferences?.map(({ kind, name }) => `${kind} ${name}`) });
  }
  const slices = (await list(endpointSlices)).flatMap(({ endpoints }) => endpoints ?? []);
  say('Endpoints', slices.filter(({ conditions }) => conditions?.ready !== false).length);
  for (const { status } of await list(podDisruptionBudgets)) {
    const { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed } = status ?? {};
    say('Budget', { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed });
  }
  for (const { status } of await list(resourceQuotas)) say('Quota', status?.used);
  return lines.sort().join('\n');
}

function statefulCounts(status: StatefulSet['status']): object {
  const { replicas, readyReplicas, currentReplicas, updatedReplicas, availableReplicas, currentRevision, updateRevision } = status ?? {};
  return { replicas, readyReplicas, currentReplicas, updatedReplicas, availableReplicas, isUpdated: currentRevision === updateRevision };
}

function daemonCounts(status: DaemonSet['status']): object {
  const { observedGeneration: _, collisionCount: __, ...counts } = status ?? { desiredNumberScheduled: -1 };
  return counts;
}

const isTracked = ({ metadata }: Pod): boolean => metadata.finalizers?.includes(finalizers.jobTracking) === true;

/** Ended, and counted by its Job. */
const isSettled = (pod: Pod): boolean => controllerOf(pod)?.kind === 'Job' && isPodFinished(pod) && !isTracked(pod);

/** Owner, image and state of a pod; the name where it lasts, and the node where the owner chose it. */
function podLine(pod: Pod, sets: readonly KubeObject[]): string {
  const owner = controllerOf(pod);
  const above = sets.find(({ metadata }) => metadata.uid === owner?.uid)?.metadata.ownerReferences?.[0]?.name;
  const lasting = owner?.kind === 'StatefulSet' ? pod.metadata.name : owner?.kind === 'DaemonSet' ? pod.spec.nodeName : '';
  const tracked = isTracked(pod) ? 'tracked' : '';
  const state = isPodTerminating(pod) ? 'leaves' : isPodFinished(pod) ? (pod.status?.phase ?? '') : 'lives';
  const isBound = pod.spec.nodeName === undefined ? 'unbound' : '';
  return ['Pod', owner?.kind ?? 'orphan', above ?? owner?.name ?? '', lasting, pod.spec.containers[0]?.image, state, tracked, isBound]
    .filter(Boolean)
    .join(' ');
}

/** Lines that are in one of the two alone. */
function difference(end: string, clean: string): string {
  const count = (lines: readonly string[], line: string): number => lines.filter((other) => other === line).length;
  const [a, b] = [end.split('\n'), clean.split('\n')];
  const more = (x: readonly string[], y: readonly string[], sign: string) =>
    [...new Set(x)]
      .filter((line) => count(x, line) > count(y, line))
      .map((line) => `${sign} ${line} (${count(x, line)} instead of ${count(y, line)})`);
  return [...more(a, b, '+'), ...more(b, a, '-')].join('\n');
}
