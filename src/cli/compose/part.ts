import type { Component } from '../../base/component.ts';
import { type StartOptions, startAll } from '../../base/shutdown.ts';

/** The surroundings of every part: time, log, chance and the signal that abandons the start. */
export interface Surroundings extends StartOptions {
  readonly version: string;
  /** From 0 to below 1. */
  random(): number;
}

/** A part that runs. */
export interface Running {
  /** Stops what the part started, in reverse order. */
  stop(): Promise<void>;
}

/** The tools of a part that starts. `stop` undoes all that they did, the last first. */
export interface PartStart {
  onClose(close: () => Promise<void>): void;
  /** Starts components in order. */
  start(components: readonly Component[]): Promise<void>;
}

/** Makes a running part of what `build` starts. When `build` throws, what it had started is stopped, and its error is passed on. */
export async function startPart<T extends object>(
  { clock, log, signal }: StartOptions,
  build: (part: PartStart) => Promise<T>,
): Promise<T & Running> {
  const closers: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
  };
  const onClose = (close: () => Promise<void>): void => void closers.push(close);
  try {
    const started = await build({ onClose, start: async (components) => onClose(await startAll(components, { clock, log, signal })) });
    return { ...started, stop };
  } catch (err) {
    await stop();
    throw err;
  }
}
