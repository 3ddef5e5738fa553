import { rename, stat } from 'node:fs/promises';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { ContainerId } from '../container-runtime.ts';
import type { CriClient } from './cri-client.ts';
import { labels } from './cri-config.ts';

const eventRetryMs = 1_000;
const relistMs = 1_000;
/** As the kubelet's containerLogMaxSize. */
const maxLogBytes = 10 * 1024 * 1024;
const logLookMs = 10_000;

export interface RuntimeWatchOptions {
  readonly client: CriClient;
  /** The labels of this node's pods. */
  readonly own: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface ChangesOptions extends RuntimeWatchOptions {
  readonly notify: (podUid: string) => void;
}

export interface StatesOptions extends ChangesOptions {
  /** Called for each answer. */
  readonly onAnswer: () => void;
}

/** Follows the runtime's events. They only make reactions faster: a runtime loses some when their reader changes. */
export async function followEvents({ client, clock, log, signal, notify }: ChangesOptions): Promise<void> {
  let isFailing = false;
  for (;;) {
    try {
      for await (const event of client.containerEvents(signal)) {
        isFailing = false;
        const uid = event.podSandboxStatus?.metadata?.uid;
        if (uid !== undefined && uid !== '') notify(uid);
      }
    } catch (err) {
      if (signal.aborted) return;
      if (!isFailing) log.warn({ err }, 'Lost the events of the container runtime');
      isFailing = true;
    }
    await sleep(clock, eventRetryMs, signal);
  }
}

/** Lists states once a second, as the kubelet's pod lifecycle event generator, and reports the pods whose states have changed. */
export async function followStates({ client, own, clock, log, signal, notify, onAnswer }: StatesOptions): Promise<void> {
  let before = new Map<string, string>();
  let isFailing = false;
  for (;;) {
    await sleep(clock, relistMs, signal);
    try {
      const [sandboxes, containers] = await Promise.all([client.listPodSandboxes(own), client.listContainers(own)]);
      onAnswer();
      const states = new Map<string, string>();
      for (const { id, state, metadata } of sandboxes) states.set(id, `${metadata.uid} ${state}`);
      for (const { id, state, labels: of } of containers) states.set(id, `${of[labels.podUid]} ${state}`);
      const changed = [...states].filter(([id, state]) => before.get(id) !== state).map(([, state]) => state);
      const gone = [...before].filter(([id]) => !states.has(id)).map(([, state]) => state);
      before = states;
      isFailing = false;
      for (const uid of new Set([...changed, ...gone].map((state) => state.split(' ')[0] ?? ''))) notify(uid);
    } catch (err) {
      if (signal.aborted) return;
      if (!isFailing) log.warn({ err }, 'Could not list the pods of the container runtime');
      isFailing = true;
    }
  }
}

export interface LogRotationOptions extends RuntimeWatchOptions {
  /** The logs of containers that have not ended. */
  readonly openLogs: () => Iterable<readonly [id: ContainerId, path: string]>;
}

/** Moves a log that has grown too large aside, and lets the runtime begin another. */
export async function rotateLogs({ client, clock, log, signal, openLogs }: LogRotationOptions): Promise<void> {
  for (;;) {
    await sleep(clock, logLookMs, signal);
    for (const [id, path] of openLogs()) {
      try {
        await rotateLog(path, () => client.reopenContainerLog(id));
      } catch (err) {
        log.warn({ err, container: id }, 'Could not rotate the log of a container');
      }
    }
  }
}

/**
 * Moves a log aside when it is too long. The runtime writes to the moved file until it opens another one. When it cannot, the file comes
 * back, so that readers and the next look find it.
 */
async function rotateLog(path: string, reopen: () => Promise<unknown>): Promise<void> {
  const size = await sizeOf(path);
  // Its agent ended after the move, or a person removed it: without another file the log would grow where no look sees it.
  if (size === undefined) return void (await reopen());
  if (size <= maxLogBytes) return;
  const moved = `${path}.1`;
  await rename(path, moved);
  try {
    await reopen();
  } catch (err) {
    if ((await sizeOf(path)) === undefined) await rename(moved, path);
    throw err;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}
