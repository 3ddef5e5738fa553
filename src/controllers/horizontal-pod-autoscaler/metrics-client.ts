import { milliValueOf, tryQuantity } from '../../machinery/quantity.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import type { LabelSelector } from '../../machinery/selector.ts';

/** A GET of any path of the API server, which passes those of metrics APIs on to the servers behind them. */
export interface RawReader {
  readJson(path: string, options?: { readonly query?: URLSearchParams; readonly signal?: AbortSignal }): Promise<unknown>;
}

/** One measured value of a pod, in thousandths. */
export interface PodMetric {
  readonly value: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly windowMs: number;
}

/** By name of the pod. */
export type PodMetrics = ReadonlyMap<string, PodMetric>;

/** Values that an autoscaler compares with its targets. All are in thousandths; errors name the API that did not answer. */
export interface MetricsClient {
  /** `metrics.k8s.io`: the sum over a pod's containers, or of one of them. */
  resource(query: PodsQuery & { readonly resource: string; readonly container: string | undefined }): Promise<PodMetrics>;
  /** `custom.metrics.k8s.io`: a metric of each pod. */
  pods(query: PodsQuery & MetricQuery): Promise<PodMetrics>;
  /** `custom.metrics.k8s.io`: a metric of one object. */
  object(query: MetricQuery & { readonly object: MeasuredObject }): Promise<number>;
  /** `external.metrics.k8s.io`: all values that the selector finds. */
  external(query: MetricQuery): Promise<readonly number[]>;
}

interface PodsQuery {
  readonly namespace: string;
  readonly selector: LabelSelector;
  readonly signal: AbortSignal;
}

interface MetricQuery {
  readonly namespace: string;
  readonly metric: string;
  readonly metricSelector: LabelSelector;
  readonly signal: AbortSignal;
}

export interface MeasuredObject {
  readonly apiVersion: string | undefined;
  readonly kind: string;
  readonly name: string;
  /** `ingresses.networking.k8s.io`, by discovery. */
  readonly groupResource: string;
}

const custom = '/apis/custom.metrics.k8s.io';
const defaultWindowMs = 60_000;
/** Versions that are understood, the best first. */
const customVersions = ['v1beta2', 'v1beta1'] as const;

export function createMetricsClient(reader: RawReader): MetricsClient {
  async function read(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Document> {
    const filled = Object.entries(query).filter(([, value]) => value !== '');
    const answer = await reader.readJson(path, { query: new URLSearchParams(filled), signal });
    return (typeof answer === 'object' && answer !== null ? answer : {}) as Document;
  }

  async function readCustom(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<readonly Item[]> {
    try {
      const { versions = [] } = await read(custom, {}, signal);
      const served = customVersions.find((name) => versions.some(({ version }) => version === name)) ?? customVersions[0];
      return (await read(`${custom}/${served}${path}`, query, signal)).items ?? [];
    } catch (err) {
      throw new Error(`unable to fetch metrics from custom metrics API: ${textOf(err)}`, { cause: err });
    }
  }

  return {
    async resource({ namespace, selector, resource, container, signal }) {
      let items: readonly Item[];
      try {
        const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods`;
        items = (await read(path, { labelSelector: selector.toString() }, signal)).items ?? [];
      } catch (err) {
        throw new Error(`unable to fetch metrics from resource metrics API: ${textOf(err)}`, { cause: err });
      }
      if (items.length === 0) throw new Error('no metrics returned from resource metrics API');
      return new Map(
        items.flatMap((item): [string, PodMetric][] => {
          const containers = (item.containers ?? []).filter(({ name }) => container === undefined || name === container);
          const values = containers.map(({ usage }) => milliOf(usage?.[resource]));
          if (values.length === 0 || values.includes(undefined)) return [];
          const value = values.reduce<number>((sum, one) => sum + (one ?? 0), 0);
          return [[item.metadata?.name ?? '', { value, at: Date.parse(item.timestamp ?? ''), windowMs: durationMs(item.window) }]];
        }),
      );
    },
    async pods({ namespace, selector, metric, metricSelector, signal }) {
      const query = { labelSelector: selector.toString(), metricLabelSelector: metricSelector.toString() };
      const items = await readCustom(`/namespaces/${namespace}/pods/*/${metric}`, query, signal);
      if (items.length === 0) throw new Error('no metrics returned from custom metrics API');
      return new Map(
        items.map(({ describedObject, value, timestamp, windowSeconds, window }) => {
          const seconds = windowSeconds ?? window;
          const windowMs = typeof seconds === 'number' ? seconds * 1_000 : defaultWindowMs;
          return [describedObject?.name ?? '', { value: milliOf(value) ?? 0, at: Date.parse(timestamp ?? ''), windowMs }];
        }),
      );
    },
    async object({ namespace, object, metric, metricSelector, signal }) {
      const { apiVersion = '', kind, name, groupResource } = object;
      const isNamespace = kind === 'Namespace' && parseApiVersion(apiVersion).group === '';
      const path = isNamespace
        ? `/namespaces/${namespace}/metrics/${metric}`
        : `/namespaces/${namespace}/${groupResource}/${name}/${metric}`;
      const [item] = await readCustom(path, { metricLabelSelector: metricSelector.toString() }, signal);
      const value = milliOf(item?.value);
      if (value === undefined)
        throw new Error('unable to fetch metrics from custom metrics API: the custom metrics API server returned no value');
      return value;
    },
    async external({ namespace, metric, metricSelector, signal }) {
      let items: readonly Item[];
      try {
        const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/${metric}`;
        items = (await read(path, { labelSelector: metricSelector.toString() }, signal)).items ?? [];
      } catch (err) {
        throw new Error(`unable to fetch metrics from external metrics API: ${textOf(err)}`, { cause: err });
      }
      if (items.length === 0) throw new Error('no metrics returned from external metrics API');
      return items.map(({ value }) => milliOf(value) ?? 0);
    },
  };
}

/** The parts of PodMetricsList, MetricValueList and ExternalMetricValueList that are read. */
interface Document {
  readonly versions?: readonly { readonly version?: string }[];
  readonly items?: readonly Item[];
}

interface Item {
  readonly metadata?: { readonly name?: string };
  readonly containers?: readonly { readonly name?: string; readonly usage?: Readonly<Record<string, string>> }[];
  readonly describedObject?: { readonly name?: string };
  readonly timestamp?: string;
  readonly window?: string | number;
  readonly windowSeconds?: number;
  readonly value?: string;
}

function milliOf(text: unknown): number | undefined {
  const quantity = tryQuantity(text);
  return quantity === undefined ? undefined : milliValueOf(quantity);
}

/** A duration of Go, `30s` or `1m0.5s`. */
function durationMs(text: unknown): number {
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  let sum = 0;
  for (const [, count = '', unit = ''] of String(text ?? '').matchAll(/([0-9.]+)(ms|s|m|h)/g)) sum += Number(count) * (units[unit] ?? 0);
  return sum;
}

const textOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));
