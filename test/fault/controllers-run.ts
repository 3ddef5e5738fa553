import { cronJobs } from '../../src/api/batch/v1/cron-job.ts';
import { jobs } from '../../src/api/batch/v1/job.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { services } from '../../src/api/core/v1/service.ts';
import { isPodFinished, isPodTerminating } from '../../src/controllers/pod-conditions.ts';
import { controllerOf, type KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { createFaults, endFaults, type FaultCounts, type Faults } from '../support/faults.ts';
import { createRandom } from '../support/random.ts';
import { difference, view } from './controllers-end.ts';
import { type Host, startHost } from './controllers-host.ts';
import { createMachines, createPlayedMetrics, playMachines } from './controllers-players.ts';
import { startProcesses } from './controllers-processes.ts';
import {
  firstWishes,
  freeVolumes,
  ignoreNotFound,
  namespace,
  nodeNames,
  targetMilli,
  type Wishes,
  type WorkloadName,
  wish,
  workloadNames,
  workloadOf,
} from './controllers-world.ts';

type Pick1 = <T>(items: readonly T[]) => T;

/** Components whose work is interrupted, each as often as the others. */
const victims = [
  ...['deployment-controller', 'replicaset-controller', 'replication-controller', 'statefulset-controller', 'daemonset-controller'],
  ...['job-controller', 'cronjob-controller', 'horizontal-pod-autoscaler', 'persistentvolume-controller', 'attachdetach-controller'],
  ...['rancher.io/local-path', 'pvc-protection-controller', 'garbage-collector-controller', 'endpoint-slice-controller'],
  ...['disruption-controller', 'resourcequota-controller', 'service-controller', 'cloud-node-controller', 'scheduler'],
] as const;

/** An act that gives a component work; any act does for the others. */
const workFor: Partial<Record<(typeof victims)[number], readonly string[]>> = {
  'deployment-controller': ['new image'],
  'job-controller': ['job'],
  'cronjob-controller': ['a minute passes', 'delete the CronJob'],
  'horizontal-pod-autoscaler': ['other load'],
  'persistentvolume-controller': ['other claims'],
  'attachdetach-controller': ['move the disk'],
  'rancher.io/local-path': ['scale the database'],
  'pvc-protection-controller': ['other claims', 'scale the database'],
  'daemonset-controller': ['other nodes'],
  'statefulset-controller': ['scale the database'],
  'service-controller': ['expose or hide', 'delete the front'],
};

/**
 * Runs the life of a cluster by a seed: people change, delete and make workloads of every kind. Meanwhile the process with all controllers
 * is killed in the middle of a call of one of them. Its API refuses and does not answer. Then all that ends. The objects have to be those
 * of a cluster that only ever saw the last wishes.
 *
 * Calls interleave by time, so a seed gives the same acts and shares of faults, not the same call-by-call run.
 *
 * @throws Error with both ends when they differ
 */
export async function runOnce(seed: number, counts: FaultCounts): Promise<void> {
  const random = createRandom(seed);
  const faults = createFaults(random, counts);
  const run: Run = { seed, random, counts, wanted: firstWishes, done: [] };
  const stage = await startStage((options) => startHost({ ...options, faults }));
  try {
    await stage.wish(run.wanted);
    await stage.host.tick(10);
    Object.assign(faults, { refused: 0.05, unanswered: 0.05, lateEvents: 0.05 });
    for (let act = 0; act < 14; act += 1) {
      const victim = random() < 0.5 ? pickOf(random)(victims) : undefined;
      if (victim !== undefined) stage.host.killInCall(victim, 1 + Math.floor(random() * 2));
      await change(stage, run, victim === undefined ? undefined : workFor[victim]);
      await stage.host.tick(1 + Math.floor(random() * 8));
      if (victim !== undefined) count(counts, (await stage.host.kill()) ? `kill in a call of ${victim}` : 'kill between calls');
    }
    endFaults(faults);
    await stage.host.kill();
    await compareEnds(stage, run);
  } finally {
    await stage.stop();
  }
}

/**
 * The same with programs: `midship controllers` and `midship scheduler` work on an API server by a kubeconfig. One of them gets
 * SIGKILL at a seeded moment after each act. Their clock is the machine's, so nothing that takes minutes is in it.
 */
export async function runProcesses(seed: number, counts: FaultCounts): Promise<void> {
  const random = createRandom(seed);
  const run: Run = { seed, random, counts, wanted: { ...firstWishes, loadMilli: undefined, hasCronJob: false }, done: [] };
  const stage = await startStage((options) => startProcesses({ ...options, random }));
  try {
    await stage.wish(run.wanted);
    for (let act = 0; act < 6; act += 1) {
      await change(stage, run, undefined);
      count(counts, (await stage.host.kill()) ? 'SIGKILL while objects changed' : 'SIGKILL at rest');
    }
    await compareEnds(stage, run);
  } finally {
    await stage.stop();
  }
}

interface Run {
  readonly seed: number;
  readonly random: () => number;
  readonly counts: FaultCounts;
  wanted: Wishes;
  readonly done: string[];
}

const count = (counts: FaultCounts, name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);
const pickOf =
  (random: () => number): Pick1 =>
  (items) =>
    items[Math.floor(random() * items.length)] as never;

async function compareEnds(stage: Stage, { seed, random, wanted, done }: Run): Promise<void> {
  const end = await stage.end(wanted);
  const faults: Faults = createFaults(random, new Map());
  const fresh = await startStage((options) => startHost({ ...options, faults }));
  try {
    const clean = await fresh.end(wanted);
    if (end !== clean)
      throw new Error(`seed ${seed} ends otherwise than a cluster without faults after ${done.join(', ')}:\n${difference(end, clean)}`);
  } finally {
    await fresh.stop();
  }
}

/** Draws an act of a person, among the given names where there are some. */
async function change(stage: Stage, run: Run, names: readonly string[] | undefined): Promise<void> {
  const { random, wanted } = run;
  const pick = pickOf(random);
  const workload = pick(workloadNames);
  const rolling = pick(['web', 'db', 'agent'] as const);
  const acts: readonly (readonly [string, () => Promise<void> | Wishes])[] = [
    ['scale', () => ({ ...wanted, [workload]: { ...wanted[workload], replicas: Math.floor(random() * 5) } })],
    ['scale the database', () => ({ ...wanted, db: { ...wanted.db, replicas: Math.floor(random() * 5) } })],
    // Pods of the other kinds keep their image while they run.
    ['new image', () => ({ ...wanted, [rolling]: { ...wanted[rolling], image: pick(['host/v1', 'host/v2', 'host/v3']) } })],
    ['other nodes', () => ({ ...wanted, colored: nodeNames.filter(() => random() < 0.6) })],
    ['job', () => ({ ...wanted, jobs: [...wanted.jobs, `once-${run.done.length}`] })],
    ['delete and create', () => stage.deleteWorkload(workload)],
    ['delete a pod', () => stage.deletePod(pick)],
    ['fail a pod', () => stage.failPod(pick)],
    ['other claims', () => ({ ...wanted, kept: Math.floor(random() * 4) })],
    ['expose or hide', () => ({ ...wanted, isExposed: !wanted.isExposed })],
    ['delete the front', () => stage.delete(services, 'front')],
    ['move the disk', () => stage.deletePod(pick, 'app=disk')],
    ...(wanted.loadMilli === undefined
      ? []
      : ([
          ['other load', () => ({ ...wanted, loadMilli: targetMilli * (1 + Math.floor(random() * 6)) })],
          ['a minute passes', () => stage.host.skip(61_000)],
          ['delete the CronJob', () => stage.delete(cronJobs, 'minutely')],
        ] as const)),
  ];
  const [name, act] = pick(names === undefined ? acts : acts.filter(([each]) => names.includes(each)));
  run.wanted = (await act()) ?? wanted;
  await stage.wish(run.wanted);
  // Autoscalers look every 15 s.
  if (name === 'other load') await stage.host.skip(16_000);
  run.done.push(name);
  count(run.counts, name);
}

interface Stage {
  readonly host: Host;
  /** Makes and changes objects as people wish; what is there and as wished stays. */
  wish(wanted: Wishes): Promise<void>;
  delete(resource: unknown, name: string): Promise<void>;
  deleteWorkload(name: WorkloadName): Promise<void>;
  deletePod(pick: Pick1, labelSelector?: string): Promise<void>;
  failPod(pick: Pick1): Promise<void>;
  /** The objects that there are when people have all they want, and nothing is written any more. */
  end(wanted: Wishes): Promise<string>;
  stop(): Promise<void>;
}

/** The part of a stage that its host needs. */
export interface HostOptions {
  /** Once the API serves, before any controller starts. */
  prepare(host: Pick<Host, 'people' | 'now'>): Promise<Surroundings>;
}

export type Surroundings = { readonly cloudUrl: string; readonly metrics: ReturnType<typeof createPlayedMetrics> };

async function startStage(start: (options: HostOptions) => Promise<Host>): Promise<Stage> {
  const agents = new AbortController();
  let loadMilli: number | undefined;
  let cloud: Awaited<ReturnType<typeof createMachines>> | undefined;
  let runs: ReturnType<typeof playMachines> = new Map();
  const host = await start({
    async prepare({ people, now }) {
      await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      cloud = await createMachines(people, now());
      runs = playMachines({ client: people, signal: agents.signal, now });
      return { cloudUrl: cloud.url, metrics: createPlayedMetrics({ client: people, now }, () => loadMilli) };
    },
  });
  const { people } = host;

  async function quiet(): Promise<void> {
    let last = '';
    for (let same = 0, looks = 0; same < host.quietLooks; looks += 1) {
      if (looks > 5_000) throw new Error('the controllers never come to rest');
      await host.tick(1);
      const { metadata } = await people.list(pods, { limit: 1 });
      same = metadata.resourceVersion === last ? same + 1 : 0;
      last = metadata.resourceVersion ?? '';
    }
  }

  const wishFor = async (wanted: Wishes): Promise<void> => {
    loadMilli = wanted.loadMilli;
    await wish(people, wanted);
  };
  const livePods = async (labelSelector?: string): Promise<readonly Pod[]> => {
    const { items } = await people.list(pods, { namespace, ...(labelSelector === undefined ? {} : { labelSelector }) });
    return items.filter((pod) => !isPodTerminating(pod) && controllerOf(pod)?.kind !== jobs.kind);
  };
  const deleteBehind = (resource: Resource<KubeObject>, name: string): Promise<void> =>
    ignoreNotFound(people.delete(resource, { namespace, name }, { propagationPolicy: 'Background' }));

  return {
    host,
    wish: wishFor,
    delete: (resource, name) => deleteBehind(resource as Resource<KubeObject>, name),
    deleteWorkload: (name) => deleteBehind(workloadOf(name, firstWishes[name])[0], name),
    async deletePod(pick, labelSelector) {
      const all = await livePods(labelSelector);
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
    async end(wanted) {
      // Longer than any back-off. An object that is being deleted comes back when it is gone.
      for (let round = 0; round < host.endRounds; round += 1) {
        await wishFor(wanted);
        await quiet();
        await freeVolumes(people);
        await host.skip(30_000);
      }
      await quiet();
      // Failed pods are kept for people to look at, so how many there are depends on the way.
      for (const pod of await livePods()) {
        if (isPodFinished(pod)) await ignoreNotFound(people.delete(pods, { namespace, name: pod.metadata.name }));
      }
      await quiet();
      return view(people, { balancers: cloud?.balancers.keys() ?? [], runs });
    },
    async stop() {
      agents.abort(new Error('agents stop'));
      await host.stop();
      await cloud?.stop();
    },
  };
}
