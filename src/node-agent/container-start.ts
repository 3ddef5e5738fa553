import { createHash } from 'node:crypto';
import type { Container, Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { runHook } from './container-hooks.ts';
import { limitsOf } from './container-limits.ts';
import { type ContainerMemory, latestOf, type PlannedStart, type StartFailure } from './container-plan.ts';
import { ContainerError, type ContainerId, type ContainerStatus, ImageError, type Mount, type SandboxStatus } from './container-runtime.ts';
import { checkSupported, groupsOf, identityOf, securityOf } from './container-security.ts';
import { nextBackoff, nextFailureDelay } from './crash-backoff.ts';
import { resolveContainer } from './environment.ts';
import { ensureImage } from './image-pull.ts';
import { allContainers, ephemeralContainersOf } from './pod-references.ts';
import { type ContainerProbes, startProbes } from './probes.ts';
import type { PreparedVolumes } from './volumes.ts';

export interface StartOptions {
  readonly context: AgentContext;
  readonly pod: Pod;
  readonly sandbox: SandboxStatus;
  readonly start: PlannedStart;
  readonly memory: ContainerMemory;
  /** Directories of the pod's volumes, by name. */
  readonly volumes: () => Promise<PreparedVolumes>;
  /** Takes over the probes of the run. */
  readonly onStarted: (containerId: string, probes: ContainerProbes | undefined) => void;
  readonly wake: () => void;
}

const hookTimeoutMs = 60 * 60_000;
const defaultTerminationMessagePath = '/dev/termination-log';

/** `spec.containers{web}`, where Events about a container point to. */
export function fieldPathOf({ spec }: Pod, name: string): string {
  const list = (['containers', 'ephemeralContainers'] as const).find((each) => spec[each]?.some((container) => container.name === name));
  return `spec.${list ?? 'initContainers'}{${name}}`;
}

/** Containers are shared by the pods of a template. */
const hashes = new WeakMap<Container, string>();

/** Upstream's choice: a container is another one when its image changes, the only field of it that may. */
export function hashOfContainer(container: Container): string {
  let hash = hashes.get(container);
  if (hash === undefined) {
    const { name, image } = container;
    hash = createHash('sha256').update(JSON.stringify({ name, image })).digest('hex').slice(0, 16);
    hashes.set(container, hash);
  }
  return hash;
}

/**
 * Starts one run of a container: image, environment, mounts, the container itself, its postStart hook, its probes.
 * Failures are kept in the container's memory and become Events. It throws nothing that a person or a later pass can
 * repair.
 */
export async function startContainer(options: StartOptions): Promise<void> {
  const { context, pod, start, memory } = options;
  const { container } = start;
  const event = (type: 'Normal' | 'Warning', reason: string, message: string): void => {
    // Pretended containers would drown what real ones say.
    if (context.runtime.runsPrograms) context.recorder.record(pod, { type, reason, message, fieldPath: fieldPathOf(pod, container.name) });
  };
  try {
    const { id, hasBegun } = await createAndStart(options, event);
    const { previous } = start;
    memory.failure = undefined;
    if (previous?.finishedAt !== undefined) memory.backoff = nextBackoff(memory.backoff, previous.finishedAt, context.clock.now());
    if (hasBegun) await afterStart(options, id, event);
  } catch (err) {
    memory.failure = failureOf(err, memory.failure, container, context.clock.now());
    if (memory.failure === undefined) throw err;
    // The machine took the container for running; it never was.
    memory.state = 'Waiting';
    if (err instanceof ImageError) {
      if (err.reason === 'ErrImagePull') event('Warning', 'Failed', `Failed to pull image "${container.image}": ${err.message}`);
      else event('Warning', err.reason === 'InvalidImageName' ? 'InspectFailed' : err.reason, err.message);
      event('Warning', 'Failed', `Error: ${err.reason}`);
    } else if (memory.failure.reason !== 'ContainerCreating') {
      event('Warning', 'Failed', `Error: ${memory.failure.message}`);
    }
  }
}

type RecordEvent = (type: 'Normal' | 'Warning', reason: string, message: string) => void;

interface Run {
  readonly id: string;
  /** False when the run has ended before its program began: the restart policy decides what comes next, as after any exit. */
  readonly hasBegun: boolean;
}

async function createAndStart(options: StartOptions, event: RecordEvent): Promise<Run> {
  const { context, pod, sandbox, start } = options;
  const { runtime, metrics } = context;
  const { container, attempt, previous } = start;
  const image = container.image ?? '';
  // A kubelet mounts all volumes of a pod before it looks at a container.
  const volumes = runtime.runsPrograms ? await options.volumes() : undefined;
  const found = await ensureImage({ context, pod, container, event });

  const resolved = volumes === undefined ? { env: [], command: [], args: [], mounts: [] } : await resolveForProgram(options, volumes);
  for (const old of sandbox.containers) {
    // A create that was interrupted, or runs that nobody asks about any more.
    const stale = old.name === container.name && (old.state === 'created' || (old.state === 'exited' && old.attempt < attempt - 1));
    if (stale) await metrics.runtimeOperation('remove_container', () => runtime.removeContainer(old.id));
  }
  const containerId = await metrics.runtimeOperation('create_container', () =>
    runtime.createContainer(sandbox.id, {
      name: container.name,
      attempt,
      image,
      ...resolved,
      workingDir: container.workingDir === '' ? undefined : container.workingDir,
      configHash: hashOfContainer(container),
      identity: identityOf(pod, container, runtime.hasContainers ? found : undefined),
      readOnlyRoot: container.securityContext?.readOnlyRootFilesystem === true,
      security: securityOf(pod, container),
      supplementalGroups: groupsOf(pod),
      terminationMessagePath: container.terminationMessagePath ?? defaultTerminationMessagePath,
      limits: limitsOf(pod, container, context.allocatable.memory),
      tty: container.tty === true,
      seesProcessesOf: runtime.hasContainers ? targetOf(pod, container, sandbox) : undefined,
      stdin: container.stdin === true ? (container.stdinOnce === true ? 'once' : 'open') : undefined,
    }),
  );
  event('Normal', 'Created', 'Container created');
  try {
    await metrics.runtimeOperation('start_container', () => runtime.startContainer(containerId));
  } catch (err) {
    if (!(err instanceof ContainerError) || !(await hasEnded(options, containerId))) throw err;
    event('Warning', 'Failed', `Error: ${err.message}`);
    return { id: containerId, hasBegun: false };
  }
  event('Normal', 'Started', 'Container started');
  if (previous !== undefined && previous.attempt < attempt) {
    context.log.info(
      { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: container.name, restartCount: attempt },
      'Restarted container',
    );
  }
  return { id: containerId, hasBegun: true };
}

async function hasEnded({ context, sandbox }: StartOptions, containerId: string): Promise<boolean> {
  const known = await context.runtime.list({ podUid: sandbox.uid });
  return known.some(({ containers }) => containers.some(({ id, state }) => id === containerId && state === 'exited'));
}

/** @throws ContainerError when the container that this one is to look at is not there */
function targetOf(pod: Pod, { name }: Container, sandbox: SandboxStatus): ContainerId | undefined {
  const { targetContainerName = '' } = ephemeralContainersOf(pod).find((each) => each.name === name) ?? {};
  if (targetContainerName === '') return undefined;
  const target = latestOf(sandbox, targetContainerName);
  if (target === undefined)
    throw new ContainerError('CreateContainerConfigError', `unable to find target container "${targetContainerName}"`);
  return target.id;
}

interface Resolved {
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly mounts: readonly Mount[];
}

async function resolveForProgram({ context, pod, sandbox, start }: StartOptions, volumes: PreparedVolumes): Promise<Resolved> {
  const { container } = start;
  checkSupported(pod, container, context.runtime.hasContainers);
  const facts = { pod, podIP: sandbox.ip ?? '', hostIP: context.hostIP, allocatable: context.allocatable };
  const resolved = resolveContainer({ container, facts, config: context.config });
  const variables = new Map(resolved.env.map(({ name, value }) => [name, value]));
  return { ...resolved, mounts: await context.volumes.mountsOf(container, volumes, (name) => variables.get(name)) };
}

async function afterStart(options: StartOptions, containerId: string, event: RecordEvent): Promise<void> {
  const { context, pod, sandbox, start, memory } = options;
  const { container } = start;
  const hook = container.lifecycle?.postStart;
  if (hook !== undefined && context.runtime.runsPrograms) {
    memory.probed = { containerId, started: false, ready: false, unhealthy: undefined };
    try {
      await runHook({
        hook,
        container,
        containerId,
        podIP: sandbox.ip ?? '',
        timeoutMs: hookTimeoutMs,
        runtime: context.runtime,
        clock: context.clock,
      });
    } catch (err) {
      const why = err instanceof Error ? err.message : String(err);
      event('Warning', 'FailedPostStartHook', `PostStartHook failed: ${why}`);
      event('Normal', 'Killing', 'FailedPostStartHook');
      await context.runtime.stopContainer(containerId, (pod.spec.terminationGracePeriodSeconds ?? 30) * 1_000);
      options.wake();
      return;
    }
  }
  watchContainer(options, { id: containerId, startedAt: context.clock.now() });
}

/** Starts the probes of a running container; also of one that was found running. */
export function watchContainer(
  { context, pod, sandbox, start, memory, onStarted, wake }: Omit<StartOptions, 'volumes'>,
  status: Pick<ContainerStatus, 'id' | 'startedAt'>,
): void {
  const { container } = start;
  const containerId = status.id;
  const hasProbes = container.startupProbe !== undefined || container.readinessProbe !== undefined || container.livenessProbe !== undefined;
  if (!hasProbes || !context.runtime.runsPrograms) {
    memory.probed = { containerId, started: true, ready: true, unhealthy: undefined };
    onStarted(containerId, undefined);
    return;
  }
  const probes = startProbes({
    pod,
    container,
    containerId,
    podIP: sandbox.ip ?? '',
    startedAt: status.startedAt ?? context.clock.now(),
    runtime: context.runtime,
    clock: context.clock,
    onChange: () => {
      memory.probed = { containerId, ...probes.results };
      wake();
    },
    onFailure: (type, result, message) => {
      const name = `${type.charAt(0).toUpperCase()}${type.slice(1)}`;
      const how = result === 'failure' ? 'failed' : 'errored and resulted in unknown state';
      context.recorder.record(pod, {
        type: 'Warning',
        reason: 'Unhealthy',
        message: `${name} probe ${how}: ${message}`,
        fieldPath: fieldPathOf(pod, container.name),
      });
    },
    onResult: (type, result) => context.metrics.probed(context.nodeName, type, result, pod, container.name),
  });
  memory.probed = { containerId, ...probes.results };
  onStarted(containerId, probes);
}

/** Undefined when the error is not one of a start: then the whole pass failed. */
function failureOf(err: unknown, before: StartFailure | undefined, container: Container, now: number): StartFailure | undefined {
  const delayMs = nextFailureDelay(before?.delayMs);
  if (err instanceof ImageError) {
    const later =
      err.reason === 'ErrImagePull'
        ? { reason: 'ImagePullBackOff', message: `Back-off pulling image "${container.image}": ErrImagePull: ${err.message}` }
        : undefined;
    return { reason: err.reason, message: err.message, later, failedAt: now, delayMs };
  }
  if (err instanceof ContainerError) return { reason: err.reason, message: err.message, later: undefined, failedAt: now, delayMs };
  return undefined;
}

export const containerNamed = (pod: Pod, name: string): Container | undefined =>
  allContainers(pod).find((container) => container.name === name);
