import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';

export interface KernelSyncOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Brings the kernel to what is wanted. */
  sync(): Promise<void>;
  /** Milliseconds until the next look, after a run that failed, too. */
  nextLookMs(): number;
  /** Logged with the error of a run; the same error again is not. */
  readonly failureText: string;
}

export interface KernelSync {
  /** Runs at once or after the run under way. One later run covers all changes that come meanwhile. */
  queue(): void;
  /** Waits for the run that is queued or under way. */
  settled(): Promise<void>;
  /** Begins no further run, and waits for the one under way. */
  stop(): Promise<void>;
}

/** Syncs the kernel once at a time: after each change, and every so often because others change the kernel, too. */
export function createKernelSync({ clock, log, sync, nextLookMs, failureText }: KernelSyncOptions): KernelSync {
  let cancelLook: (() => void) | undefined;
  let syncing: Promise<void> = Promise.resolve();
  let isQueued = false;
  let stopped = false;
  let lastFailure = '';

  function queue(): void {
    if (isQueued || stopped) return;
    isQueued = true;
    syncing = syncing.then(async () => {
      isQueued = false;
      if (stopped) return;
      cancelLook?.();
      try {
        await sync();
        lastFailure = '';
      } catch (err) {
        const text = err instanceof Error ? err.message : String(err);
        if (text !== lastFailure) log.warn({ err }, failureText);
        lastFailure = text;
      }
      cancelLook = clock.after(nextLookMs(), queue);
    });
  }

  return {
    queue,
    settled: () => syncing,
    async stop() {
      stopped = true;
      cancelLook?.();
      await syncing;
    },
  };
}
