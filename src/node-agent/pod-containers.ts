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

export interface PodContainersOptions {
  readonly context: AgentContext;
  /** The pod's newest version. */
  readonly pod: () => Pod;
  readonly isDeleted: () => boolean;
  /** Seconds that a container has to end in. */
  readonly graceSeconds: (reason: PodStopReason) => number;
  readonly sandboxes: PodSandboxes;
  readonly volumes: PodVolumes;
  /** The amounts of CPU and memory of containers change. */
  readonly resize: Pick<PodResize, 'needsRestart'>;
  /** Waits for what the pod refers to. */
  readonly configReady: () => Promise<void>;
  readonly wake: () => void;
}

const noMessages: ReadonlyMap<string, string> = new Map();

/**
 * The containers of one pod: plans what each has to do, starts and ends them, and holds their probes while they run.
 */
export class PodContainers {
  readonly #options: PodContainersOptions;
  readonly #memories = new Map<string, ContainerMemory>();
  readonly #probes = new PodProbes();
  #terminations: Terminations | undefined;
  #plan: ContainerPlan | undefined;
  #fallbackMessages = noMessages;

  constructor(options: PodContainersOptions) {
    this.#options = options;
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
    const { context, sandboxes, pod } = this.#options;
    const { newest } = sandboxes;
    if (newest === undefined) return;
    this.#watchFound(newest);
    if (context.runtime.runsPrograms)
      this.#fallbackMessages = await readFallbackMessages(context, { pod: pod(), sandbox: newest, known: this.#fallbackMessages });
  }

  /** @param deleting  nothing starts any more */
  replan(deleting: boolean): ContainerPlan {
    const { context, sandboxes, resize } = this.#options;
    const pod = this.#options.pod();
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
    const { context, sandboxes, configReady, isDeleted } = this.#options;
    const sandbox = sandboxes.newest;
    if (this.#plan === undefined || sandbox === undefined) return false;
    const { starts, stops } = this.#plan;
    for (const each of stops) this.#stopPlanned(each);
    if (starts.length === 0) return false;
    if (context.runtime.runsPrograms) await configReady();
    let acted = false;
    for (const start of starts) {
      const memory = this.#memories.get(start.container.name);
      // Deletion may come while an earlier one starts.
      if (memory === undefined || isDeleted() || context.signal.aborted) break;
      await startContainer({ ...this.#startOptions(sandbox, memory), start });
      acted = true;
    }
    return acted;
  }

  /** Begins to end the containers whose turn it is. */
  stop(reason: PodStopReason): void {
    const { pod, sandboxes, graceSeconds } = this.#options;
    const graceMs = graceSeconds(reason) * 1_000;
    for (const status of containersToStop(pod(), sandboxes.running()))
      this.#begin({ status, why: `Stopping container ${status.name}`, graceMs, isDeleted: reason === 'Deleted' });
  }

  /** The pod has a new sandbox, in which init containers run again. */
  renew(attempt: number): void {
    for (const { name } of this.#options.pod().spec.initContainers ?? []) {
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
    for (const { name } of allContainers(this.#options.pod()))
      if (!this.#memories.has(name))
        this.#memories.set(name, { state: undefined, backoff: undefined, failure: undefined, probed: undefined });
  }

  get #podIP(): string {
    return this.#options.sandboxes.newest?.ip ?? '';
  }

  #startOptions(sandbox: SandboxStatus, memory: ContainerMemory) {
    const { context, pod, volumes, wake } = this.#options;
    return {
      context,
      pod: pod(),
      sandbox,
      memory,
      volumes: () => volumes.prepare(pod(), this.#podIP),
      onStarted: (containerId: string, started: ContainerProbes | undefined) => {
        if (started !== undefined) this.#probes.add(containerId, started);
      },
      wake,
    };
  }

  /** Containers that ran before this agent did have no probes yet. */
  #watchFound(sandbox: SandboxStatus): void {
    for (const container of allContainers(this.#options.pod())) {
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
    const { context, pod, wake } = this.#options;
    this.#terminations ??= new Terminations({
      context,
      onBegin: (containerId) => this.#probes.stopKilling(containerId),
      onEnd: () => wake(),
    });
    this.#terminations.begin({ ...request, pod: pod(), podIP: this.#podIP });
  }

  #stopPlanned({ container, status, reason }: PlannedStop): void {
    const { pod, resize, graceSeconds } = this.#options;
    const probe = reason === 'StartupProbeFailed' ? container.startupProbe : container.livenessProbe;
    const ofProbe = reason === 'SpecChanged' ? undefined : probe?.terminationGracePeriodSeconds;
    const why = {
      LivenessProbeFailed: `Container ${container.name} failed liveness probe, will be restarted`,
      StartupProbeFailed: `Container ${container.name} failed startup probe, will be restarted`,
      SpecChanged: resize.needsRestart(pod(), container.name)
        ? `Container ${container.name} resize requires restart`
        : `Container ${container.name} definition changed, will be restarted`,
      Deleted: `Stopping container ${container.name}`,
    }[reason];
    this.#begin({ status, why, graceMs: (ofProbe ?? graceSeconds('Finished')) * 1_000, isDeleted: false });
  }
}
