import type { ManualClock } from './manual-clock.ts';

export interface UntilOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** Text for the error when the condition does not become true. */
  readonly what: string | (() => string | Promise<string>);
}

/**
 * Asks again until the answer is neither undefined nor false. An answer that throws ends the wait. A question that starts a program
 * takes the cores from the others. So the pause is at least twice as long as the question took.
 */
export async function until<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 30_000, intervalMs = 50, what }: UntilOptions,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const asked = performance.now();
    const answer = await ask();
    const tookMs = performance.now() - asked;
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : await what()}`);
    await new Promise((resolve) => setTimeout(resolve, Math.max(intervalMs, 2 * tookMs)));
  }
}

/** The same under a clock that the test moves: by 25 ms before each question, so that queues and requeues go on. */
export const untilBy =
  (clock: ManualClock): typeof until =>
  (ask, options) =>
    until(
      () => {
        clock.advance(25);
        return ask();
      },
      { intervalMs: 5, ...options },
    );
