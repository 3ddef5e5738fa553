import type { HorizontalPodAutoscalerSpec as V1HorizontalPodAutoscalerSpec } from 'kubernetes-types/autoscaling/v1.d.ts';
import type { ConditionLike } from '../../../machinery/conditions.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, DynamicObject, KubeObject } from '../../../machinery/object.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { type HorizontalPodAutoscaler, horizontalPodAutoscalers, type MetricSpec } from '../v2/horizontal-pod-autoscaler.ts';

/** Keeps fields that this version lacks in annotations, as the real server does. */
const annotations = {
  metrics: 'autoscaling.alpha.kubernetes.io/metrics',
  currentMetrics: 'autoscaling.alpha.kubernetes.io/current-metrics',
  conditions: 'autoscaling.alpha.kubernetes.io/conditions',
  behavior: 'autoscaling.alpha.kubernetes.io/behavior',
} as const;

/** The older version of autoscalers, which knows the use of the CPU as its only metric. */
export const horizontalPodAutoscalersV1: KindDefinition<HorizontalPodAutoscalerV1> = {
  group: 'autoscaling',
  version: 'v1',
  resource: horizontalPodAutoscalers.resource,
  kind: horizontalPodAutoscalers.kind,
  namespaced: true,
  singular: horizontalPodAutoscalers.singular,
  shortNames: horizontalPodAutoscalers.shortNames,
  categories: horizontalPodAutoscalers.categories,
  schemaName: 'io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler',
  verbs: horizontalPodAutoscalers.verbs,
  hasGeneration: horizontalPodAutoscalers.hasGeneration,
  nameRule: horizontalPodAutoscalers.nameRule,
  subresources: horizontalPodAutoscalers.subresources,
  columns: horizontalPodAutoscalers.columns.map((column) => ({
    ...column,
    cell: (object, context) => column.cell(toStored(object), context),
  })),
  selectableFields: {},
  deleteAnswer: horizontalPodAutoscalers.deleteAnswer,
  defaults: (object) =>
    withField(object, 'spec', withDefaults(object.spec ?? ({} as HorizontalPodAutoscalerV1['spec']), { minReplicas: 1 })),
  storedAs: { kind: horizontalPodAutoscalers, toStored, fromStored },
};

/** Reads the conditions that the controller of autoscalers set; this version keeps them in an annotation. */
export function autoscalerConditions({ metadata }: KubeObject): readonly ConditionLike[] {
  const conditions = listOf(tryJson(metadata.annotations?.[annotations.conditions]));
  return conditions.map(({ type, status, reason }) => ({ type: String(type), status: String(status), reason: String(reason) }));
}

function toStored(object: KubeObject): HorizontalPodAutoscaler {
  const { spec, status, metadata, ...rest } = object as DynamicObject & Partial<HorizontalPodAutoscalerV1>;
  const { targetCPUUtilizationPercentage: cpu, ...specRest } = spec ?? ({} as Partial<HorizontalPodAutoscalerV1['spec']>);
  const { currentCPUUtilizationPercentage: currentCpu, ...statusRest } = status ?? {};
  const noted = (name: keyof typeof annotations): unknown => tryJson(object.metadata?.annotations?.[annotations[name]]);
  const metrics = [
    ...(isAbsent(cpu) ? [] : [cpuMetric({ target: { type: 'Utilization', averageUtilization: cpu } })]),
    ...listOf(noted('metrics')).map(currentForm),
  ];
  const currentMetrics = [
    ...(isAbsent(currentCpu) ? [] : [cpuMetric({ current: { averageUtilization: currentCpu } })]),
    ...listOf(noted('currentMetrics')),
  ];
  const behavior = noted('behavior');
  const conditions = noted('conditions');
  return {
    ...rest,
    apiVersion: 'autoscaling/v2',
    metadata: withoutNotes(object.metadata),
    ...(spec === undefined
      ? {}
      : {
          spec: {
            ...specRest,
            ...(metrics.length === 0 ? {} : { metrics }),
            ...(isAbsent(behavior) ? {} : { behavior }),
          },
        }),
    ...(status === undefined
      ? {}
      : {
          status: {
            ...statusRest,
            currentMetrics: currentMetrics.length === 0 ? null : currentMetrics,
            ...(isAbsent(conditions) ? {} : { conditions }),
          },
        }),
  } as unknown as HorizontalPodAutoscaler;
}

function fromStored(stored: KubeObject): HorizontalPodAutoscalerV1 {
  const { spec, status, metadata, ...rest } = stored as HorizontalPodAutoscaler;
  const { metrics = [], behavior, ...specRest } = spec;
  const { currentMetrics, conditions, ...statusRest } = status ?? {};
  const cpu = metrics.find(isCpu);
  const others = metrics.filter((metric) => metric !== cpu).map(legacyForm);
  const currentCpu = (currentMetrics ?? []).find(({ type, resource }) => type === 'Resource' && resource?.name === 'cpu');
  const currentOthers = (currentMetrics ?? []).filter((metric) => metric !== currentCpu);
  const notes = {
    ...(others.length === 0 ? {} : { [annotations.metrics]: JSON.stringify(others) }),
    ...(isAbsent(behavior) ? {} : { [annotations.behavior]: JSON.stringify(behavior) }),
    ...(currentOthers.length === 0 ? {} : { [annotations.currentMetrics]: JSON.stringify(currentOthers) }),
    ...(isAbsent(conditions) || conditions.length === 0 ? {} : { [annotations.conditions]: JSON.stringify(conditions) }),
  };
  const wanted = cpu?.resource?.target.averageUtilization;
  const current = currentCpu?.resource?.current.averageUtilization;
  return {
    ...rest,
    apiVersion: 'autoscaling/v1',
    metadata: Object.keys(notes).length === 0 ? metadata : { ...metadata, annotations: { ...metadata.annotations, ...notes } },
    spec: { ...specRest, ...(isAbsent(wanted) ? {} : { targetCPUUtilizationPercentage: wanted }) },
    status: {
      currentReplicas: 0,
      desiredReplicas: 0,
      ...statusRest,
      ...(isAbsent(current) ? {} : { currentCPUUtilizationPercentage: current }),
    },
  };
}

const cpuMetric = (source: object): unknown => ({ type: 'Resource', resource: { name: 'cpu', ...source } });

const isCpu = ({ type, resource }: MetricSpec): boolean =>
  type === 'Resource' && resource?.name === 'cpu' && !isAbsent(resource.target?.averageUtilization);

function withoutNotes(metadata: KubeObject['metadata']): KubeObject['metadata'] {
  const noted: readonly string[] = Object.values(annotations);
  const given = metadata?.annotations;
  if (given === undefined || !noted.some((name) => Object.hasOwn(given, name))) return metadata;
  return { ...metadata, annotations: Object.fromEntries(Object.entries(given).filter(([name]) => !noted.includes(name))) };
}

function tryJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // A client's note that cannot be read says nothing; the real server ignores it as well.
    return undefined;
  }
}

const listOf = (value: unknown): readonly Record<string, unknown>[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'object' && item !== null) : [];

const sourceFields = ['resource', 'containerResource', 'pods', 'object', 'external'] as const;

/** Spells a metric as the annotation does: the target's numbers are next to its name. */
function legacyForm(metric: MetricSpec): unknown {
  const out: Record<string, unknown> = { type: metric.type };
  for (const field of sourceFields) {
    const source = metric[field];
    if (isAbsent(source)) continue;
    const {
      target,
      metric: named,
      describedObject,
      ...rest
    } = source as Readonly<Record<string, unknown>> & {
      readonly target?: { readonly averageUtilization?: number; readonly averageValue?: string; readonly value?: string };
      readonly metric?: { readonly name: string; readonly selector?: unknown };
      readonly describedObject?: unknown;
    };
    const isObject = field === 'object';
    out[field] = {
      ...rest,
      ...(describedObject === undefined ? {} : { target: describedObject }),
      ...(named === undefined ? {} : { metricName: named.name }),
      ...(named?.selector === undefined ? {} : { [field === 'external' ? 'metricSelector' : 'selector']: named.selector }),
      ...(target?.averageUtilization === undefined ? {} : { targetAverageUtilization: target.averageUtilization }),
      ...(target?.averageValue === undefined ? {} : { [isObject ? 'averageValue' : 'targetAverageValue']: target.averageValue }),
      ...(target?.value === undefined ? {} : { targetValue: target.value }),
    };
  }
  return out;
}

/** The inverse of `legacyForm`. */
function currentForm(legacy: Readonly<Record<string, unknown>>): unknown {
  const out: Record<string, unknown> = { type: legacy.type };
  for (const field of sourceFields) {
    const source = legacy[field];
    if (typeof source !== 'object' || source === null) continue;
    const {
      target,
      metricName,
      metricSelector,
      selector,
      targetAverageUtilization: averageUtilization,
      targetAverageValue,
      averageValue = targetAverageValue,
      targetValue: value,
      ...rest
    } = source as Readonly<Record<string, unknown>>;
    const named = metricSelector ?? selector;
    out[field] = {
      ...rest,
      ...(target === undefined ? {} : { describedObject: target }),
      ...(metricName === undefined ? {} : { metric: { name: metricName, ...(named === undefined ? {} : { selector: named }) } }),
      target: {
        type: averageUtilization !== undefined ? 'Utilization' : averageValue !== undefined ? 'AverageValue' : 'Value',
        ...(averageUtilization === undefined ? {} : { averageUtilization }),
        ...(averageValue === undefined ? {} : { averageValue }),
        ...(value === undefined ? {} : { value }),
      },
    };
  }
  return out;
}

export interface HorizontalPodAutoscalerV1 extends KubeObject {
  readonly spec: DeepReadonly<V1HorizontalPodAutoscalerSpec>;
  readonly status?: {
    readonly currentReplicas?: number;
    readonly desiredReplicas?: number;
    readonly currentCPUUtilizationPercentage?: number;
    readonly observedGeneration?: number;
    readonly lastScaleTime?: string;
  };
}
