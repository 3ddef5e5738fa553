import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { UserInfo } from '../user.ts';

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
  /** Asked once for each kind and operation. */
  appliesTo(kind: KindDefinition, operation: Operation): boolean;
  /** The same object when nothing has to change. */
  admit(request: AdmissionRequest): KubeObject;
}

/** The steps in the order they are listed, picked once for each kind and operation. */
export class AdmissionChain {
  readonly #steps: readonly AdmissionStep[];
  readonly #picked: Readonly<Record<Operation, WeakMap<KindDefinition, readonly AdmissionStep[]>>> = {
    create: new WeakMap(),
    update: new WeakMap(),
    delete: new WeakMap(),
  };

  constructor(steps: readonly AdmissionStep[]) {
    this.#steps = steps;
  }

  stepsFor(kind: KindDefinition, operation: Operation): readonly AdmissionStep[] {
    let picked = this.#picked[operation].get(kind);
    if (picked === undefined) {
      picked = this.#steps.filter((step) => step.appliesTo(kind, operation));
      this.#picked[operation].set(kind, picked);
    }
    return picked;
  }

  admit(request: AdmissionRequest): KubeObject {
    let current = request;
    for (const step of this.stepsFor(request.kind, request.operation)) {
      const object = step.admit(current);
      if (object !== current.object) current = { ...current, object };
    }
    return current.object;
  }
}
