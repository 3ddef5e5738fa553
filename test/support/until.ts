export interface UntilOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** Text for the error when the condition does not become true. */
  readonly what: string | (() => string | Promise<string>);
}

/** Asks again until the answer is neither undefined nor false. An answer that throws ends the wait. */
export async function until<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 30_000, intervalMs = 50, what }: UntilOptions,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : await what()}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
