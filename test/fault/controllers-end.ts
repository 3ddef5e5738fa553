import { type DaemonSet, daemonSets } from '../../src/api/apps/v1/daemon-set.ts';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../src/api/apps/v1/replica-set.ts';
import { type StatefulSet, statefulSets } from '../../src/api/apps/v1/stateful-set.ts';
import { horizontalPodAutoscalers } from '../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { cronJobs } from '../../src/api/batch/v1/cron-job.ts';
import { type Job, jobs } from '../../src/api/batch/v1/job.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { persistentVolumes } from '../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { replicationControllers } from '../../src/api/core/v1/replication-controller.ts';
import { resourceQuotas } from '../../src/api/core/v1/resource-quota.ts';
import { services } from '../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../src/api/discovery/v1/endpoint-slice.ts';
import { podDisruptionBudgets } from '../../src/api/policy/v1/pod-disruption-budget.ts';
import { volumeAttachments } from '../../src/api/storage/v1/volume-attachment.ts';
import { finalizers } from '../../src/api/well-known.ts';
import type { Client } from '../../src/client/client.ts';
import { isPodFinished, isPodTerminating } from '../../src/controllers/pod-conditions.ts';
import { controllerOf, type KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import type { Runs } from './controllers-players.ts';
import { attachingDriver, namespace } from './controllers-world.ts';

type List = <T extends KubeObject>(resource: Resource<T>) => Promise<readonly T[]>;
type Say = (what: string, value: unknown) => void;

/** The objects as lines, without what differs from run to run: names that were generated, times, numbers of revisions. */
export async function view(client: Client, { balancers, runs }: Outside): Promise<string> {
  const list: List = async (resource) => (await client.list(resource, resource.namespaced ? { namespace } : {})).items;
  const lines: string[] = [];
  const say: Say = (what, value) => void lines.push(`${what} ${JSON.stringify(value)}`);
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
  for (const { metadata, status } of (await list(jobs)).filter((job) => controllerOf(job) === undefined)) {
    const { active, succeeded, completedIndexes, uncountedTerminatedPods } = status ?? {};
    say(`Job ${metadata.name}`, { active, succeeded, completedIndexes, uncountedTerminatedPods, conditions: conditionsOf(status) });
  }
  const all = await list(pods);
  // A write that was done but not answered may run an index twice, as upstream; it counts once.
  for (const pod of all) if (!isSettled(pod)) lines.push(podLine(pod, sets));
  await sayCronJobs(list, say, runs);
  for (const { metadata, status, spec } of await list(horizontalPodAutoscalers)) {
    const { currentReplicas, desiredReplicas, conditions } = status ?? {};
    const states = (conditions ?? []).map(({ type, status: state }) => `${type}=${state}`).sort();
    say(`Autoscaler ${metadata.name}`, { currentReplicas, desiredReplicas, states, max: spec.maxReplicas });
  }
  // A claim of a pod that was gone before its set shrank stays, as upstream: only a pod takes its claim along.
  const users = new Set(all.map(({ metadata }) => `data-${metadata.name}`));
  const claims = (await list(persistentVolumeClaims)).filter(({ metadata: { name } }) => users.has(name) || !name.startsWith('data-'));
  for (const { metadata, status } of claims) {
    say(`Claim ${metadata.name}`, { phase: status?.phase, owners: metadata.ownerReferences?.map(({ kind, name }) => `${kind} ${name}`) });
  }
  await sayVolumes(list, say);
  await sayAttachments(list, say, all);
  for (const { metadata, spec, status } of (await list(services)).filter(({ metadata: { name } }) => name === 'front'))
    say('Service front', { type: spec.type, finalizers: metadata.finalizers, addresses: status?.loadBalancer?.ingress?.length ?? 0 });
  say('Load balancers', [...balancers].sort());
  for (const { metadata, spec } of await list(nodes)) say(`Node ${metadata.name}`, { id: spec?.providerID, taints: spec?.taints ?? [] });
  const slices = (await list(endpointSlices)).flatMap(({ endpoints }) => endpoints ?? []);
  say('Endpoints', slices.filter(({ conditions }) => conditions?.ready !== false).length);
  for (const { status } of await list(podDisruptionBudgets)) {
    const { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed } = status ?? {};
    say('Budget', { currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed });
  }
  for (const { status } of await list(resourceQuotas)) say('Quota', status?.used);
  return lines.sort().join('\n');
}

/** State beside the API. */
export interface Outside {
  /** Services that have a load balancer in the cloud. */
  readonly balancers: Iterable<string>;
  readonly runs: Runs;
}

/** The number of minutes differs from run to run, so only the newest Jobs are compared. Each minute has one Job in all its life. */
async function sayCronJobs(list: List, say: Say, runs: Runs): Promise<void> {
  const all = await list(jobs);
  for (const cronJob of await list(cronJobs)) {
    const own = all.filter((job) => controllerOf(job)?.uid === cronJob.metadata.uid);
    const kept = own.filter(({ status }) => status?.conditions?.some(({ type, status: state }) => type === 'Complete' && state === 'True'));
    say(`CronJob ${cronJob.metadata.name}`, { active: cronJob.status?.active?.length ?? 0, jobs: own.length, kept: kept.length });
  }
  say(
    'Minutes that ran twice',
    [...runs].filter(([, ids]) => ids.size > 1).map(([name]) => name),
  );
}

/** No volume is left without its claim, and the two name each other. */
async function sayVolumes(list: List, say: Say): Promise<void> {
  const claims = new Map((await list(persistentVolumeClaims)).map((claim) => [claim.metadata.uid, claim]));
  const phases = new Map<string, number>();
  for (const { metadata, spec, status } of await list(persistentVolumes)) {
    const claim = claims.get(spec.claimRef?.uid);
    const isProvisioned = metadata.name.startsWith('pvc-');
    const isLost = isProvisioned ? claim === undefined : spec.claimRef?.uid !== undefined && claim === undefined;
    if (isLost || (claim !== undefined && claim.spec.volumeName !== metadata.name))
      say(`Volume without its claim: ${spec.claimRef?.name}`, status?.phase);
    if (!isProvisioned) phases.set(status?.phase ?? '', (phases.get(status?.phase ?? '') ?? 0) + 1);
  }
  say('Volumes by phase', Object.fromEntries([...phases].sort()));
}

/** A volume is attached where its pod is, and the Node says so. */
async function sayAttachments(list: List, say: Say, all: readonly Pod[]): Promise<void> {
  const users = all.filter((pod) => pod.spec.volumes?.some(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === 'disk'));
  const at = users.filter((pod) => !isPodFinished(pod)).map(({ spec }) => spec.nodeName ?? '');
  const attachments = await list(volumeAttachments);
  say('Attachments', {
    attached: attachments.map(({ status }) => status?.attached === true),
    isWherePodIs: attachments.every(({ spec }) => at.includes(spec.nodeName ?? '')),
  });
  for (const { metadata, status } of await list(nodes)) {
    const isListed = (status?.volumesAttached ?? []).some(({ name }) => name.includes(attachingDriver));
    if (isListed !== at.includes(metadata.name)) say(`Node ${metadata.name} lists another volume than it has`, status?.volumesAttached);
  }
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
export function difference(end: string, clean: string): string {
  const count = (lines: readonly string[], line: string): number => lines.filter((other) => other === line).length;
  const [a, b] = [end.split('\n'), clean.split('\n')];
  const more = (x: readonly string[], y: readonly string[], sign: string) =>
    [...new Set(x)]
      .filter((line) => count(x, line) > count(y, line))
      .map((line) => `${sign} ${line} (${count(x, line)} instead of ${count(y, line)})`);
  return [...more(a, b, '+'), ...more(b, a, '-')].join('\n');
}
