import type {
  HorizontalPodAutoscalerBehavior as V2Behavior,
  HorizontalPodAutoscalerSpec as V2HorizontalPodAutoscalerSpec,
  HorizontalPodAutoscalerStatus as V2HorizontalPodAutoscalerStatus,
  MetricSpec as V2MetricSpec,
  MetricTarget as V2MetricTarget,
} from 'kubernetes-types/autoscaling/v2.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, pathSegmentErrors } from '../../formats.ts';

export const horizontalPodAutoscalers: KindDefinition<HorizontalPodAutoscaler> = {
  group: 'autoscaling',
  version: 'v2',
  resource: 'horizontalpodautoscalers',
  kind: 'HorizontalPodAutoscaler',
  namespaced: true,
  singular: 'horizontalpodautoscaler',
  shortNames: ['hpa'],
  categories: ['all'],
  schemaName: 'io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'Reference',
      type: 'string',
      description: 'What is scaled.',
      cell: ({ spec }) => `${spec.scaleTargetRef?.kind ?? ''}/${spec.scaleTargetRef?.name ?? ''}`,
    },
    { name: 'Targets', type: 'string', description: 'Metrics now and as wanted.', cell: targetsText },
    {
      name: 'MinPods',
      type: 'string',
      description: 'Fewest pods.',
      cell: ({ spec }) => (isAbsent(spec.minReplicas) ? '<unset>' : String(spec.minReplicas)),
    },
    { name: 'MaxPods', type: 'string', description: 'Most pods.', cell: ({ spec }) => spec.maxReplicas ?? 0 },
    { name: 'Replicas', type: 'string', description: 'Pods that exist.', cell: ({ status }) => status?.currentReplicas ?? 0 },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (autoscaler, before) =>
    before !== undefined && autoscaler.spec === before.spec
      ? autoscaler
      : withField(autoscaler, 'spec', defaultSpec(autoscaler.spec ?? ({} as HorizontalPodAutoscalerSpec))),
  prepareForCreate: (autoscaler) => ({ ...autoscaler, status: { desiredReplicas: 0, currentMetrics: null } }),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    const { minReplicas, maxReplicas = 0 } = spec;
    if (!isAbsent(minReplicas) && minReplicas < 1) {
      errors.push(invalidValue('spec.minReplicas', minReplicas, 'must be greater than or equal to 1'));
    }
    if (maxReplicas < 1) errors.push(required('spec.maxReplicas', 'must be set and greater than 0'));
    if (!isAbsent(minReplicas) && maxReplicas < minReplicas) {
      errors.push(invalidValue('spec.maxReplicas', maxReplicas, 'must be greater than or equal to `minReplicas`'));
    }
    checkReference(errors, 'spec.scaleTargetRef', spec.scaleTargetRef);
    for (const [index, metric] of (spec.metrics ?? []).entries()) checkMetric(errors, `spec.metrics[${index}]`, metric);
    return errors;
  },
};

/** What upstream scales by when nothing is said. */
const defaultMetrics: HorizontalPodAutoscalerSpec['metrics'] = [
  { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } },
];

function defaultSpec(spec: HorizontalPodAutoscalerSpec): HorizontalPodAutoscalerSpec {
  let result = withDefaults(spec, { minReplicas: 1 });
  if ((result.metrics ?? []).length === 0) result = withField(result, 'metrics', defaultMetrics);
  return isAbsent(result.behavior) ? result : withField(result, 'behavior', defaultBehavior(result.behavior));
}

function defaultBehavior(behavior: DeepReadonly<V2Behavior>): DeepReadonly<V2Behavior> {
  const doubled = { type: 'Percent', value: 100, periodSeconds: 15 } as const;
  const up = withDefaults(behavior.scaleUp ?? {}, {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }, doubled],
  });
  const down = withDefaults(behavior.scaleDown ?? {}, { selectPolicy: 'Max', policies: [doubled] });
  return withField(withField(behavior, 'scaleUp', up), 'scaleDown', down);
}

function checkReference(errors: FieldError[], field: string, reference: HorizontalPodAutoscalerSpec['scaleTargetRef'] | undefined): void {
  const { kind = '', name = '', apiVersion = '' } = reference ?? {};
  if (kind === '') errors.push(required(`${field}.kind`));
  else check(errors, `${field}.kind`, kind, pathSegmentErrors(kind));
  if (name === '') errors.push(required(`${field}.name`));
  else check(errors, `${field}.name`, name, pathSegmentErrors(name));
  // Nothing in the core group but ReplicationControllers can be scaled.
  const isGrouped = apiVersion.includes('/') || (apiVersion === 'v1' && kind === 'ReplicationController');
  if (!isGrouped) errors.push(invalidValue(`${field}.apiVersion`, apiVersion, 'apiVersion must specify API group'));
}

const sources = {
  ContainerResource: 'containerResource',
  External: 'external',
  Object: 'object',
  Pods: 'pods',
  Resource: 'resource',
} as const;

function checkMetric(errors: FieldError[], field: string, metric: MetricSpec): void {
  const type = metric.type ?? '';
  if (type === '') {
    errors.push(required(`${field}.type`, 'must specify a metric source type'));
    return;
  }
  const source = (sources as Readonly<Record<string, (typeof sources)[keyof typeof sources] | undefined>>)[type];
  if (source === undefined) {
    errors.push(notSupported(`${field}.type`, type, Object.keys(sources)));
    return;
  }
  if (isAbsent(metric[source])) {
    errors.push(required(`${field}.${source}`, 'must populate information for the given metric source'));
  } else {
    checkTarget(errors, `${field}.${source}.target`, metric[source].target);
    if ((source === 'resource' || source === 'containerResource') && (metric[source]?.name ?? '') === '') {
      errors.push(required(`${field}.${source}.name`, 'must specify a resource name'));
    }
  }
  for (const other of Object.values(sources)) {
    if (other !== source && !isAbsent(metric[other])) {
      errors.push(forbidden(`${field}.${other}`, 'must populate the given metric source only'));
    }
  }
}

const targetTypes: readonly string[] = ['AverageValue', 'Utilization', 'Value'];

function checkTarget(errors: FieldError[], field: string, target: DeepReadonly<V2MetricTarget> | undefined): void {
  const type = target?.type ?? '';
  if (type === '') errors.push(required(`${field}.type`, 'must specify a metric target type'));
  else if (!targetTypes.includes(type)) {
    errors.push(invalidValue(`${field}.type`, type, 'must be either Utilization, Value, or AverageValue'));
  }
  const utilization = target?.averageUtilization;
  if (!isAbsent(utilization) && utilization < 1) {
    errors.push(invalidValue(`${field}.averageUtilization`, utilization, 'must be greater than 0'));
  }
}

const shownMetrics = 2;
const unknownValue = '<unknown>';

function targetsText({ spec, status }: HorizontalPodAutoscaler): string {
  const metrics = spec.metrics ?? [];
  if (metrics.length === 0) return '<none>';
  const texts = metrics.map((metric, index) => targetText(metric, (status?.currentMetrics ?? [])[index]));
  const shown = texts.slice(0, shownMetrics).join(', ');
  return texts.length > shownMetrics ? `${shown} + ${texts.length - shownMetrics} more...` : shown;
}

type CurrentMetric = NonNullable<HorizontalPodAutoscalerStatus['currentMetrics']>[number];

function targetText(metric: MetricSpec, current: CurrentMetric | undefined): string {
  switch (metric.type) {
    case 'Resource':
    case 'ContainerResource': {
      const source = metric.type === 'Resource' ? metric.resource : metric.containerResource;
      const now = metric.type === 'Resource' ? current?.resource?.current : current?.containerResource?.current;
      const { averageValue, averageUtilization } = source?.target ?? {};
      if (!isAbsent(averageValue)) return `${source?.name}: ${now?.averageValue ?? unknownValue}/${averageValue}`;
      const [have, want] = [now?.averageUtilization, averageUtilization];
      return `${source?.name}: ${isAbsent(have) ? unknownValue : `${have}%`}/${isAbsent(want) ? '<auto>' : `${want}%`}`;
    }
    case 'Pods':
      return `${current?.pods?.current?.averageValue ?? unknownValue}/${metric.pods?.target?.averageValue ?? '0'}`;
    case 'Object':
    case 'External': {
      const target = metric.type === 'Object' ? metric.object?.target : metric.external?.target;
      const now = metric.type === 'Object' ? current?.object?.current : current?.external?.current;
      return isAbsent(target?.averageValue)
        ? `${now?.value ?? unknownValue}/${target?.value ?? '0'}`
        : `${now?.averageValue ?? unknownValue}/${target.averageValue} (avg)`;
    }
    default:
      return '<unknown type>';
  }
}

export interface HorizontalPodAutoscaler extends KubeObject {
  readonly spec: HorizontalPodAutoscalerSpec;
  readonly status?: HorizontalPodAutoscalerStatus;
}
export type HorizontalPodAutoscalerSpec = DeepReadonly<V2HorizontalPodAutoscalerSpec>;
/** No metrics are written as null. */
export type HorizontalPodAutoscalerStatus = Omit<DeepReadonly<V2HorizontalPodAutoscalerStatus>, 'currentMetrics'> & {
  readonly currentMetrics?: DeepReadonly<V2HorizontalPodAutoscalerStatus['currentMetrics']> | null;
};
export type MetricSpec = DeepReadonly<V2MetricSpec>;
