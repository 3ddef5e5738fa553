/** A promise of our own code: when it is broken the process must not go on with what it believes. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (condition !== true && !condition) throw new Error(`invariant broken: ${message}`);
}
