import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { UserInfo } from '../user.ts';

/**
 * Steps of `admission` see the object as the client and its defaults make it; those of `allocation` come after, when the server has put
 * in what is its own, and take something from a store that all objects share. What they set belongs to no client.
 */
export type AdmissionPhase = 'admission' | 'allocation';

export type Operation = 'create' | 'update' | 'delete';

/** One write on its way to the store, after defaulting and before validation. */
export interface AdmissionRequest<T extends KubeObject = KubeObject> {
  readonly operation: Operation;
  readonly kind: KindDefinition;
  readonly namespace: string | undefined;
  readonly name: string;
  /** The object as it would be stored; of a deletion, the stored one. */
  readonly object: T;
  /** The stored object of an update. */
  readonly before: T | undefined;
  readonly user: UserInfo;
  readonly dryRun: boolean;
  /** Calls `release` when the write has settled, however it went: for what a step reserved meanwhile. */
  onSettled(release: () => void): void;
}

/**
 * A step that every write of the kinds and operations it names goes through. It may change the object, copy on write, or refuse the
 * write by throwing a StatusError. Steps are synchronous: what they look at is in memory.
 */
export interface AdmissionStep {
  readonly name: string;
  /** Default: `admission`. */
  readonly phase?: AdmissionPhase;
  /** Asked once for each kind and operation. */
  appliesTo(kind: KindDefinition, operation: Operation): boolean;
  /** The same object when nothing has to change. */
  admit(request: AdmissionRequest): KubeObject;
}

/** The steps in the order they are listed, picked once for each kind and operation. */
export class AdmissionChain {
  readonly #steps: readonly AdmissionStep[];
  readonly #picked: Readonly<Record<AdmissionPhase, Readonly<Record<Operation, WeakMap<KindDefinition, readonly AdmissionStep[]>>>>> = {
    admission: { create: new WeakMap(), update: new WeakMap(), delete: new WeakMap() },
    allocation: { create: new WeakMap(), update: new WeakMap(), delete: new WeakMap() },
  };

  constructor(steps: readonly AdmissionStep[]) {
    this.#steps = steps;
  }

  stepsFor(kind: KindDefinition, operation: Operation, phase: AdmissionPhase): readonly AdmissionStep[] {
    let picked = this.#picked[phase][operation].get(kind);
    if (picked === undefined) {
      picked = this.#steps.filter((step) => (step.phase ?? 'admission') === phase && step.appliesTo(kind, operation));
      this.#picked[phase][operation].set(kind, picked);
    }
    return picked;
  }

  admit(request: AdmissionRequest, phase: AdmissionPhase): KubeObject {
    let current = request;
    for (const step of this.stepsFor(request.kind, request.operation, phase)) {
      const object = step.admit(current);
      if (object !== current.object) current = { ...current, object };
    }
    return current.object;
  }
}
