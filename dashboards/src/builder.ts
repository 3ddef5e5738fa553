/** Builds dashboards in Grafana's classic format, schema 39, which Grafana 11 to 13 take and migrate upward on load. */

export interface Target {
  readonly expr: string;
  /** Name of the series, `{{label}}` for a label. */
  readonly legend?: string;
}

export type PanelType = 'stat' | 'timeseries' | 'table' | 'bargauge' | 'barchart' | 'heatmap' | 'state-timeline' | 'text';

export interface Panel {
  readonly type: PanelType;
  readonly title: string;
  /** Meaning of the panel and, if useful, the next step; shown at the title. */
  readonly description: string;
  readonly unit: string;
  readonly targets: readonly Target[];
  /** Values of now, not of the time range. */
  readonly instant: boolean;
  readonly noValue: string;
  readonly steps?: readonly Step[] | undefined;
  readonly mappings?: readonly Mapping[] | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly decimals?: number | undefined;
  readonly stacked?: boolean | undefined;
  readonly links?: readonly { readonly title: string; readonly url: string }[] | undefined;
  readonly overrides?: readonly unknown[] | undefined;
  readonly transformations?: readonly unknown[] | undefined;
}

/** From this value on, this colour; the first one has no value. */
export type Step = readonly [value: number | null, colour: string];
/** A value, the word that is shown for it, and its colour. */
export type Mapping = readonly [value: string, text: string, colour: string];

/** Panels side by side with their widths, which add up to 24 at most. */
export interface Band {
  readonly height: number;
  readonly panels: readonly (readonly [width: number, panel: Panel])[];
}

export interface Variable {
  readonly name: string;
  readonly label: string;
  /** `label_values(metric, label)` */
  readonly query: string;
  readonly multi: boolean;
}

export interface DashboardSource {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly bands: readonly Band[];
}

/** State colours of the status page, as it has them on dark ground. */
export const colours = {
  ok: '#3CCB9B',
  progressing: '#6BA8FF',
  drift: '#F0B04A',
  failed: '#FF7A7A',
  paused: '#B59CFF',
  unknown: '#93A0AB',
  plain: '#5CC2D6',
} as const;

export const goodIsZero: readonly Step[] = [
  [null, colours.ok],
  [1, colours.failed],
];

interface PanelOptions extends Partial<Omit<Panel, 'type' | 'title' | 'targets'>> {
  readonly description: string;
  readonly unit?: string;
}

const panel =
  (type: PanelType, instant: boolean) =>
  (title: string, targets: string | readonly Target[], options: PanelOptions): Panel => ({
    type,
    title,
    targets: typeof targets === 'string' ? [{ expr: targets }] : targets,
    instant,
    noValue: 'no data',
    ...options,
    unit: options.unit ?? 'short',
  });

export const stat = panel('stat', true);
export const timeseries = panel('timeseries', false);
export const table = panel('table', true);
export const barGauge = panel('bargauge', true);
export const barChart = panel('barchart', false);
export const heatmap = panel('heatmap', false);
export const stateTimeline = panel('state-timeline', false);

export const appVariable = { name: 'app', label: 'App', query: 'label_values(gitops_app_info, app)', multi: true } as const;
export const namespaceVariable = {
  name: 'namespace',
  label: 'Namespace',
  query: 'label_values(kube_namespace_status_phase, namespace)',
  multi: true,
} as const;

// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills it in.
const datasource = { type: 'prometheus', uid: '${datasource}' } as const;

/** Links of every dashboard, in this order. */
export interface Sibling {
  readonly uid: string;
  readonly title: string;
}

export function dashboardJson(source: DashboardSource, siblings: readonly Sibling[]): string {
  const { uid, title, description, variables } = source;
  const usesApps = variables.some(({ name }) => name === 'app');
  const document = {
    uid,
    title,
    description,
    id: null,
    version: 1,
    schemaVersion: 39,
    editable: true,
    tags: ['midship'],
    timezone: 'browser',
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    graphTooltip: 1,
    links: siblings
      .filter((sibling) => sibling.uid !== uid)
      .map((sibling) => ({
        type: 'link',
        title: sibling.title,
        url: `/d/${sibling.uid}`,
        keepTime: true,
        includeVars: true,
        targetBlank: false,
        asDropdown: false,
        icon: 'dashboard',
        tags: [],
        tooltip: '',
      })),
    annotations: {
      list: [
        annotation(
          'Deploys',
          `changes(gitops_app_last_applied_timestamp_seconds${usesApps ? '{app=~"$app"}' : ''}[1m]) > 0`,
          colours.plain,
        ),
        annotation('Drift', `changes(gitops_drift_corrections_total${usesApps ? '{app=~"$app"}' : ''}[1m]) > 0`, colours.drift),
      ],
    },
    templating: {
      list: [
        {
          name: 'datasource',
          label: 'Data source',
          type: 'datasource',
          query: 'prometheus',
          current: {},
          hide: 0,
          refresh: 1,
          regex: '',
          options: [],
        },
        ...variables.map(variableJson),
      ],
    },
    panels: panelsJson(source.bands),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function annotation(name: string, expr: string, iconColor: string): unknown {
  return { name, datasource, enable: true, iconColor, expr, step: '10s', titleFormat: name, textFormat: '{{app}}' };
}

function variableJson({ name, label, query, multi }: Variable): unknown {
  return {
    name,
    label,
    type: 'query',
    datasource,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    sort: 1,
    multi,
    includeAll: multi,
    ...(multi ? { allValue: '.*', current: { text: ['All'], value: ['$__all'] } } : { current: {} }),
    hide: 0,
    regex: '',
    options: [],
  };
}

function panelsJson(bands: readonly Band[]): unknown[] {
  const panels: unknown[] = [];
  let y = 0;
  let id = 0;
  for (const { height, panels: row } of bands) {
    let x = 0;
    for (const [width, each] of row) {
      id += 1;
      panels.push(panelJson(each, id, { h: height, w: width, x, y }));
      x += width;
    }
    y += height;
  }
  return panels;
}

function panelJson(source: Panel, id: number, gridPos: Record<'h' | 'w' | 'x' | 'y', number>): unknown {
  const {
    type,
    title,
    description,
    unit,
    targets,
    instant,
    noValue,
    steps,
    mappings,
    min,
    max,
    decimals,
    links,
    overrides,
    transformations,
  } = source;
  return {
    id,
    type,
    title,
    description,
    gridPos,
    datasource,
    targets: targets.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource,
      expr,
      legendFormat: legend ?? '__auto',
      instant,
      range: !instant,
      ...(type === 'table' ? { format: 'table' } : type === 'heatmap' ? { format: 'heatmap' } : {}),
    })),
    fieldConfig: {
      defaults: {
        unit,
        noValue,
        ...(min === undefined ? {} : { min }),
        ...(max === undefined ? {} : { max }),
        ...(decimals === undefined ? {} : { decimals }),
        ...(steps === undefined
          ? {}
          : { color: { mode: 'thresholds' }, thresholds: { mode: 'absolute', steps: steps.map(([value, color]) => ({ value, color })) } }),
        mappings:
          mappings === undefined
            ? []
            : [
                {
                  type: 'value',
                  options: Object.fromEntries(mappings.map(([value, text, color], index) => [value, { text, color, index }])),
                },
              ],
        ...(links === undefined ? {} : { links }),
        custom: customOf(source),
      },
      overrides: overrides ?? [],
    },
    options: optionsOf(source),
    ...(transformations === undefined ? {} : { transformations }),
  };
}

function customOf({ type, stacked }: Panel): unknown {
  if (type === 'timeseries') {
    return {
      lineWidth: 1.5,
      fillOpacity: stacked === true ? 40 : 8,
      showPoints: 'never',
      stacking: { mode: stacked === true ? 'normal' : 'none', group: 'A' },
    };
  }
  if (type === 'state-timeline') return { fillOpacity: 80, lineWidth: 0 };
  return {};
}

function optionsOf({ type }: Panel): unknown {
  const reduceOptions = { calcs: ['lastNotNull'], fields: '', values: false };
  switch (type) {
    case 'stat':
      return { reduceOptions, colorMode: 'value', graphMode: 'none', textMode: 'auto', justifyMode: 'auto', orientation: 'auto' };
    case 'timeseries':
      return { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } };
    case 'table':
      return { showHeader: true, cellHeight: 'sm' };
    case 'bargauge':
      return { reduceOptions, displayMode: 'basic', orientation: 'horizontal', showUnfilled: true };
    case 'barchart':
      return {
        orientation: 'auto',
        showValue: 'auto',
        stacking: 'none',
        legend: { displayMode: 'list', placement: 'bottom', showLegend: false },
      };
    case 'heatmap':
      return { calculate: false, yAxis: { unit: 's' }, color: { mode: 'scheme', scheme: 'Blues', steps: 32 }, legend: { show: true } };
    case 'state-timeline':
      return {
        mergeValues: true,
        showValue: 'auto',
        rowHeight: 0.8,
        legend: { displayMode: 'list', placement: 'bottom', showLegend: false },
      };
    case 'text':
      return {};
    default:
      return type satisfies never;
  }
}
