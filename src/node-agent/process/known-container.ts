import type { ChildProcess } from 'node:child_process';
import type { ContainerId, ContainerStatus, SandboxStatus } from '../container-runtime.ts';
import type { ContainerRecord, ExitRecord, ProcessIdentity, SandboxRecord } from './container-state.ts';
import type { LogTimes } from './log-times.ts';

/** A sandbox that the runtime knows; `record` is on disk. */
export interface Sandbox {
  record: SandboxRecord;
  readonly containers: Map<ContainerId, Container>;
}

/** A container that the runtime knows; `record` is on disk. */
export interface Container {
  readonly record: ContainerRecord;
  readonly directory: string;
  identity: ProcessIdentity | undefined;
  /** The process that ends last; absent for containers that this process started, and for those of an older version. */
  waiter: ProcessIdentity | undefined;
  startedAt: number | undefined;
  exit: ExitRecord | undefined;
  terminationMessage: string | undefined;
  ranOutOfMemory: boolean;
  /** Present for containers that this process started; adopted ones are polled. */
  child: ChildProcess | undefined;
  /** Ends with the start that is under way, whether it succeeds or not. */
  launching: Promise<void> | undefined;
  logTimes: LogTimes | undefined;
  readonly exitListeners: (() => void)[];
}

/** As container runtimes say it of a container whose end they cannot know. */
export const unknownExitCode = 255;

export function sandboxStatusOf({ record, containers }: Sandbox): SandboxStatus {
  const { namespace, name, uid, attempt, gracePeriodMs } = record.config;
  return {
    id: record.id,
    namespace,
    name,
    uid,
    attempt,
    ready: record.ready,
    ip: record.ip,
    createdAt: record.createdAt,
    gracePeriodMs,
    containers: [...containers.values()].map(containerStatusOf),
  };
}

function containerStatusOf({ record, identity, startedAt, exit, terminationMessage, ranOutOfMemory }: Container): ContainerStatus {
  const { name, attempt, image, configHash } = record.config;
  const common = { id: record.id, name, attempt, image, imageRef: image, configHash, createdAt: record.createdAt };
  if (exit !== undefined) {
    const message = exit.message ?? terminationMessage;
    return {
      ...common,
      state: 'exited',
      startedAt: startedAt ?? record.createdAt,
      finishedAt: exit.finishedAt,
      exitCode: exit.exitCode,
      reason: ranOutOfMemory && exit.exitCode !== 0 ? 'OOMKilled' : reasonOf(exit),
      ...(message === undefined ? {} : { message }),
    };
  }
  if (identity === undefined) return { ...common, state: 'created' };
  return { ...common, state: 'running', startedAt: startedAt ?? record.createdAt };
}

function reasonOf({ exitCode, message }: ExitRecord): string {
  if (exitCode === 0) return 'Completed';
  if (message === undefined) return 'Error';
  return exitCode === unknownExitCode ? 'Unknown' : 'StartError';
}

/** The end of a container whose waiter could not write one. */
export const killed = { exitCode: 137, message: undefined };
export const unknownExit = (why: string): Omit<ExitRecord, 'finishedAt'> => ({
  exitCode: unknownExitCode,
  message: `how it ended is not known, its record is damaged: ${why}`,
});
