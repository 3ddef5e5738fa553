// The scheduler with the API on a durable store, in one process, and nodes that are objects only. Workloads have the names of upstream's
// scheduler_perf, and its pods, in its order. Pods are created 512 at a time; the time from the first creation to the last binding counts.
// `--only` takes a workload's name, or a part of it, as TopologySpreading/5000Nodes.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { namespaces } from '../../dist/api/core/v1/namespace.js';
import { nodes as nodeKind } from '../../dist/api/core/v1/node.js';
import { pods as podKind } from '../../dist/api/core/v1/pod.js';
import { services } from '../../dist/api/core/v1/service.js';
import { serviceAccounts } from '../../dist/api/core/v1/service-account.js';
import { builtInKinds } from '../../dist/api/kinds.js';
import { priorityClasses } from '../../dist/api/scheduling/v1/priority-class.js';
import { loadSchemas } from '../../dist/api/schemas.js';
import { createKubeApi } from '../../dist/apiserver/create-kube-api.js';
import { createLocalClient } from '../../dist/apiserver/local-client.js';
import { systemClock } from '../../dist/base/clock.js';
import { createLog } from '../../dist/base/log.js';
import { createMetrics } from '../../dist/base/metrics.js';
import { createInformerSet } from '../../dist/client/informer-set.js';
import { createEventQueue } from '../../dist/reconcile/event-recorder.js';
import { createStepLog } from '../../dist/reconcile/step-log.js';
import { createScheduler } from '../../dist/scheduler/scheduler.js';
import { openSqliteStorage } from '../../dist/storage/sqlite/storage.js';
import { temporary } from './cluster.mjs';

const zone = 'topology.kubernetes.io/zone';
const hostname = 'kubernetes.io/hostname';
const inFlight = 512;

/**
 * `initial`: makers of pods that are there before, each used `initialEach` times a node; `measured`: pods that count. `parked`: pods that
 * fit nowhere and wait meanwhile. A part may be less than one.
 */
const workloads = [
  { name: 'SchedulingBasic', measured: 1_000, pod: () => plainPod() },
  { name: 'SchedulingPodAntiAffinity', measured: 1_000, pod: () => affine('podAntiAffinity', 'green', hostname) },
  { name: 'SchedulingPodAffinity', measured: 1_000, zones: ['zone1'], pod: () => affine('podAffinity', 'blue', zone) },
  { name: 'SchedulingPreferredPodAffinity', measured: 1_000, pod: () => preferring('podAffinity', 'red') },
  { name: 'SchedulingPreferredPodAntiAffinity', measured: 1_000, pod: () => preferring('podAntiAffinity', 'yellow') },
  { name: 'SchedulingNodeAffinity', measured: 1_000, zones: ['zone1'], pod: () => inZone('zone1', 'zone2') },
  { name: 'TopologySpreading', measured: 1_000, zones: ['moon-1', 'moon-2', 'moon-3'], pod: () => spreading('DoNotSchedule') },
  { name: 'PreferredTopologySpreading', measured: 1_000, zones: ['moon-1', 'moon-2', 'moon-3'], pod: () => spreading('ScheduleAnyway') },
  {
    name: 'MixedSchedulingBasePod',
    measured: 1_000,
    zones: ['zone1'],
    initial: [
      () => plainPod(),
      () => affine('podAffinity', 'blue', zone),
      () => affine('podAntiAffinity', 'green', hostname),
      () => preferring('podAffinity', 'red'),
      () => preferring('podAntiAffinity', 'yellow'),
    ],
    initialEach: 0.4,
    pod: () => plainPod(),
  },
  { name: 'PreemptionBasic', measured: 500, initial: [() => lowPriority()], initialEach: 4, pod: () => highPriority() },
  { name: 'Unschedulable', measured: 1_000, parked: 200, pod: () => plainPod() },
  { name: 'SchedulingWithMixedChurn', measured: 1_000, pod: () => plainPod(), churns: true },
  {
    name: 'SchedulingRequiredPodAntiAffinityWithNSSelector',
    measured: 1_000,
    initial: [() => apartEverywhere()],
    pod: () => apartEverywhere(),
    initialEach: 0.5,
  },
];

function plainPod(spec = {}, labels = {}) {
  return {
    metadata: { generateName: 'pod-', namespace: 'sched-1', labels },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'pause', image: 'pause', resources: { requests: { cpu: '100m', memory: '500Mi' } } }],
      ...spec,
    },
  };
}

const term = (color, topologyKey) => ({ labelSelector: { matchLabels: { color } }, topologyKey, namespaces: ['sched-1', 'sched-0'] });
const affine = (kind, color, key) =>
  plainPod({ affinity: { [kind]: { requiredDuringSchedulingIgnoredDuringExecution: [term(color, key)] } } }, { color });
const preferring = (kind, color) => {
  const preferredDuringSchedulingIgnoredDuringExecution = [{ weight: 1, podAffinityTerm: term(color, hostname) }];
  return plainPod({ affinity: { [kind]: { preferredDuringSchedulingIgnoredDuringExecution } } }, { color });
};
const spreading = (whenUnsatisfiable) => {
  const constraint = { maxSkew: 5, topologyKey: zone, whenUnsatisfiable, labelSelector: { matchLabels: { color: 'blue' } } };
  return plainPod({ topologySpreadConstraints: [constraint] }, { color: 'blue' });
};
const inZone = (...values) => {
  const nodeSelectorTerms = [{ matchExpressions: [{ key: zone, operator: 'In', values }] }];
  return plainPod({ affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } } });
};
const apartEverywhere = () => {
  const apart = {
    labelSelector: { matchLabels: { color: 'green' } },
    topologyKey: hostname,
    namespaceSelector: { matchLabels: { team: 'devops' } },
  };
  return plainPod({ affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [apart] } } }, { color: 'green' });
};
const sized = (cpu, priorityClassName) =>
  plainPod({ priorityClassName, containers: [{ name: 'pause', image: 'pause', resources: { requests: { cpu, memory: '500Mi' } } }] });
const lowPriority = () => sized('900m', 'low');
const highPriority = () => sized('3', 'high');

async function startPlane() {
  const log = createLog({ level: 'silent' });
  const directory = temporary('scheduler');
  const storage = await openSqliteStorage({ path: join(directory, 'state.db') });
  const kubeApi = await createKubeApi({
    storage,
    kinds: builtInKinds,
    schemas: loadSchemas(builtInKinds.map(({ schemas }) => schemas)),
    serviceCidr: '127.250.0.0/20',
    log,
  });
  const client = createLocalClient({ kubeApi, user: { name: 'admin', groups: ['system:masters'] }, userAgent: 'bench' });
  for (const name of ['sched-0', 'sched-1']) {
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { team: 'devops' } } });
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: name } });
  }
  for (const [name, value] of [
    ['low', 1],
    ['high', 1_000],
  ]) {
    await client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value });
  }
  const abort = new AbortController();
  const clock = systemClock;
  const informers = createInformerSet({ client, clock, log });
  const metrics = createMetrics();
  const events = createEventQueue({ client, clock, log, metrics });
  const steps = createStepLog({ clock, log, metrics });
  const recorder = events.recorder('default-scheduler');
  const scheduler = createScheduler({ client, informers, clock, log, recorder, metrics, steps });
  informers.start({ signal: abort.signal });
  await events.start({ signal: abort.signal });
  return {
    client,
    informers,
    scheduler,
    start: () => scheduler.start({ signal: abort.signal }),
    async stop() {
      await scheduler.stop();
      await events.stop();
      abort.abort(new Error('the bench ends'));
      kubeApi.stop();
      await storage.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function inParallel(count, work) {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, inFlight) }, worker));
}

async function addNode(client, name, zoneName) {
  const labels = { [hostname]: name, ...(zoneName === undefined ? {} : { [zone]: zoneName }) };
  const created = await client.create(nodeKind, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
  const allocatable = { cpu: '4', memory: '32Gi', pods: '110' };
  const reported = await client.update(nodeKind, { ...created, status: { capacity: allocatable, allocatable } }, { subresource: 'status' });
  await client.update(nodeKind, { ...reported, spec: { ...reported.spec, taints: [] } });
}

const createPod = (client, pod) => client.create(podKind, { apiVersion: 'v1', kind: 'Pod', ...pod });

/** Milliseconds from now until so many pods are bound, those before included. */
function untilBound(informers, count) {
  const startedAt = performance.now();
  const pods = informers.get(podKind);
  const bound = new Set();
  return new Promise((resolve) => {
    const remove = pods.addHandler(({ before, after }) => {
      if (before?.spec.nodeName === undefined && after?.spec.nodeName !== undefined) bound.add(after.metadata.uid);
      if (bound.size < count) return;
      setImmediate(() => remove());
      resolve(performance.now() - startedAt);
    });
  });
}

/** A node, a pod and a Service come and go each 200 ms, as long as pods are measured. */
function churn(client) {
  let round = 0;
  let ended = false;
  const loop = (async () => {
    while (!ended) {
      const name = `churn-${round}`;
      round += 1;
      await addNode(client, name);
      const pod = await createPod(client, {
        ...sized('90'),
        metadata: { name, namespace: 'sched-0' },
        spec: { ...sized('90').spec, priorityClassName: 'low' },
      });
      const ports = [{ port: 80 }];
      await client.create(services, { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'sched-0' }, spec: { ports } });
      await new Promise((resolve) => setTimeout(resolve, 200));
      await client.delete(podKind, { namespace: 'sched-0', name: pod.metadata.name }, { gracePeriodSeconds: 0 });
      await client.delete(services, { namespace: 'sched-0', name });
      await client.delete(nodeKind, { name });
    }
  })();
  return async () => {
    ended = true;
    await loop;
  };
}

async function measure(workload, count) {
  const plane = await startPlane();
  const { client, informers } = plane;
  const { zones = [], initial = [() => plainPod()], initialEach = 1, parked = 0, churns = false } = workload;
  await inParallel(count, (index) => addNode(client, `node-${index}`, zones[index % zones.length]));
  await plane.start();
  const each = Math.floor(count * initialEach);
  let before = 0;
  for (const make of initial) {
    before += each;
    const ready = untilBound(informers, before);
    await inParallel(each, () => createPod(client, make()));
    await ready;
  }
  await inParallel(parked, () => createPod(client, sized('9')));
  const stopChurn = churns ? churn(client) : undefined;
  const cpuBefore = process.cpuUsage();
  const done = untilBound(informers, before + workload.measured);
  await inParallel(workload.measured, () => createPod(client, workload.pod()));
  const ms = await done;
  const { user, system } = process.cpuUsage(cpuBefore);
  await stopChurn?.();
  await plane.stop();
  return { perSecond: workload.measured / (ms / 1_000), cpuMs: (user + system) / 1_000 / workload.measured };
}

const sizes = [1_000, 5_000];

export async function scheduler({ only }) {
  const rows = [];
  for (const count of sizes) {
    for (const workload of workloads) {
      const name = `${workload.name}/${count}Nodes`;
      if (only !== undefined && !name.includes(only)) continue;
      const samples = [];
      for (let run = 0; run < 2; run += 1) samples.push(await measure(workload, count));
      rows.push(
        { name, unit: 'pods/s', samples: samples.map(({ perSecond }) => perSecond) },
        { name: `${name}, processor time a pod`, unit: 'ms', samples: samples.map(({ cpuMs }) => cpuMs) },
      );
    }
  }
  return rows;
}
