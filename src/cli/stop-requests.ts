/** Requests that the process stops. */
export interface StopRequests {
  /** Resolves with the exit code of the first request. */
  readonly reason: Promise<number>;
  exitCode(): number;
  request(exitCode: number): void;
  close(): void;
}

/** Ctrl-C (130) and SIGTERM of `midship down` (0) stop the pods and end. A second Ctrl-C ends at once and leaves the pods running. */
export function createStopRequests(abort: AbortController): StopRequests {
  let resolve: (exitCode: number) => void = () => undefined;
  const reason = new Promise<number>((done) => {
    resolve = done;
  });
  let exitCode = 0;
  const request = (code: number): void => {
    if (abort.signal.aborted) process.exit(130);
    exitCode = code;
    abort.abort(new Error('stop was requested'));
    resolve(code);
  };
  const onInterrupt = (): void => request(130);
  const onTerminate = (): void => {
    if (!abort.signal.aborted) request(0);
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  process.on('SIGHUP', onTerminate);
  return {
    reason,
    exitCode: () => exitCode,
    request,
    close() {
      process.off('SIGINT', onInterrupt);
      process.off('SIGTERM', onTerminate);
      process.off('SIGHUP', onTerminate);
    },
  };
}
