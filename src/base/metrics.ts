import { collectDefaultMetrics, Gauge, type GaugeConfiguration, Registry } from 'prom-client';
import { type Counter, counterFamily, type FamilyOptions, type Histogram, type HistogramOptions, histogramFamily } from './series.ts';

/**
 * Metrics of one component path (`/metrics/apiserver`, `/metrics/scheduler`, …). Each family lives on exactly one of them.
 *
 * prom-client holds gauges and what it measures of the process; counters and histograms are `series.ts`, since they are on hot paths. State
 * of objects is written as text from the caches by collectors, because 50,000 series in prom-client take 100 ms and block the event loop.
 */
export interface Metrics {
  counter<L extends string>(options: FamilyOptions<L>): Counter<L>;
  gauge<L extends string>(options: GaugeConfiguration<L>): Gauge<L>;
  histogram<L extends string>(options: HistogramOptions<L>): Histogram<L>;
  /** Adds families that are written at each scrape; `collect` yields whole lines of the text format, ending in a newline. */
  addCollector(collect: TextCollector): void;
  /** Further families of this path, for a part that may start again; they are gone once it ends. */
  branch(): MetricsBranch;
  /** The text exposition format, version 0.0.4, in parts of whole lines. */
  parts(): AsyncIterable<string>;
  text(): Promise<string>;
}

export interface MetricsBranch {
  readonly metrics: Metrics;
  end(): void;
}

export type TextCollector = () => Iterable<string>;

/** Bucket lists of the design, as literals (`exponentialBuckets` yields values like 0.000009999999999999999). */
export const buckets = {
  request: [0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  queue: [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100],
  schedule: [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4, 8, 16],
  podStart: [0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 300, 600, 1800, 3600],
  delivery: [0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600, 1800],
  sync: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  store: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
} as const;

/**
 * Characters of a part. The text for 1,000 apps has 10 MB in 100,000 lines. Lines that are kept until the last one is
 * written leave V8's young generation, where they would have cost nothing.
 */
const partLength = 32 * 1_024;

export function createMetrics(): Metrics {
  const registry = new Registry();
  const collectors: TextCollector[] = [];
  const branches = new Set<Metrics>();

  async function* parts(): AsyncIterable<string> {
    yield* ownParts();
    for (const branch of branches) yield* branch.parts();
  }

  async function* ownParts(): AsyncIterable<string> {
    let part = await registry.metrics();
    let lines = 0;
    for (const collect of collectors) {
      for (const line of collect()) {
        part += line;
        if (part.length >= partLength) {
          yield part;
          part = '';
        }
        lines += 1;
        // A scrape of a large cluster must not hold up the API.
        if (lines % 5_000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    }
    if (part !== '') yield part;
  }

  return {
    counter(options) {
      const { instrument, lines } = counterFamily(options);
      collectors.push(lines);
      return instrument;
    },
    gauge: (options) => new Gauge({ ...options, registers: [registry] }),
    histogram(options) {
      const { instrument, lines } = histogramFamily(options);
      collectors.push(lines);
      return instrument;
    },
    addCollector(collect) {
      collectors.push(collect);
    },
    branch() {
      const metrics = createMetrics();
      branches.add(metrics);
      return { metrics, end: () => void branches.delete(metrics) };
    },
    parts,
    text: () => textOf(parts()),
  };
}

async function textOf(parts: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const part of parts) text += part;
  return text;
}

/** All of one, then all of the next. */
export async function* partsOf(...all: readonly Metrics[]): AsyncIterable<string> {
  for (const metrics of all) yield* metrics.parts();
}

/** `process_*` and `nodejs_*`; belongs to one registry of the process. */
export function addProcessMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return {
    ...createMetrics(),
    async *parts() {
      yield await registry.metrics();
    },
    text: () => registry.metrics(),
  };
}
