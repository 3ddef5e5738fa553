import type { Column } from '../machinery/kind.ts';
import type { KubeObject } from '../machinery/object.ts';
import { describeLabelSelector, type LabelSelectorObject } from '../machinery/selector.ts';
import type { PodTemplateSpec } from './core/v1/pod.ts';

/** A kind that makes pods from a template. */
export interface Workload extends KubeObject {
  readonly spec: { readonly template: PodTemplateSpec; readonly selector?: LabelSelectorObject };
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
