import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { serviceAccountDirectory } from '../../api/well-known.ts';
import { joinCall } from '../../base/concurrency.ts';
import { type ContainerConfig, ContainerError, type PodChanges, type PodSandboxConfig, type SandboxId } from '../container-runtime.ts';
import type { ContainerEnds } from './container-ends.ts';
import type { ContainerLauncher } from './container-launch.ts';
import { type ContainerRecord, type SandboxRecord, sandboxDirectory, writeRecord } from './container-state.ts';
import type { Container } from './known-container.ts';
import { type KnownPods, logOf } from './known-pods.ts';
import { describeIsolation, type ProcessHost } from './process-host.ts';

export interface PodChangesOptions {
  readonly pods: KnownPods;
  readonly ends: ContainerEnds;
  readonly launcher: ContainerLauncher;
}

export function createPodChanges({ pods, ends, launcher }: PodChangesOptions): PodChanges {
  const { host, directory, clock, limits, pool, sandboxes, containers, sandboxOf, containerOf, podOf } = pods;
  /** Calls under way, so that calls at the same time share one. */
  const making = new Map<SandboxId, Promise<SandboxId>>();
  const stopping = new Map<SandboxId, Promise<void>>();
  const removing = new Map<SandboxId, Promise<void>>();

  async function writeContainer(container: Container): Promise<void> {
    const { record } = container;
    await mkdir(dirname(record.logPath), { recursive: true, mode: 0o750 });
    await mkdir(container.directory, { recursive: true, mode: 0o700 });
    const terminationLog = join(container.directory, 'termination-log');
    await writeFileWithMode(terminationLog, '', 0o600);
    const hostId = pods.hostIdOf(podOf(container).uid);
    if (hostId !== undefined) await chown(terminationLog, hostId, hostId);
    await writeRecord(container.directory, 'container.json', record);
  }

  async function makeSandbox(id: SandboxId, config: PodSandboxConfig): Promise<SandboxId> {
    const existing = sandboxes.get(id);
    if (existing?.record.ready) return id;
    const ip = config.hostNetwork ? pool.nodeAddress : pool.take();
    if (ip === undefined) throw new Error(`no address is free in ${pods.podCidr}`);
    const record: SandboxRecord = { id, config, ip, createdAt: clock.now(), ready: true, bootId: host.bootId };
    const path = sandboxDirectory(directory, id);
    await mkdir(path, { recursive: true, mode: 0o700 });
    await writeFileWithMode(join(path, 'hosts'), hostsFile(config, ip), 0o644);
    await writeFileWithMode(join(path, 'hostname'), `${config.hostname}\n`, 0o644);
    await mkdir(config.logDirectory, { recursive: true, mode: 0o750 });
    await writeRecord(path, 'sandbox.json', record);
    sandboxes.set(id, { record, containers: existing?.containers ?? new Map() });
    return id;
  }

  const stopPodSandbox = (id: SandboxId): Promise<void> => joinCall(stopping, id, () => stopSandbox(id));

  async function stopSandbox(id: SandboxId): Promise<void> {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    await Promise.all([...sandbox.containers.values()].map((container) => ends.stop(container, 0)));
    if (!sandbox.record.ready) return;
    sandbox.record = { ...sandbox.record, ready: false };
    await writeRecord(sandboxDirectory(directory, id), 'sandbox.json', sandbox.record);
    if (!sandbox.record.config.hostNetwork) pool.release(sandbox.record.ip);
  }

  async function removeSandbox(id: SandboxId): Promise<void> {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    await stopPodSandbox(id);
    for (const container of sandbox.containers.values()) {
      await removeContainerFiles(container);
      containers.delete(container.record.id);
    }
    await limits.remove(id);
    await rm(sandboxDirectory(directory, id), { recursive: true, force: true });
    sandboxes.delete(id);
    await removeIfEmpty(sandbox.record.config.logDirectory);
  }

  async function removeContainerFiles(container: Container): Promise<void> {
    await container.logTimes?.close();
    await limits.remove(container.record.sandbox, container.record.id);
    await rm(container.directory, { recursive: true, force: true });
    const { path, timesPath } = logOf(container);
    for (const file of [path, timesPath]) for (const suffix of ['', '.1']) await rm(`${file}${suffix}`, { force: true });
    await removeIfEmpty(dirname(path));
  }

  return {
    runPodSandbox(config) {
      const id = `${config.uid}-${config.attempt}`;
      return joinCall(making, id, () => makeSandbox(id, config));
    },

    stopPodSandbox,

    removePodSandbox: (id) => joinCall(removing, id, () => removeSandbox(id)),

    async createContainer(sandboxId, config) {
      const sandbox = sandboxOf(sandboxId);
      if (!sandbox.record.ready) throw new Error(`sandbox ${sandboxId} is not ready`);
      refuseUnfit(host, config);
      const id = createHash('sha256').update(`${sandboxId}/${config.name}/${config.attempt}`).digest('hex');
      const existing = sandbox.containers.get(id);
      if (existing !== undefined)
        throw new ContainerError('CreateContainerError', `container name ${config.name} with attempt ${config.attempt} is in use`);
      const logPath = join(sandbox.record.config.logDirectory, config.name, `${config.attempt}.log`);
      const record: ContainerRecord = { id, sandbox: sandboxId, config, createdAt: clock.now(), logPath, bootId: host.bootId };
      const container = pods.newContainer(record);
      // Before anything is awaited: the name is taken.
      sandbox.containers.set(id, container);
      containers.set(id, container);
      try {
        await writeContainer(container);
      } catch (err) {
        sandbox.containers.delete(id);
        containers.delete(id);
        throw err;
      }
      return id;
    },

    async startContainer(id) {
      const container = containerOf(id);
      if (container.identity !== undefined || container.launching !== undefined)
        throw new ContainerError('RunContainerError', `container ${id} was started already`);
      const launched = host.limitStarts(() => launcher.launch(container));
      container.launching = launched
        .catch(() => undefined)
        .finally(() => {
          container.launching = undefined;
        });
      try {
        await launched;
      } catch (err) {
        if (err instanceof ContainerError) throw err;
        throw new ContainerError('RunContainerError', err instanceof Error ? err.message : String(err), { cause: err });
      }
    },

    async stopContainer(id, gracePeriodMs) {
      await ends.stop(containerOf(id), gracePeriodMs);
    },

    async removeContainer(id) {
      const container = containers.get(id);
      if (container === undefined) return;
      await ends.stop(container, 0);
      await removeContainerFiles(container);
      sandboxOf(container.record.sandbox).containers.delete(id);
      containers.delete(id);
    },
  };
}

/** @throws ContainerError when this host cannot run the container as it is configured */
function refuseUnfit(host: ProcessHost, config: ContainerConfig): void {
  const { isolation } = host;
  const { reason: mode, message } = describeIsolation(host);
  if (mode === 'PodsRefused') throw new ContainerError('CreateContainerError', message);
  if (isolation.mode === 'plain') {
    const own = process.getuid?.() ?? 0;
    const { identity = { uid: own }, readOnlyRoot = false } = config;
    const what = identity.uid !== own ? `user ${identity.uid} (programs run as user ${own} of the machine)` : 'a read-only root';
    if (identity.uid !== own || readOnlyRoot) {
      throw new ContainerError('CreateContainerConfigError', `plain processes cannot have ${what}`);
    }
  }
  // Every pod is offered access to the API, and most do not need it: what cannot be mounted is left out. Other volumes were asked for.
  if (isolation.mode === 'plain' && config.mounts.some(({ containerPath }) => containerPath !== serviceAccountDirectory)) {
    throw new ContainerError('CreateContainerConfigError', `volumeMounts need a mount namespace for the container, and ${isolation.why}`);
  }
  if (config.command.length + config.args.length === 0) {
    throw new ContainerError(
      'CreateContainerError',
      `image ${config.image} has no program of its own: spec.containers[].command is needed`,
    );
  }
}

function hostsFile({ hostname, hostAliases }: PodSandboxConfig, ip: string): string {
  const aliases = hostAliases.map((alias) => `${alias.ip}\t${alias.hostnames.join('\t')}\n`).join('');
  return `# Written by the node agent.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${ip}\t${hostname}\n${aliases}`;
}

/** The umask is not asked: programs of another user read or write these. */
async function writeFileWithMode(path: string, text: string, mode: number): Promise<void> {
  await writeFile(path, text);
  await chmod(path, mode);
}

async function removeIfEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw err;
  }
}
