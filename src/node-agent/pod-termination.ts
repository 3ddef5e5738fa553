import type { Container, Pod } from '../api/core/v1/pod.ts';
import type { PodStopReason } from '../lifecycle/pod-run.machine.ts';
import type { AgentContext } from './agent-context.ts';
import { runHook } from './container-hooks.ts';
import type { ContainerStatus } from './container-runtime.ts';
import { containerNamed } from './container-start.ts';
import { recordPodEvent } from './pod-events.ts';
import { isSidecar } from './pod-references.ts';

/** Least time that a container gets to end in when its preStop hook took all of the grace period. */
const minimumGraceMs = 2_000;
const defaultGraceSeconds = 30;
/** As upstream: a pod that is evicted for the disk it fills must not fill it for another half minute. */
const evictionGraceSeconds = 1;

export function graceSecondsOf({ metadata, spec }: Pod, reason: PodStopReason): number {
  if (reason === 'Evicted') return evictionGraceSeconds;
  const ofDeletion = reason === 'Deleted' ? metadata.deletionGracePeriodSeconds : undefined;
  return ofDeletion ?? spec.terminationGracePeriodSeconds ?? defaultGraceSeconds;
}

/** Containers that end next: those of the pod proper at once, then the sidecars, the one that was started last first. */
export function containersToStop({ spec }: Pod, running: readonly ContainerStatus[]): readonly ContainerStatus[] {
  const sidecars = (spec.initContainers ?? []).filter(isSidecar).map(({ name }) => name);
  const main = running.filter(({ name }) => !sidecars.includes(name));
  if (main.length > 0) return main;
  const last = sidecars.findLast((name) => running.some((status) => status.name === name));
  return running.filter(({ name }) => name === last);
}

export interface StopRequest {
  readonly pod: Pod;
  /** Address for a preStop hook; empty when there is none. */
  readonly podIP: string;
  readonly status: ContainerStatus;
  readonly graceMs: number;
  /** Text of the Event. */
  readonly why: string;
  /** Services stop sending to the pod first, which takes its time out of the grace period. */
  readonly isDeleted: boolean;
}

export interface TerminationsOptions {
  readonly context: AgentContext;
  readonly onBegin: (containerId: string) => void;
  /** Called when the container has ended, or could not be ended. */
  readonly onEnd: () => void;
}

/** The containers of one pod that are on their way to their end. */
export class Terminations {
  readonly #options: TerminationsOptions;
  /** With the time at which each is killed. */
  #underWay: Map<string, { deadline: number }> | undefined;

  constructor(options: TerminationsOptions) {
    this.#options = options;
  }

  /** Begins to end a container, or shortens the time it was given. Returns at once. */
  begin(request: StopRequest): void {
    const { context, onBegin, onEnd } = this.#options;
    const { pod, status, graceMs, why } = request;
    const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
    const fail = (err: unknown): void => context.log.error({ err, pod: key, container: status.name }, 'Could not stop container');
    const deadline = context.clock.monotonicMs() + graceMs;
    this.#underWay ??= new Map();
    const known = this.#underWay.get(status.id);
    if (known !== undefined) {
      if (known.deadline <= deadline) return;
      known.deadline = deadline;
      context.runtime.stopContainer(status.id, graceMs).catch(fail);
      return;
    }
    this.#underWay.set(status.id, { deadline });
    onBegin(status.id);
    const container = containerNamed(pod, status.name);
    recordPodEvent(context, pod, { type: 'Normal', reason: 'Killing', message: why, container });
    endContainer(context, request, container)
      .catch(fail)
      .finally(() => {
        this.#underWay?.delete(status.id);
        onEnd();
      });
  }
}

async function endContainer(context: AgentContext, request: StopRequest, container: Container | undefined): Promise<void> {
  const { clock, runtime, metrics } = context;
  const { pod, podIP, status, graceMs, isDeleted } = request;
  const begunAt = clock.monotonicMs();
  if (isDeleted && graceMs > 0 && runtime.runsPrograms) await context.endpoints?.untilUnused(pod.metadata.uid ?? '', graceMs);
  const hook = container?.lifecycle?.preStop;
  if (hook !== undefined && container !== undefined && graceMs > 0 && runtime.runsPrograms) {
    try {
      await runHook({ hook, container, containerId: status.id, podIP, timeoutMs: graceMs, runtime, clock });
    } catch (err) {
      const message = `PreStopHook failed: ${err instanceof Error ? err.message : String(err)}`;
      recordPodEvent(context, pod, { type: 'Warning', reason: 'FailedPreStopHook', message, container });
    }
  }
  const leftMs = graceMs - (clock.monotonicMs() - begunAt);
  await metrics.runtimeOperation('stop_container', () =>
    runtime.stopContainer(status.id, graceMs === 0 ? 0 : Math.max(leftMs, Math.min(minimumGraceMs, graceMs))),
  );
}
