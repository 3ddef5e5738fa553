import { type Node, nodes } from '../api/core/v1/node.ts';
import { labels, taints } from '../api/well-known.ts';
import { deepEqual } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import type { Instance, Instances } from './cloud-provider.ts';

export interface CloudNodeControllerOptions extends ControllerDependencies {
  readonly instances: Instances;
}

/** Between two looks at the addresses of a machine, as upstream. */
const refreshMs = 5 * 60_000;
const minBackoffMs = 1_000;

/**
 * Brings what the cloud knows of a machine into its Node: identity, size, zone and addresses. Until then the Node has a taint, which keeps
 * pods away. A Node that the cloud does not know yet is asked for again.
 *
 * @see Kubernetes, k8s.io/cloud-provider, node controller
 */
export function createCloudNodeController(options: CloudNodeControllerOptions): Controller {
  const { client, informers, recorder, instances } = options;
  const informer = informers.get(nodes);

  const controller = createInformedController(options, {
    name: 'cloud-node',
    minBackoffMs,
    async reconcile(name, { signal }) {
      const node = informer.get({ name });
      if (node === undefined || node.metadata.deletionTimestamp !== undefined) return undefined;
      const isNew = isUninitialized(node);
      if (!isNew && (node.spec?.providerID ?? '') === '') return undefined;
      const instance = await instances.find(node, signal);
      if (instance === undefined) {
        // The lifecycle of a Node that was there before is another controller's.
        if (isNew) throw new Error(`the cloud has no machine for Node ${name} yet`);
        return { requeueAfterMs: refreshMs };
      }
      await write(name, instance, signal);
      if (isNew) recorder.record(node, { type: 'Normal', reason: 'Synced', message: 'Node synced successfully' });
      return { requeueAfterMs: refreshMs };
    },
  });
  informer.addHandler(({ before, after }) => {
    if (after !== undefined && (before === undefined || (isUninitialized(after) && !isUninitialized(before))))
      controller.enqueue(after.metadata.name);
  });
  return controller;

  async function write(name: string, instance: Instance, signal: AbortSignal): Promise<void> {
    try {
      // The cache may not have yet what the node reports of itself.
      const node = await client.get(nodes, { name }, { signal });
      // First the addresses: without the taint, pods and clients use them.
      const addresses = mergedAddresses(node, instance);
      let version = node.metadata.resourceVersion;
      if (!deepEqual(addresses, node.status?.addresses ?? [])) {
        const body = { metadata: { resourceVersion: version }, status: { addresses } };
        const written = await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status', signal });
        version = written.metadata.resourceVersion;
      }
      const next = initialized(node, instance);
      if (!deepEqual([next.metadata.labels, next.spec], [node.metadata.labels, node.spec]))
        await client.patch(
          nodes,
          { name },
          {
            type: 'merge',
            body: {
              // The patch has all taints: one that comes meanwhile would be lost.
              metadata: { resourceVersion: version, labels: next.metadata.labels },
              spec: { providerID: next.spec?.providerID, taints: next.spec?.taints ?? [] },
            },
          },
          { signal },
        );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const isUninitialized = ({ spec }: Node): boolean => spec?.taints?.some(({ key }) => key === taints.uninitialized) === true;

/** Addresses of the cloud, and the host name that the node reports. */
function mergedAddresses({ status }: Node, { addresses }: Instance): readonly unknown[] {
  const reported = status?.addresses ?? [];
  if (addresses === undefined) return reported;
  return [...addresses, ...reported.filter(({ type }) => type === 'Hostname' && !addresses.some((each) => each.type === type))];
}

function initialized(node: Node, { providerID, instanceType, zone, region, labels: own = {} }: Instance): Node {
  const { metadata, spec } = node;
  const known = (key: string, value: string | undefined): Record<string, string> =>
    value === undefined || value === '' ? {} : { [key]: value };
  return {
    ...node,
    metadata: {
      ...metadata,
      labels: {
        ...own,
        ...metadata.labels,
        ...known(labels.instanceType, instanceType),
        ...known(labels.zone, zone),
        ...known(labels.region, region),
      },
    },
    spec: {
      ...spec,
      // It never changes once it is set.
      providerID: spec?.providerID || providerID,
      ...(spec?.taints === undefined ? {} : { taints: spec.taints.filter(({ key }) => key !== taints.uninitialized) }),
    },
  };
}
