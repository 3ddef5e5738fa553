import { cronJobs } from '../../src/api/batch/v1/cron-job.ts';
import { jobs } from '../../src/api/batch/v1/job.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { pods } from '../../src/api/core/v1/pod.ts';
import { csiDrivers } from '../../src/api/storage/v1/csi-driver.ts';
import { volumeAttachments } from '../../src/api/storage/v1/volume-attachment.ts';
import { labels, taints } from '../../src/api/well-known.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import type { RawReader } from '../../src/controllers/horizontal-pod-autoscaler/metrics-client.ts';
import { isPodFinished, isPodTerminating } from '../../src/controllers/pod-conditions.ts';
import { controllerOf } from '../../src/machinery/object.ts';
import { notFound } from '../../src/machinery/status-error.ts';
import { type CloudProcess, startCloudProcess } from '../support/cloud-process.ts';
import { attachingDriver, ignoreNotFound, namespace, nodeNames } from './controllers-world.ts';

const log = createLog({ level: 'silent' });
const attacherFinalizer = 'external-attacher/d-example';

/** Volumes of simulated nodes need no directory. */
const nodeLabels = (name: string) => ({ [labels.hostname]: name, [labels.midshipSimulated]: 'true' });

/** The machines, and a cloud that has them: each Node waits for the controllers of the cloud. */
export async function createMachines(client: Client, lastHeartbeatTime: string): Promise<CloudProcess> {
  const cloud = await startCloudProcess();
  const capacity = { cpu: '64', memory: '64Gi', pods: '200', 'ephemeral-storage': '100Gi' };
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime, lastTransitionTime: lastHeartbeatTime };
  for (const name of nodeNames) {
    cloud.machines.set(name, { providerID: `played://${name}`, zone: `zone-${name}` });
    await client.create(nodes, {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: nodeLabels(name) } },
      spec: { taints: [{ key: taints.uninitialized, value: 'true', effect: 'NoSchedule' }] },
    });
    const body = { status: { capacity, allocatable: capacity, conditions: [ready] } };
    await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status' });
  }
  const driver = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name: attachingDriver },
    spec: { attachRequired: true },
  };
  await client.create(csiDrivers, driver);
  return cloud;
}

export interface PlayersOptions {
  readonly client: Client;
  readonly signal: AbortSignal;
  readonly now: () => string;
}

/** Names of Jobs that CronJobs made, each with the ids under which it was there: a second id is a second run of a minute. */
export type Runs = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Plays the agents and the attacher of a driver. Bound pods run, or have done their work, and pods that leave are gone. Volumes are
 * attached and detached at once.
 */
export function playMachines({ client, signal, now }: PlayersOptions): Runs {
  const informers = createInformerSet({ client, clock: systemClock, log });
  let started = 0;
  informers.get(pods).addHandler(({ after }) => {
    if (after === undefined || after.spec.nodeName === undefined) return;
    const ref = { namespace: after.metadata.namespace, name: after.metadata.name };
    if (isPodTerminating(after)) return void ignoreNotFound(client.delete(pods, ref, { gracePeriodSeconds: 0 }));
    if (after.status?.phase !== 'Pending') return;
    const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: now() }];
    started += 1;
    const podIP = `10.0.${started >> 8}.${started & 255}`;
    const running = { phase: 'Running', conditions, startTime: now(), podIP, podIPs: [{ ip: podIP }] };
    const status = after.spec.restartPolicy === 'Never' ? { phase: 'Succeeded' } : running;
    void ignoreNotFound(client.patch(pods, ref, { type: 'merge', body: { status } }, { subresource: 'status' }));
  });
  informers.get(volumeAttachments).addHandler(({ after }) => {
    if (after === undefined) return;
    const { name, resourceVersion, deletionTimestamp, finalizers = [] } = after.metadata;
    const patch = (body: object, options = {}): void =>
      void ignoreNotFound(client.patch(volumeAttachments, { name }, { type: 'merge', body }, options));
    if (deletionTimestamp !== undefined) patch({ metadata: { finalizers: [] } });
    else if (!finalizers.includes(attacherFinalizer)) patch({ metadata: { resourceVersion, finalizers: [attacherFinalizer] } });
    else if (after.status?.attached !== true) patch({ status: { attached: true } }, { subresource: 'status' });
  });
  const runs = new Map<string, Set<string>>();
  informers.get(jobs).addHandler(({ after }) => {
    if (after === undefined || controllerOf(after)?.kind !== cronJobs.kind) return;
    const { name, uid = '' } = after.metadata;
    runs.set(name, (runs.get(name) ?? new Set()).add(uid));
  });
  informers.start({ signal });
  return runs;
}

/** A metrics server: the pods of the scaled workload share the load. */
export function createPlayedMetrics(
  { client, now }: Pick<PlayersOptions, 'client' | 'now'>,
  loadMilli: () => number | undefined,
): RawReader {
  return {
    async readJson(path) {
      if (path !== `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods`)
        throw notFound({ group: 'metrics.k8s.io', resource: 'pods' }, 'metrics');
      const { items } = await client.list(pods, { namespace, labelSelector: 'app=scaled' });
      const running = items.filter((pod) => pod.status?.phase === 'Running' && !isPodTerminating(pod) && !isPodFinished(pod));
      const each = (loadMilli() ?? 0) / running.length;
      return {
        items: running.map(({ metadata: { name } }) => ({
          ...{ metadata: { name }, timestamp: now(), window: '10s' },
          containers: [{ name: 'main', usage: { cpu: `${Math.round(each * 1_000_000)}n` } }],
        })),
      };
    },
  };
}
