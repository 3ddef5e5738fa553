import type {
  HorizontalPodAutoscalerBehavior as V2Behavior,
  HorizontalPodAutoscalerSpec as V2HorizontalPodAutoscalerSpec,
  HorizontalPodAutoscalerStatus as V2HorizontalPodAutoscalerStatus,
  MetricSpec as V2MetricSpec,
  MetricTarget as V2MetricTarget,
} from 'kubernetes-types/autoscaling/v2.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import { tryQuantity } from '../../../machinery/quantity.ts';
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
      if (!(spec.metrics ?? []).some(({ type }) => type === 'Object' || type === 'External')) {
        errors.push(forbidden('spec.metrics', 'must specify at least one Object or External metric to support scaling to zero replicas'));
      }
    }
    if (maxReplicas < 1) errors.push(required('spec.maxReplicas', 'must be set and greater than 0'));
    if (!isAbsent(minReplicas) && maxReplicas < minReplicas) {
      errors.push(invalidValue('spec.maxReplicas', maxReplicas, 'must be greater than or equal to `minReplicas`'));
    }
    checkReference(errors, 'spec.scaleTargetRef', spec.scaleTargetRef, { isScaled: true });
    for (const [index, metric] of (spec.metrics ?? []).entries()) checkMetric(errors, `spec.metrics[${index}]`, metric);
    checkRules(errors, 'spec.behavior.scaleUp', spec.behavior?.scaleUp);
    checkRules(errors, 'spec.behavior.scaleDown', spec.behavior?.scaleDown);
    return errors;
  },
};

/** Upstream's default metric. */
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

function checkReference(
  errors: FieldError[],
  field: string,
  reference: HorizontalPodAutoscalerSpec['scaleTargetRef'] | undefined,
  { isScaled }: { readonly isScaled: boolean },
): void {
  const { kind = '', name = '', apiVersion = '' } = reference ?? {};
  if (kind === '') errors.push(required(`${field}.kind`));
  else check(errors, `${field}.kind`, kind, pathSegmentErrors(kind));
  if (name === '') errors.push(required(`${field}.name`));
  else check(errors, `${field}.name`, name, pathSegmentErrors(name));
  // Nothing in the core group but ReplicationControllers can be scaled.
  const isGrouped = apiVersion.includes('/') || (apiVersion === 'v1' && kind === 'ReplicationController');
  if (apiVersion.split('/').length > 2)
    errors.push(invalidValue(`${field}.apiVersion`, apiVersion, `unexpected GroupVersion string: ${apiVersion}`));
  else if (isScaled && !isGrouped) errors.push(invalidValue(`${field}.apiVersion`, apiVersion, 'apiVersion must specify API group'));
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
  // With several sources the first one is validated, in upstream's order.
  const present = ['object', 'external', 'pods', 'resource', 'containerResource'].filter(
    (name) => !isAbsent(metric[name as (typeof sources)[keyof typeof sources]]),
  );
  checkSource(errors, field, metric, present[0]);
  if (isAbsent(metric[source])) errors.push(required(`${field}.${source}`, 'must populate information for the given metric source'));
  if (present.length === 1) return;
  for (const other of present) {
    if (other !== source) errors.push(forbidden(`${field}.${other}`, 'must populate the given metric source only'));
  }
}

function checkSource(errors: FieldError[], field: string, metric: MetricSpec, source: string | undefined): void {
  const at = `${field}.${source}`;
  switch (source) {
    case 'object': {
      const { describedObject, metric: identifier, target } = metric.object ?? {};
      checkReference(errors, `${at}.describedObject`, describedObject, { isScaled: false });
      checkIdentifier(errors, `${at}.metric`, identifier);
      checkTarget(errors, `${at}.target`, target);
      if (isAbsent(target?.value) && isAbsent(target?.averageValue)) {
        errors.push(required(`${at}.target.averageValue`, 'must set either a target value or averageValue'));
      }
      return;
    }
    case 'external': {
      const { metric: identifier, target } = metric.external ?? {};
      checkIdentifier(errors, `${at}.metric`, identifier);
      checkTarget(errors, `${at}.target`, target);
      if (isAbsent(target?.value) && isAbsent(target?.averageValue)) {
        errors.push(required(`${at}.target.averageValue`, 'must set either a target value for metric or a per-pod target'));
      } else if (!isAbsent(target?.value) && !isAbsent(target?.averageValue)) {
        errors.push(forbidden(`${at}.target.value`, 'may not set both a target value for metric and a per-pod target'));
      }
      return;
    }
    case 'pods': {
      const { metric: identifier, target } = metric.pods ?? {};
      checkIdentifier(errors, `${at}.metric`, identifier);
      checkTarget(errors, `${at}.target`, target);
      if (!isPositive(target?.averageValue)) {
        errors.push(required(`${at}.target.averageValue`, 'must specify a positive target averageValue'));
      }
      return;
    }
    case 'resource':
    case 'containerResource': {
      const { name = '', target } = metric[source] ?? {};
      if (name === '') errors.push(required(`${at}.name`, 'must specify a resource name'));
      if (source === 'containerResource' && (metric.containerResource?.container ?? '') === '') {
        errors.push(required(`${at}.container`, 'must specify a container'));
      }
      checkTarget(errors, `${at}.target`, target);
      if (isAbsent(target?.averageUtilization) && isAbsent(target?.averageValue)) {
        errors.push(required(`${at}.target.averageUtilization`, 'must set either a target raw value or a target utilization'));
      } else if (!isAbsent(target?.averageUtilization) && !isAbsent(target?.averageValue)) {
        errors.push(forbidden(`${at}.target.averageValue`, 'may not set both a target raw value and a target utilization'));
      }
      return;
    }
    default:
      return;
  }
}

function checkIdentifier(errors: FieldError[], field: string, identifier: { readonly name?: string } | undefined): void {
  const { name = '' } = identifier ?? {};
  if (name === '') errors.push(required(`${field}.name`, 'must specify a metric name'));
  else check(errors, `${field}.name`, name, pathSegmentErrors(name));
}

const isPositive = (amount: string | number | undefined): boolean => (tryQuantity(amount)?.nanos ?? 0n) > 0n;

const targetTypes: readonly string[] = ['AverageValue', 'Utilization', 'Value'];

function checkTarget(errors: FieldError[], field: string, target: DeepReadonly<V2MetricTarget> | undefined): void {
  const type = target?.type ?? '';
  if (type === '') errors.push(required(`${field}.type`, 'must specify a metric target type'));
  else if (!targetTypes.includes(type)) {
    errors.push(invalidValue(`${field}.type`, type, 'must be either Utilization, Value, or AverageValue'));
  }
  for (const name of ['value', 'averageValue'] as const) {
    const amount = target?.[name];
    if (!isAbsent(amount) && !isPositive(amount)) errors.push(invalidValue(`${field}.${name}`, amount, 'must be positive'));
  }
  const utilization = target?.averageUtilization;
  if (!isAbsent(utilization) && utilization < 1) {
    errors.push(invalidValue(`${field}.averageUtilization`, utilization, 'must be greater than 0'));
  }
}

const maxWindowSeconds = 3600;
const maxPeriodSeconds = 1800;

function checkRules(errors: FieldError[], field: string, rules: DeepReadonly<V2Behavior>['scaleUp']): void {
  if (isAbsent(rules)) return;
  const { stabilizationWindowSeconds, selectPolicy, policies = [] } = rules;
  if (!isAbsent(stabilizationWindowSeconds)) {
    const at = `${field}.stabilizationWindowSeconds`;
    if (stabilizationWindowSeconds < 0) errors.push(invalidValue(at, stabilizationWindowSeconds, 'must be greater than or equal to zero'));
    if (stabilizationWindowSeconds > maxWindowSeconds) {
      errors.push(invalidValue(at, stabilizationWindowSeconds, `must be less than or equal to ${maxWindowSeconds}`));
    }
  }
  // Newer than the types.
  const { tolerance } = rules as { readonly tolerance?: string | number | null };
  if (!isAbsent(tolerance) && (tryQuantity(tolerance)?.nanos ?? 0n) < 0n) {
    errors.push(invalidValue(`${field}.tolerance`, String(tolerance), 'must be greater than or equal to 0'));
  }
  const choices = ['Disabled', 'Max', 'Min'];
  if (!isAbsent(selectPolicy) && !choices.includes(selectPolicy)) errors.push(notSupported(`${field}.selectPolicy`, selectPolicy, choices));
  if (policies.length === 0) errors.push(required(`${field}.policies`, 'must specify at least one Policy'));
  for (const [index, { type, value, periodSeconds }] of policies.entries()) {
    const at = `${field}.policies[${index}]`;
    if (type !== 'Pods' && type !== 'Percent') errors.push(notSupported(`${at}.type`, type ?? '', ['Percent', 'Pods']));
    if ((value ?? 0) <= 0) errors.push(invalidValue(`${at}.value`, value ?? 0, 'must be greater than zero'));
    if ((periodSeconds ?? 0) <= 0) errors.push(invalidValue(`${at}.periodSeconds`, periodSeconds ?? 0, 'must be greater than zero'));
    else if (periodSeconds > maxPeriodSeconds) {
      errors.push(invalidValue(`${at}.periodSeconds`, periodSeconds, `must be less than or equal to ${maxPeriodSeconds}`));
    }
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

function targetText(metric: MetricSpec, current: MetricStatus | undefined): string {
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
export type MetricStatus = NonNullable<HorizontalPodAutoscalerStatus['currentMetrics']>[number];
