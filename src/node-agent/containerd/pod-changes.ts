import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createLimit, joinCall } from '../../base/concurrency.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import type { Log } from '../../base/log.ts';
import {
  ContainerError,
  type ContainerId,
  type ContainerRuntime,
  type PodChanges,
  type PodSandboxConfig,
  type SandboxId,
} from '../container-runtime.ts';
import { placeOf, prepareMounts, removeLog, removePodFiles } from './container-files.ts';
import type { CriIdMapping } from './cri-client.ts';
import { annotations, containerConfig, criResources, labels, linuxOf, logPathOf, sandboxConfig, storedConfig } from './cri-config.ts';
import type { PodList, PodListOptions } from './pod-list.ts';
import type { QosCgroups } from './qos-cgroups.ts';
import { removeWithMounts } from './sub-path.ts';
import { createUserRanges } from './user-ranges.ts';

/** Fewer starts at once than would only wait for each other's kernel locks. */
const startsAtOnce = 2 * availableParallelism();

export interface PodChangesOptions extends PodListOptions {
  readonly pods: PodList;
  readonly cgroups: QosCgroups;
  /** As for `createUserRanges`. */
  readonly cluster: number;
  readonly seccompDirectory: string;
  readonly nodeName: string;
  readonly log: Log;
}

export function createPodChanges(options: PodChangesOptions): PodChanges & Required<Pick<ContainerRuntime, 'resize'>> {
  const { client, own, directory, pods, cgroups, cluster, seccompDirectory, nodeName, log } = options;
  const limitStarts = createLimit(startsAtOnce);
  /** Milli-CPUs that pods request since their resize; their sandboxes know the amount before it. */
  const resized = new Map<string, number>();
  const ranges = createUserRanges(client, cluster);
  // Calls under way, so that those at the same time are one.
  const makingSandboxes = new Map<string, Promise<SandboxId>>();
  const stoppingSandboxes = new Map<SandboxId, Promise<void>>();
  const removingSandboxes = new Map<SandboxId, Promise<void>>();
  const removingContainers = new Map<ContainerId, Promise<void>>();
  const starting = new Map<ContainerId, Promise<void>>();

  async function makeSandbox(config: PodSandboxConfig): Promise<SandboxId> {
    const before = (await client.listPodSandboxes({ ...own, [labels.podUid]: config.uid })).find(
      ({ metadata }) => metadata.attempt === config.attempt,
    );
    if (before?.state === 'SANDBOX_READY') return before.id;
    // Its name is taken until it is gone; an agent that ended in the middle leaves such a one.
    if (before !== undefined) await removeSandbox(before.id);
    const cgroupParent = await cgroups.prepare(config.uid, config.linux?.resources);
    const run = (ids?: CriIdMapping): Promise<SandboxId> =>
      client.runPodSandbox(sandboxConfig({ config, nodeName, cgroupParent, ids }), config.runtimeHandler ?? '');
    try {
      const id = await (config.linux?.ownUsers === true ? ranges.withRange(config.uid, run) : run());
      await shareCpu();
      return id;
    } catch (err) {
      // Nothing else remembers the group when the pod goes before it has a sandbox. One that is in use stays.
      await cgroups.remove(cgroupParent);
      throw err;
    }
  }

  /** containerd 1.7 takes the network of a sandbox away twice when two stops meet, and the second one fails in a plugin. */
  const stopSandbox = (id: SandboxId): Promise<void> =>
    joinCall(stoppingSandboxes, id, () => client.stopPodSandbox(id).catch(ignoreUnknown));

  async function removeSandbox(id: SandboxId): Promise<void> {
    const sandbox = (await client.listPodSandboxes(own)).find((each) => each.id === id);
    if (sandbox === undefined) return;
    const containers = (await client.listContainers({ ...own, [labels.podUid]: sandbox.metadata.uid })).filter(
      ({ podSandboxId }) => podSandboxId === id,
    );
    await stopSandbox(id);
    for (const container of containers) await removeContainer(container.id);
    await client.removePodSandbox(id).catch(ignoreUnknown);
    pods.forgetSandbox(id);
    const { uid } = sandbox.metadata;
    if ((await client.listPodSandboxes({ ...own, [labels.podUid]: uid })).length > 0) return;
    resized.delete(uid);
    await removePodFiles(directory, uid);
    await cgroups.remove(linuxOf(sandbox).cgroupParent);
    await shareCpu();
  }

  /** Pods of the class Burstable share what they request together. */
  async function shareCpu(): Promise<void> {
    const burstable = (await client.listPodSandboxes(own)).filter(({ annotations: notes }) => annotations.burstableCpu in notes);
    const requests = burstable.map(
      ({ metadata, annotations: notes }) => resized.get(metadata.uid) ?? Number(notes[annotations.burstableCpu]),
    );
    await cgroups.shareBurstable(requests.reduce((sum, milli) => sum + milli, 0));
  }

  async function removeContainer(id: ContainerId): Promise<void> {
    const container = (await client.listContainers(own)).find((each) => each.id === id);
    const path =
      pods.logOf(id) ?? (container === undefined ? undefined : (await client.containerStatus(id).catch(() => undefined))?.logPath);
    await client.removeContainer(id).catch(ignoreUnknown);
    pods.forgetContainer(id);
    if (path !== undefined && path !== '') await removeLog(path);
    const place = container === undefined ? undefined : placeOf(directory, container);
    if (place !== undefined) await removeWithMounts(place);
  }

  return {
    runPodSandbox: (config) => joinCall(makingSandboxes, `${config.uid}/${config.attempt}`, () => limitStarts(() => makeSandbox(config))),

    stopPodSandbox: stopSandbox,

    removePodSandbox: (id) => joinCall(removingSandboxes, id, () => removeSandbox(id)),

    async createContainer(sandboxId, config) {
      const sandbox = await pods.sandboxOf(sandboxId);
      if (sandbox.state !== 'SANDBOX_READY') throw new Error(`sandbox ${sandboxId} is not ready`);
      const name = `${config.name}-${config.attempt}-${randomUUID()}`;
      const place = join(directory, sandbox.metadata.uid, name);
      try {
        const mounts = await prepareMounts({ sandbox, config, place, addressOf: () => pods.addressOf(sandbox, true) });
        const id = await client.createContainer(
          sandboxId,
          containerConfig({ config, sandbox, mounts, place: name, seccompDirectory }),
          storedConfig(sandbox),
        );
        pods.noteLog(id, join(sandbox.annotations[annotations.logDirectory] ?? '', logPathOf(config)));
        return id;
      } catch (err) {
        await removeWithMounts(place).catch((cause: unknown) =>
          log.warn({ err: cause, place: name }, 'Could not remove what was made for a container'),
        );
        if (err instanceof ContainerError) throw err;
        throw new ContainerError('CreateContainerError', messageOf(err), { cause: err });
      }
    },

    async startContainer(id) {
      const start = limitStarts(() => client.startContainer(id));
      const settled = start.catch(() => undefined);
      starting.set(id, settled);
      try {
        await start;
      } catch (err) {
        throw new ContainerError('RunContainerError', messageOf(err), { cause: err });
      } finally {
        if (starting.get(id) === settled) starting.delete(id);
      }
    },

    async stopContainer(id, gracePeriodMs) {
      await starting.get(id);
      // The runtime takes an unknown id for one that is stopped.
      await client.containerStatus(id);
      await client.stopContainer(id, Math.ceil(gracePeriodMs / 1_000));
    },

    async resize(sandboxId, resources, containers) {
      const { metadata } = await pods.sandboxOf(sandboxId);
      await cgroups.resize(metadata.uid, resources, async () => {
        for (const { id, limits } of containers) {
          const amounts = criResources(limits);
          await client.updateContainer(id, { ...amounts, memorySwapLimitInBytes: amounts.memoryLimitInBytes });
        }
      });
      resized.set(metadata.uid, resources.cpuRequestMilli);
      await shareCpu();
    },

    removeContainer: (id) => joinCall(removingContainers, id, () => removeContainer(id)),
  };
}

const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

/** Both an end that was asked for twice and a container that somebody else removed are what the caller wants. */
function ignoreUnknown(err: unknown): void {
  if (!(err instanceof GrpcError) || err.code !== grpcCodes.notFound) throw err;
}
