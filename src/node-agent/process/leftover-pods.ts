import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, within } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { isRunning } from '../../base/process-identity.ts';
import type { ContainerRuntime, SandboxStatus } from '../container-runtime.ts';
import { readIdentity, readRecords, Unreadable } from './container-state.ts';
import type { ProcessHost } from './process-host.ts';
import { openProcessRuntime } from './process-runtime.ts';
import { endBelow } from './stray-processes.ts';

export interface LeftoverPodsOptions {
  /** Holds a directory for each node, with the runtime's in it. */
  readonly directory: string;
  readonly host: ProcessHost;
  /** Removes what the pods leave behind as well: their files, logs and control groups. */
  readonly forget: boolean;
  /** Longest time a pod gets to end in. */
  readonly maxGraceMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** `namespace/name` of each. */
export interface LeftoverPods {
  readonly stopped: readonly string[];
  /** Something of them still runs. */
  readonly left: readonly string[];
}

/** Grace of a pod that an older version wrote down; the API's default. */
const defaultGraceMs = 30_000;
/** A process that is killed and still there after that waits for a device. */
const afterKillMs = 5_000;

/** The directory of a node's process runtime, below that of the pods. */
export const runtimeDirectory = (pods: string, nodeName: string): string => join(pods, nodeName, 'runtime');

/** Ends the pods that outlived their agents, each within its grace period. Only when no agent runs on `directory`. */
export async function stopLeftoverPods(options: LeftoverPodsOptions): Promise<LeftoverPods> {
  const { directory, host, clock, log } = options;
  const results: LeftoverPods[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const runtime = await openProcessRuntime({
      host,
      directory: runtimeDirectory(directory, entry.name),
      // No pod is started here, so no address is taken.
      podCidr: '127.0.0.0/24',
      version: '',
      clock,
      log,
    });
    try {
      const result = await stopPods(runtime, options);
      results.push(result);
      if (options.forget && result.left.length === 0) for (const { id } of await runtime.list()) await runtime.removePodSandbox(id);
    } finally {
      await runtime.close();
    }
  }
  // Without a record, or with records that are damaged beyond a name.
  const none = await endBelow(directory, clock);
  const left = results.flatMap((result) => result.left);
  return {
    stopped: results.flatMap(({ stopped }) => stopped),
    left: none || left.length > 0 ? left : [`processes of containers below ${directory}`],
  };
}

/** `namespace/name` of the pods that have a process. It reads their records alone, and takes nothing over. */
export async function runningPods(directory: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for (const { record, containers } of await readRecords(runtimeDirectory(directory, entry.name))) {
      if (record instanceof Unreadable) continue;
      const running = await Promise.all(
        containers.map(async (container) => {
          if (container.record instanceof Unreadable) return false;
          const identity = await readIdentity(container.directory, 'pid');
          if (identity === undefined || identity instanceof Unreadable) return false;
          return isRunning({ ...identity, bootId: container.record.bootId });
        }),
      );
      if (running.includes(true)) names.push(`${record.config.namespace}/${record.config.name}`);
    }
  }
  return names;
}

async function stopPods(runtime: ContainerRuntime, options: LeftoverPodsOptions): Promise<LeftoverPods> {
  const isRunning = ({ containers }: SandboxStatus): boolean => containers.some(({ state }) => state === 'running');
  const running = (await runtime.list()).filter(isRunning);
  await Promise.all(running.map((sandbox) => stopPod(runtime, sandbox, options)));
  const still = new Set((await runtime.list()).filter(isRunning).map(({ id }) => id));
  const named = (sandboxes: readonly SandboxStatus[]): readonly string[] => sandboxes.map(({ namespace, name }) => `${namespace}/${name}`);
  return { stopped: named(running.filter(({ id }) => !still.has(id))), left: named(running.filter(({ id }) => still.has(id))) };
}

async function stopPod(
  runtime: ContainerRuntime,
  { containers, gracePeriodMs = defaultGraceMs }: SandboxStatus,
  { maxGraceMs, clock }: LeftoverPodsOptions,
): Promise<void> {
  const graceMs = Math.min(gracePeriodMs, maxGraceMs);
  const running = containers.filter(({ state }) => state === 'running');
  await within(clock, graceMs + afterKillMs, Promise.all(running.map(({ id }) => runtime.stopContainer(id, graceMs))));
}
