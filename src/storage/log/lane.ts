import type { Clock } from '../../base/clock.ts';

/** Gives work to a driver, one piece at a time: commits first, and tasks between them. */
export interface Lane {
  /** Runs `work` when no commit and no other task is under way; they wait for its end. */
  run(work: () => Promise<void>): Promise<void>;
  /** A commit is wanted. It begins after this turn, so that writes of the same turn share it. */
  wakeUp(): void;
  /** Runs what `due` gives for a moment of writing. */
  tidyUp(): void;
  /** Takes no more tasks, and resolves when everything that was wanted is done. */
  close(): Promise<void>;
}

export interface LaneOptions {
  readonly clock: Clock;
  readonly hasCommit: () => boolean;
  /** Begins the next commit; `done` is called when the driver is free again. */
  readonly beginCommit: (done: () => void) => void;
  /** A task that is due, which never fails; `idle` when no write came for a while. */
  readonly due: (moment: 'idle' | 'busy') => (() => Promise<void>) | undefined;
}

/** Commits between two tasks when writes never pause. */
const commitsBetweenTasks = 4;
const idleAfterMs = 100;

export function createLane({ clock, hasCommit, beginCommit, due }: LaneOptions): Lane {
  const tasks: (() => Promise<void>)[] = [];
  let commitsSinceTask = 0;
  let busy = false;
  let pumpScheduled = false;
  let closed = false;
  let cancelIdle: (() => void) | undefined;
  let onDrained: (() => void) | undefined;

  /** Begins the next commit or task when the driver is free. */
  function pump(): void {
    if (busy) return;
    const task = !hasCommit() || commitsSinceTask >= commitsBetweenTasks ? tasks.shift() : undefined;
    if (task !== undefined) {
      commitsSinceTask = 0;
      busy = true;
      void task().finally(release);
    } else if (hasCommit()) {
      commitsSinceTask += 1;
      busy = true;
      beginCommit(release);
    } else {
      onDrained?.();
      scheduleIdle();
    }
  }

  function release(): void {
    busy = false;
    pump();
  }

  function schedulePump(): void {
    if (busy || pumpScheduled) return;
    pumpScheduled = true;
    setImmediate(() => {
      pumpScheduled = false;
      pump();
    });
  }

  function add(moment: 'idle' | 'busy'): void {
    const task = due(moment);
    if (task !== undefined) tasks.push(task);
  }

  function scheduleIdle(): void {
    if (closed || cancelIdle !== undefined) return;
    cancelIdle = clock.after(idleAfterMs, () => {
      cancelIdle = undefined;
      if (busy || hasCommit() || closed) return;
      add('idle');
      if (tasks.length > 0) pump();
    });
  }

  function cancelIdleTask(): void {
    cancelIdle?.();
    cancelIdle = undefined;
  }

  scheduleIdle();

  return {
    run(work) {
      if (closed) return Promise.reject(new Error('the store is closed'));
      return new Promise((resolve, reject) => {
        tasks.push(() => work().then(resolve, reject));
        schedulePump();
      });
    },
    wakeUp() {
      cancelIdleTask();
      schedulePump();
    },
    tidyUp: () => add('busy'),
    async close() {
      closed = true;
      cancelIdleTask();
      if (!busy && !hasCommit() && tasks.length === 0) return;
      await new Promise<void>((resolve) => {
        onDrained = resolve;
        schedulePump();
      });
    },
  };
}
