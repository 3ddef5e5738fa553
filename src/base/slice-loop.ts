/** Longest stretch of one turn of the event loop. */
const sliceMs = 3;

/** Works off what waits in slices, so that requests get their turn of the event loop in between. */
export interface SliceLoop {
  /** Works in the next turn, unless that is arranged already; nothing before `start` and after `stop`. */
  wake(): void;
  start(): void;
  stop(): void;
}

export interface SliceLoopOptions {
  /** Does one small piece; false when nothing waits, or no more may be under way. */
  work(): boolean;
  readonly beforeSlice?: () => void;
}

/** The delay by one turn also lets the changes of one commit collect into one piece of work. */
export function createSliceLoop({ work, beforeSlice }: SliceLoopOptions): SliceLoop {
  let isRunning = false;
  let isArranged = false;

  function wake(): void {
    if (isArranged || !isRunning) return;
    isArranged = true;
    setImmediate(runSlice);
  }

  function runSlice(): void {
    isArranged = false;
    if (!isRunning) return;
    const startedAt = performance.now();
    beforeSlice?.();
    while (isRunning) {
      if (performance.now() - startedAt > sliceMs) {
        wake();
        return;
      }
      if (!work()) return;
    }
  }

  return {
    wake,
    start() {
      isRunning = true;
      wake();
    },
    stop() {
      isRunning = false;
    },
  };
}
