import type { Container, ContainerStatus, Pod } from '../../api/core/v1/pod.ts';
import { escapeLabel } from '../../base/series.ts';
import { conditionOf } from '../../machinery/conditions.ts';
import { controllerOf } from '../../machinery/object.ts';
import { conditionStatuses, counter, createdAt, type Family, gauge, ownersOf, type Samples, secondsOf } from './family.ts';

export const podLabels = ({ metadata }: Pod): string =>
  `namespace="${metadata.namespace ?? ''}",pod="${metadata.name}",uid="${metadata.uid ?? ''}"`;

const phases = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'];

/** Reasons that may become label values; any other one is `Other`. */
const podReasons: ReadonlySet<string> = new Set([
  'Evicted',
  'NodeAffinity',
  'NodeLost',
  'Shutdown',
  'UnexpectedAdmissionError',
  'Preempting',
]);
const waitingReasons: ReadonlySet<string> = new Set([
  'ContainerCreating',
  'PodInitializing',
  'CrashLoopBackOff',
  'CreateContainerConfigError',
  'CreateContainerError',
  'ErrImagePull',
  'ErrImageNeverPull',
  'ImagePullBackOff',
  'InvalidImageName',
  'RunContainerError',
]);
const terminatedReasons: ReadonlySet<string> = new Set([
  'Completed',
  'Error',
  'OOMKilled',
  'Evicted',
  'ContainerCannotRun',
  'ContainerStatusUnknown',
  'DeadlineExceeded',
  'StartError',
]);

const reasonLabel = (known: ReadonlySet<string>, reason: string): string => `,reason="${known.has(reason) ? reason : 'Other'}"`;

const podCondition = (samples: Samples, { status }: Pod, type: string): void => {
  const condition = conditionOf(status?.conditions, type);
  if (condition !== undefined) samples.stateSet('condition', conditionStatuses, condition.status.toLowerCase());
};

export const podFamilies: readonly Family<Pod>[] = [
  gauge('kube_pod_info', 'Information about a pod.', (samples, pod) => {
    const owner = controllerOf(pod);
    const { spec, status } = pod;
    samples.add(
      1,
      `,host_ip="${status?.hostIP ?? ''}",pod_ip="${status?.podIP ?? ''}",node="${escapeLabel(spec.nodeName ?? '')}",created_by_kind="${escapeLabel(owner?.kind ?? '')}",created_by_name="${escapeLabel(owner?.name ?? '')}",priority_class="${escapeLabel(spec.priorityClassName ?? '')}",host_network="${spec.hostNetwork === true}"`,
    );
  }),
  gauge('kube_pod_owner', 'Owners of a pod.', ownersOf),
  gauge('kube_pod_created', 'When the pod was created, in seconds since the epoch.', (samples, pod) => samples.add(createdAt(pod))),
  gauge('kube_pod_start_time', 'When the agent took the pod, in seconds since the epoch.', (samples, { status }) =>
    samples.add(secondsOf(status?.startTime)),
  ),
  gauge('kube_pod_completion_time', 'When the last container ended, in seconds since the epoch.', (samples, { status }) => {
    if (status?.phase !== 'Succeeded' && status?.phase !== 'Failed') return;
    const ends = (status.containerStatuses ?? []).flatMap(({ state }) => secondsOf(state?.terminated?.finishedAt) ?? []);
    if (ends.length > 0) samples.add(Math.max(...ends));
  }),
  gauge('kube_pod_status_phase', 'Phase of a pod.', (samples, { status }) => samples.stateSet('phase', phases, status?.phase)),
  gauge('kube_pod_status_ready', '1 while the pod is ready.', (samples, pod) => podCondition(samples, pod, 'Ready')),
  gauge('kube_pod_status_scheduled', '1 when the pod has a node.', (samples, pod) => podCondition(samples, pod, 'PodScheduled')),
  gauge('kube_pod_status_unschedulable', 'Pods that fit on no node.', (samples, { status }) => {
    const scheduled = conditionOf(status?.conditions, 'PodScheduled');
    if (scheduled?.status === 'False' && scheduled.reason === 'Unschedulable') samples.add(1);
  }),
  gauge('kube_pod_status_reason', 'Reason of the phase of a pod, when it has one.', (samples, { status }) => {
    if (status?.reason) samples.add(1, reasonLabel(podReasons, status.reason));
  }),
  gauge('kube_pod_spec_volumes_persistentvolumeclaims_info', 'Claims of a pod.', (samples, { spec }) => {
    for (const { name, persistentVolumeClaim: claim } of spec.volumes ?? []) {
      if (claim !== undefined) samples.add(1, `,volume="${escapeLabel(name)}",persistentvolumeclaim="${escapeLabel(claim.claimName)}"`);
    }
  }),
  ...containerFamilies(
    'kube_pod_container',
    'container',
    ({ spec }) => spec.containers,
    ({ status }) => status?.containerStatuses,
  ),
  ...containerFamilies(
    'kube_pod_init_container',
    'init container',
    ({ spec }) => spec.initContainers,
    ({ status }) => status?.initContainerStatuses,
  ),
];

function containerFamilies(
  prefix: string,
  word: string,
  containersOf: (pod: Pod) => readonly Container[] | undefined,
  statusesOf: (pod: Pod) => readonly ContainerStatus[] | undefined,
): readonly Family<Pod>[] {
  const nameLabel = ({ name }: { readonly name: string }): string => `,container="${name}"`;
  const each = (write: (samples: Samples, status: ContainerStatus, labels: string) => void) => (samples: Samples, pod: Pod) => {
    for (const status of statusesOf(pod) ?? []) write(samples, status, nameLabel(status));
  };
  const amounts = (which: 'requests' | 'limits') => (samples: Samples, pod: Pod) => {
    const node = `,node="${escapeLabel(pod.spec.nodeName ?? '')}"`;
    for (const container of containersOf(pod) ?? []) samples.amounts(container.resources?.[which], nameLabel(container) + node);
  };
  return [
    gauge(`${prefix}_info`, `Image of a ${word}.`, (samples, pod) => {
      for (const status of statusesOf(pod) ?? []) {
        const spec = containersOf(pod)?.find(({ name }) => name === status.name);
        samples.add(
          1,
          `${nameLabel(status)},image_spec="${escapeLabel(spec?.image ?? '')}",image="${escapeLabel(status.image)}",image_id="${escapeLabel(status.imageID)}",container_id="${escapeLabel(status.containerID ?? '')}"`,
        );
      }
    }),
    gauge(`${prefix}_resource_requests`, `Resources that a ${word} asks for.`, amounts('requests')),
    gauge(`${prefix}_resource_limits`, `Resources that a ${word} may use at most.`, amounts('limits')),
    gauge(
      `${prefix}_status_ready`,
      `1 while a ${word} is ready.`,
      each((samples, { ready }, labels) => samples.add(ready ? 1 : 0, labels)),
    ),
    gauge(
      `${prefix}_status_running`,
      `1 while a ${word} runs.`,
      each((samples, { state }, labels) => samples.add(state?.running === undefined ? 0 : 1, labels)),
    ),
    gauge(
      `${prefix}_status_waiting`,
      `1 while a ${word} waits.`,
      each((samples, { state }, labels) => samples.add(state?.waiting === undefined ? 0 : 1, labels)),
    ),
    gauge(
      `${prefix}_status_waiting_reason`,
      `Reason why a ${word} waits.`,
      each((samples, { state }, labels) => {
        if (state?.waiting?.reason) samples.add(1, labels + reasonLabel(waitingReasons, state.waiting.reason));
      }),
    ),
    gauge(
      `${prefix}_status_terminated`,
      `1 when a ${word} has ended.`,
      each((samples, { state }, labels) => samples.add(state?.terminated === undefined ? 0 : 1, labels)),
    ),
    gauge(
      `${prefix}_status_terminated_reason`,
      `Reason why a ${word} ended.`,
      each((samples, { state }, labels) => {
        if (state?.terminated?.reason) samples.add(1, labels + reasonLabel(terminatedReasons, state.terminated.reason));
      }),
    ),
    gauge(
      `${prefix}_status_last_terminated_reason`,
      `Reason why a ${word} ended the time before.`,
      each((samples, { lastState }, labels) => {
        if (lastState?.terminated?.reason) samples.add(1, labels + reasonLabel(terminatedReasons, lastState.terminated.reason));
      }),
    ),
    counter(
      `${prefix}_status_restarts_total`,
      `Restarts of a ${word}.`,
      each((samples, { restartCount }, labels) => samples.add(restartCount, labels)),
    ),
  ];
}
