import { addQuantities, compareQuantities, type Quantity, tryQuantity } from '../../../machinery/quantity.ts';
import type { Container, PodSpec } from './pod.ts';

/** Amounts by the name of the resource: `cpu`, `memory`, `example.com/gpu`. */
export type ResourceAmounts = ReadonlyMap<string, Quantity>;

type Part = 'requests' | 'limits';

/**
 * Resources that the containers of a pod share; the published types of the API lack the field. A limit counts as request where nobody
 * requests any.
 *
 * @see KEP-2837, Pod Level Resource Specifications
 */
export const podLevelResources = (spec: PodSpec): Readonly<Partial<Record<Part, Readonly<Record<string, string>>>>> | undefined =>
  (spec as { readonly resources?: Readonly<Partial<Record<Part, Readonly<Record<string, string>>>>> }).resources ?? undefined;

/**
 * Requests or limits of a pod as admission counts them: the sum of its containers and sidecars. The largest init
 * container with the sidecars started before it counts instead when that is more. Resources at the level of the pod replace the sum.
 *
 * @param overhead  true adds the overhead of the pod's runtime class; limits get it only where there is a limit
 * @see Kubernetes concepts, "Sidecar containers", "Resource sharing within containers"
 */
export function podResources(spec: PodSpec, part: Part, { overhead }: { readonly overhead: boolean }): ResourceAmounts {
  const total = new Map<string, Quantity>();
  for (const container of spec.containers ?? []) add(total, amountsOf(container, part));
  const sidecars = new Map<string, Quantity>();
  const peak = new Map<string, Quantity>();
  for (const container of spec.initContainers ?? []) {
    const wanted = amountsOf(container, part);
    if ((container as { readonly restartPolicy?: string }).restartPolicy === 'Always') {
      add(total, wanted);
      add(sidecars, wanted);
      raise(peak, sidecars);
    } else {
      const during = new Map(sidecars);
      add(during, wanted);
      raise(peak, during);
    }
  }
  raise(total, peak);
  const resources = podLevelResources(spec);
  if (part === 'requests') for (const [name, quantity] of readAmounts(resources?.limits)) if (!total.has(name)) total.set(name, quantity);
  for (const [name, quantity] of readAmounts(resources?.[part])) total.set(name, quantity);
  if (overhead) {
    for (const [name, quantity] of readAmounts(spec.overhead)) {
      const before = total.get(name);
      if (before !== undefined) total.set(name, addQuantities(before, quantity));
      else if (part === 'requests') total.set(name, quantity);
    }
  }
  return total;
}

export function sumAmounts(all: readonly ResourceAmounts[]): ResourceAmounts {
  const total = new Map<string, Quantity>();
  for (const amounts of all) add(total, amounts);
  return total;
}

const amountsOf = ({ resources }: Container, part: Part): ResourceAmounts => readAmounts(resources?.[part]);

/** Amounts as an object says them; what cannot be read is left out, since validation tells of it. */
export function readAmounts(given: Readonly<Record<string, string | number>> | null | undefined): ResourceAmounts {
  const amounts = new Map<string, Quantity>();
  for (const [name, text] of Object.entries(given ?? {})) {
    const quantity = tryQuantity(text);
    if (quantity !== undefined) amounts.set(name, quantity);
  }
  return amounts;
}

function add(total: Map<string, Quantity>, amounts: ResourceAmounts): void {
  for (const [name, quantity] of amounts) {
    const before = total.get(name);
    total.set(name, before === undefined ? quantity : addQuantities(before, quantity));
  }
}

function raise(total: Map<string, Quantity>, amounts: ResourceAmounts): void {
  for (const [name, quantity] of amounts) {
    const before = total.get(name);
    if (before === undefined || compareQuantities(before, quantity) < 0) total.set(name, quantity);
  }
}
