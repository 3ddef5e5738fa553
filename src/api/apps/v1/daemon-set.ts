import type {
  DaemonSet as V1DaemonSet,
  DaemonSetSpec as V1DaemonSetSpec,
  DaemonSetStatus as V1DaemonSetStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import { tryPercent } from '../../../machinery/int-or-string.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import { selectorOfLabels } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { invalidValue, notSupportedStruct, required } from '../../field-errors.ts';
import { checkIntOrPercent, checkNonNegative, checkNotAbove100Percent } from '../../formats.ts';
import { annotations } from '../../well-known.ts';
import { checkSelectorAndTemplate, checkSelectorKept, workloadColumns, workloadWarnings } from '../../workload.ts';

export const daemonSets: KindDefinition<DaemonSet> = {
  group: 'apps',
  version: 'v1',
  resource: 'daemonsets',
  kind: 'DaemonSet',
  namespaced: true,
  singular: 'daemonset',
  shortNames: ['ds'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.DaemonSet',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Desired', type: 'integer', description: 'Nodes that should run the pod.', cell: countOf('desiredNumberScheduled') },
    { name: 'Current', type: 'integer', description: 'Nodes that should and do run it.', cell: countOf('currentNumberScheduled') },
    { name: 'Ready', type: 'integer', description: 'Nodes where it is ready.', cell: countOf('numberReady') },
    { name: 'Up-to-date', type: 'integer', description: 'Nodes with the newest template.', cell: countOf('updatedNumberScheduled') },
    { name: 'Available', type: 'integer', description: 'Nodes where it was ready for minReadySeconds.', cell: countOf('numberAvailable') },
    {
      name: 'Node Selector',
      type: 'string',
      description: 'Labels of the nodes.',
      cell: ({ spec }) => selectorOfLabels(spec.template?.spec?.nodeSelector).toString() || '<none>',
    },
    ageColumn,
    ...workloadColumns,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (set, before) =>
    before !== undefined && set.spec === before.spec ? set : withField(set, 'spec', defaultSpec(set.spec ?? ({} as DaemonSetSpec))),
  prepareForCreate: (set) => ({
    ...withTemplateGeneration(set, Math.max(1, templateGenerationOf(set))),
    status: { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 },
  }),
  prepareForUpdate: (set, before) => {
    const isChanged = set.spec.template !== before.spec.template && !deepEqual(set.spec.template, before.spec.template);
    return withTemplateGeneration(set, templateGenerationOf(before) + (isChanged ? 1 : 0));
  },
  validateStatus: ({ status }) => {
    const errors: FieldError[] = [];
    for (const [name, value] of Object.entries(status ?? {})) {
      if (typeof value === 'number') checkNonNegative(errors, `status.${name}`, value);
    }
    return errors;
  },
  warnings: workloadWarnings,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkSelectorKept(errors, spec, before?.spec);
    checkSelectorAndTemplate(errors, spec, { selector: 'daemonset', kind: 'DaemonSet' });
    checkNonNegative(errors, 'spec.minReadySeconds', spec.minReadySeconds);
    checkStrategy(errors, spec.updateStrategy);
    checkNonNegative(errors, 'spec.revisionHistoryLimit', spec.revisionHistoryLimit);
    return errors;
  },
};

function countOf(field: Exclude<keyof DaemonSetStatus, 'conditions'>): (set: DaemonSet) => number {
  return ({ status }) => status?.[field] ?? 0;
}

const templateGenerationOf = ({ metadata }: DaemonSet): number =>
  Number.parseInt(metadata.annotations?.[annotations.templateGeneration] ?? '0', 10) || 0;

/** A count of template changes from before there were revisions; clients do not set it. */
function withTemplateGeneration(set: DaemonSet, generation: number): DaemonSet {
  const text = String(generation);
  const given = set.metadata.annotations;
  if (given?.[annotations.templateGeneration] === text) return set;
  return { ...set, metadata: { ...set.metadata, annotations: { ...given, [annotations.templateGeneration]: text } } };
}

function defaultSpec(spec: DaemonSetSpec): DaemonSetSpec {
  let result = withDefaults(spec, { updateStrategy: {}, revisionHistoryLimit: 10 });
  let strategy = withDefaults(result.updateStrategy ?? {}, { type: 'RollingUpdate' });
  if (strategy.type === 'RollingUpdate') {
    strategy = withField(strategy, 'rollingUpdate', withDefaults(strategy.rollingUpdate ?? {}, { maxUnavailable: 1, maxSurge: 0 }));
  }
  result = withField(result, 'updateStrategy', strategy);
  return isAbsent(result.template) ? result : withField(result, 'template', defaultPodTemplate(result.template));
}

function checkStrategy(errors: FieldError[], strategy: DaemonSetSpec['updateStrategy']): void {
  const field = 'spec.updateStrategy';
  const { type, rollingUpdate } = strategy ?? {};
  if (type === 'OnDelete') return;
  if (type !== 'RollingUpdate') {
    errors.push(notSupportedStruct(field, 'apps/v1.DaemonSetUpdateStrategy', strategy ?? {}, ['RollingUpdate', 'OnDelete']));
    return;
  }
  if (isAbsent(rollingUpdate)) {
    errors.push(required(`${field}.rollingUpdate`));
    return;
  }
  const { maxUnavailable = 0, maxSurge = 0 } = rollingUpdate;
  for (const [name, value] of Object.entries({ maxUnavailable, maxSurge })) {
    checkIntOrPercent(errors, `${field}.rollingUpdate.${name}`, value);
    checkNotAbove100Percent(errors, `${field}.rollingUpdate.${name}`, value);
  }
  const [hasUnavailable, hasSurge] = [maxUnavailable, maxSurge].map((value) => !isZero(value));
  if (hasUnavailable === true && hasSurge === true) {
    errors.push(invalidValue(`${field}.rollingUpdate.maxSurge`, maxSurge, 'may not be set when maxUnavailable is non-zero'));
  } else if (hasUnavailable !== true && hasSurge !== true) {
    errors.push(required(`${field}.rollingUpdate.maxUnavailable`, 'cannot be 0 when maxSurge is 0'));
  }
}

const isZero = (value: number | string): boolean => (typeof value === 'number' ? value : (tryPercent(value) ?? 0)) === 0;

export type DaemonSet = Kube<V1DaemonSet> & { readonly spec: DaemonSetSpec };
export type DaemonSetSpec = DeepReadonly<V1DaemonSetSpec>;
export type DaemonSetStatus = DeepReadonly<V1DaemonSetStatus>;
