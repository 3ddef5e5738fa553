/**
 * Aborted when `signal` is, and after `ms`, with a TimeoutError. In place of `AbortSignal.any` with an `AbortSignal.timeout`: nothing of
 * Node 20 holds the second one then, and after the next garbage collection it never comes.
 */
export function timeLimit(signal: AbortSignal, ms: number): AbortSignal {
  const limit = new AbortController();
  // The timer holds the controller, and is no reason for the process to go on.
  setTimeout(() => limit.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')), ms).unref();
  return AbortSignal.any([signal, limit.signal]);
}
