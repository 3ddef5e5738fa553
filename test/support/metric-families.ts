/** A family of the text format, version 0.0.4. */
export interface MetricFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  /** Names of the labels of its samples, without `le` and `quantile`. */
  readonly labels: readonly string[];
}

/** The families of a scrape. */
export function familiesOf(text: string): readonly MetricFamily[] {
  const families = new Map<string, { type: string; help: string; labels: Set<string> }>();
  const familyOf = (name: string) => {
    const known = families.get(name) ?? { type: 'untyped', help: '', labels: new Set<string>() };
    families.set(name, known);
    return known;
  };
  for (const line of text.split('\n')) {
    const [, keyword, described = '', rest = ''] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? [];
    if (keyword === 'HELP') familyOf(described).help = rest;
    if (keyword === 'TYPE') familyOf(described).type = rest;
    if (line === '' || line.startsWith('#')) continue;
    const [, sample = '', labels = ''] = /^([\w:]+)(?:\{(.*)\})? /.exec(line) ?? [];
    const family = families.get(sample) ?? familyOf(sample.replace(/_(bucket|sum|count)$/, ''));
    for (const [, label = ''] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) family.labels.add(label);
  }
  return [...families].map(([name, { type, help, labels }]) => ({
    name,
    type,
    help,
    labels: [...labels].filter((label) => label !== 'le' && label !== 'quantile'),
  }));
}

/** Rows of docs/reference/metrics.md. */
export function familiesOfPage(text: string): readonly MetricFamily[] {
  return [...text.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$/gm)].map(([, name = '', type = '', labels = '', help = '']) => ({
    name,
    type,
    help: help.replaceAll('\\|', '|'),
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label),
  }));
}

/** The rows of these families, labels of both joined. */
export function rowsOf(served: readonly MetricFamily[], written: readonly MetricFamily[]): string {
  const all = new Map([...written, ...served].map((family) => [family.name, family]));
  return [...all.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, type, help }) => {
      const labels = [...served, ...written].filter((family) => family.name === name).flatMap((family) => family.labels);
      const cells = [...new Set(labels)].sort().map((label) => `\`${label}\``);
      return `| \`${name}\` | ${type} | ${cells.join(', ')} | ${help.replaceAll('|', '\\|')} |\n`;
    })
    .join('');
}

/** With the labels that the code declares for families that have no sample yet. */
export function withDeclaredLabels(families: readonly MetricFamily[], code: string): readonly MetricFamily[] {
  return families.map((family) => {
    const [, list = ''] = new RegExp(`name: '${family.name}',[^}]*?labelNames: \\[([^\\]]*)\\]`).exec(code) ?? [];
    const declared = [...list.matchAll(/'(\w+)'/g)].map(([, label = '']) => label);
    return { ...family, labels: [...new Set([...family.labels, ...declared])] };
  });
}
