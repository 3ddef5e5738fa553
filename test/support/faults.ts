import type { Clock } from '../../src/base/clock.ts';
import type { Client } from '../../src/client/client.ts';
import { type GitSource, SourceError } from '../../src/gitops/sources/git-source.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { StatusError } from '../../src/machinery/status-error.ts';

/** Number of times that each fault fired. */
export type FaultCounts = Map<string, number>;

/** The faults in effect; a test changes them while it runs. Shares are of calls, 0 to 1. */
export interface Faults {
  readonly random: () => number;
  readonly counts: FaultCounts;
  /** Calls that fail before anything was done. */
  refused: number;
  /** Writes that are done and answered with an error. */
  unanswered: number;
  slow: number;
  /** Deliveries of a watch that come late, and all after them with them. */
  lateEvents: number;
  deletesDenied: boolean;
  gitBroken: number;
  gitHangs: number;
}

export function createFaults(random: () => number, counts: FaultCounts): Faults {
  return { random, counts, refused: 0, unanswered: 0, slow: 0, lateEvents: 0, deletesDenied: false, gitBroken: 0, gitHangs: 0 };
}

export function endFaults(faults: Faults): void {
  Object.assign(faults, { refused: 0, unanswered: 0, slow: 0, lateEvents: 0, deletesDenied: false, gitBroken: 0, gitHangs: 0 });
}

const count = ({ counts }: Faults, name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);

/** A process that can die: nothing of what it waits forever comes, and nothing that it still tries has an effect. */
export interface Life {
  readonly isOver: boolean;
  /** Ends at the given call of its clients from now on, or of those of one component; 0 ends it now. */
  endAfter(calls: number, component?: string): void;
  onEnd(listener: () => void): void;
  /** Counts a call; true when the process is dead before it. */
  callsOver(): boolean;
  /** The same life, whose calls count as those of a component. */
  of(component: string): Life;
}

export function createLife(): Life {
  const listeners: (() => void)[] = [];
  let left = Number.POSITIVE_INFINITY;
  let counted: string | undefined;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    for (const listener of listeners) listener();
  };
  const lifeOf = (component: string | undefined): Life => ({
    get isOver() {
      return isOver;
    },
    endAfter(calls, of) {
      left = calls;
      counted = of;
      if (left <= 0) end();
    },
    onEnd: (listener) => void listeners.push(listener),
    callsOver() {
      if (counted === undefined || counted === component) left -= 1;
      if (left <= 0) end();
      return isOver;
    },
    of: lifeOf,
  });
  return lifeOf(undefined);
}

/** The real clock. */
const maxLateMs = 100;

/** Messages arrive late, and in order. */
interface Line<T> {
  /** Arrives no sooner than after `delayMs` of the real clock; at once when that is 0 and nothing is on its way. */
  send(what: T, delayMs: number): void;
  /** Resolves when all has arrived. */
  empty(): Promise<void>;
}

function createLine<T>(arrive: (what: T) => void): Line<T> {
  let last: Promise<void> = Promise.resolve();
  let waiting = 0;
  async function carry(before: Promise<void>, what: T, dueAt: number): Promise<void> {
    await before;
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
    waiting -= 1;
    arrive(what);
  }
  return {
    send(what, delayMs) {
      if (waiting === 0 && delayMs === 0) return arrive(what);
      waiting += 1;
      last = carry(last, what, performance.now() + delayMs);
    },
    empty: () => last,
  };
}

const never = <T>(): Promise<T> => new Promise(() => undefined);

const refusals = [
  () => new StatusError({ code: 500, reason: 'InternalError', message: 'injected' }),
  () => new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'injected' }),
  () => new StatusError({ code: 429, reason: 'TooManyRequests', message: 'injected' }),
  () => new StatusError({ code: 504, reason: 'Timeout', message: 'injected' }),
];

/** The client of a process: what it asks may be refused, answered late or not at all, and dies with it. */
export function withFaults(client: Client, faults: Faults, life: Life): Client {
  async function call<T>(kind: 'read' | 'write' | 'delete', act: () => Promise<T>): Promise<T> {
    if (life.callsOver()) return never();
    const { random } = faults;
    if (random() < faults.slow) {
      count(faults, 'slow API call');
      await new Promise((resolve) => setTimeout(resolve, random() * 10));
    }
    if (kind === 'delete' && faults.deletesDenied) {
      count(faults, 'delete denied');
      throw new StatusError({ code: 403, reason: 'Forbidden', message: 'deletes are denied' });
    }
    if (random() < faults.refused) {
      if (kind === 'write' && random() < 0.3) {
        count(faults, 'API conflict');
        throw new StatusError({ code: 409, reason: 'Conflict', message: 'injected' });
      }
      count(faults, 'API error');
      throw (refusals[Math.floor(random() * refusals.length)] ?? refusals[0])?.();
    }
    if (life.isOver) return never();
    const result = await act();
    if (life.isOver) return never();
    if (kind !== 'read' && random() < faults.unanswered) {
      count(faults, 'API write done but not answered');
      throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'connection lost' });
    }
    return result;
  }

  return {
    get: (...args) => call('read', () => client.get(...args)),
    list: (...args) => call('read', () => client.list(...args)),
    create: (...args) => call('write', () => client.create(...args)),
    update: (...args) => call('write', () => client.update(...args)),
    patch: (...args) => call('write', () => client.patch(...args)),
    delete: (...args) => call('delete', () => client.delete(...args)),
    deleteCollection: (...args) => call('delete', () => client.deleteCollection(...args)),
    createSubresource: (...args) => call('write', () => client.createSubresource(...args)),
    discover: () => call('read', () => client.discover()),
    async watch(resource, options) {
      if (life.isOver) return never();
      const cut = new AbortController();
      life.onEnd(() => cut.abort());
      // A connection that breaks now and then: the watch ends without a word.
      const timer = faults.random() < faults.refused ? setTimeout(() => cut.abort(), faults.random() * 30) : undefined;
      if (timer !== undefined) count(faults, 'watch cut');
      const signal = AbortSignal.any([options.signal, cut.signal]);
      // Those that are on their way when the connection breaks are lost with it.
      const line = createLine<Parameters<typeof options.onEvents>[0]>((events) => {
        if (!life.isOver && !signal.aborted) options.onEvents(events);
      });
      try {
        await client.watch(resource, {
          ...options,
          signal,
          onEvents: (events) => {
            const isLate = faults.random() < faults.lateEvents;
            if (isLate) count(faults, 'watch event late');
            line.send(events, isLate ? faults.random() * maxLateMs : 0);
          },
        });
        await line.empty();
      } finally {
        clearTimeout(timer);
      }
      if (life.isOver) await never();
    },
  };
}

/**
 * A client whose watches deliver each event late, by up to `maxDelayMs`, drawn for each event: a distant or busy API
 * server. Within a watch the order is kept, and all events come before its end.
 */
export function withLateWatches<C extends Client>(
  client: C,
  { maxDelayMs, random }: { readonly maxDelayMs: number; readonly random: () => number },
): C {
  return {
    ...client,
    async watch(resource, options) {
      const line = createLine<Parameters<typeof options.onEvents>[0]>((events) => {
        if (!options.signal.aborted) options.onEvents(events);
      });
      try {
        await client.watch(resource, {
          ...options,
          onEvents(events) {
            for (const event of events) line.send([event], random() * maxDelayMs);
          },
        });
      } finally {
        await line.empty();
      }
    },
  };
}

/** A cache that is behind: the watches of one resource deliver what a test lets through. */
export interface HeldWatch {
  readonly client: Client;
  /** From now on events wait. */
  hold(): void;
  /** Delivers the oldest events that wait. Without a number it delivers all, and ends the hold. */
  deliver(count?: number): void;
}

/** Holds the events of all watches of `resource` together, in order. */
export function withHeldWatch(client: Client, resource: Resource): HeldWatch {
  const waiting: (() => void)[] = [];
  let isHeld = false;
  return {
    client: {
      ...client,
      async watch(watched, options) {
        if (watched.resource !== resource.resource || watched.group !== resource.group) return client.watch(watched, options);
        return client.watch(watched, {
          ...options,
          onEvents(events) {
            if (!isHeld) options.onEvents(events);
            else for (const event of events) waiting.push(() => options.onEvents([event]));
          },
        });
      },
    },
    hold() {
      isHeld = true;
    },
    deliver(count = Number.POSITIVE_INFINITY) {
      for (const deliverOne of waiting.splice(0, count)) deliverOne();
      if (count === Number.POSITIVE_INFINITY) isHeld = false;
    },
  };
}

/** A repository whose remote is away or does not answer now and then. */
export function withGitFaults(source: GitSource, faults: Faults, life: Life): GitSource {
  async function read<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (life.isOver) return never();
    if (faults.random() < faults.gitBroken) {
      count(faults, 'Git read cut');
      throw new SourceError('Unreachable', 'the connection was cut', { hint: 'It is tried again.' });
    }
    if (signal !== undefined && faults.random() < faults.gitHangs) {
      count(faults, 'Git remote does not answer');
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      throw new SourceError('Timeout', 'the remote does not answer', { hint: 'It is tried again.' });
    }
    const result = await act();
    return life.isOver ? never() : result;
  }
  const { onChange } = source;
  return {
    url: source.url,
    resolve: (ref, options) => read(() => source.resolve(ref, options), options.signal),
    readTree: (oid) => read(() => source.readTree(oid)),
    readBlob: (oid, maxBytes) => read(() => source.readBlob(oid, maxBytes)),
    readDocuments: (oid) => read(() => source.readDocuments(oid)),
    ...(onChange === undefined ? {} : { onChange: (listener: () => void) => onChange(() => !life.isOver && listener()) }),
    trim: () => source.trim(),
    close: () => source.close(),
  };
}

/** A clock that runs `speed` times as fast and whose time of day can be set. */
export interface SteppedClock extends Clock {
  step(ms: number): void;
}

export function createSteppedClock(speed: number): SteppedClock {
  const startedAt = performance.now();
  const base = Date.now();
  let offset = 0;
  const elapsed = (): number => (performance.now() - startedAt) * speed;
  return {
    now: () => base + offset + elapsed(),
    monotonicMs: elapsed,
    after(delayMs, action) {
      const timer = setTimeout(action, Math.min(Math.max(delayMs, 0) / speed, 2_147_483_647));
      return () => clearTimeout(timer);
    },
    step(ms) {
      offset += ms;
    },
  };
}
