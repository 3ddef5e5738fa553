import type { DeviceClass } from '../../api/resource/v1/device-class.ts';
import type { DeviceSelector, ExactRequest } from '../../api/resource/v1/device-requests.ts';
import type { Allocation, ResourceClaim } from '../../api/resource/v1/resource-claim.ts';
import type { OfferedDevice } from './device-pools.ts';
import { isSelected } from './device-selectors.ts';

/** Most devices of a claim, as upstream has it. */
const maxResults = 32;

/** A request for devices, with the selectors of its class. */
interface Wanted {
  readonly name: string;
  readonly selectors: readonly DeviceSelector[];
  /** Undefined: all that fit. */
  readonly count: number | undefined;
}

/** Says why no scheduler of this version gives devices to the claim; undefined when it can. */
export function unsupportedOf({ spec }: ResourceClaim): string | undefined {
  const { requests = [], constraints = [] } = spec?.devices ?? {};
  if (constraints.length > 0) return 'constraints';
  for (const { exactly, firstAvailable = [] } of requests) {
    if (firstAvailable.length > 0) return 'firstAvailable';
    if (exactly?.adminAccess === true) return 'adminAccess';
    if ((exactly?.tolerations ?? []).length > 0) return 'tolerations';
    if (exactly?.capacity !== undefined && exactly.capacity !== null) return 'capacity';
  }
  return undefined;
}

export interface AllocateOptions {
  /** Devices that the node reaches. */
  readonly reachable: readonly OfferedDevice[];
  readonly classOf: (name: string) => DeviceClass | undefined;
  /** Devices that others have, by id; those that are given here are added by the caller. */
  readonly taken: ReadonlySet<string>;
}

/**
 * Finds devices for a claim on a node; undefined when there are not enough. A request that can be served by another device
 * makes way for one that cannot, so devices are found whenever there are enough.
 *
 * @throws SelectorError
 */
export function allocate(claim: ResourceClaim, options: AllocateOptions): Allocation | undefined {
  const { requests = [], config = [] } = claim.spec?.devices ?? {};
  const { reachable, classOf, taken } = options;
  const fitting = ({ selectors }: Wanted) => reachable.filter(({ device, driver }) => isSelected(selectors, device, driver));
  const wanted = requests.map(({ name, exactly = {} }) => wantedOf(name, exactly, classOf));
  const used = new Set(taken);
  const results: { request: string; device: OfferedDevice }[] = [];
  for (const request of wanted.filter(({ count }) => count === undefined)) {
    const all = fitting(request);
    if (all.length === 0 || all.some(({ id }) => used.has(id))) return undefined;
    for (const device of all) {
      used.add(device.id);
      results.push({ request: request.name, device });
    }
  }
  const places = wanted.flatMap((request) => Array.from({ length: Math.min(request.count ?? 0, maxResults + 1) }, () => request));
  if (results.length + places.length > maxResults) return undefined;
  const choices = new Map(wanted.map((request) => [request, fitting(request).filter(({ id }) => !used.has(id))]));
  const matched = match(places.map((request) => choices.get(request) ?? []));
  if (matched === undefined) return undefined;
  places.forEach((request, index) => {
    const device = matched[index];
    if (device !== undefined) results.push({ request: request.name, device });
  });
  const ordered = wanted.flatMap(({ name }) => results.filter(({ request }) => request === name));
  const nodeSelector = selectorOf(ordered.map(({ device }) => device));
  const configs = [
    ...requests.flatMap(({ name, exactly }) =>
      (classOf(exactly?.deviceClassName ?? '')?.spec?.config ?? []).map((one) => ({
        ...one,
        source: 'FromClass' as const,
        requests: [name],
      })),
    ),
    ...config.map((one) => ({ ...one, source: 'FromClaim' as const })),
  ];
  return {
    devices: {
      results: ordered.map(({ request, device: { driver, pool, device } }) => ({ request, driver, pool, device: device.name })),
      ...(configs.length === 0 ? {} : { config: configs }),
    },
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
  };
}

function wantedOf(
  name: string,
  { deviceClassName = '', selectors = [], allocationMode, count = 1 }: ExactRequest,
  classOf: AllocateOptions['classOf'],
): Wanted {
  const ofClass = classOf(deviceClassName)?.spec?.selectors ?? [];
  return { name, selectors: [...ofClass, ...selectors], count: allocationMode === 'All' ? undefined : count };
}

/** Gives each place a device, and none twice; undefined when that is not possible. A place moves others along a path of choices (Kuhn). */
function match(places: readonly (readonly OfferedDevice[])[]): readonly OfferedDevice[] | undefined {
  const holder = new Map<OfferedDevice, number>();
  const place = (index: number, seen: Set<OfferedDevice>): boolean => {
    for (const device of places[index] ?? []) {
      if (seen.has(device)) continue;
      seen.add(device);
      const other = holder.get(device);
      if (other !== undefined && !place(other, seen)) continue;
      holder.set(device, index);
      return true;
    }
    return false;
  };
  for (const index of places.keys()) if (!place(index, new Set())) return undefined;
  const chosen: OfferedDevice[] = [];
  for (const [device, index] of holder) chosen[index] = device;
  return chosen;
}

/** Nodes that reach all of the devices; undefined: every node does. */
function selectorOf(devices: readonly OfferedDevice[]): Allocation['nodeSelector'] {
  const local = devices.find(({ nodeName }) => nodeName !== undefined)?.nodeName;
  if (local !== undefined) return { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [local] }] }] };
  // Slices have one term each, so all requirements together are one term.
  const terms = [...new Set(devices.flatMap(({ nodeSelector }) => nodeSelector?.nodeSelectorTerms ?? []))];
  if (terms.length === 0) return undefined;
  return {
    nodeSelectorTerms: [
      {
        matchExpressions: terms.flatMap(({ matchExpressions = [] }) => matchExpressions),
        matchFields: terms.flatMap(({ matchFields = [] }) => matchFields),
      },
    ],
  };
}
