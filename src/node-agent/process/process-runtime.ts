import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { isHostImage } from '../../base/contracts/host-image.ts';
import { isSameProcess } from '../../base/process-identity.ts';
import { type ContainerRuntime, type ContainerStats, ImageError, UnsupportedError } from '../container-runtime.ts';
import { adoptPods } from './adoption.ts';
import { createContainerEnds } from './container-ends.ts';
import { createContainerLauncher } from './container-launch.ts';
import { ensureSandboxes } from './container-state.ts';
import { execInContainer } from './exec.ts';
import { startExecSession } from './exec-session.ts';
import { type Container, sandboxStatusOf } from './known-container.ts';
import { createKnownPods, isRunning, type KnownPods, type KnownPodsOptions, logOf } from './known-pods.ts';
import { createPodChanges } from './pod-changes.ts';
import { allProcesses, descendantsOf, listenersOf, pageSizeBytes, ticksPerSecond } from './proc.ts';
import { describeIsolation } from './process-host.ts';
import type { ResourceLimits } from './resource-limits.ts';
import { connectTo, openPipe } from './sockets.ts';
import { sendSignal } from './stray-processes.ts';

export interface ProcessRuntimeOptions extends KnownPodsOptions {
  readonly version: string;
}

/**
 * Runs containers as processes of this machine. Images are names only (`host/ANYTHING`): programs are those of the host.
 *
 * Everything needed to find containers again is on disk before they start. They have no tie to this process: when it dies they run
 * on, and the next `openProcessRuntime` on the same directory adopts them.
 */
export async function openProcessRuntime({ version, ...options }: ProcessRuntimeOptions): Promise<ContainerRuntime> {
  const pods = createKnownPods(options);
  const { host, directory, limits, sandboxes, containers, sandboxOf, containerOf, podOf } = pods;
  const listeners = new Set<(podUid: string) => void>();
  const ends = createContainerEnds(pods, (podUid) => {
    for (const listener of listeners) listener(podUid);
  });
  const launcher = createContainerLauncher(pods, ends);

  await ensureSandboxes(directory);
  await adoptPods({ pods, ends });

  return {
    version: `process://${version}`,
    runsPrograms: true,
    hasContainers: false,
    trouble: undefined,
    conditions: [limits.condition],
    ...createPodChanges({ pods, ends, launcher }),
    ...(limits.resize === undefined ? {} : { resize: resizeBy(limits.resize) }),
    findImage: async (image) => ({ reference: acceptImage(image), sizeBytes: 0 }),

    list({ podUid } = {}) {
      const found = [...sandboxes.values()].filter(({ record }) => podUid === undefined || record.config.uid === podUid);
      return Promise.resolve(found.map(sandboxStatusOf));
    },

    takeProblems: (podUid) => pods.takeProblems(podUid),

    async exec(id, command, execOptions) {
      return execInContainer(await launcher.execPlanOf(containerOf(id), command), execOptions);
    },

    async startExec(id, command, execOptions) {
      return startExecSession(await launcher.execPlanOf(containerOf(id), command), { ...execOptions, terminal: host.terminal });
    },

    openStdin: async (id) => openStdin(pods, containerOf(id)),

    async connect(id, port, abort) {
      const { ip } = sandboxOf(id).record;
      return connectTo(ip, port, abort);
    },

    logOf(id) {
      const container = containers.get(id);
      return container === undefined ? undefined : logOf(container);
    },

    async listeners(podUid) {
      const roots = [...containers.values()].filter((container) => isRunning(container) && podOf(container).uid === podUid);
      if (roots.length === 0) return [];
      const processes = await allProcesses();
      return listenersOf(roots.flatMap(({ identity }) => descendantsOf(identity?.pid ?? -1, processes).map(({ pid }) => pid)));
    },

    stats: () => statsOf(pods),
    isolation: describeIsolation(host),
    hostIdOf: (podUid) => pods.hostIdOf(podUid),

    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      ends.close();
      listeners.clear();
      for (const container of containers.values()) {
        await container.logTimes?.close();
        container.logTimes = undefined;
        // Lets this process end while its children live on.
        container.child?.removeAllListeners('exit');
        container.child?.unref();
      }
      await limits.removeEmpty();
    },
  };
}

/** Pods have no group of their own limits, but for the number of their processes. */
const resizeBy =
  (resize: NonNullable<ResourceLimits['resize']>): NonNullable<ContainerRuntime['resize']> =>
  async (sandbox, _resources, containers) => {
    for (const { id, limits } of containers) await resize(sandbox, id, limits);
  };

/** Images are names only, so a good one is there already. */
function acceptImage(image: string): string {
  if (isHostImage(image)) return image;
  if (!/^[\w][\w./:@-]*$/.test(image))
    throw new ImageError('InvalidImageName', `couldn't parse image name "${image}": invalid reference format`);
  const why = 'images are not pulled in this version: pods run programs of this machine, host/NAME the program NAME';
  throw new ImageError('ErrImagePull', why);
}

async function openStdin({ log }: KnownPods, container: Container): Promise<Writable> {
  const { identity } = container;
  const { name, stdin } = container.record.config;
  if (stdin === undefined) throw new UnsupportedError(`container ${name} has no open input: stdin is not set in its spec`);
  if (identity === undefined || !isRunning(container)) throw new Error(`container ${name} is not running`);
  const writer = await openPipe(join(container.directory, 'stdin'));
  if (stdin === 'once') {
    writer.once('close', () => {
      isSameProcess(identity.pid, identity.startTime)
        .then((same) => {
          if (same) sendSignal(identity.pid, 'SIGUSR1');
        })
        .catch((err: unknown) => log.warn({ err, container: container.record.id }, 'Could not end the input of a container'));
    });
  }
  return writer;
}

async function statsOf({ containers, podOf }: KnownPods): Promise<readonly ContainerStats[]> {
  const processes = await allProcesses();
  const found: ContainerStats[] = [];
  for (const container of containers.values()) {
    if (!isRunning(container) || container.identity === undefined) continue;
    const tree = descendantsOf(container.identity.pid, processes);
    const rss = tree.reduce((sum, { rssPages }) => sum + rssPages, 0) * pageSizeBytes;
    found.push({
      podUid: podOf(container).uid,
      container: container.record.config.name,
      cpuUsageSeconds: tree.reduce((sum, { cpuTicks }) => sum + cpuTicks, 0) / ticksPerSecond,
      // Without a cgroup of its own a container's working set is what its processes have resident.
      memoryWorkingSetBytes: rss,
      memoryRssBytes: rss,
    });
  }
  return found;
}
