import { type Device, type ResourceSlice, resourceSlices } from '../../api/resource/v1/resource-slice.ts';
import type { Informer, InformerSet } from '../../client/informer.ts';
import { compileNodeTerm, type NodeMatcher } from '../../lifecycle/node-selector.ts';
import type { NodeRecord } from '../cache.ts';

type NodeSelector = NonNullable<NonNullable<ResourceSlice['spec']>['nodeSelector']>;

/** A device that may be given away, and the nodes that reach it. */
export interface OfferedDevice {
  /** `driver/pool/device`. */
  readonly id: string;
  readonly driver: string;
  readonly pool: string;
  readonly device: Device;
  /** It is on this node alone. */
  readonly nodeName: string | undefined;
  /** Nodes that reach it; absent with `nodeName`, or when all do. */
  readonly nodeSelector: NodeSelector | undefined;
  /** By `nodeSelector` alone. */
  isReachable(node: NodeRecord): boolean;
}

/** The devices of all complete pools, made again when a slice changes. */
export interface DevicePools {
  all(): Iterable<OfferedDevice>;
  reachableFrom(node: NodeRecord): readonly OfferedDevice[];
}

interface Known {
  /** Devices that are on one node, by its name. */
  readonly local: ReadonlyMap<string, readonly OfferedDevice[]>;
  readonly shared: readonly OfferedDevice[];
}

export function createDevicePools(informers: InformerSet): DevicePools {
  const slices: Informer<ResourceSlice> = informers.get(resourceSlices);
  let last: Known | undefined;
  const known = (): Known => {
    last ??= arrange(offered([...slices.list()]));
    return last;
  };
  slices.addHandler(() => {
    last = undefined;
  });
  return {
    *all() {
      const { local, shared } = known();
      for (const devices of local.values()) yield* devices;
      yield* shared;
    },
    reachableFrom(node) {
      const { local, shared } = known();
      const there = local.get(node.name) ?? [];
      return shared.length === 0 ? there : [...there, ...shared.filter((one) => one.isReachable(node))];
    },
  };
}

function arrange(devices: readonly OfferedDevice[]): Known {
  const local = new Map<string, OfferedDevice[]>();
  for (const device of devices) {
    if (device.nodeName === undefined) continue;
    const there = local.get(device.nodeName);
    if (there === undefined) local.set(device.nodeName, [device]);
    else there.push(device);
  }
  return { local, shared: devices.filter(({ nodeName }) => nodeName === undefined) };
}

/** Slices of a pool's newest generation count, and none before all of them are there: its driver is in the middle of a change. */
function offered(slices: readonly ResourceSlice[]): readonly OfferedDevice[] {
  const pools = new Map<string, { generation: number; slices: ResourceSlice[] }>();
  for (const slice of slices) {
    const { driver = '', pool } = slice.spec ?? {};
    const key = `${driver}/${pool?.name ?? ''}`;
    const generation = pool?.generation ?? 0;
    const known = pools.get(key);
    if (known === undefined || known.generation < generation) pools.set(key, { generation, slices: [slice] });
    else if (known.generation === generation) known.slices.push(slice);
  }
  const complete = [...pools.values()].filter(({ slices: all }) => all.length === (all[0]?.spec?.pool?.resourceSliceCount ?? 1));
  return complete.flatMap(({ slices: all }) => all.flatMap(devicesOf)).sort((a, b) => (a.id < b.id ? -1 : 1));
}

function devicesOf({ spec }: ResourceSlice): readonly OfferedDevice[] {
  const { driver = '', pool, devices = [], perDeviceNodeSelection } = spec ?? {};
  return devices.filter(isSimple).map((device) => {
    const { nodeName, nodeSelector } = (perDeviceNodeSelection === true ? device : spec) ?? {};
    const terms = (nodeSelector?.nodeSelectorTerms ?? []).map((term): NodeMatcher => compileNodeTerm(term));
    return {
      id: `${driver}/${pool?.name ?? ''}/${device.name}`,
      driver,
      pool: pool?.name ?? '',
      device,
      nodeName,
      nodeSelector,
      isReachable: ({ name, labels }) => nodeSelector === undefined || terms.some((fits) => fits(labels, name)),
    };
  });
}

/** Devices that need more than to be taken whole are left to a scheduler that can do that. */
function isSimple({ taints = [], consumesCounters = [], allowMultipleAllocations, bindsToNode, bindingConditions = [] }: Device): boolean {
  const isTainted = taints.some(({ effect }) => effect !== 'None');
  return (
    !isTainted &&
    consumesCounters.length === 0 &&
    allowMultipleAllocations !== true &&
    bindsToNode !== true &&
    bindingConditions.length === 0
  );
}
