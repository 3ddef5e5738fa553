import { type FlowSchema, flowSchemas } from '../../api/flowcontrol/v1/flow-schema.ts';
import { type PriorityLevelConfiguration, priorityLevelConfigurations } from '../../api/flowcontrol/v1/priority-level-configuration.ts';
import type { Clock } from '../../base/clock.ts';
import type { Metrics } from '../../base/metrics.ts';
import { familyHead, familyOf, type ValueFamily } from '../../base/series.ts';
import type { TurnGate } from '../../base/turn-gate.ts';
import { createTurns, type Turns } from '../../base/turns.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { StatusError } from '../../machinery/status-error.ts';
import type { RequestAttributes } from '../kube-api.ts';
import { followObjects } from '../registry/follow.ts';
import type { Registry } from '../registry/registry.ts';
import type { UserInfo } from '../user.ts';
import { type Classifier, createClassifier } from './classification.ts';
import { mandatoryLevels, mandatorySchemas } from './configuration.ts';
import { createFairQueue, type FairQueue, QueueFull, type QueueLimits, type Seat } from './fair-queue.ts';

/**
 * API priority and fairness: each request belongs to a flow, flows of one priority level take turns, and no level takes
 * the room of another. Exempt levels have unlimited seats and take turns like the others. A watch has a seat until it
 * has begun. Streams and the components of this process, which do not come over HTTP, are exempt.
 *
 * Two differences from upstream: levels neither lend nor borrow seats (`lendablePercent` and `borrowingLimitPercent`
 * change nothing). A flow has a queue of its own that holds as much as its hand of queues would.
 */
export interface FlowControl {
  classify(user: UserInfo, attributes: () => RequestAttributes): RequestFlow;
  /** Seats and bytes for a request that reads a collection: more objects are more work and more memory. `limit` 0: all. */
  costOfList(kind: KindDefinition, namespace: string | undefined, limit: number): { readonly seats: number; readonly bytes: number };
  /** Memory of an object; 0 when it is not there. */
  bytesOf(kind: KindDefinition, namespace: string | undefined, name: string): number;
  /** Memory for a body or an answer of `user`, given back when the request has left. Undefined for sizes that are too small to count. */
  holdMemory(user: UserInfo, bytes: number, onGone: (giveUp: () => void) => void): Seat | Promise<Seat> | undefined;
  /** Somebody waits for memory. */
  readonly isShortOfMemory: boolean;
  /** Turns of the event loop for the parts of long answers. */
  readonly slices: Turns;
}

export interface RequestFlow {
  /** For the headers `X-Kubernetes-PF-*`; empty for a mandatory object that nobody stored. */
  readonly schemaUid: string;
  readonly levelUid: string;
  /** Nothing of it is refused. */
  readonly isExempt: boolean;
  /**
   * At once where there is room, or when its turn comes.
   *
   * @param onGone  called when the request has to wait, with what ends the wait when its client is gone
   * @throws StatusError `TooManyRequests` (429)
   */
  enter(seats: number, onGone: (giveUp: () => void) => void): Seat | Promise<Seat>;
}

export interface FlowControlOptions {
  readonly registry: Pick<Registry, 'stateOf' | 'revision'>;
  /** Kinds of the server; without those of flow control only the mandatory objects count. */
  readonly served: readonly KindDefinition[];
  readonly clock: Clock;
  /** Shared with everything else that runs long in this event loop. */
  readonly gate: TurnGate;
  /** For bodies and answers that are under way. */
  readonly answerBytes: number;
  readonly metrics?: Metrics | undefined;
  /** Requests of all limited levels that may be worked on at once. */
  readonly totalSeats?: number;
}

/** The sum of upstream's limits for reading and changing requests. */
const defaultTotalSeats = 600;
/** A quarter of the time in which a request has to arrive. */
const maxWaitMs = 15_000;
const objectsOfSeat = 100;
const maxSeatsOfList = 10;
const defaultQueuing = { queues: 64, handSize: 8, queueLengthLimit: 50 } as const;
const maxWaitingOfLevel = 10_000;
/** More answers cannot be under way than there are connections. */
const maxWaitingSlices = 20_000;

interface Level {
  readonly name: string;
  uid: string;
  isExempt: boolean;
  queue: FairQueue;
  dispatched: number;
  readonly rejected: Map<QueueFull['reason'], number>;
}

export function createFlowControl(options: FlowControlOptions): FlowControl {
  const { registry, served, clock, gate, answerBytes, metrics, totalSeats = defaultTotalSeats } = options;
  const storedSchemas = new Map<string, FlowSchema>();
  const storedLevels = new Map<string, PriorityLevelConfiguration>();
  const levels = new Map<string, Level>();
  const slices = createTurns({ gate, maxWaiting: maxWaitingSlices });
  const memory = createFairQueue({ limits: memoryLimits(answerBytes), maxWaitMs, clock, gate: withoutTurns });
  let refusedForMemory = 0;
  let classifier: Classifier | undefined;

  const follow = <T extends FlowSchema | PriorityLevelConfiguration>(kind: KindDefinition<T>, into: Map<string, T>): void => {
    if (!served.some(({ group, resource }) => group === kind.group && resource === kind.resource)) return;
    followObjects(registry, kind, (object, gone) => {
      if (gone) into.delete(object.metadata.name);
      else into.set(object.metadata.name, object as T);
      // The next request rebuilds it, since changes come in bursts.
      classifier = undefined;
    });
  };
  follow(flowSchemas, storedSchemas);
  follow(priorityLevelConfigurations, storedLevels);

  function reconfigure(): Classifier {
    const wanted = withMandatory(mandatoryLevels, storedLevels);
    let shares = 0;
    for (const { spec } of wanted.values()) shares += spec?.limited?.nominalConcurrencyShares ?? 0;
    for (const [name, level] of wanted) {
      const uid = level.metadata.uid ?? '';
      const isExempt = level.spec?.type === 'Exempt';
      const limits = isExempt ? exemptLimits : limitsOf(level, totalSeats, shares);
      const known = levels.get(name);
      if (known !== undefined && known.isExempt === isExempt) {
        known.uid = uid;
        known.queue.resize(limits);
        continue;
      }
      const queue = createFairQueue({ limits, maxWaitMs: isExempt ? Number.POSITIVE_INFINITY : maxWaitMs, clock, gate });
      levels.set(name, { name, uid, isExempt, queue, dispatched: known?.dispatched ?? 0, rejected: known?.rejected ?? new Map() });
    }
    // Requests that wait in a removed level keep their place in its queue, and no new one enters it.
    for (const name of levels.keys()) if (!wanted.has(name)) levels.delete(name);
    return createClassifier(withMandatory(mandatorySchemas, storedSchemas).values(), wanted);
  }

  metrics?.addCollector(() => textOf(levels.values()));
  metrics?.addCollector(() => [
    familyOf({ name: 'answer_memory_bytes', help: 'Memory of bodies and answers under way.', type: 'gauge' }, memory.takenSeats * 1024),
    familyOf(refusals, refusedForMemory),
  ]);

  return {
    classify(user, attributes) {
      classifier ??= reconfigure();
      const found = classifier.classify(user, attributes);
      const level = levels.get(found?.level ?? 'catch-all');
      if (level === undefined) throw new Error('a mandatory priority level is missing');
      // Nobody is refused in a level that is exempt, so its users must not wait for each other's requests.
      const flow = found === undefined ? `catch-all/${user.name}` : level.isExempt ? `${found.flow}${user.name}` : found.flow;
      return {
        schemaUid: found?.schema.metadata.uid ?? '',
        levelUid: level.uid,
        isExempt: level.isExempt,
        enter: (seats, onGone) => enter(level, flow, seats, onGone),
      };
    },
    slices,
    costOfList(kind, namespace, limit) {
      if (kind.transient === true) return { seats: 1, bytes: 0 };
      const { objects, bytes } = registry
        .stateOf(kind)
        .candidates({ namespace, name: undefined, indexed: undefined, predicate: undefined, selective: false });
      const count = limit > 0 ? Math.min(objects.size, limit) : objects.size;
      return {
        seats: Math.min(Math.max(Math.ceil(count / objectsOfSeat), 1), maxSeatsOfList),
        bytes: objects.size === 0 ? 0 : (bytes * count) / objects.size,
      };
    },
    bytesOf: (kind, namespace, name) =>
      kind.transient === true ? 0 : registry.stateOf(kind).bytesOf(namespace === undefined ? name : `${namespace}/${name}`),
    holdMemory(user, bytes, onGone) {
      if (bytes < minCountedBytes) return undefined;
      const refuse = (err: unknown): never => {
        if (!(err instanceof QueueFull)) throw err;
        refusedForMemory += 1;
        throw tooManyRequests();
      };
      try {
        const held = memory.enter(user.name, Math.ceil(bytes / 1024), onGone);
        return held instanceof Promise ? held.catch(refuse) : held;
      } catch (err) {
        return refuse(err);
      }
    },
    get isShortOfMemory() {
      return memory.waiting > 0;
    },
  };
}

/** Takes a seat in the level. Each request calls this, so the parameters are positional: an object for each call would be garbage. */
function enter(level: Level, flow: string, seats: number, onGone: (giveUp: () => void) => void): Seat | Promise<Seat> {
  const refuse = (err: unknown): never => {
    if (!(err instanceof QueueFull)) throw err;
    level.rejected.set(err.reason, (level.rejected.get(err.reason) ?? 0) + 1);
    throw tooManyRequests();
  };
  const letIn = (seat: Seat): Seat => {
    level.dispatched += 1;
    return seat;
  };
  try {
    const seat = level.queue.enter(flow, seats, onGone);
    return seat instanceof Promise ? seat.then(letIn, refuse) : letIn(seat);
  } catch (err) {
    return refuse(err);
  }
}

export const tooManyRequests = (): StatusError =>
  new StatusError({
    code: 429,
    reason: 'TooManyRequests',
    message: 'Too many requests, please try again later.',
    details: { retryAfterSeconds: 1 },
  });

function withMandatory<T extends FlowSchema | PriorityLevelConfiguration>(
  mandatory: readonly T[],
  stored: ReadonlyMap<string, T>,
): ReadonlyMap<string, T> {
  return new Map([...mandatory.map((object) => [object.metadata.name, object] as const), ...stored]);
}

/** Less is in the hands of the operating system at once. */
const minCountedBytes = 64 * 1024;
const maxWaitingForMemory = 1_000;
/** Memory is no work: who has it still waits for a turn of the event loop. */
const withoutTurns: TurnGate = {
  isOpen: () => true,
  ask(admitNext) {
    while (admitNext());
  },
};

/** A seat is a KiB. One user has half at most, but for an answer that is larger than that. */
const memoryLimits = (bytes: number): QueueLimits => ({
  seats: bytes / 1024,
  seatsOfFlow: bytes / 2048,
  maxWaitingOfFlow: maxWaitingForMemory / 2,
  maxWaiting: maxWaitingForMemory,
});

const exemptLimits: QueueLimits = {
  seats: Number.POSITIVE_INFINITY,
  seatsOfFlow: Number.POSITIVE_INFINITY,
  maxWaitingOfFlow: maxWaitingOfLevel,
  maxWaiting: maxWaitingOfLevel,
};

function limitsOf({ spec }: PriorityLevelConfiguration, totalSeats: number, shares: number): QueueLimits {
  const { nominalConcurrencyShares = 30, limitResponse } = spec?.limited ?? {};
  const seats = Math.max(1, Math.ceil((totalSeats * nominalConcurrencyShares) / Math.max(shares, 1)));
  // An account that does not read its answers must not be able to take all seats.
  const seatsOfFlow = Math.ceil(seats / 2);
  if (limitResponse?.type !== 'Queue') return { seats, seatsOfFlow, maxWaitingOfFlow: 0, maxWaiting: 0 };
  const { queues, handSize, queueLengthLimit } = { ...defaultQueuing, ...limitResponse.queuing };
  return {
    seats,
    seatsOfFlow,
    maxWaitingOfFlow: Math.min(handSize * queueLengthLimit, maxWaitingOfLevel),
    maxWaiting: Math.min(queues * queueLengthLimit, maxWaitingOfLevel),
  };
}

function* textOf(levels: Iterable<Level>): Iterable<string> {
  const all = [...levels];
  for (const { name: ownName, help, type, valuesOf } of families) {
    const name = `apiserver_flowcontrol_${ownName}`;
    yield familyHead(name, help, type);
    for (const level of all) {
      for (const [labels, value] of valuesOf(level)) yield `${name}{priority_level="${level.name}"${labels}} ${value}\n`;
    }
  }
}

const refusals: ValueFamily = {
  name: 'answer_memory_refusals_total',
  help: 'Requests that found no memory for their body or answer.',
  type: 'counter',
};

/** Families of each level: values with the labels that they have besides. */
const families: readonly (ValueFamily & { valuesOf(level: Level): readonly (readonly [labels: string, value: number])[] })[] = [
  {
    name: 'dispatched_requests_total',
    help: 'Requests that were admitted.',
    type: 'counter',
    valuesOf: ({ dispatched }) => [['', dispatched]],
  },
  {
    name: 'rejected_requests_total',
    help: 'Requests that were refused, to be tried again.',
    type: 'counter',
    valuesOf: ({ rejected }) => [...rejected].map(([reason, count]) => [`,reason="${reason}"`, count] as const),
  },
  {
    name: 'current_inqueue_requests',
    help: 'Requests that wait for their turn.',
    type: 'gauge',
    valuesOf: ({ queue }) => [['', queue.waiting]],
  },
  {
    name: 'current_executing_requests',
    help: 'Requests that are worked on.',
    type: 'gauge',
    valuesOf: ({ queue }) => [['', queue.executing]],
  },
  {
    name: 'current_executing_seats',
    help: 'Seats that are taken.',
    type: 'gauge',
    valuesOf: ({ queue }) => [['', queue.takenSeats]],
  },
  {
    name: 'nominal_limit_seats',
    help: 'Seats of the level.',
    type: 'gauge',
    valuesOf: ({ isExempt, queue }) => [['', isExempt ? 0 : queue.limits.seats]],
  },
];
