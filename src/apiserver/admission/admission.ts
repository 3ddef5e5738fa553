import type { DeleteOptions } from '../../client/client.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { UserInfo } from '../user.ts';
import type { AdmissionMetrics } from './admission-metrics.ts';

/**
 * Steps of `mutating` see the object after the client and its defaults. Steps of `allocation` run after the server has
 * set its own fields. They take values from a pool that all objects share, and no client owns the fields that they set.
 * Steps of `validating` see the valid object as it would be stored, and change nothing.
 */
export type AdmissionPhase = 'mutating' | 'allocation' | 'validating';

export type Operation = 'create' | 'update' | 'delete' | 'connect';

/** One write on its way to the store. */
export interface AdmissionRequest<T extends KubeObject = KubeObject> {
  readonly operation: Operation;
  readonly kind: KindDefinition;
  /** The version that the client speaks, when it is not the stored one. */
  readonly servedAs?: KindDefinition | undefined;
  /** Empty for the object itself. */
  readonly subresource: string;
  readonly namespace: string | undefined;
  /** For messages; while mutating steps look at it, a name that the server makes is known by its prefix alone. */
  readonly name: string;
  /** The server makes the name, so that it is not part of what was asked for. */
  readonly isGenerated: boolean;
  /** The object as it would be stored; of a deletion, the stored one; of an action or a connection, the body that asks for it. */
  readonly object: T;
  /** The stored object of an update or a deletion. */
  readonly before: T | undefined;
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** A later step changed the object, and the steps before it look once more. */
  readonly isAgain?: boolean;
  readonly fieldManager?: string | undefined;
  /** For a deletion. */
  readonly deleteOptions?: DeleteOptions | undefined;
  /** Aborted when the client is gone. */
  readonly signal?: AbortSignal | undefined;
  /** Warns the client, whose request still succeeds. */
  warn(text: string): void;
  /** Adds to the entry of the request in the audit log. */
  annotate(key: string, value: string): void;
  /** Calls `release` when the write has settled, however it went: for what a step reserved meanwhile. The client waits for it. */
  onSettled(release: () => Promise<void> | void): void;
}

/**
 * A step that every write of its kinds and operations passes. It may change the object, copy on write, or refuse the
 * write with a StatusError. Most steps read from memory and answer at once. A step that asks another server returns a
 * promise, and must bound its wait, since the key of the object is locked meanwhile.
 */
export interface AdmissionStep {
  readonly name: string;
  /** Default: `mutating`. */
  readonly phase?: AdmissionPhase;
  /** The subresources that are its business, beside the object itself; default: none. */
  readonly subresources?: 'all' | readonly string[];
  /** True as long as it has nothing to say to anybody, so that a write nobody is about costs nothing. */
  isIdle?(): boolean;
  /** Asked once for each kind, operation and subresource. */
  appliesTo(kind: KindDefinition, operation: Operation, subresource: string): boolean;
  /**
   * The same object when nothing has to change.
   *
   * @param again  lets the steps that came before this one in its phase look at what it has made of the object
   */
  admit(request: AdmissionRequest, again: (object: KubeObject) => Promise<KubeObject>): KubeObject | Promise<KubeObject>;
}

/** The steps in the order they are listed, picked once for each phase, kind, operation and subresource. */
export class AdmissionChain {
  readonly #steps: readonly AdmissionStep[];
  readonly #metrics: AdmissionMetrics | undefined;
  readonly #picked = { mutating: picks(), allocation: picks(), validating: picks() } satisfies Record<AdmissionPhase, unknown>;

  constructor(steps: readonly AdmissionStep[], metrics?: AdmissionMetrics) {
    this.#steps = steps;
    this.#metrics = metrics;
  }

  stepsFor({ kind, operation, subresource = '' }: AdmittedWrite, phase: AdmissionPhase): readonly AdmissionStep[] {
    const ofKind = this.#picked[phase][operation];
    let bySubresource = ofKind.get(kind);
    if (bySubresource === undefined) {
      bySubresource = new Map();
      ofKind.set(kind, bySubresource);
    }
    let picked = bySubresource.get(subresource);
    if (picked === undefined) {
      picked = this.#steps.filter(
        (step) => (step.phase ?? 'mutating') === phase && concerns(step, subresource) && step.appliesTo(kind, operation, subresource),
      );
      bySubresource.set(subresource, picked);
    }
    return picked;
  }

  /** False when no step applies to such a write now. */
  concerns(write: AdmittedWrite, phase: AdmissionPhase): boolean {
    for (const step of this.stepsFor(write, phase)) if (step.isIdle?.() !== true) return true;
    return false;
  }

  /** A promise only when a step gave one. */
  admit(request: AdmissionRequest, phase: AdmissionPhase): KubeObject | Promise<KubeObject> {
    return pass({ steps: this.stepsFor(request, phase), metrics: this.#metrics }, 0, request);
  }
}

/** The part of a write that picks its steps. */
interface AdmittedWrite {
  readonly kind: KindDefinition;
  readonly operation: Operation;
  readonly subresource?: string;
}

type Picks = Readonly<Record<Operation, WeakMap<KindDefinition, Map<string, readonly AdmissionStep[]>>>>;

function picks(): Picks {
  return { create: new WeakMap(), update: new WeakMap(), delete: new WeakMap(), connect: new WeakMap() };
}

const concerns = ({ subresources }: AdmissionStep, subresource: string): boolean =>
  subresource === '' || subresources === 'all' || subresources?.includes(subresource) === true;

/** Steps that a write goes through, and what times them. */
interface Path {
  readonly steps: readonly AdmissionStep[];
  readonly metrics: AdmissionMetrics | undefined;
}

function pass(path: Path, from: number, request: AdmissionRequest): KubeObject | Promise<KubeObject> {
  let current = request;
  for (let at = from; at < path.steps.length; at += 1) {
    const step = path.steps[at];
    if (step === undefined || step.isIdle?.() === true) continue;
    const object = timed(path, at, current);
    if (object instanceof Promise) return object.then((next) => pass(path, at + 1, withObject(current, next)));
    current = withObject(current, object);
  }
  return current.object;
}

/** Lets the step at `at` look at the request, and takes its time. */
function timed(path: Path, at: number, request: AdmissionRequest): KubeObject | Promise<KubeObject> {
  const { steps, metrics } = path;
  const step = steps[at];
  if (step === undefined) return request.object;
  const again = async (object: KubeObject): Promise<KubeObject> =>
    pass({ steps: steps.slice(0, at), metrics }, 0, { ...request, object, isAgain: true });
  if (metrics === undefined) return step.admit(request, again);
  const { operation } = request;
  const startedAtMs = metrics.nowMs();
  try {
    const object = step.admit(request, again);
    if (!(object instanceof Promise)) {
      metrics.passed(step, operation, startedAtMs);
      return object;
    }
    return object.then(
      (next) => {
        metrics.passed(step, operation, startedAtMs);
        return next;
      },
      (err) => {
        metrics.refused(step, operation, startedAtMs);
        throw err;
      },
    );
  } catch (err) {
    metrics.refused(step, operation, startedAtMs);
    throw err;
  }
}

const withObject = (request: AdmissionRequest, object: KubeObject): AdmissionRequest =>
  object === request.object ? request : { ...request, object };
