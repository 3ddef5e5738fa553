import type { Clock } from '../../base/clock.ts';
import type { TurnGate } from '../../base/turn-gate.ts';

/** Room for requests that are worked on at the same time, given to flows in turn. */
export interface FairQueue {
  /**
   * Takes `seats` for a request of `flow` when its turn comes. It comes at once where there is room, nobody waits and the turn of the event
   * loop is young.
   *
   * @param onGone  called when it has to wait, with what ends the wait
   * @throws QueueFull when the flow or the queue has too many that wait, or the turn did not come in time
   */
  enter(flow: string, seats: number, onGone: (giveUp: () => void) => void): Seat | Promise<Seat>;
  /** Number of seats; below the number of taken ones no request enters until enough have left. */
  resize(limits: QueueLimits): void;
  readonly limits: QueueLimits;
  readonly executing: number;
  readonly takenSeats: number;
  readonly waiting: number;
}

export interface QueueLimits {
  readonly seats: number;
  /** Seats that one flow may take. */
  readonly seatsOfFlow: number;
  /** Requests of one flow that may wait; 0: nobody waits. */
  readonly maxWaitingOfFlow: number;
  readonly maxWaiting: number;
}

export interface Seat {
  /** Lets others have the place while nothing is done for the request, because its client does not read. */
  pause(): void;
  /** Takes the place again, without a wait: for as long as others have it there are more requests than seats. */
  resume(): void;
  /** More than once is once. */
  leave(): void;
}

export class QueueFull extends Error {
  override readonly name = 'QueueFull';
  readonly reason: 'queue-full' | 'concurrency-limit' | 'time-out' | 'cancelled';
  constructor(reason: QueueFull['reason']) {
    super(reason);
    this.reason = reason;
  }
}

export interface FairQueueOptions {
  readonly limits: QueueLimits;
  readonly maxWaitMs: number;
  readonly clock: Clock;
  readonly gate: TurnGate;
}

interface Waiter {
  readonly flow: Flow;
  readonly seats: number;
  readonly since: number;
  admit(seat: Seat): void;
  refuse(why: QueueFull): void;
}

interface Flow {
  /** Seats it was given, counted from those of the flow that had least when it came: who was away gets nothing for it. */
  served: number;
  readonly waiters: Waiter[];
}

const sweepEveryMs = 1_000;

/**
 * The flow that was given least is next, of those that may take more. Its first request goes when it fits, and no other passes it
 * meanwhile.
 */
export function createFairQueue(options: FairQueueOptions): FairQueue {
  const { maxWaitMs, clock, gate } = options;
  const flows = new Map<string, Flow>();
  let { limits } = options;
  /** Seats that each flow has taken. */
  const takenBy = new Map<string, number>();
  let executing = 0;
  let taken = 0;
  let waiting = 0;
  let leastServed = 0;
  let sweeps = false;

  const fits = (seats: number): boolean => executing === 0 || taken + seats <= limits.seats;

  /** A flow has one request at least, however many seats that takes. */
  function isAllowed(flow: string, seats: number): boolean {
    const own = takenBy.get(flow);
    return own === undefined || own + seats <= limits.seatsOfFlow;
  }

  function take(flow: string, wanted: number): Seat {
    const seats = Math.min(wanted, limits.seats);
    let state: 'taken' | 'paused' | 'left' = 'left';
    const sit = (): void => {
      state = 'taken';
      executing += 1;
      taken += seats;
      takenBy.set(flow, (takenBy.get(flow) ?? 0) + seats);
    };
    const rise = (next: 'paused' | 'left'): void => {
      if (state === 'taken') {
        executing -= 1;
        taken -= seats;
        const rest = (takenBy.get(flow) ?? 0) - seats;
        if (rest > 0) takenBy.set(flow, rest);
        else takenBy.delete(flow);
        askGate();
      }
      if (state !== 'left') state = next;
    };
    sit();
    return {
      pause: () => rise('paused'),
      resume() {
        if (state === 'paused') sit();
      },
      leave: () => rise('left'),
    };
  }

  function nextFlow(): [name: string, flow: Flow] | undefined {
    let next: [string, Flow] | undefined;
    for (const entry of flows) {
      const [name, { served, waiters }] = entry;
      if (next !== undefined && next[1].served <= served) continue;
      if (isAllowed(name, waiters[0]?.seats ?? 0)) next = entry;
    }
    return next;
  }

  /** Admits the next request; false when none waits or there is no room. */
  function admitNext(): boolean {
    const next = nextFlow();
    const [first] = next?.[1].waiters ?? [];
    if (next === undefined || first === undefined || !fits(first.seats)) return false;
    const [name, flow] = next;
    flow.waiters.shift();
    waiting -= 1;
    leastServed = flow.served;
    flow.served += first.seats;
    if (flow.waiters.length === 0) flows.delete(name);
    first.admit(take(name, first.seats));
    return true;
  }

  function askGate(): void {
    if (waiting > 0) gate.ask(admitNext);
  }

  function wait(name: string, seats: number, onGone: (giveUp: () => void) => void): Promise<Seat> {
    const flow = flows.get(name) ?? { served: leastServed, waiters: [] };
    // Those for whom there is room wait for a turn only.
    const free = Math.max(0, limits.seats - taken);
    if (limits.maxWaiting === 0 && (waiting >= free || !isAllowed(name, seats))) throw new QueueFull('concurrency-limit');
    if (flow.waiters.length >= limits.maxWaitingOfFlow + free || waiting >= limits.maxWaiting + free) throw new QueueFull('queue-full');
    flows.set(name, flow);
    waiting += 1;
    if (!sweeps) clock.after(sweepEveryMs, sweep);
    sweeps = true;
    return new Promise((admit, refuse) => {
      const waiter: Waiter = { flow, seats, since: clock.monotonicMs(), admit, refuse };
      flow.waiters.push(waiter);
      onGone(() => {
        if (flow.waiters.includes(waiter)) drop(name, waiter, 'cancelled');
      });
      askGate();
    });
  }

  function drop(name: string, waiter: Waiter, reason: QueueFull['reason']): void {
    const { waiters } = waiter.flow;
    waiters.splice(waiters.indexOf(waiter), 1);
    waiting -= 1;
    if (waiters.length === 0 && flows.get(name) === waiter.flow) flows.delete(name);
    waiter.refuse(new QueueFull(reason));
    // It may have been the one that did not fit.
    askGate();
  }

  /** A single timer refuses every request that has waited too long, within a second. */
  function sweep(): void {
    const now = clock.monotonicMs();
    for (const [name, flow] of flows) {
      for (const waiter of flow.waiters.filter(({ since }) => now - since >= maxWaitMs)) drop(name, waiter, 'time-out');
    }
    sweeps = waiting > 0;
    if (sweeps) clock.after(sweepEveryMs, sweep);
  }

  return {
    enter(flow, seats, onGone) {
      if (waiting === 0 && fits(seats) && isAllowed(flow, seats) && gate.isOpen()) return take(flow, seats);
      return wait(flow, seats, onGone);
    },
    resize(wanted) {
      limits = wanted;
      askGate();
    },
    get limits() {
      return limits;
    },
    get executing() {
      return executing;
    },
    get takenSeats() {
      return taken;
    },
    get waiting() {
      return waiting;
    },
  };
}
