import type { Column, KindDefinition } from '../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import { compileLabelSelector, describeLabelSelector, type LabelSelectorObject, nothing } from '../machinery/selector.ts';
import type { FieldError } from '../machinery/status-error.ts';
import { isAbsent } from './copy-on-write.ts';
import type { PodTemplateSpec } from './core/v1/pod.ts';
import { checkPodTemplate } from './core/v1/pod-spec-validation.ts';
import { podPrefixWarnings, podWarnings } from './core/v1/pod-warnings.ts';
import { forbidden, immutable, invalidValue, notSupported, required } from './field-errors.ts';
import { checkLabelSelector, checkNonNegative, isEmptySelector } from './formats.ts';

/** A kind that makes pods from a template. */
export interface Workload extends KubeObject {
  readonly spec: { readonly template?: PodTemplateSpec; readonly selector?: LabelSelectorObject };
}

/** The wide columns that all workloads end with. */
export const workloadColumns: readonly Column<Workload>[] = [
  {
    name: 'Containers',
    type: 'string',
    description: 'Names of the containers of the template.',
    priority: 1,
    cell: ({ spec }) =>
      containersOf(spec.template)
        .map((container) => container.name)
        .join(','),
  },
  {
    name: 'Images',
    type: 'string',
    description: 'Images of the containers of the template.',
    priority: 1,
    cell: ({ spec }) =>
      containersOf(spec.template)
        .map((container) => container.image ?? '')
        .join(','),
  },
  {
    name: 'Selector',
    type: 'string',
    description: 'Label selector of the pods.',
    priority: 1,
    cell: ({ spec }) => describeLabelSelector(spec.selector),
  },
];

const containersOf = (template: PodTemplateSpec | undefined) => template?.spec?.containers ?? [];

const statusSubresource = { name: 'status', verbs: ['get', 'patch', 'update'] } as const;

/** The subresources of a workload whose pods are counted in `spec.replicas`. */
export const scaledSubresources = [
  statusSubresource,
  {
    name: 'scale',
    verbs: ['get', 'patch', 'update'],
    body: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
    scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas', selectorPath: '.spec.selector' },
  },
] as const satisfies KindDefinition['subresources'];

/** Warns of a name that is long for pods, and of a template that has changed. */
export function workloadWarnings(object: Workload, before: Workload | undefined): readonly string[] {
  const { metadata, spec } = object;
  const named = before === undefined ? podPrefixWarnings(metadata.name) : [];
  return spec.template === before?.spec.template ? named : [...named, ...podWarnings('spec.template.', spec.template ?? {})];
}

/** The errors of a status that counts replicas. */
export function validateReplicaStatus({ status }: { readonly status?: ReplicaCounts | undefined }): readonly FieldError[] {
  const errors: FieldError[] = [];
  checkReplicaCounts(errors, status);
  return errors;
}

/** A workload keeps the selector that it was created with: pods that it made must stay its own. */
export function checkSelectorKept(errors: FieldError[], spec: Workload['spec'], before: Workload['spec'] | undefined): void {
  if (before !== undefined && !deepEqual(spec.selector, before.selector)) errors.push(immutable('spec.selector', spec.selector));
}

/**
 * Selector and template of a kind that keeps pods running: the selector has to match the pods it makes. Upstream uses the same words for
 * Deployments and ReplicaSets, and other ones for other kinds.
 */
export function checkSelectorAndTemplate(
  errors: FieldError[],
  { selector, template }: { readonly selector?: LabelSelectorObject; readonly template?: PodTemplateSpec },
  words: { readonly selector: string; readonly kind: string } = { selector: 'deployment', kind: 'ReplicaSet' },
  claims: readonly string[] = [],
): void {
  if (isAbsent(selector)) errors.push(required('spec.selector'));
  else {
    const before = errors.length;
    checkLabelSelector(errors, 'spec.selector', selector);
    if (isEmptySelector(selector)) errors.push(invalidValue('spec.selector', selector, `empty selector is invalid for ${words.selector}`));
    else if (errors.length > before) {
      errors.push(invalidValue('spec.selector', selector, 'invalid label selector'));
      return;
    }
  }
  if (isAbsent(template)) {
    errors.push(required('spec.template'));
    return;
  }
  const labels = template.metadata?.labels;
  const compiled = isAbsent(selector) ? nothing : compileLabelSelector(selector);
  if (!compiled.matches(labels)) {
    errors.push(invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'));
  }
  checkPodTemplate(errors, 'spec.template', template, claims);
  const { restartPolicy, activeDeadlineSeconds } = template.spec ?? {};
  if (restartPolicy !== 'Always') errors.push(notSupported('spec.template.spec.restartPolicy', restartPolicy ?? '', ['Always']));
  if (!isAbsent(activeDeadlineSeconds)) {
    errors.push(forbidden('spec.template.spec.activeDeadlineSeconds', `activeDeadlineSeconds in ${words.kind} is not Supported`));
  }
}

interface ReplicaCounts {
  readonly replicas?: number;
  readonly updatedReplicas?: number;
  readonly readyReplicas?: number;
  readonly availableReplicas?: number;
  readonly observedGeneration?: number;
}

/** Counts of a status that contradict each other would mislead whoever waits for them. */
export function checkReplicaCounts(errors: FieldError[], status: ReplicaCounts | undefined): void {
  const { replicas = 0, updatedReplicas = 0, readyReplicas = 0, availableReplicas = 0, observedGeneration = 0 } = status ?? {};
  const counts = { observedGeneration, replicas, updatedReplicas, readyReplicas, availableReplicas };
  for (const [name, count] of Object.entries(counts)) checkNonNegative(errors, `status.${name}`, count);
  const parts = { updatedReplicas, readyReplicas, availableReplicas };
  for (const [name, count] of Object.entries(parts)) {
    if (count > replicas) errors.push(invalidValue(`status.${name}`, count, 'cannot be greater than status.replicas'));
  }
  if (availableReplicas > readyReplicas) {
    errors.push(invalidValue('status.availableReplicas', availableReplicas, 'cannot be greater than readyReplicas'));
  }
}
