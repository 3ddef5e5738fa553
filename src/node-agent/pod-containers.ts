import type { Pod } from '../api/core/v1/pod.ts';
import type { PodStopReason } from '../lifecycle/pod-run.machine.ts';
import type { AgentContext } from './agent-context.ts';
import { type ContainerMemory, type ContainerPlan, latestOf, type PlannedStop, planContainers } from './container-plan.ts';
import type { SandboxStatus } from './container-runtime.ts';
import { hashOfContainer, startContainer, watchContainer } from './container-start.ts';
import { readFallbackMessages } from './fallback-messages.ts';
import { recordPodEvent } from './pod-events.ts';
import { PodProbes } from './pod-probes.ts';
import { allContainers } from './pod-references.ts';
import type { PodResize } from './pod-resize.ts';
import type { PodSandboxes } from './pod-sandboxes.ts';
import { containersToStop, type StopRequest, Terminations } from './pod-termination.ts';
import type { PodVolumes } from './pod-volumes.ts';
import type { ContainerProbes } from './probes.ts';

export interface PodOfContainers {
  readonly context: AgentContext;
  /** The pod's newest version, with the amounts that the node gave it. */
  readonly given: Pod;
  readonly isDeleted: boolean;
  /** Seconds that a container has to end in. */
  graceSeconds(reason: PodStopReason): number;
  readonly sandboxes: PodSandboxes;
  readonly volumes: PodVolumes;
  /** The amounts of CPU and memory of containers change. */
  readonly resize: Pick<PodResize, 'needsRestart'>;
  /** Waits for what the pod refers to. */
  configReady(): Promise<void>;
  wake(): void;
}

const noMessages: ReadonlyMap<string, string> = new Map();

/**
 * The containers of one pod: plans what each has to do, starts and ends them, and holds their probes while they run.
 */
export class PodContainers {
  readonly #pod: PodOfContainers;
  readonly #memories = new Map<string, ContainerMemory>();
  readonly #probes = new PodProbes();
  #terminations: Terminations | undefined;
  #plan: ContainerPlan | undefined;
  #fallbackMessages = noMessages;

  constructor(pod: PodOfContainers) {
    this.#pod = pod;
    this.#rememberAll();
  }

  get memories(): ReadonlyMap<string, ContainerMemory> {
    return this.#memories;
  }

  /** The result of the newest `replan`. */
  get plan(): ContainerPlan | undefined {
    return this.#plan;
  }

  /** Ends of output in place of termination messages, by container id. */
  get fallbackMessages(): ReadonlyMap<string, string> {
    return this.#fallbackMessages;
  }

  /** Compares with the newest look at the sandboxes: probes begin for what runs and end for what does not. */
  async look(): Promise<void> {
    const { context, sandboxes, given } = this.#pod;
    const { newest } = sandboxes;
    if (newest === undefined) return;
    this.#watchFound(newest);
    if (context.runtime.runsPrograms)
      this.#fallbackMessages = await readFallbackMessages(context, { pod: given, sandbox: newest, known: this.#fallbackMessages });
  }

  /** @param deleting  nothing starts any more */
  replan(deleting: boolean): ContainerPlan {
    const { context, sandboxes, resize, given: pod } = this.#pod;
    this.#rememberAll();
    const plan = planContainers({
      pod,
      sandbox: sandboxes.newest,
      memories: this.#memories,
      hashOf: (container) => (resize.needsRestart(pod, container.name) ? '' : hashOfContainer(container)),
      now: context.clock.now(),
      deleting,
      runsEphemeral: context.runtime.hasContainers,
      steps: context.steps,
    });
    this.#plan = plan;
    for (const container of plan.backedOff) {
      const { namespace, name, uid = '' } = pod.metadata;
      const message = `Back-off restarting failed container ${container.name} in pod ${name}_${namespace}(${uid})`;
      recordPodEvent(context, pod, { type: 'Warning', reason: 'BackOff', message, container });
    }
    return plan;
  }

  /** Does what the plan says. True when a start was tried. */
  async carryOut(): Promise<boolean> {
    const { context, sandboxes } = this.#pod;
    const sandbox = sandboxes.newest;
    if (this.#plan === undefined || sandbox === undefined) return false;
    const { starts, stops } = this.#plan;
    for (const each of stops) this.#stopPlanned(each);
    if (starts.length === 0) return false;
    if (context.runtime.runsPrograms) await this.#pod.configReady();
    let acted = false;
    for (const start of starts) {
      const memory = this.#memories.get(start.container.name);
      // Deletion may come while an earlier one starts.
      if (memory === undefined || this.#pod.isDeleted || context.signal.aborted) break;
      await startContainer({ ...this.#startOptions(sandbox, memory), start });
      acted = true;
    }
    return acted;
  }

  /** Begins to end the containers whose turn it is. */
  stop(reason: PodStopReason): void {
    const { given, sandboxes } = this.#pod;
    const graceMs = this.#pod.graceSeconds(reason) * 1_000;
    for (const status of containersToStop(given, sandboxes.running()))
      this.#begin({ status, why: `Stopping container ${status.name}`, graceMs, isDeleted: reason === 'Deleted' });
  }

  /** The pod has a new sandbox, in which init containers run again. */
  renew(attempt: number): void {
    for (const { name } of this.#pod.given.spec.initContainers ?? []) {
      const memory = this.#memories.get(name);
      if (memory !== undefined && attempt > 0) memory.state = 'Waiting';
    }
  }

  /** A failing liveness probe no longer ends a container. */
  stopKilling(): void {
    this.#probes.stopKilling();
  }

  endProbes(): void {
    this.#probes.endAll();
  }

  /** Starts that failed are tried at once; with a `reason`, those that failed for it. */
  retryAtOnce(reason?: string): void {
    for (const memory of this.#memories.values()) {
      const { failure } = memory;
      if (failure !== undefined && (reason ?? failure.reason) === failure.reason) memory.failure = { ...failure, delayMs: 0 };
    }
  }

  /** Ephemeral containers come while the pod runs. */
  #rememberAll(): void {
    for (const { name } of allContainers(this.#pod.given))
      if (!this.#memories.has(name))
        this.#memories.set(name, { state: undefined, backoff: undefined, failure: undefined, probed: undefined });
  }

  get #podIP(): string {
    return this.#pod.sandboxes.newest?.ip ?? '';
  }

  #startOptions(sandbox: SandboxStatus, memory: ContainerMemory) {
    const { context, given, volumes } = this.#pod;
    return {
      context,
      pod: given,
      sandbox,
      memory,
      volumes: () => volumes.prepare(this.#pod.given, this.#podIP),
      onStarted: (containerId: string, started: ContainerProbes | undefined) => {
        if (started !== undefined) this.#probes.add(containerId, started);
      },
      wake: () => this.#pod.wake(),
    };
  }

  /** Containers that ran before this agent did have no probes yet. */
  #watchFound(sandbox: SandboxStatus): void {
    for (const container of allContainers(this.#pod.given)) {
      const memory = this.#memories.get(container.name);
      const latest = latestOf(sandbox, container.name);
      if (memory === undefined || latest === undefined) continue;
      if (latest.state !== 'running') {
        this.#probes.end(latest.id);
        continue;
      }
      if (memory.probed?.containerId === latest.id) continue;
      const start = { container, attempt: latest.attempt, previous: undefined };
      watchContainer({ ...this.#startOptions(sandbox, memory), start }, latest);
    }
  }

  #begin(request: Pick<StopRequest, 'status' | 'graceMs' | 'why' | 'isDeleted'>): void {
    const { context, given } = this.#pod;
    this.#terminations ??= new Terminations({
      context,
      onBegin: (containerId) => this.#probes.stopKilling(containerId),
      onEnd: () => this.#pod.wake(),
    });
    this.#terminations.begin({ ...request, pod: given, podIP: this.#podIP });
  }

  #stopPlanned({ container, status, reason }: PlannedStop): void {
    const { given, resize } = this.#pod;
    const probe = reason === 'StartupProbeFailed' ? container.startupProbe : container.livenessProbe;
    const ofProbe = reason === 'SpecChanged' ? undefined : probe?.terminationGracePeriodSeconds;
    const why = {
      LivenessProbeFailed: `Container ${container.name} failed liveness probe, will be restarted`,
      StartupProbeFailed: `Container ${container.name} failed startup probe, will be restarted`,
      SpecChanged: resize.needsRestart(given, container.name)
        ? `Container ${container.name} resize requires restart`
        : `Container ${container.name} definition changed, will be restarted`,
      Deleted: `Stopping container ${container.name}`,
    }[reason];
    this.#begin({ status, why, graceMs: (ofProbe ?? this.#pod.graceSeconds('Finished')) * 1_000, isDeleted: false });
  }
}
