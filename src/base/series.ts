/**
 * Counters and histograms whose bound series cost a few additions. prom-client hashes the labels on each call, bound or
 * not. For a pod with some dozens of counted steps that adds up to 35 µs.
 */

export type LabelsOf<L extends string> = Partial<Readonly<Record<L, string | number>>>;

export interface Counter<L extends string = string> {
  inc(by?: number): void;
  inc(labels: LabelsOf<L>, by?: number): void;
  /** The series with these labels; it exists from then on. */
  labels(labels: LabelsOf<L>): BoundCounter;
  /** Ends all series whose first labels are these, since the counted object is gone. */
  end(labels: LabelsOf<L>): void;
}

export interface BoundCounter {
  inc(by?: number): void;
}

export interface Histogram<L extends string = string> {
  observe(value: number): void;
  observe(labels: LabelsOf<L>, value: number): void;
  /** The series with these labels; it exists from its first observation on. */
  labels(labels: LabelsOf<L>): BoundHistogram;
  /** Makes the series with these labels exist. */
  zero(labels: LabelsOf<L>): void;
  /** As of a counter. */
  end(labels: LabelsOf<L>): void;
}

export interface BoundHistogram {
  observe(value: number): void;
}

export interface FamilyOptions<L extends string> {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly L[];
}

export interface HistogramOptions<L extends string> extends FamilyOptions<L> {
  /** Upper bounds, ascending; `+Inf` is added. */
  readonly buckets: readonly number[];
}

/** A family and its lines in the text format. */
export interface Family<T> {
  readonly instrument: T;
  lines(): Iterable<string>;
}

/**
 * Some families have a series for each object, so it holds nothing that is the same for all. It has no closure, and its labels as one flat
 * string.
 */
class CounterSeries implements BoundCounter {
  readonly family: string;
  value = 0;

  constructor(family: string) {
    this.family = family;
  }

  inc(by = 1): void {
    if (by < 0) throw new Error(`${this.family} cannot be decreased`);
    this.value += by;
  }
}

export function counterFamily<L extends string>({ name, help, labelNames = [] }: FamilyOptions<L>): Family<Counter<L>> {
  const series = new Map<string, CounterSeries>();

  function seriesOf(labels: object): CounterSeries {
    const key = labelText(labelNames, labels);
    let found = series.get(key);
    if (found === undefined) {
      found = new CounterSeries(name);
      series.set(flat(key), found);
    }
    return found;
  }

  // As everywhere: a family without labels is there from the start.
  const bare = labelNames.length === 0 ? seriesOf({}) : undefined;
  return {
    instrument: {
      inc(...given: [by?: number | undefined] | [labels: LabelsOf<L>, by?: number | undefined]) {
        const [first, by] = given;
        if (typeof first === 'object') seriesOf(first).inc(by);
        else (bare ?? seriesOf({})).inc(first);
      },
      labels: seriesOf,
      end: (labels) => endSeries(series, labelText(labelNames, labels)),
    },
    *lines() {
      yield familyHead(name, help, 'counter');
      for (const [labels, { value }] of series) yield `${name}${braced(labels)} ${value}\n`;
    },
  };
}

class HistogramSeries implements BoundHistogram {
  readonly buckets: readonly number[];
  /** Observations in each bucket alone; the last one is above all bounds. */
  readonly counts: number[];
  sum = 0;

  constructor(buckets: readonly number[]) {
    this.buckets = buckets;
    this.counts = new Array<number>(buckets.length + 1).fill(0);
  }

  observe(value: number): void {
    const { buckets, counts } = this;
    let at = 0;
    while (at < buckets.length && value > (buckets[at] ?? 0)) at += 1;
    counts[at] = (counts[at] ?? 0) + 1;
    this.sum += value;
  }
}

export function histogramFamily<L extends string>({ name, help, labelNames = [], buckets }: HistogramOptions<L>): Family<Histogram<L>> {
  const series = new Map<string, HistogramSeries>();

  function create(key: string): HistogramSeries {
    const created = new HistogramSeries(buckets);
    series.set(flat(key), created);
    return created;
  }

  const seriesOf = (labels: object): HistogramSeries => {
    const key = labelText(labelNames, labels);
    return series.get(key) ?? create(key);
  };

  const bare = labelNames.length === 0 ? seriesOf({}) : undefined;
  return {
    instrument: {
      observe(...given: [value: number] | [labels: LabelsOf<L>, value: number]) {
        if (given.length === 2) seriesOf(given[0]).observe(given[1]);
        else (bare ?? seriesOf({})).observe(given[0]);
      },
      labels(labels) {
        const key = labelText(labelNames, labels);
        let bound = series.get(key);
        return {
          observe(value) {
            bound ??= series.get(key) ?? create(key);
            bound.observe(value);
          },
        };
      },
      zero: (labels) => void seriesOf(labels),
      end: (labels) => endSeries(series, labelText(labelNames, labels)),
    },
    *lines() {
      yield familyHead(name, help, 'histogram');
      for (const [labels, { counts, sum }] of series) {
        const rest = labels === '' ? '' : `,${labels}`;
        let count = 0;
        for (const [index, own] of counts.entries()) {
          count += own;
          yield `${name}_bucket{le="${buckets[index] ?? '+Inf'}"${rest}} ${count}\n`;
        }
        yield `${name}_sum${braced(labels)} ${sum}\n${name}_count${braced(labels)} ${count}\n`;
      }
    },
  };
}

function endSeries(series: Map<string, unknown>, first: string): void {
  for (const key of series.keys()) if (key === first || key.startsWith(`${first},`)) series.delete(key);
}

/** A label value as the text format wants it. Hardly any has something to escape, and a request looks at 31 of them. */
export const escapeLabel = (value: string): string => (/[\\\n"]/.test(value) ? escaped(value) : value);

const escaped = (value: string): string => value.replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/"/g, '\\"');

function labelText(names: readonly string[], labels: object): string {
  let text = '';
  for (const name of names) {
    const value = (labels as Readonly<Record<string, unknown>>)[name];
    if (value !== undefined) text += `${text === '' ? '' : ','}${name}="${escapeLabel(String(value))}"`;
  }
  return text;
}

/** The same text without the tree of pieces that it was put together from, which a map would keep: 112 bytes instead of 626. */
const flat = (text: string): string => [text.slice(0, 1), text.slice(1)].join('');

const braced = (labels: string): string => (labels === '' ? '' : `{${labels}}`);

/** Begins a family in the text format of Prometheus; for families that are written at each scrape. */
export const familyHead = (name: string, help: string, type: 'counter' | 'gauge' | 'histogram'): string =>
  `# HELP ${name} ${help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n')}\n# TYPE ${name} ${type}\n`;

/** A family of one value. */
export const familyOf = ({ name, help, type }: ValueFamily, value: number): string => `${familyHead(name, help, type)}${name} ${value}\n`;

export interface ValueFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
}
