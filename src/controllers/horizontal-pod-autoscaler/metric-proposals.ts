import type { HorizontalPodAutoscaler, MetricSpec, MetricStatus } from '../../api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { formatQuantity, milliValueOf, parseQuantity, type Quantity } from '../../machinery/quantity.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '../../machinery/selector.ts';
import type { ScaleTargets } from '../scale-targets.ts';
import { selectorTextOf } from '../selector-text.ts';
import type { MetricsClient, PodMetrics } from './metrics-client.ts';
import { groupPods, readyPodCount, requestsOf } from './pod-groups.ts';
import { byAverageValue, byUtilization, byValue, byValuePerPod, type PodsTarget, type Proposal, type Tolerances } from './replica-count.ts';

/** The answer of one metric: so many replicas, or why it gives none. */
export type MetricOutcome =
  | { readonly replicas: number; readonly name: string; readonly status: MetricStatus }
  | { readonly failure: string; readonly reason: string; readonly message: string };

export interface MetricContext {
  readonly autoscaler: HorizontalPodAutoscaler;
  readonly pods: readonly Pod[];
  readonly selector: LabelSelector;
  /** `spec.replicas` and `status.replicas` of the scale. */
  readonly specReplicas: number;
  readonly statusReplicas: number;
  readonly metrics: MetricsClient;
  readonly targets: ScaleTargets;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly signal: AbortSignal;
}

/** Upstream's `--horizontal-pod-autoscaler-tolerance`. */
const defaultTolerance = 0.1;

/** Asks one metric how many replicas it wants. Never throws for a metric that cannot be had: that is an outcome. */
export async function proposeByMetric(metric: MetricSpec, context: MetricContext): Promise<MetricOutcome> {
  switch (metric.type) {
    case 'Resource':
      return await attempt('FailedGetResourceMetric', `failed to get ${metric.resource?.name} resource metric value`, () =>
        byResource(context, metric.resource, undefined),
      );
    case 'ContainerResource':
      return await attempt(
        'FailedGetContainerResourceMetric',
        `failed to get ${metric.containerResource?.container} container metric value`,
        () => byResource(context, metric.containerResource, metric.containerResource?.container),
      );
    case 'Pods':
      return await attempt('FailedGetPodsMetric', 'failed to get pods metric value', () => byPodsMetric(context, metric.pods));
    case 'Object':
      return await attempt('FailedGetObjectMetric', 'failed to get object metric value', () => byObject(context, metric.object));
    case 'External':
      return await attempt('FailedGetExternalMetric', `failed to get ${metric.external?.metric.name} external metric value`, () =>
        byExternal(context, metric.external),
      );
    default: {
      const message = `unknown metric source type "${metric.type}"`;
      return { failure: message, reason: 'InvalidMetricSourceType', message };
    }
  }
}

interface Named {
  readonly proposal: Proposal;
  readonly name: string;
  readonly status: MetricStatus;
}

async function attempt(reason: string, prefix: string, propose: () => Promise<Named>): Promise<MetricOutcome> {
  try {
    const { proposal, name, status } = await propose();
    return { replicas: proposal.replicas, name, status };
  } catch (err) {
    const message = err instanceof Error ? err.message : String(err);
    return { failure: `${prefix}: ${message}`, reason, message };
  }
}

/** Adds what was being done to the message of a failure, as upstream's errors are wrapped. */
async function within<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (err) {
    throw new Error(`${what}: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
}

type ResourceSource = NonNullable<MetricSpec['resource']>;

async function byResource(context: MetricContext, source: ResourceSource | undefined, container: string | undefined): Promise<Named> {
  const { autoscaler, metrics: client, pods, selector, signal } = context;
  const { name: resource = '', target } = source ?? {};
  const namespace = autoscaler.metadata.namespace ?? '';
  const isAverage = target?.averageValue !== undefined;
  const { proposal } = await within(`failed to get ${resource} ${isAverage ? 'usage' : 'utilization'}`, async () => {
    const metrics = await within(`unable to get metrics for resource ${resource}`, () =>
      client.resource({ namespace, selector, resource, container, signal }),
    );
    const options = podsTarget(context, metrics, resource);
    if (target?.averageValue !== undefined) return { proposal: byAverageValue(milliValueOf(target.averageValue), options) };
    if (target?.averageUtilization === undefined) {
      throw new Error('invalid resource metric source: neither an average utilization target nor an average value (usage) target was set');
    }
    return { proposal: byUtilization(target.averageUtilization, requestsOf(pods, resource, container), options) };
  });
  const format = resource === 'memory' ? 'BinarySI' : 'DecimalSI';
  const current = {
    averageValue: quantityOf(proposal.value, format),
    ...(proposal.utilization === undefined ? {} : { averageUtilization: proposal.utilization }),
  };
  const kind = container === undefined ? 'resource' : 'container resource';
  return {
    proposal,
    name: isAverage ? `${resource} resource` : `${resource} ${kind} utilization (percentage of request)`,
    status:
      container === undefined
        ? { type: 'Resource', resource: { name: resource, current } }
        : { type: 'ContainerResource', containerResource: { name: resource, container, current } },
  };
}

async function byPodsMetric(context: MetricContext, source: MetricSpec['pods']): Promise<Named> {
  const { autoscaler, metrics: client, selector, signal } = context;
  const { metric, target } = source ?? { metric: { name: '' }, target: undefined };
  const metrics = await within(`unable to get metric ${metric.name}`, () =>
    client.pods({
      namespace: autoscaler.metadata.namespace ?? '',
      selector,
      metric: metric.name,
      metricSelector: compileLabelSelector(metric.selector ?? {}),
      signal,
    }),
  );
  const proposal = byAverageValue(milliValueOf(target?.averageValue ?? '0'), podsTarget(context, metrics, undefined));
  const current = { averageValue: quantityOf(proposal.value) };
  return { proposal, name: `pods metric ${metric.name}`, status: { type: 'Pods', pods: { metric, current } } };
}

async function byObject(context: MetricContext, source: MetricSpec['object']): Promise<Named> {
  if (source === undefined) throw new Error('invalid object metric source: neither a value target nor an average value target was set');
  const { autoscaler, metrics: client, targets, signal } = context;
  const { metric, describedObject, target } = source;
  const { apiVersion, kind, name } = describedObject;
  const namespace = autoscaler.metadata.namespace ?? '';
  const groupResource = await targets.groupResourceOf({ apiVersion, kind });
  const value = await within(`unable to get metric ${metric.name} on ${kind} ${namespace}/${name}`, () =>
    client.object({
      namespace,
      object: { apiVersion, kind, name, groupResource },
      metric: metric.name,
      metricSelector: compileLabelSelector(metric.selector ?? {}),
      signal,
    }),
  );
  const { proposal, current } = byOneValue(context, value, target);
  const label = target.averageValue === undefined ? `${kind} metric ${metric.name}` : externalName(metric);
  return { proposal, name: label, status: { type: 'Object', object: { metric, describedObject, current } } };
}

async function byExternal(context: MetricContext, source: MetricSpec['external']): Promise<Named> {
  if (source === undefined) throw new Error('invalid external metric source: neither a value target nor an average value target was set');
  const { autoscaler, metrics: client, signal } = context;
  const { metric, target } = source;
  const namespace = autoscaler.metadata.namespace ?? '';
  const metricSelector = compileLabelSelector(metric.selector ?? {});
  const values = await within(`unable to get external metric ${namespace}/${metric.name}/${selectorTextOf(metric.selector)}`, () =>
    client.external({ namespace, metric: metric.name, metricSelector, signal }),
  );
  const sum = values.reduce((total, value) => total + value, 0);
  const { proposal, current } = byOneValue(context, sum, target);
  return { proposal, name: externalName(metric), status: { type: 'External', external: { metric, current } } };
}

const externalName = ({ name, selector }: { readonly name: string; readonly selector?: LabelSelectorObject }): string =>
  `external metric ${name}(${selectorTextOf(selector)})`;

function byOneValue(
  { autoscaler, pods, specReplicas, statusReplicas }: MetricContext,
  value: number,
  target: NonNullable<MetricSpec['external']>['target'],
): { readonly proposal: Proposal; readonly current: { readonly value?: string; readonly averageValue?: string } } {
  const tolerances = tolerancesOf(autoscaler);
  if (target.averageValue !== undefined) {
    const proposal = byValuePerPod({ replicas: statusReplicas, value, target: milliValueOf(target.averageValue), tolerances });
    return { proposal, current: { averageValue: quantityOf(proposal.value) } };
  }
  const readyCount = (): number => {
    if (pods.length === 0) throw new Error('unable to calculate ready pods: no pods returned by selector while calculating replica count');
    return readyPodCount(pods);
  };
  const proposal = byValue({ replicas: specReplicas, value, target: milliValueOf(target.value ?? '0'), tolerances }, readyCount);
  return { proposal, current: { value: quantityOf(proposal.value) } };
}

function podsTarget({ autoscaler, pods, specReplicas, now }: MetricContext, metrics: PodMetrics, resource: string | undefined): PodsTarget {
  if (pods.length === 0) throw new Error('no pods returned by selector while calculating replica count');
  return {
    currentReplicas: specReplicas,
    metrics,
    groups: groupPods(pods, metrics, { resource, now }),
    tolerances: tolerancesOf(autoscaler),
  };
}

/** `behavior.scaleUp.tolerance` and `scaleDown.tolerance`, each alone. */
function tolerancesOf({ spec: { behavior } }: HorizontalPodAutoscaler): Tolerances {
  const shareOf = (rules: object | undefined): number => {
    const { tolerance } = (rules ?? {}) as { readonly tolerance?: string | number };
    return tolerance === undefined ? defaultTolerance : Number(parseQuantity(tolerance).nanos) / 1e9;
  };
  return { up: shareOf(behavior?.scaleUp), down: shareOf(behavior?.scaleDown) };
}

const quantityOf = (milli: number, format: Quantity['format'] = 'DecimalSI'): string =>
  formatQuantity({ nanos: BigInt(Math.round(milli)) * 1_000_000n, format });
