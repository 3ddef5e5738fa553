import type { Clock } from '../../base/clock.ts';
import type { Overview } from '../../base/contracts/overview.ts';

/** Between two looks at the overview. A look goes over all apps and nodes, so where it takes long it is taken less often. */
const overviewPaceMs = 20;
const overviewLoad = 20;

/** Resolves with the first status that fits; rejects when `signal` is aborted. */
export function waitForOverview(
  overview: { read(): Overview; onChange(listener: () => void): () => void },
  fits: (status: Overview) => boolean,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Overview> {
  return new Promise((resolvePromise, reject) => {
    let cancelCheck: (() => void) | undefined;
    let tookMs = 0;
    const finish = (act: () => void): void => {
      remove();
      cancelCheck?.();
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onAbort = (): void => finish(() => reject(signal.reason));
    const check = (): void => {
      cancelCheck = undefined;
      const startedAt = clock.monotonicMs();
      const status = overview.read();
      tookMs = clock.monotonicMs() - startedAt;
      if (fits(status)) finish(() => resolvePromise(status));
    };
    // Changes come in bursts, one for each object of a commit.
    const remove = overview.onChange(() => {
      cancelCheck ??= clock.after(Math.max(overviewPaceMs, overviewLoad * tookMs), check);
    });
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
