import { nodes } from '../../api/core/v1/node.ts';
import { type CSINode, csiNodes } from '../../api/storage/v1/csi-node.ts';
import { annotations } from '../../api/well-known.ts';
import type { Client } from '../../client/client.ts';
import { deepEqual } from '../../machinery/object.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/status-error.ts';

/** A driver's words about the node that it runs on. */
export interface InstalledDriver {
  readonly name: string;
  /** The driver's own name of the node. */
  readonly nodeId: string;
  /** 0: not bounded. */
  readonly maxVolumes: number;
  readonly topology: Readonly<Record<string, string>>;
}

/**
 * The drivers of a node in the API: its CSINode, and the annotation and topology labels of its Node. Attachers and the scheduler read them.
 */
export interface CsiNodeObjects {
  /** The CSINode of a node without drivers, as each kubelet makes it. */
  create(): Promise<void>;
  /** @throws Error in the kubelet's words when a label of the Node contradicts the driver */
  install(driver: InstalledDriver): Promise<void>;
  /** Topology labels stay: volumes may name them. */
  uninstall(name: string): Promise<void>;
}

const maxTries = 5;
const maxCount = 2_147_483_647;

export function createCsiNodeObjects({ client, nodeName }: { readonly client: Client; readonly nodeName: string }): CsiNodeObjects {
  const name = nodeName;

  /** Others write these objects, too. */
  async function retried(write: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await write();
        return;
      } catch (err) {
        if (!(isConflict(err) || isAlreadyExists(err)) || tries >= maxTries) throw err;
      }
    }
  }

  async function findOrCreate(): Promise<CSINode> {
    try {
      return await client.get(csiNodes, { name });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    const { metadata } = await client.get(nodes, { name });
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name, uid: metadata.uid ?? '' }];
    return client.create(csiNodes, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      metadata: { name, ownerReferences },
      spec: { drivers: [] },
    });
  }

  type Drivers = NonNullable<NonNullable<CSINode['spec']>['drivers']>;

  const writeDrivers = (change: (drivers: Drivers) => Drivers): Promise<void> =>
    retried(async () => {
      const found = await findOrCreate();
      const before = found.spec?.drivers ?? [];
      const drivers = change(before);
      if (!deepEqual(before, drivers)) await client.update(csiNodes, { ...found, spec: { drivers } });
    });

  const writeNode = (nodeId: { readonly of: string; readonly id: string | null }, topology: InstalledDriver['topology']): Promise<void> =>
    retried(async () => {
      const { metadata } = await client.get(nodes, { name });
      for (const [key, value] of Object.entries(topology)) {
        const known = metadata.labels?.[key];
        if (known !== undefined && known !== value)
          throw new Error(
            `detected topology value collision: driver reported "${key}":"${value}" but existing label is "${key}":"${known}"`,
          );
      }
      const ids = nodeIdsOf(metadata.annotations?.[annotations.csiNodeId]);
      if (nodeId.id === null) ids.delete(nodeId.of);
      else ids.set(nodeId.of, nodeId.id);
      const text = ids.size === 0 ? null : JSON.stringify(Object.fromEntries(ids));
      const isSame = (metadata.annotations?.[annotations.csiNodeId] ?? null) === text;
      if (isSame && Object.entries(topology).every(([key, value]) => metadata.labels?.[key] === value)) return;
      const { resourceVersion } = metadata;
      const body = { metadata: { resourceVersion, annotations: { [annotations.csiNodeId]: text }, labels: topology } };
      await client.patch(nodes, { name }, { type: 'merge', body });
    });

  return {
    create: () => retried(async () => void (await findOrCreate())),
    async install({ name: driver, nodeId, maxVolumes, topology }) {
      await writeNode({ of: driver, id: nodeId }, topology);
      const keys = Object.keys(topology).toSorted();
      await writeDrivers((drivers) => [
        ...drivers.filter((each) => each.name !== driver),
        {
          name: driver,
          nodeID: nodeId,
          topologyKeys: keys,
          ...(maxVolumes > 0 ? { allocatable: { count: Math.min(maxVolumes, maxCount) } } : {}),
        },
      ]);
    },
    async uninstall(driver) {
      try {
        await writeDrivers((drivers) => drivers.filter((each) => each.name !== driver));
        await writeNode({ of: driver, id: null }, {});
      } catch (err) {
        // A Node that is gone has no drivers.
        if (!isNotFound(err)) throw err;
      }
    },
  };
}

/** A list that cannot be read begins again: agents alone write it. */
function nodeIdsOf(text = '{}'): Map<string, string> {
  try {
    const parsed: unknown = JSON.parse(text);
    return new Map(Object.entries(parsed as Record<string, string>).filter(([, id]) => typeof id === 'string'));
  } catch {
    return new Map();
  }
}
