import type { Container, Pod, ResourceRequirements } from '../api/core/v1/pod.ts';
import { podResources, type ResourceAmounts } from '../api/core/v1/pod-resources.ts';
import { deepEqual } from '../machinery/object.ts';
import { milliValueOf, type Quantity, tryQuantity, wholeValueOf } from '../machinery/quantity.ts';
import type { AgentContext } from './agent-context.ts';
import { limitsOf } from './container-limits.ts';
import { apiStatusOf } from './container-plan.ts';
import type { ContainerId, SandboxStatus } from './container-runtime.ts';
import { lowersMemory, type MemoryChanges, whyNotLower } from './memory-decrease.ts';
import type { PodEvent } from './pod-events.ts';
import { podResourcesOf } from './pod-linux.ts';

/**
 * The CPU and memory of a pod that runs. The pod wants what its spec says. Its node gives it that when there is room, and then its
 * containers get it. After a restart of the agent, the status of the pod tells what it was given.
 *
 * @see KEP-1287, "In-place Update of Pod Resources"
 */
export interface PodResize {
  /** The pod with the amounts that its node gave it. The same object while it wants nothing else. */
  given(pod: Pod): Pod;
  /** Gives the pod what it wants, or notes why it has to wait. */
  decide(pod: Pod): void;
  /** Changes what containers that run have. A failure is tried again. */
  apply(pod: Pod, sandbox: SandboxStatus): Promise<void>;
  /** The container, by its name, has to be started again for what it was given. */
  needsRestart(pod: Pod, name: string): boolean;
  /** The part of the status of a container that has been started. */
  statusOf(container: Container): ResizeStatus;
  conditions(pod: Pod): readonly ResizeCondition[];
  /** Milliseconds since the epoch at which to try again; infinite when nothing waits. */
  nextAt(): number;
}

export interface ResizeStatus {
  /** The requests that its node granted; absent where it has none. */
  readonly allocatedResources?: Readonly<Record<string, string>>;
  /** The amounts that it has now; absent on a node that cannot change it, and so the API refuses another wish. */
  readonly resources?: ResourceRequirements;
}

export interface ResizeCondition {
  readonly type: 'PodResizePending' | 'PodResizeInProgress';
  readonly status: 'True';
  readonly reason?: string;
  readonly message?: string;
}

/** The condition types that a node sets and removes. */
export const resizeConditions: ReadonlySet<string> = new Set([
  'PodResizePending',
  'PodResizeInProgress',
] satisfies ResizeCondition['type'][]);

export interface PodResizeOptions {
  readonly context: AgentContext;
  readonly pod: Pod;
  /** Requests of the other pods of the node. */
  readonly usedByOthers: () => ResourceAmounts;
  readonly record: (event: PodEvent) => void;
}

type Resources = ReadonlyMap<string, ResourceRequirements>;

interface Applied {
  readonly id: ContainerId;
  readonly resources: ResourceRequirements;
}

const retryMs = 10_000;
const sizes = ['memory', 'cpu'] as const;

export function createPodResize({ context, pod: first, usedByOthers, record }: PodResizeOptions): PodResize {
  const { runtime, allocatable, clock, log } = context;
  if (runtime.resize === undefined) return runtime.runsPrograms ? withoutAmounts : withoutResize;
  let granted: Resources = new Map(resizable(first).map((container) => [container.name, recordedOf(first, container)]));
  /** The amounts of the newest run of each container, by the name of the container. */
  const applied = new Map<string, Applied>();
  // The runtime forgot with the agent before this one which amounts a pod got after its start.
  const isChanged = (first.metadata.generation ?? 1) > 1;
  let appliedToPod = isChanged ? undefined : podResourcesOf(withResources(first, granted));
  let pending: ResizeCondition | undefined;
  const conditionBefore = (type: ResizeCondition['type']) => first.status?.conditions?.find((condition) => condition.type === type);
  let announced = wordsOf(conditionBefore('PodResizePending'));
  /** It was begun, and its end has no Event yet. */
  let inProgress = conditionBefore('PodResizeInProgress') !== undefined;
  let failure: string | undefined;
  let retryAt = Number.POSITIVE_INFINITY;
  let known: { readonly pod: Pod; readonly granted: Resources; readonly result: Pod } | undefined;

  const grantedTo = ({ name, resources = {} }: Container): ResourceRequirements => granted.get(name) ?? resources;

  function given(pod: Pod): Pod {
    if (known?.pod !== pod || known.granted !== granted) known = { pod, granted, result: withResources(pod, granted) };
    return known.result;
  }

  /** Containers that run with something else than what they were given. */
  const behind = (pod: Pod): readonly (Applied & { readonly container: Container })[] =>
    resizable(given(pod)).flatMap((container) => {
      const found = applied.get(container.name);
      return found === undefined || isSame(container.resources ?? {}, found.resources) ? [] : [{ ...found, container }];
    });

  function note(pod: Pod, sandbox: SandboxStatus): void {
    for (const container of resizable(pod)) {
      const running = sandbox.containers.find(({ name, state }) => name === container.name && state === 'running');
      if (running === undefined) applied.delete(container.name);
      else if (applied.get(container.name)?.id !== running.id) {
        // The API says what a container has that ran before this agent did. Another was made with what it is given.
        const status = apiStatusOf(pod, container.name);
        const recorded = status?.containerID?.endsWith(`://${running.id}`) === true ? status.resources : undefined;
        applied.set(container.name, { id: running.id, resources: recorded ?? grantedTo(container) });
      }
    }
  }

  /** Containers that are made again for their amounts are waited for. */
  function finish(pod: Pod): void {
    if (!inProgress || failure !== undefined || behind(pod).length > 0) return;
    inProgress = false;
    record({ type: 'Normal', reason: 'ResizeCompleted', message: `Pod resize completed: ${amountsOf(given(pod))}` });
  }

  /** @throws Error when a limit would be lower than what is in use */
  async function refuseBelowUsage(changes: MemoryChanges): Promise<void> {
    if (!lowersMemory(changes)) return;
    const why = whyNotLower(
      changes,
      (await runtime.stats()).filter(({ podUid }) => podUid === first.metadata.uid),
    );
    if (why !== undefined) throw new Error(why);
  }

  return {
    given,

    decide(pod) {
      pending = undefined;
      if (failure === undefined) retryAt = Number.POSITIVE_INFINITY;
      if (resizable(pod).every((container) => deepEqual(grantedTo(container), container.resources ?? {}))) return;
      pending = refusalOf(pod, allocatable, usedByOthers());
      if (pending === undefined) {
        granted = new Map(resizable(pod).map(({ name, resources = {} }) => [name, resources]));
        failure = undefined;
        announced = '';
        inProgress = true;
        record({ type: 'Normal', reason: 'ResizeStarted', message: `Pod resize started: ${amountsOf(pod)}` });
        return;
      }
      const { reason = '', message } = pending;
      if (reason === 'Deferred') retryAt = clock.now() + retryMs;
      if (announced === wordsOf(pending)) return;
      announced = wordsOf(pending);
      record({ type: 'Warning', reason: `Resize${reason}`, message: `Pod resize ${reason}: ${amountsOf(pod, message)}` });
    },

    async apply(pod, sandbox) {
      if (runtime.resize === undefined) return;
      const target = given(pod);
      note(pod, sandbox);
      const due = behind(pod).filter(({ container, resources }) => !restarts(container, resources));
      const resources = podResourcesOf(target);
      if (due.length === 0 && appliedToPod !== undefined && deepEqual(resources, appliedToPod)) {
        finish(pod);
        return;
      }
      if (failure !== undefined && clock.now() < retryAt) return;
      try {
        const containers = due.map(({ container, id }) => ({ id, limits: limitsOf(target, container, allocatable.memory) }));
        await refuseBelowUsage({
          podBefore: appliedToPod,
          podAfter: resources,
          containers: due.map(({ container, resources: before }) => ({
            container: container.name,
            beforeBytes: memoryLimitOf(before),
            afterBytes: memoryLimitOf(container.resources ?? {}),
          })),
        });
        await runtime.resize(sandbox.id, resources, containers);
        for (const { container, id } of due) applied.set(container.name, { id, resources: grantedTo(container) });
        appliedToPod = resources;
        failure = undefined;
        retryAt = Number.POSITIVE_INFINITY;
        finish(pod);
      } catch (err) {
        const why = err instanceof Error ? err.message : String(err);
        if (why !== failure) record({ type: 'Warning', reason: 'ResizeError', message: `Pod resize error: ${amountsOf(target, why)}` });
        failure = why;
        retryAt = clock.now() + retryMs;
        log.warn({ err, pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, 'Could not resize pod');
      }
    },

    needsRestart(pod, name) {
      return behind(pod).some(({ container, resources }) => container.name === name && restarts(container, resources));
    },

    statusOf(container) {
      const resources = grantedTo(container);
      const { requests } = resources;
      return {
        ...(requests === undefined ? {} : { allocatedResources: requests }),
        resources: applied.get(container.name)?.resources ?? resources,
      };
    },

    conditions(pod) {
      const type = 'PodResizeInProgress';
      const inProgress: readonly ResizeCondition[] =
        failure !== undefined
          ? [{ type, status: 'True', reason: 'Error', message: failure }]
          : behind(pod).length > 0
            ? [{ type, status: 'True' }]
            : [];
      return [...(pending === undefined ? [] : [pending]), ...inProgress];
    },

    nextAt: () => retryAt,
  };
}

/** Pods of a runtime that changes no amounts need no memory of theirs for it: they share one object. */
const fixedWith = (statusOf: PodResize['statusOf']): PodResize => ({
  given: (pod) => pod,
  decide: () => undefined,
  apply: async () => undefined,
  needsRestart: () => false,
  statusOf,
  conditions: () => [],
  nextAt: () => Number.POSITIVE_INFINITY,
});

const withoutAmounts = fixedWith(() => ({}));
const withoutResize = fixedWith(({ resources = {} }) => ({ resources }));

const wordsOf = (condition: { readonly reason?: string | undefined; readonly message?: string | undefined } | undefined): string =>
  condition === undefined ? '' : `${condition.reason} ${condition.message}`;

/** The amounts that a pod asks for, as the Events of a kubelet show them. */
function amountsOf({ spec, metadata }: Pod, error?: string): string {
  const shown = (containers: readonly Container[]) =>
    containers.map(({ name, resources: { limits, requests } = {} }) => ({ name, resources: { limits, requests } }));
  const initContainers = spec.initContainers ?? [];
  return JSON.stringify({
    ...(initContainers.length === 0 ? {} : { initContainers: shown(initContainers) }),
    containers: shown(spec.containers),
    generation: metadata.generation ?? 0,
    ...(error === undefined ? {} : { error }),
  });
}

/** @returns the condition of a pod that has to wait for what it wants; undefined when it can have it */
function refusalOf(pod: Pod, allocatable: Readonly<Record<string, string>>, others: ResourceAmounts): ResizeCondition | undefined {
  const requests = podResources(pod.spec, 'requests', { overhead: true });
  const type = 'PodResizePending';
  const status = 'True';
  const amounts = sizes.map((name) => {
    const count = (amount: Quantity | undefined): number =>
      amount === undefined ? 0 : name === 'cpu' ? milliValueOf(amount) : wholeValueOf(amount);
    return { name, wanted: count(requests.get(name)), used: count(others.get(name)), capacity: count(tryQuantity(allocatable[name])) };
  });
  for (const { name, wanted, capacity } of amounts) {
    const message = `Node didn't have enough capacity: ${name}, requested: ${wanted}, capacity: ${capacity}`;
    if (wanted > capacity) return { type, status, reason: 'Infeasible', message };
  }
  for (const { name, wanted, used, capacity } of amounts) {
    const message = `Node didn't have enough resource: ${name}, requested: ${wanted}, used: ${used}, capacity: ${capacity}`;
    if (used + wanted > capacity) return { type, status, reason: 'Deferred', message };
  }
  return undefined;
}

/** Ephemeral containers have no resources of their own. */
const resizable = ({ spec }: Pod): readonly Container[] => [...(spec.initContainers ?? []), ...spec.containers];

/** The node's gift of an earlier time, as the status of the pod has it; without one, the spec's. */
function recordedOf(pod: Pod, { name, resources = {} }: Container): ResourceRequirements {
  const status = apiStatusOf(pod, name);
  const { allocatedResources } = (status ?? {}) as { readonly allocatedResources?: Readonly<Record<string, string>> };
  if (status?.resources === undefined || allocatedResources === undefined) return resources;
  return { ...resources, limits: status.resources.limits ?? {}, requests: allocatedResources };
}

function withResources(pod: Pod, granted: Resources): Pod {
  const changed = (containers: readonly Container[]): readonly Container[] =>
    containers.map((container) => {
      const resources = granted.get(container.name);
      return resources === undefined || deepEqual(resources, container.resources ?? {}) ? container : { ...container, resources };
    });
  const containers = changed(pod.spec.containers);
  const initContainers = changed(pod.spec.initContainers ?? []);
  const isSpec =
    containers.every((each, index) => each === pod.spec.containers[index]) &&
    initContainers.every((each, index) => each === pod.spec.initContainers?.[index]);
  if (isSpec) return pod;
  return { ...pod, spec: { ...pod.spec, containers, ...(pod.spec.initContainers === undefined ? {} : { initContainers }) } };
}

function memoryLimitOf({ limits = {} }: ResourceRequirements): number | undefined {
  const quantity = tryQuantity(limits.memory);
  return quantity === undefined ? undefined : wholeValueOf(quantity);
}

const amountIn = ({ limits = {}, requests = {} }: ResourceRequirements, size: (typeof sizes)[number]): string =>
  [limits[size], requests[size]].map((text) => String(tryQuantity(text)?.nanos ?? '')).join('/');

const isSame = (one: ResourceRequirements, other: ResourceRequirements): boolean =>
  sizes.every((size) => amountIn(one, size) === amountIn(other, size));

/** The container asks for a new start when one of these amounts changes. */
function restarts(container: Container, before: ResourceRequirements): boolean {
  const { resizePolicy = [] } = container as { readonly resizePolicy?: readonly { resourceName: string; restartPolicy: string }[] };
  return resizePolicy.some(
    ({ resourceName, restartPolicy }) =>
      restartPolicy === 'RestartContainer' &&
      sizes.some((size) => size === resourceName && amountIn(container.resources ?? {}, size) !== amountIn(before, size)),
  );
}
