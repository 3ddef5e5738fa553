import type { Pod } from '../api/core/v1/pod.ts';
import type { PodStopReason } from '../lifecycle/pod-run.machine.ts';
import type { Mutable } from '../machinery/object.ts';
import type { AgentContext } from './agent-context.ts';
import { type ContainerMemory, type ContainerPlan, latestOf, type PlannedStop, planContainers } from './container-plan.ts';
import type { SandboxStatus } from './container-runtime.ts';
import { hashOfContainer, startContainer, watchContainer } from './container-start.ts';
import { readFallbackMessages } from './fallback-messages.ts';
import { recordPodEvent } from './pod-events.ts';
import { createPodProbes } from './pod-probes.ts';
import { allContainers } from './pod-references.ts';
import type { PodResize } from './pod-resize.ts';
import type { PodSandboxes } from './pod-sandboxes.ts';
import { containersToStop, createTerminations, type StopRequest } from './pod-termination.ts';
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

/** The containers of one pod: plans what each has to do, starts and ends them, and holds their probes while they run. */
export interface PodContainers {
  readonly memories: ReadonlyMap<string, ContainerMemory>;
  /** The result of the newest `replan`. */
  readonly plan: ContainerPlan | undefined;
  /** Ends of output in place of termination messages, by container id. */
  readonly fallbackMessages: ReadonlyMap<string, string>;
  /** Compares with the newest look at the sandboxes: probes begin for what runs and end for what does not. */
  look(): Promise<void>;
  /** @param deleting  nothing starts any more */
  replan(deleting: boolean): ContainerPlan;
  /** Does what the plan says. True when a start was tried. */
  carryOut(): Promise<boolean>;
  /** Begins to end the containers whose turn it is. */
  stop(reason: PodStopReason): void;
  /** The pod has a new sandbox, in which init containers run again. */
  renew(attempt: number): void;
  /** A failing liveness probe no longer ends a container. */
  stopKilling(): void;
  endProbes(): void;
  /** Starts that failed are tried at once. */
  retryAtOnce(): void;
}

export function createPodContainers(options: PodContainersOptions): PodContainers {
  const { context, sandboxes, volumes, graceSeconds } = options;
  const { runtime, clock, signal } = context;
  const podUid = options.pod().metadata.uid ?? '';
  const memories = new Map<string, ContainerMemory>();
  /** Ephemeral containers come while the pod runs. */
  function rememberAll(): void {
    for (const { name } of allContainers(options.pod()))
      if (!memories.has(name)) memories.set(name, { state: undefined, backoff: undefined, failure: undefined, probed: undefined });
  }
  rememberAll();
  const probes = createPodProbes();
  const terminations = createTerminations({
    context,
    onBegin: (containerId) => probes.stopKilling(containerId),
    onEnd: () => options.wake(),
  });

  const podIP = (): string => sandboxes.newest?.ip ?? '';

  function startOptions(sandbox: SandboxStatus, memory: ContainerMemory) {
    return {
      context,
      pod: options.pod(),
      sandbox,
      memory,
      volumes: () => volumes.prepare(options.pod(), podIP()),
      onStarted: (containerId: string, started: ContainerProbes | undefined) => {
        if (started !== undefined) probes.add(containerId, started);
      },
      wake: options.wake,
    };
  }

  /** Containers that ran before this agent did have no probes yet. */
  function watchFound(sandbox: SandboxStatus): void {
    for (const container of allContainers(options.pod())) {
      const memory = memories.get(container.name);
      const latest = latestOf(sandbox, container.name);
      if (memory === undefined || latest === undefined) continue;
      if (latest.state !== 'running') {
        probes.end(latest.id);
        continue;
      }
      if (memory.probed?.containerId === latest.id) continue;
      watchContainer({ ...startOptions(sandbox, memory), start: { container, attempt: latest.attempt, previous: undefined } }, latest);
    }
  }

  function begin(request: Pick<StopRequest, 'status' | 'graceMs' | 'why' | 'isDeleted'>): void {
    terminations.begin({ ...request, pod: options.pod(), podIP: podIP() });
  }

  function stopPlanned({ container, status, reason }: PlannedStop): void {
    const probe = reason === 'StartupProbeFailed' ? container.startupProbe : container.livenessProbe;
    const ofProbe = reason === 'SpecChanged' ? undefined : probe?.terminationGracePeriodSeconds;
    const why = {
      LivenessProbeFailed: `Container ${container.name} failed liveness probe, will be restarted`,
      StartupProbeFailed: `Container ${container.name} failed startup probe, will be restarted`,
      SpecChanged: options.resize.needsRestart(options.pod(), container.name)
        ? `Container ${container.name} resize requires restart`
        : `Container ${container.name} definition changed, will be restarted`,
      Deleted: `Stopping container ${container.name}`,
    }[reason];
    begin({ status, why, graceMs: (ofProbe ?? graceSeconds('Finished')) * 1_000, isDeleted: false });
  }

  const containers: Mutable<PodContainers> = {
    memories,
    plan: undefined,
    fallbackMessages: noMessages,

    async look() {
      const { newest } = sandboxes;
      if (newest === undefined) return;
      watchFound(newest);
      if (runtime.runsPrograms)
        containers.fallbackMessages = await readFallbackMessages(context, {
          pod: options.pod(),
          sandbox: newest,
          known: containers.fallbackMessages,
        });
    },

    replan(deleting) {
      const pod = options.pod();
      rememberAll();
      const plan = planContainers({
        pod,
        sandbox: sandboxes.newest,
        memories,
        hashOf: (container) => (options.resize.needsRestart(pod, container.name) ? '' : hashOfContainer(container)),
        now: clock.now(),
        deleting,
        runsEphemeral: runtime.hasContainers,
        steps: context.steps,
      });
      containers.plan = plan;
      for (const container of plan.backedOff) {
        const message = `Back-off restarting failed container ${container.name} in pod ${pod.metadata.name}_${pod.metadata.namespace}(${podUid})`;
        recordPodEvent(context, pod, { type: 'Warning', reason: 'BackOff', message, container });
      }
      return plan;
    },

    async carryOut() {
      const sandbox = sandboxes.newest;
      const { plan } = containers;
      if (plan === undefined || sandbox === undefined) return false;
      const { starts, stops } = plan;
      for (const each of stops) stopPlanned(each);
      if (starts.length === 0) return false;
      if (runtime.runsPrograms) await options.configReady();
      let acted = false;
      for (const start of starts) {
        const memory = memories.get(start.container.name);
        // Deletion may come while an earlier one starts.
        if (memory === undefined || options.isDeleted() || signal.aborted) break;
        await startContainer({ ...startOptions(sandbox, memory), start });
        acted = true;
      }
      return acted;
    },

    stop(reason) {
      const graceMs = graceSeconds(reason) * 1_000;
      for (const status of containersToStop(options.pod(), sandboxes.running()))
        begin({ status, why: `Stopping container ${status.name}`, graceMs, isDeleted: reason === 'Deleted' });
    },

    renew(attempt) {
      for (const { name } of options.pod().spec.initContainers ?? []) {
        const memory = memories.get(name);
        if (memory !== undefined && attempt > 0) memory.state = 'Waiting';
      }
    },

    stopKilling: () => probes.stopKilling(),
    endProbes: () => probes.endAll(),

    retryAtOnce() {
      for (const memory of memories.values()) {
        if (memory.failure !== undefined) memory.failure = { ...memory.failure, delayMs: 0 };
      }
    },
  };
  return containers;
}

const noMessages: ReadonlyMap<string, string> = new Map();
