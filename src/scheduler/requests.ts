import type { Container, PodSpec } from '../api/core/v1/pod.ts';
import { milliValueOf, wholeValueOf } from '../machinery/quantity.ts';
import type { HeldRequests } from './held-requests.ts';

/** Amounts of the resources every node has, and of extended ones by name. CPU in thousandths, all others in units or bytes. */
export interface Amounts {
  readonly milliCpu: number;
  readonly memory: number;
  readonly ephemeralStorage: number;
  /** Absent when there are none, which is nearly always. */
  readonly extended?: ReadonlyMap<string, number>;
}

export interface PodRequests extends Amounts {
  /** With what a container that requests nothing is taken to use, so that such pods are spread too. */
  readonly scoredMilliCpu: number;
  readonly scoredMemory: number;
}

/** Usage that kube-scheduler assumes for a container without requests. */
const defaultMilliCpu = 100;
const defaultMemory = 200 * 1024 * 1024;

type Quantities = Readonly<Record<string, string>>;

/**
 * Resources that a pod takes from a node. It is the sum of its containers and sidecars. The largest init container, with the sidecars
 * started before it, counts when that is more. The overhead of its runtime class is added.
 *
 * @param held  requests of containers that count instead of those of the spec
 * @see Kubernetes concepts, "Sidecar containers", "Resource sharing within containers"
 */
export function requestsOf(spec: PodSpec, held?: HeldRequests): PodRequests {
  const running = new Tally();
  for (const container of spec.containers) running.add(requestsOfContainer(container, held));
  let peak: Tally | undefined;
  if (spec.initContainers !== undefined) {
    const sidecars = new Tally();
    peak = new Tally();
    for (const container of spec.initContainers) {
      const wanted = requestsOfContainer(container, held);
      if ((container as { readonly restartPolicy?: string }).restartPolicy === 'Always') {
        running.add(wanted);
        sidecars.add(wanted);
        peak.raiseTo(sidecars);
      } else {
        const during = sidecars.copy();
        during.add(wanted);
        peak.raiseTo(during);
      }
    }
    running.raiseTo(peak);
  }
  const ofPod = (spec as { readonly resources?: { readonly requests?: Quantities } }).resources?.requests;
  if (ofPod !== undefined) running.replaceBy(ofPod);
  if (spec.overhead !== undefined) running.add({ quantities: spec.overhead, scored: spec.overhead });
  return running.result();
}

/** Reads `status.allocatable` of a node. */
export function allocatableOf(quantities: Quantities | undefined): Amounts & { readonly pods: number } {
  const tally = new Tally();
  tally.add({ quantities: quantities ?? {}, scored: {} });
  const { extended, ...flat } = tally.result();
  const pods = extended?.get('pods') ?? 0;
  const others = extended === undefined ? [] : [...extended].filter(([name]) => name !== 'pods');
  return {
    milliCpu: flat.milliCpu,
    memory: flat.memory,
    ephemeralStorage: flat.ephemeralStorage,
    ...(others.length === 0 ? {} : { extended: new Map(others) }),
    pods,
  };
}

interface Wanted {
  readonly quantities: Quantities;
  /** Quantities for scores; a missing cpu or memory counts with its default when `assumed` is set. */
  readonly scored: Quantities;
  readonly assumed?: boolean;
}

function requestsOfContainer({ name, resources }: Container, held: HeldRequests | undefined): Wanted {
  const quantities = held?.[name] ?? resources?.requests ?? {};
  return { quantities, scored: quantities, assumed: true };
}

class Tally {
  #milliCpu = 0;
  #memory = 0;
  #ephemeralStorage = 0;
  #scoredMilliCpu = 0;
  #scoredMemory = 0;
  #extended: Map<string, number> | undefined;

  add({ quantities, scored, assumed }: Wanted): void {
    for (const [name, quantity] of Object.entries(quantities)) {
      if (name === 'cpu') this.#milliCpu += milliValueOf(quantity);
      else if (name === 'memory') this.#memory += wholeValueOf(quantity);
      else if (name === 'ephemeral-storage') this.#ephemeralStorage += wholeValueOf(quantity);
      else {
        this.#extended ??= new Map();
        this.#extended.set(name, (this.#extended.get(name) ?? 0) + wholeValueOf(quantity));
      }
    }
    if (scored.cpu !== undefined) this.#scoredMilliCpu += milliValueOf(scored.cpu);
    else if (assumed === true) this.#scoredMilliCpu += defaultMilliCpu;
    if (scored.memory !== undefined) this.#scoredMemory += wholeValueOf(scored.memory);
    else if (assumed === true) this.#scoredMemory += defaultMemory;
  }

  raiseTo(other: Tally): void {
    this.#milliCpu = Math.max(this.#milliCpu, other.#milliCpu);
    this.#memory = Math.max(this.#memory, other.#memory);
    this.#ephemeralStorage = Math.max(this.#ephemeralStorage, other.#ephemeralStorage);
    this.#scoredMilliCpu = Math.max(this.#scoredMilliCpu, other.#scoredMilliCpu);
    this.#scoredMemory = Math.max(this.#scoredMemory, other.#scoredMemory);
    for (const [name, amount] of other.#extended ?? []) {
      this.#extended ??= new Map();
      this.#extended.set(name, Math.max(this.#extended.get(name) ?? 0, amount));
    }
  }

  /** Requests of the pod as a whole count instead of the sum of its containers. */
  replaceBy(quantities: Quantities): void {
    if (quantities.cpu !== undefined) {
      this.#milliCpu = milliValueOf(quantities.cpu);
      this.#scoredMilliCpu = this.#milliCpu;
    }
    if (quantities.memory !== undefined) {
      this.#memory = wholeValueOf(quantities.memory);
      this.#scoredMemory = this.#memory;
    }
  }

  copy(): Tally {
    const copy = new Tally();
    copy.raiseTo(this);
    return copy;
  }

  result(): PodRequests {
    return {
      milliCpu: this.#milliCpu,
      memory: this.#memory,
      ephemeralStorage: this.#ephemeralStorage,
      scoredMilliCpu: this.#scoredMilliCpu,
      scoredMemory: this.#scoredMemory,
      ...(this.#extended === undefined ? {} : { extended: this.#extended }),
    };
  }
}
