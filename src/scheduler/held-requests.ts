import type { Pod } from '../api/core/v1/pod.ts';
import { deepEqual } from '../machinery/object.ts';
import { compareQuantities, tryQuantity } from '../machinery/quantity.ts';

type Quantities = Readonly<Record<string, string>>;

/** Requests that count, by the name of the container. */
export type HeldRequests = Readonly<Record<string, Quantities>>;

interface ResizableStatus {
  readonly name: string;
  readonly allocatedResources?: Quantities | null;
  readonly resources?: { readonly requests?: Quantities | null } | null;
}

/**
 * Requests that count instead of those of the spec while a pod is resized on its node. Each is the largest of what the container wants,
 * what its node granted and what it has. A wish that its node can never grant does not count. Undefined when nothing differs from the
 * spec, as for nearly every pod.
 *
 * @see KEP-1287, "Scheduler and API Server Interaction"
 */
export function heldRequestsOf({ spec, status }: Pod): HeldRequests | undefined {
  const statuses = (status?.containerStatuses ?? noStatuses) as readonly ResizableStatus[];
  if (statuses.length === 0 && status?.initContainerStatuses === undefined) return undefined;
  const ofInit = (status?.initContainerStatuses ?? noStatuses) as readonly ResizableStatus[];
  let held: Record<string, Quantities> | undefined;
  for (const [containers, states] of [
    [spec.containers, statuses],
    [spec.initContainers ?? [], ofInit],
  ] as const) {
    for (const { name, allocatedResources, resources } of states) {
      // A node that cannot resize says nothing of them.
      if (resources === undefined || resources === null) continue;
      const wanted = containers.find((container) => container.name === name)?.resources?.requests ?? {};
      const granted = allocatedResources ?? wanted;
      const current = resources.requests ?? granted;
      if (deepEqual(wanted, granted) && deepEqual(wanted, current)) continue;
      held ??= {};
      held[name] = isInfeasible(status) ? largest(granted, current) : largest(wanted, granted, current);
    }
  }
  return held;
}

/** The two versions of a pod hold the same, as far as their status says. */
export function holdSame(before: Pod, after: Pod): boolean {
  const [one, other] = [before.status, after.status];
  const isSame = one?.containerStatuses === other?.containerStatuses && one?.initContainerStatuses === other?.initContainerStatuses;
  // Infeasible is a condition, and comes without another amount.
  return (isSame && one?.conditions === other?.conditions) || deepEqual(heldRequestsOf(before), heldRequestsOf(after));
}

const noStatuses: readonly ResizableStatus[] = [];

const isInfeasible = (status: Pod['status']): boolean =>
  status?.conditions?.some(({ type, reason, status: is }) => type === 'PodResizePending' && is === 'True' && reason === 'Infeasible') ===
  true;

function largest(...all: readonly Quantities[]): Quantities {
  const found: Record<string, string> = {};
  for (const [name, text] of all.flatMap((one) => Object.entries(one))) {
    const [before, now] = [tryQuantity(found[name]), tryQuantity(text)];
    if (now !== undefined && (before === undefined || compareQuantities(before, now) < 0)) found[name] = text;
  }
  return found;
}
