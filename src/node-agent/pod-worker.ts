import { rm } from 'node:fs/promises';
import { type HostPort, hostPortsOf } from '../api/core/v1/host-ports.ts';
import { type Pod, type PodStatus, pods } from '../api/core/v1/pod.ts';
import { podResources, type ResourceAmounts, sumAmounts } from '../api/core/v1/pod-resources.ts';
import { within } from '../base/clock.ts';
import { eventsOf, type PodRunState, stateOf } from '../lifecycle/pod-run.facts.ts';
import { type PodStopReason, podRunMachine } from '../lifecycle/pod-run.machine.ts';
import { nameOf } from '../lifecycle/step.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import { advance, type Effects } from '../reconcile/effects.ts';
import type { AgentContext } from './agent-context.ts';
import type { ConfigNeeds } from './config-source.ts';
import type { ContainerPlan } from './container-plan.ts';
import type { SandboxStatus } from './container-runtime.ts';
import { warnOfOpenListeners } from './listen-check.ts';
import { PodContainers, type PodOfContainers } from './pod-containers.ts';
import { type PodEvent, recordPodEvent } from './pod-events.ts';
import { referencesOf } from './pod-references.ts';
import { createPodResize, type PodResize } from './pod-resize.ts';
import { PodSandboxes, podLogs } from './pod-sandboxes.ts';
import { podStatusOf, sameJson } from './pod-status.ts';
import { type PodOfStatus, PodStatusWriter } from './pod-status-writer.ts';
import { graceSecondsOf } from './pod-termination.ts';
import { PodVerdict } from './pod-verdict.ts';
import { PodVolumes } from './pod-volumes.ts';
import { StartFailures } from './start-failures.ts';

export interface PodWorkerOptions {
  readonly context: AgentContext;
  readonly pod: Pod;
  readonly owner: PodWorkerOwner;
}

export interface PodWorkerOwner {
  /** The workers of the other pods of the node. */
  others(worker: PodWorker): readonly PodWorker[];
  /** Asks for a pass over the pod, now or after a delay. */
  wake(worker: PodWorker, delayMs?: number): void;
  /** Nothing of the pod is left on this node. */
  forget(worker: PodWorker): void;
}

/** A pass that still finds something to do after this many rounds goes on in its next turn. */
const maxRounds = 12;
const detachTimeoutMs = 5_000;
/** A program has opened its port by then, or will not soon. */
const listenCheckDelayMs = 1_500;

/**
 * Does all of this node's work for one pod, one pass at a time. A pass has four steps: see the state of the runtime, let the machines
 * decide, act, write the status. Its memory only makes the next pass cheaper or its texts better; the truth is in the runtime and in the
 * API.
 */
export class PodWorker implements PodOfContainers, PodOfStatus {
  readonly uid: string;
  #pod: Pod;
  readonly context: AgentContext;
  readonly #owner: PodWorkerOwner;
  readonly #containers: PodContainers;
  readonly #verdict: PodVerdict;
  readonly resize: PodResize;
  readonly volumes: PodVolumes;
  readonly #statusWriter: PodStatusWriter;
  readonly #firstSeenAt: number;
  #state: PodRunState;
  readonly sandboxes: PodSandboxes;
  readonly #failures = new StartFailures();
  #references: ConfigNeeds | undefined;
  #acted = false;
  #removed = false;
  #gone = false;
  #detached = false;
  #passing: Promise<void> = Promise.resolve();
  #wasRunning: boolean;
  #admitted: boolean;

  constructor({ context, pod, owner }: PodWorkerOptions) {
    this.context = context;
    this.#pod = pod;
    this.#owner = owner;
    this.#admitted = pod.status?.startTime !== undefined;
    this.uid = pod.metadata.uid ?? '';
    this.#firstSeenAt = context.clock.monotonicMs();
    this.#state = stateOf(pod);
    this.#wasRunning = pod.status?.phase === 'Running';
    this.sandboxes = new PodSandboxes(context, this.uid);
    this.#verdict = new PodVerdict(context);
    this.volumes = new PodVolumes(context);
    this.resize = createPodResize({
      context,
      pod,
      usedByOthers: () => sumAmounts(owner.others(this).map(({ requests }) => requests)),
      record: (event) => this.#record(event),
    });
    this.#containers = new PodContainers(this);
    this.#statusWriter = new PodStatusWriter(this);
  }

  get key(): string {
    return `${this.#pod.metadata.namespace}/${this.#pod.metadata.name}`;
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** With the amounts of CPU and memory that the node gave it. */
  get given(): Pod {
    return this.resize.given(this.#pod);
  }

  /** CPU and memory that the node keeps for it. */
  get requests(): ResourceAmounts {
    return this.#isOver ? new Map() : podResources(this.given.spec, 'requests', { overhead: true });
  }

  /** Ports of the machine that the node keeps for it: from its admission until the scheduler gives them to another pod. */
  get hostPorts(): readonly HostPort[] {
    const hasNone = !this.#admitted || this.#isOver || this.#removed || /^(Succeeded|Failed)$/.test(this.#pod.status?.phase ?? '');
    return hasNone ? [] : hostPortsOf(this.#pod.spec);
  }

  get state(): PodRunState {
    return this.#state;
  }

  get sandbox(): SandboxStatus | undefined {
    return this.sandboxes.newest;
  }

  /**
   * Takes a newer version of the pod; an older one, which a cache may still deliver, is passed over. False when there is nothing in it
   * that this worker has not written itself.
   */
  update(pod: Pod): boolean {
    if (isOlder(pod, this.#pod)) return false;
    const before = this.#pod;
    this.#pod = pod;
    if (before.spec !== pod.spec) this.#references = undefined;
    const sameTexts = before.metadata.labels === pod.metadata.labels && before.metadata.annotations === pod.metadata.annotations;
    if (!sameTexts) {
      this.volumes.markStale();
      // Variables and paths may come from them. An image does not, so its back-off goes on.
      if (!sameJson(textsOf(before), textsOf(pod))) this.#containers.retryAtOnce('CreateContainerConfigError');
    }
    if (pod.metadata.deletionTimestamp !== undefined) this.#containers.stopKilling();
    const sameMetadata =
      sameTexts &&
      before.metadata.deletionTimestamp === pod.metadata.deletionTimestamp &&
      before.metadata.deletionGracePeriodSeconds === pod.metadata.deletionGracePeriodSeconds;
    return !(sameMetadata && before.spec === pod.spec && sameJson(pod.status, this.#statusWriter.writing ?? before.status));
  }

  /** The pod is no longer in the API. */
  remove(): void {
    this.#removed = true;
  }

  refersTo(reference: string): boolean {
    this.#references ??= referencesOf(this.#pod);
    return this.#references.objects.has(reference);
  }

  /** Something the pod is configured by has changed: volumes are written again, and what waited for it is tried at once. */
  configChanged(): void {
    this.volumes.markStale();
    this.#containers.retryAtOnce();
  }

  /** Ends the pod permanently, because of its usage of the node; within `graceSeconds`, where they are given. */
  evict(message: string, graceSeconds?: number): void {
    if (this.#verdict.isEvicted || this.isDeleted || this.#isOver) return;
    this.#verdict.evict(this.#pod, { message, graceSeconds });
    this.wake();
  }

  /** Ends the pod permanently, because its machine goes down. */
  endForShutdown(graceSeconds: number): void {
    if (this.isDeleted || this.#isOver) return;
    this.#verdict.endForShutdown(graceSeconds);
    this.wake();
  }

  /** Nothing of it runs, and the API knows how it ended. */
  get hasEnded(): boolean {
    const { phase = '', containerStatuses = [] } = this.#pod.status ?? {};
    // The verdict on a pod is written while its containers still end.
    const isKnown = /^(Succeeded|Failed)$/.test(phase) && containerStatuses.every(({ state }) => state?.running === undefined);
    return this.#gone || (isKnown && this.sandboxes.running().length === 0);
  }

  /** The directory of its logs. */
  get logs(): string {
    return podLogs(this.context.logDirectory, this.#pod);
  }

  /** Ends the pod's programs and nothing else: the pod stays in the API and is started again by the next agent. */
  async halt(maxGraceMs: number): Promise<void> {
    await this.#observe();
    this.#containers.endProbes();
    const graceMs = Math.min(maxGraceMs, this.graceSeconds('Finished') * 1_000);
    await Promise.all(this.sandboxes.running().map((status) => this.context.runtime.stopContainer(status.id, graceMs)));
  }

  /** Ends what this process does for the pod, the pass under way included; the pod itself runs on. */
  async detach(): Promise<void> {
    this.#detached = true;
    this.#containers.endProbes();
    // A hook may take its hour; what it holds up is then left as it is.
    await within(this.context.clock, detachTimeoutMs, this.#passing);
  }

  wake(delayMs?: number): void {
    this.#owner.wake(this, delayMs);
  }

  sync(): Promise<void> {
    const pass = this.#pass();
    // The caller gets the error; others only wait for the end of the pass.
    this.#passing = pass.catch(() => undefined);
    return pass;
  }

  async #pass(): Promise<void> {
    if (this.#gone || this.#detached) return;
    const startedAt = performance.now();
    const isNew = this.#pod.status?.startTime === undefined;
    if (isNew && !this.isDeleted) {
      this.#verdict.judge(this.#pod, () => this.#owner.others(this).flatMap(({ hostPorts }) => hostPorts));
      this.#admitted = !this.#verdict.isEvicted;
    }
    if (isNew && this.context.runtime.runsPrograms && !this.isDeleted && !this.#verdict.isEvicted) {
      // Not awaited: users see that the node has the pod while its sandbox is made.
      await this.#observe();
      this.#replan();
      void this.#statusWriter.flush();
    }
    const effects = this.#effects();
    for (let round = 0; round < maxRounds; round += 1) {
      this.#acted = false;
      await this.#observe();
      if (round === 0) await this.#changeAmounts();
      const plan = this.#replan();
      const snapshot = await advance({
        machine: podRunMachine,
        key: this.key,
        from: this.#state,
        events: eventsOf(this.#state, {
          deleted: this.isDeleted,
          sandboxReady: this.sandboxes.newest?.ready === true,
          initialized: plan.initialized,
          running: plan.running,
          started: plan.started,
          due: plan.starts.length > 0 || plan.stops.length > 0,
          outcome: plan.outcome,
          deadlineExceeded: this.#deadline() <= this.context.clock.now(),
          evicted: this.#verdict.isEvicted,
        }),
        effects,
        steps: this.context.steps,
      });
      const before = this.#state;
      this.#state = nameOf<typeof podRunMachine>(snapshot) as PodRunState;
      if (this.#gone || this.#detached) break;
      // A state that was only reached has had its events; one that ends the pod has more to come.
      const ends = this.#state === 'Terminating' || this.#isOver;
      if (!this.#acted && (before === this.#state || !ends)) break;
      if (round === maxRounds - 1) this.wake();
    }
    const operation = isNew ? 'create' : this.isDeleted ? 'terminate' : 'sync';
    this.context.metrics.podWorked(operation, performance.now() - startedAt);
    if (this.#gone || this.#detached) return;
    await this.#refreshVolumes();
    for (const event of this.#failures.newEvents(this.#pod, this.#containers.memories, this.context.clock.now())) this.#record(event);
    await this.#statusWriter.flush();
    this.#wakeWhenDue();
  }

  /** Made for each pass: a pod at rest keeps none of them. */
  #effects(): Effects<typeof podRunMachine> {
    return {
      runSandbox: () => this.#runSandbox(),
      syncContainers: () => this.#syncContainers(),
      stopContainers: ({ reason }) => this.#stopContainers(reason),
      stopSandbox: () => this.#stopSandbox(),
      release: () => this.#release(),
    };
  }

  async #changeAmounts(): Promise<void> {
    const { newest } = this.sandboxes;
    if (this.isDeleted || this.#isOver) return;
    this.resize.decide(this.#pod);
    if (newest?.ready === true) await this.resize.apply(this.#pod, newest);
  }

  get #isOver(): boolean {
    return this.#state === 'Succeeded' || this.#state === 'Failed';
  }

  get isDeleted(): boolean {
    return this.#removed || this.#pod.metadata.deletionTimestamp !== undefined;
  }

  async #observe(): Promise<void> {
    for (const problem of this.context.runtime.takeProblems(this.uid))
      this.#record({ type: 'Warning', reason: 'RecordDamaged', message: problem });
    await this.sandboxes.look();
    await this.#containers.look();
  }

  #replan(): ContainerPlan {
    return this.#containers.replan(this.isDeleted || this.#isOver);
  }

  /** Waits for what the pod refers to. */
  async configReady(): Promise<void> {
    this.#references ??= referencesOf(this.#pod);
    await this.context.config.ready(this.#references, this.context.signal);
  }

  async #runSandbox(): Promise<void> {
    const attempt = await this.sandboxes.run(this.given, this.graceSeconds('Finished') * 1_000);
    this.#acted = true;
    // Its predecessor's containers ended with it; init containers run once a sandbox.
    this.#containers.renew(attempt);
    await this.sandboxes.remove();
  }

  async #syncContainers(): Promise<void> {
    if (await this.#containers.carryOut()) this.#acted = true;
  }

  /** Containers first, then the sidecars, the one that was started last first. */
  #stopContainers(reason: PodStopReason): void {
    if (this.#verdict.pass(reason)) this.#acted = true;
    this.#containers.stop(reason);
  }

  graceSeconds(reason: PodStopReason): number {
    const { isEvicted, graceSeconds } = this.#verdict;
    if (graceSeconds !== undefined) return Math.min(graceSeconds, graceSecondsOf(this.#pod, reason === 'Evicted' ? 'Finished' : reason));
    return graceSecondsOf(this.#pod, isEvicted ? 'Evicted' : reason);
  }

  async #stopSandbox(): Promise<void> {
    this.#containers.endProbes();
    await this.sandboxes.stop();
    // As under the kubelet: the disk has room again, and another node may have the volumes. A pod stays until its drivers have let go.
    if (this.context.runtime.runsPrograms) await this.context.volumes.remove(this.uid);
    this.#acted = true;
  }

  /** The last status first: whoever waits for the pod's end wants to know how it ended. */
  async #release(): Promise<void> {
    const { client, runtime, metrics } = this.context;
    await this.#stopSandbox();
    if (!this.#removed) {
      await this.#observe();
      this.#replan();
      this.#state = 'Terminating';
      if (runtime.runsPrograms) await this.#statusWriter.flush();
      const { namespace, name } = this.#pod.metadata;
      try {
        await client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0, preconditions: { uid: this.uid } });
      } catch (err) {
        // Gone already, or another pod has the name now.
        if (!isNotFound(err) && !isConflict(err)) throw err;
      }
    }
    await this.sandboxes.remove();
    if (runtime.runsPrograms) {
      await rm(this.logs, { recursive: true, force: true });
      metrics.forgetPod(this.#pod);
    }
    this.#gone = true;
    this.#owner.forget(this);
  }

  /** Running programs see changes of ConfigMaps and Secrets; when one is gone they keep what they have. */
  async #refreshVolumes(): Promise<void> {
    if (this.isDeleted || this.#isOver) return;
    // This agent knows nothing about a pod of an earlier one: its data may be old, and its tokens end.
    const isAdopted = !this.volumes.arePrepared && this.#hasRunningPrograms;
    if (!isAdopted && (!this.volumes.areStale || !this.volumes.arePrepared)) return;
    if (isAdopted) {
      try {
        await this.configReady();
      } catch (err) {
        this.context.log.warn({ err, pod: this.key }, 'Could not update volumes');
        return;
      }
    }
    await this.volumes.refresh(this.#pod, this.sandboxes.newest?.ip ?? '');
  }

  get #hasRunningPrograms(): boolean {
    return this.context.runtime.runsPrograms && this.sandboxes.newest?.containers.some(({ state }) => state === 'running') === true;
  }

  /** Undefined when the pod is no longer this worker's to speak for. */
  wantedStatus(): { readonly pod: Pod; readonly status: PodStatus } | undefined {
    if (this.#removed || this.#gone || this.#detached) return undefined;
    const { clock, runtime, hostIP } = this.context;
    const pod = this.#pod;
    const status = podStatusOf({
      pod,
      state: this.#state,
      sandbox: this.sandboxes.newest,
      runsEphemeral: runtime.hasContainers,
      resize: this.resize,
      initialized: this.#containers.plan?.initialized ?? false,
      memories: this.#containers.memories,
      runtimeName: runtime.version.slice(0, runtime.version.indexOf(':')),
      hostIP,
      now: clock.now(),
      fallbackMessages: this.#containers.fallbackMessages,
      verdict: this.#verdict.final,
    });
    return { pod, status };
  }

  noteRunning(): void {
    if (this.#wasRunning || this.#pod.status?.phase !== 'Running') return;
    this.#wasRunning = true;
    this.context.metrics.podStarted(this.context.clock.monotonicMs() - this.#firstSeenAt);
    if (!this.context.runtime.runsPrograms) return;
    this.context.clock.after(listenCheckDelayMs, () => {
      if (!this.#gone) void warnOfOpenListeners(this.context, this.#pod, this.sandboxes.newest?.ip);
    });
  }

  #deadline(): number {
    const { activeDeadlineSeconds } = this.#pod.spec;
    const startTime = this.#pod.status?.startTime;
    if (activeDeadlineSeconds === undefined || startTime === undefined) return Number.POSITIVE_INFINITY;
    return Date.parse(startTime) + activeDeadlineSeconds * 1_000;
  }

  #wakeWhenDue(): void {
    if (this.#isOver) return;
    const now = this.context.clock.now();
    const { plan, memories } = this.#containers;
    const at = Math.min(
      plan?.requeueAt ?? Number.POSITIVE_INFINITY,
      this.#deadline(),
      this.#failures.nextAt(memories, now),
      this.resize.nextAt(),
    );
    if (at !== Number.POSITIVE_INFINITY) this.wake(Math.max(1, at - now));
  }

  #record(event: PodEvent): void {
    recordPodEvent(this.context, this.#pod, event);
  }
}

/** Versions are decimal numbers of one sequence, too long for a double. */
function isOlder(a: Pod, b: Pod): boolean {
  const [left, right] = [a.metadata.resourceVersion ?? '', b.metadata.resourceVersion ?? ''];
  return left.length === right.length ? left < right : left.length < right.length;
}

/** Metadata that the downward API shows and that may change. */
const textsOf = ({ metadata: { labels, annotations } }: Pod) => ({ labels, annotations });
