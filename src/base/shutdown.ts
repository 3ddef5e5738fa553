import { type Clock, within } from './clock.ts';
import type { Component } from './component.ts';
import type { Log } from './log.ts';

export interface StartOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Abandons the start. */
  readonly signal: AbortSignal;
  /** Longest time that one part may take to stop before the next one is stopped anyway. */
  readonly stopTimeoutMs?: number;
}

/**
 * Starts parts in order; each is ready before the next one starts. Gives the function that stops them in reverse order. It never rejects. A
 * part that fails to stop is logged, and must not keep the store behind it open.
 *
 * When a part does not start, those before it are stopped and its error is passed on.
 */
export async function startAll(components: readonly Component[], options: StartOptions): Promise<() => Promise<void>> {
  const started: Component[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= stopInReverse(started, options);
    return stopping;
  };
  for (const component of components) {
    try {
      options.signal.throwIfAborted();
      // Listed before it is started: a failed start may hold something already.
      started.push(component);
      await component.start({ signal: options.signal });
    } catch (err) {
      await stop();
      throw err;
    }
  }
  return stop;
}

async function stopInReverse(components: Component[], { clock, log, stopTimeoutMs = 30_000 }: StartOptions): Promise<void> {
  for (let component = components.pop(); component !== undefined; component = components.pop()) {
    const { name } = component;
    try {
      if ((await within(clock, stopTimeoutMs, component.stop())) === 'late')
        log.warn({ component: name, durationMs: stopTimeoutMs }, 'Part did not stop in time');
    } catch (err) {
      log.error({ component: name, err }, 'Could not stop part');
    }
  }
}
