import { type DaemonSet, daemonSets } from '../../src/api/apps/v1/daemon-set.ts';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../src/api/apps/v1/replica-set.ts';
import { statefulSets } from '../../src/api/apps/v1/stateful-set.ts';
import { horizontalPodAutoscalers } from '../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { cronJobs } from '../../src/api/batch/v1/cron-job.ts';
import { jobs } from '../../src/api/batch/v1/job.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { persistentVolumes } from '../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../src/api/core/v1/persistent-volume-claim.ts';
import { replicationControllers } from '../../src/api/core/v1/replication-controller.ts';
import { resourceQuotas } from '../../src/api/core/v1/resource-quota.ts';
import { services } from '../../src/api/core/v1/service.ts';
import { podDisruptionBudgets } from '../../src/api/policy/v1/pod-disruption-budget.ts';
import type { Client } from '../../src/client/client.ts';
import type { KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { isConflict, isNotFound } from '../../src/machinery/status-error.ts';

export const namespace = 'shop';
export const nodeNames = ['a', 'b', 'c'] as const;

/** A workload as people want it at the end. */
interface Wanted {
  readonly image: string;
  readonly replicas: number;
}

export const workloadNames = ['web', 'bare', 'old', 'db', 'agent'] as const;
export type WorkloadName = (typeof workloadNames)[number];

/** All that people want. */
export type Wishes = Readonly<Record<WorkloadName, Wanted>> & {
  /** Nodes with the label that `agent` asks for. */
  readonly colored: readonly string[];
  readonly jobs: readonly string[];
  /** Claims of volumes that people made, 0 to 3. */
  readonly kept: number;
  /** The Service `front` is of type LoadBalancer. */
  readonly isExposed: boolean;
  /** Thousandths of a CPU that all pods of the scaled workload use together; undefined: it has no autoscaler. */
  readonly loadMilli: number | undefined;
  /** A CronJob runs each minute. */
  readonly hasCronJob: boolean;
};

export const firstWishes: Wishes = {
  web: { image: 'host/v1', replicas: 3 },
  bare: { image: 'host/v1', replicas: 2 },
  old: { image: 'host/v1', replicas: 2 },
  db: { image: 'host/v1', replicas: 2 },
  agent: { image: 'host/v1', replicas: 0 },
  colored: ['a', 'b'],
  jobs: [],
  kept: 1,
  isExposed: true,
  loadMilli: 1_200,
  hasCronJob: true,
};

/** For each pod of the scaled workload, in thousandths of a CPU. Loads are multiples of it, which 1 to 6 pods share without a rest. */
export const targetMilli = 600;

/** Makes and changes objects as people wish; what is there and as wished stays. */
export async function wish(client: Client, wanted: Wishes): Promise<void> {
  for (const name of workloadNames) await put(client, ...workloadOf(name, wanted[name]));
  for (const name of wanted.jobs) await put(client, ...jobOf(name));
  for (const [resource, object] of [...others, frontOf(wanted.isExposed), ...volumesOf(wanted.kept)]) await put(client, resource, object);
  for (let number = wanted.kept; number < volumeCount; number += 1)
    await ignoreNotFound(client.delete(persistentVolumeClaims, { namespace, name: `kept-${number}` }));
  if (wanted.loadMilli !== undefined) for (const [resource, object] of scaled) await put(client, resource, object);
  if (wanted.hasCronJob) await put(client, ...minutely);
  for (const name of nodeNames) {
    const color = wanted.colored.includes(name) ? 'blue' : 'red';
    await client.patch(nodes, { name }, { type: 'merge', body: { metadata: { labels: { color } } } });
  }
}

/** Lets volumes of policy Retain be used again, as an administrator does who has saved their files. */
export async function freeVolumes(client: Client): Promise<void> {
  for (const { metadata, status } of (await client.list(persistentVolumes)).items) {
    if (status?.phase !== 'Released' || !metadata.name.startsWith('kept-')) continue;
    const body = { metadata: { resourceVersion: metadata.resourceVersion }, spec: { claimRef: null } };
    await ignoreNotFound(client.patch(persistentVolumes, { name: metadata.name }, { type: 'merge', body }));
  }
}

export async function ignoreNotFound(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (err) {
    if (!isNotFound(err) && !isConflict(err)) throw err;
  }
}

/** Creates an object, or writes its spec. One that is being deleted is waited for by the next wish. */
async function put(client: Client, resource: Resource<KubeObject>, object: KubeObject): Promise<void> {
  const { name } = object.metadata;
  const ref = resource.namespaced ? { namespace, name } : { name };
  const { spec } = object as KubeObject & { readonly spec?: object };
  try {
    await client.get(resource, ref);
  } catch (err) {
    if (!isNotFound(err)) throw err;
    await client.create(resource, object);
    return;
  }
  if (fixed.has(resource)) return;
  await ignoreNotFound(client.patch(resource, ref, { type: 'merge', body: { spec } }));
}

const fixed: ReadonlySet<unknown> = new Set([jobs, persistentVolumes, persistentVolumeClaims]);

type Wish = readonly [Resource<KubeObject>, KubeObject];
const as = (resource: unknown, object: object): Wish => [resource as Resource<KubeObject>, object as KubeObject];
const metadataOf = (name: string) => ({ name, namespace });
const templateOf = (name: string, image: string, spec: object = {}) => ({
  metadata: { labels: { app: name } },
  spec: { containers: [{ name: 'main', image }], terminationGracePeriodSeconds: 1, ...spec },
});

export function workloadOf(name: WorkloadName, { image, replicas }: Wanted): Wish {
  const metadata = metadataOf(name);
  const selector = { matchLabels: { app: name } };
  const template = templateOf(name, image);
  switch (name) {
    case 'web':
      return as(deployments, { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec: { replicas, selector, template } });
    case 'bare':
      return as(replicaSets, { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata, spec: { replicas, selector, template } });
    case 'old':
      return as(replicationControllers, {
        ...{ apiVersion: 'v1', kind: 'ReplicationController', metadata },
        spec: { replicas, selector: { app: name }, template },
      });
    case 'db':
      return as(statefulSets, {
        ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata },
        spec: {
          ...{ replicas, selector, template, serviceName: name },
          persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Delete' },
          volumeClaimTemplates: [
            { metadata: { name: 'data' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } } },
          ],
        },
      });
    case 'agent':
      return as(daemonSets, {
        ...{ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata },
        spec: { selector, template: templateOf(name, image, { nodeSelector: { color: 'blue' } }) },
      } satisfies Partial<Record<keyof DaemonSet, unknown>>);
    default:
      return name satisfies never;
  }
}

const jobOf = (name: string): Wish =>
  as(jobs, {
    ...{ apiVersion: 'batch/v1', kind: 'Job', metadata: metadataOf(name) },
    spec: { completions: 3, parallelism: 2, completionMode: 'Indexed', template: templateOf(name, 'host/v1', { restartPolicy: 'Never' }) },
  });

/** Each minute, with one finished Job kept. */
const minutely: Wish = as(cronJobs, {
  ...{ apiVersion: 'batch/v1', kind: 'CronJob', metadata: metadataOf('minutely') },
  spec: {
    ...{ schedule: '* * * * *', concurrencyPolicy: 'Forbid', successfulJobsHistoryLimit: 1 },
    jobTemplate: { spec: { template: templateOf('minutely', 'host/v1', { restartPolicy: 'Never' }) } },
  },
});

/** A Deployment whose number of pods is the autoscaler's. */
const scaled: readonly Wish[] = [
  as(deployments, {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadataOf('scaled') },
    spec: { selector: { matchLabels: { app: 'scaled' } }, template: templateOf('scaled', 'host/v1') },
  } satisfies Partial<Record<keyof Deployment, unknown>>),
  as(horizontalPodAutoscalers, {
    ...{ apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler', metadata: metadataOf('scaled') },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'scaled' },
      ...{ minReplicas: 1, maxReplicas: 6 },
      metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'AverageValue', averageValue: `${targetMilli}m` } } }],
      behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
    },
  }),
];

const frontOf = (isExposed: boolean): Wish =>
  as(services, {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: metadataOf('front') },
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }], type: isExposed ? 'LoadBalancer' : 'ClusterIP' },
  });

const volumeCount = 3;
export const attachingDriver = 'd.example';

/** Volumes that people made, and the claims of some of them. Each claim has a size that only its own volume and larger ones have. */
function volumesOf(claims: number): readonly Wish[] {
  const accessModes = ['ReadWriteOnce'];
  const volume = (name: string, storage: string, source: object): Wish =>
    as(persistentVolumes, {
      ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name } },
      spec: { capacity: { storage }, accessModes, storageClassName: 'manual', persistentVolumeReclaimPolicy: 'Retain', ...source },
    });
  const claim = (name: string, storage: string, more: object = {}): Wish =>
    as(persistentVolumeClaims, {
      ...{ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: metadataOf(name) },
      spec: { accessModes, storageClassName: 'manual', resources: { requests: { storage } }, ...more },
    });
  const numbers = Array.from({ length: volumeCount }, (_, number) => number);
  return [
    ...numbers.map((number) => volume(`kept-${number}`, '1Gi', { hostPath: { path: `/srv/${number}` } })),
    ...numbers.slice(0, claims).map((number) => claim(`kept-${number}`, '1Gi')),
    volume('disk', '8Gi', { csi: { driver: attachingDriver, volumeHandle: 'disk' } }),
    claim('disk', '8Gi', { volumeName: 'disk' }),
    as(deployments, {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadataOf('disk') },
      spec: {
        ...{ replicas: 1, strategy: { type: 'Recreate', rollingUpdate: null }, selector: { matchLabels: { app: 'disk' } } },
        template: templateOf('disk', 'host/v1', { volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: 'disk' } }] }),
      },
    }),
  ];
}

const others: readonly Wish[] = [
  as(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadataOf('web'),
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
  }),
  as(resourceQuotas, {
    ...{ apiVersion: 'v1', kind: 'ResourceQuota', metadata: metadataOf('all') },
    spec: { hard: { pods: '60', 'count/jobs.batch': '20' } },
  }),
  as(podDisruptionBudgets, {
    ...{ apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: metadataOf('web') },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
  }),
];
