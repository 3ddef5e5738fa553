import { type Event, events } from '../../../api/core/v1/event.ts';
import { type Node, nodes } from '../../../api/core/v1/node.ts';
import { type Container, type ContainerStatus, type Pod, pods as podResource } from '../../../api/core/v1/pod.ts';
import { podResources, readAmounts } from '../../../api/core/v1/pod-resources.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import { plain } from '../../../base/plain-text.ts';
import type { Client } from '../../../client/client.ts';
import { tryGet } from '../../../client/try-get.ts';
import { isUnschedulable, podProblem, schedulingDeadline, times } from '../../../lifecycle/reasons.ts';
import { conditionOf, isConditionTrue } from '../../../machinery/conditions.ts';
import { compareQuantities, milliValueOf, type Quantity, subtractQuantities } from '../../../machinery/quantity.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { Cause } from '../records/object-healths.ts';
import { actionForMissing, actionForPlace, actionForStart } from './next-actions.ts';

/**
 * Reads the last line of what the newest run of a container has written, cut after 1 KiB.
 *
 * @throws when there is none, or it may not be read
 */
export type ReadLastLine = (pod: Pod, container: string) => Promise<string>;

export interface CauseOptions {
  readonly client: Client;
  readonly readLastLine?: ReadLastLine | undefined;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** A container may run for so long without being ready before anybody asks why. */
const readinessGraceMs = 5_000;
/** With more nodes than this, the room of each is not worth the reading. */
const maxNodes = 50;
const maxEvents = 500;
const concurrency = 4;
const maxTextLength = 200;

/** When `findCause` may find something: milliseconds since the epoch; undefined when only another status of the pods changes that. */
export function causeAt(pods: readonly Pod[], now: number): number | undefined {
  const at = unreadyIn(pods).map((pod) => {
    if (podProblem(pod) !== undefined) return schedulingDeadline(pod, now) ?? now;
    if (isOnLostNode(pod)) return now;
    const started = Date.parse(unreadyContainer(pod)?.state?.running?.startedAt ?? (isBeingMade(pod) ? (pod.status?.startTime ?? '') : ''));
    return Number.isNaN(started) ? Number.POSITIVE_INFINITY : started + readinessGraceMs;
  });
  const first = Math.min(...at);
  return Number.isFinite(first) ? first : undefined;
}

/**
 * Reason why pods of an object are not ready: the log line of a crash, a probe, a node, the room on nodes. Asks the
 * API, so only when `causeAt` says so.
 */
export async function findCause(pods: readonly Pod[], options: CauseOptions): Promise<Cause | undefined> {
  // The reasons of objects name the oldest pod, too.
  const unready = unreadyIn(pods).toSorted((a, b) =>
    (a.metadata.creationTimestamp ?? '') < (b.metadata.creationTimestamp ?? '') ? -1 : 1,
  );
  const broken = unready.find((pod) => podProblem(pod) !== undefined);
  if (broken !== undefined) return isUnschedulable(broken) ? await findRoom(broken, options) : await findCrash(broken, options);
  const stranded = unready.find(isOnLostNode);
  const lost = stranded === undefined ? undefined : await findLostNode(stranded, pods, options);
  if (lost !== undefined) return lost;
  const waiting = unready.find((pod) => unreadyContainer(pod) !== undefined);
  if (waiting !== undefined) return findProbe(waiting, options);
  const made = unready.find(isBeingMade);
  return made === undefined ? undefined : findFailedMount(made, options);
}

const unreadyIn = (pods: readonly Pod[]): readonly Pod[] =>
  pods.filter(({ status }) => status?.phase !== 'Succeeded' && !isConditionTrue(status?.conditions, 'Ready'));

const unreadyContainer = ({ status }: Pod): ContainerStatus | undefined =>
  status?.containerStatuses?.find(({ ready, state }) => !ready && state?.running !== undefined);

/** It has a node, and no container of it has started. */
const isBeingMade = ({ status }: Pod): boolean =>
  (status?.containerStatuses ?? []).some(({ state }) => ['ContainerCreating', 'PodInitializing'].includes(state?.waiting?.reason ?? ''));

/** Its agent reported all of it healthy at last, so the pod is not ready because the agent no longer reports. */
const isOnLostNode = ({ metadata, spec, status }: Pod): boolean =>
  spec.nodeName !== undefined &&
  (metadata.deletionTimestamp !== undefined ||
    (status?.phase === 'Running' && (status.containerStatuses ?? []).every(({ ready }) => ready)));

async function findLostNode({ spec }: Pod, pods: readonly Pod[], { client, now }: CauseOptions): Promise<Cause | undefined> {
  const name = spec.nodeName ?? '';
  const node = await tryGet(client, nodes, { name });
  const ready = conditionOf(node?.status?.conditions, 'Ready');
  if (node !== undefined && ready?.status === 'True') return undefined;
  const heard = Date.parse(ready?.lastHeartbeatTime ?? ready?.lastTransitionTime ?? '');
  const state =
    node === undefined ? 'is gone' : Number.isNaN(heard) ? 'has never reported' : `has not reported for ${ageText(now() - heard)}`;
  const on = pods.filter((pod) => pod.spec.nodeName === name).length;
  return {
    place: 'beside',
    text: `node ${name} ${state}: ${on} of ${pods.length} pods ${on === 1 ? 'is' : 'are'} on it`,
    fix: `kubectl describe node ${name}`,
  };
}

async function findCrash(pod: Pod, options: CauseOptions): Promise<Cause | undefined> {
  const { namespace = '', name } = pod.metadata;
  const crashed = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].find(
    ({ state }) => state?.waiting?.reason === 'CrashLoopBackOff' || (state?.terminated?.exitCode ?? 0) !== 0,
  );
  const problem = podProblem(pod);
  if (problem === undefined) return undefined;
  if (crashed === undefined) return findStart(pod, problem);
  const last = crashed.state?.terminated ?? crashed.lastState?.terminated;
  const fix = `kubectl logs -n ${namespace} ${name} -c ${crashed.name} --previous`;
  // A container that was killed, and did nothing wrong, did not write the reason to its log.
  const killed =
    last?.exitCode === 137 || last?.exitCode === 143
      ? await findProbeFailures(pod, { container: crashed.name, kinds: ['Liveness', 'Startup'] }, options)
      : undefined;
  if (killed !== undefined) return { place: 'instead', text: `${problem}: ${killed}`, fix };
  if ((last?.message ?? '').trim() !== '') return { place: 'instead', text: problem, fix };
  const line = await readLine(pod, crashed.name, options);
  return { place: 'instead', text: line === '' ? problem : `${problem}: ${line}`, fix };
}

/** The image or the settings that keep a container from its start. */
function findStart(pod: Pod, problem: string): Cause | undefined {
  const all = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const held = all.find(({ name, state }) => state?.waiting?.reason !== undefined && problem.includes(`ontainer ${name} in `));
  return held === undefined ? undefined : { place: 'instead', text: problem, fix: actionForStart(pod, held) };
}

/** Kubelets report a volume that they cannot mount by an Event alone. */
async function findFailedMount(pod: Pod, { client }: CauseOptions): Promise<Cause | undefined> {
  const [newest] = await eventsOf(pod, 'FailedMount', client);
  const message = newest?.message;
  return message === undefined
    ? undefined
    : { place: 'beside', text: `${pod.metadata.name}: ${shortened(message)}`, fix: actionForMissing(pod, message) };
}

async function readLine(pod: Pod, container: string, { readLastLine }: CauseOptions): Promise<string> {
  try {
    return shortened((await readLastLine?.(pod, container)) ?? '');
  } catch {
    // A container may have written nothing, its node may not answer, and the log may not exist here: the rest is
    // reported anyway.
    return '';
  }
}

async function findProbe(pod: Pod, options: CauseOptions): Promise<Cause | undefined> {
  const container = unreadyContainer(pod);
  if (container === undefined) return undefined;
  const failures = await findProbeFailures(pod, { container: container.name, kinds: ['Readiness', 'Startup', 'Liveness'] }, options);
  if (failures === undefined) return undefined;
  const { namespace = '', name } = pod.metadata;
  return { place: 'beside', text: `${name}: ${failures}`, fix: `kubectl logs -n ${namespace} ${name} -c ${container.name}` };
}

type ProbeKind = 'Readiness' | 'Startup' | 'Liveness';

/** `readiness probe failed 73 times: HTTP 500 from :8080/healthz`, of the first kind of probe that has failed. */
async function findProbeFailures(
  pod: Pod,
  { container, kinds }: { readonly container: string; readonly kinds: readonly ProbeKind[] },
  { client }: Pick<CauseOptions, 'client'>,
): Promise<string | undefined> {
  const all = await eventsOf(pod, 'Unhealthy', client);
  const own = all.filter(({ involvedObject }) => involvedObject.fieldPath?.endsWith(`{${container}}`) === true);
  for (const kind of kinds) {
    const failed = own.flatMap(({ message = '', series, count }) => {
      const [, text] = new RegExp(`^(?:\\(combined from similar events\\): )?${kind} probe failed: (.*)$`, 's').exec(message) ?? [];
      return text === undefined ? [] : [{ text, count: series?.count ?? count ?? 1 }];
    });
    const [newest] = failed;
    if (newest === undefined) continue;
    const total = failed.reduce((sum, { count }) => sum + count, 0);
    const probed = pod.spec.containers.find(({ name }) => name === container);
    return `${kind.toLowerCase()} probe failed ${times(total)}: ${probeText(newest.text, kind, probed)}`;
  }
  return undefined;
}

/** Events of a pod with this reason, newest first. */
async function eventsOf({ metadata: { namespace = '', uid = '' } }: Pod, reason: string, client: Client): Promise<readonly Event[]> {
  const fieldSelector = `involvedObject.uid=${uid},reason=${reason}`;
  const { items } = await client.list(events, { namespace, fieldSelector, limit: maxEvents }).catch((err: unknown) => {
    // An engine that may read pods may lack the right to read Events.
    if (isStatusError(err)) return { items: [] };
    throw err;
  });
  return [...items].sort((a, b) => Date.parse(b.lastTimestamp ?? '') - Date.parse(a.lastTimestamp ?? ''));
}

function probeText(message: string, kind: ProbeKind, container: Container | undefined): string {
  const [, code] = /^HTTP probe failed with statuscode: (\d+)/.exec(message) ?? [];
  const probe = { Readiness: container?.readinessProbe, Startup: container?.startupProbe, Liveness: container?.livenessProbe }[kind];
  if (code === undefined || probe?.httpGet === undefined) return shortened(message);
  return `HTTP ${code} from :${probe.httpGet.port}${probe.httpGet.path ?? '/'}`;
}

/** Finds the need of a pod that keeps it from every node, and the most that a node has left of it. */
async function findRoom(pod: Pod, { client }: CauseOptions): Promise<Cause | undefined> {
  const problem = podProblem(pod);
  const other: Cause | undefined =
    problem === undefined ? undefined : { place: 'instead', text: problem, fix: actionForPlace(pod, undefined) };
  const { items } = await client.list(nodes, { limit: maxNodes + 1, resourceVersion: '0' });
  if (items.length === 0 || items.length > maxNodes) return other;
  const wanted = podResources(pod.spec, 'requests', { overhead: true });
  const free = await mapBounded(items, concurrency, (node) => freeOn(node, client));
  for (const [resource, amount] of wanted) {
    if (amount.nanos <= 0n) continue;
    const most = free.reduce((best, each) => (compareQuantities(each.of(resource), best.of(resource)) > 0 ? each : best), nowhere);
    if (most !== nowhere && compareQuantities(most.of(resource), amount) >= 0) continue;
    const room = most === nowhere ? 'no node has any' : `most free is ${amountText(resource, most.of(resource))} on ${most.node}`;
    return {
      place: 'instead',
      text: `Pod ${pod.metadata.name} fits on no node: it needs ${amountText(resource, amount)} ${nameOf(resource)}, ${room}`,
      fix: actionForPlace(pod, resource),
    };
  }
  return other;
}

const none: Quantity = { nanos: 0n, format: 'DecimalSI' };
const nowhere = { node: '', of: (_resource: string): Quantity => none };

async function freeOn({ metadata: { name }, status }: Node, client: Client): Promise<typeof nowhere> {
  const { items } = await client.list(podResource, { fieldSelector: `spec.nodeName=${name}`, resourceVersion: '0' });
  const free = new Map(readAmounts(status?.allocatable ?? status?.capacity));
  for (const { spec, status: is } of items) {
    if (is?.phase === 'Succeeded' || is?.phase === 'Failed') continue;
    for (const [resource, amount] of podResources(spec, 'requests', { overhead: true })) {
      const before = free.get(resource);
      if (before !== undefined) free.set(resource, subtractQuantities(before, amount));
    }
  }
  return { node: name, of: (resource) => free.get(resource) ?? none };
}

const nameOf = (resource: string): string => (resource === 'cpu' ? 'CPU' : resource);

/** `3.5`, `512 MiB`, `4 GiB` */
function amountText(resource: string, quantity: Quantity): string {
  if (resource !== 'memory' && resource !== 'ephemeral-storage') return String(milliValueOf(quantity) / 1_000);
  const mebibytes = milliValueOf(quantity) / 1_000 / 1_048_576;
  return mebibytes >= 1_024 ? `${Math.round(mebibytes / 102.4) / 10} GiB` : `${Math.floor(mebibytes)} MiB`;
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`;
}

function shortened(text: string): string {
  const [line = ''] = text.trim().split('\n');
  const shown = plain(line);
  return shown.length > maxTextLength ? `${shown.slice(0, maxTextLength)}…` : shown;
}
