import { colours, type DashboardSource, goodIsZero, stat, stateTimeline, table, timeseries } from './builder.ts';

const share = 'percentunit';
const app = 'namespace, app';

/** One number for each state of a set, so that a timeline can colour it. */
function stateNumber(metric: string, states: readonly (readonly string[])[]): string {
  const terms = states.map((names, index) => `(${metric}{status=~"${names.join('|')}"} == 1) * 0 + ${index + 1}`);
  return `max by (${app}) (${terms.join(' or ')})`;
}

export const syncNumber = stateNumber('gitops_app_sync_status', [['Synced'], ['Progressing'], ['OutOfSync'], ['Failed', 'Unknown']]);
export const healthNumber = stateNumber('gitops_app_health_status', [
  ['Healthy'],
  ['Progressing'],
  ['Suspended'],
  ['Degraded', 'Missing', 'Unknown'],
]);

export const syncMappings = [
  ['1', 'In sync', colours.ok],
  ['2', 'Rolling out', colours.progressing],
  ['3', 'Out of sync', colours.drift],
  ['4', 'Failed', colours.failed],
] as const;
export const healthMappings = [
  ['1', 'Healthy', colours.ok],
  ['2', 'Progressing', colours.progressing],
  ['3', 'Suspended', colours.paused],
  ['4', 'Degraded', colours.failed],
] as const;

export const overview: DashboardSource = {
  uid: 'midship-overview',
  title: 'Midship / Overview',
  description: 'Is the cluster what Git says, and has it room?',
  variables: [],
  bands: [
    {
      height: 4,
      panels: [
        [
          3,
          stat('Apps', 'count(gitops_app_info)', { description: 'Apps that Git defines.', noValue: '0', steps: [[null, colours.plain]] }),
        ],
        [
          3,
          stat('Out of sync', 'sum(gitops_app_sync_status{status!="Synced"}) or vector(0)', {
            description: 'Apps whose objects are not what Git says. Next: midship status.',
            steps: goodIsZero,
          }),
        ],
        [
          3,
          stat('Degraded', 'sum(gitops_app_health_status{status=~"Degraded|Missing"}) or vector(0)', {
            description: 'Apps that do not work, in sync or not. The status page says why and names the commit.',
            steps: goodIsZero,
          }),
        ],
        [
          4,
          stat(
            'Nodes ready',
            [
              { expr: 'sum(kube_node_status_condition{condition="Ready",status="true"})', legend: 'ready' },
              { expr: 'count(kube_node_info)', legend: 'of' },
            ],
            {
              description: 'Nodes whose agent says that it is ready, of all that have joined. Simulated nodes count.',
              steps: [[null, colours.ok]],
            },
          ),
        ],
        [
          4,
          stat('Pods not running', 'sum(kube_pod_status_phase{phase=~"Pending|Failed|Unknown"}) or vector(0)', {
            description: 'Pods that wait for a node or an image, or that failed.',
            steps: [
              [null, colours.ok],
              [1, colours.drift],
            ],
          }),
        ],
        [
          4,
          stat('Since last fetch', 'time() - max(gitops_source_last_fetch_timestamp_seconds)', {
            description: 'Time since a repository was last looked at with success.',
            unit: 's',
            steps: [
              [null, colours.ok],
              [300, colours.drift],
              [900, colours.failed],
            ],
          }),
        ],
        [
          3,
          stat('Restarts, 1 h', 'sum(increase(kube_pod_container_status_restarts_total[1h])) or vector(0)', {
            description: 'Containers that were started again in the last hour.',
            decimals: 0,
            steps: [
              [null, colours.ok],
              [3, colours.drift],
            ],
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          12,
          stateTimeline('Sync by app', [{ expr: syncNumber, legend: '{{app}}' }], {
            description: 'Sync state of each app: the comparison between Git and the cluster.',
            mappings: syncMappings,
          }),
        ],
        [
          12,
          stateTimeline('Health by app', [{ expr: healthNumber, legend: '{{app}}' }], {
            description: 'Health of the applied objects of each app.',
            mappings: healthMappings,
          }),
        ],
      ],
    },
    {
      height: 9,
      panels: [
        [
          24,
          table(
            'Applications',
            [
              { expr: `max by (${app}, source, path, revision) (gitops_app_info)` },
              { expr: syncNumber },
              { expr: healthNumber },
              { expr: `time() - max by (${app}) (gitops_app_last_applied_timestamp_seconds > 0)` },
            ],
            {
              description: 'Every app with its commit and state; a click on a row opens it.',
              // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills it in.
              links: [{ title: 'Application', url: '/d/midship-app?var-app=${__data.fields.app}&${__url_time_range}' }],
              transformations: [
                { id: 'merge', options: {} },
                {
                  id: 'organize',
                  options: {
                    excludeByName: { Time: true, 'Value #A': true },
                    indexByName: { namespace: 0, app: 1, source: 2, path: 3, revision: 4, 'Value #B': 5, 'Value #C': 6, 'Value #D': 7 },
                    renameByName: { 'Value #B': 'sync', 'Value #C': 'health', 'Value #D': 'since applied' },
                  },
                },
              ],
              overrides: [
                {
                  matcher: { id: 'byName', options: 'sync' },
                  properties: [
                    { id: 'mappings', value: [valueMapping(syncMappings)] },
                    { id: 'custom.cellOptions', value: { type: 'color-text' } },
                  ],
                },
                {
                  matcher: { id: 'byName', options: 'health' },
                  properties: [
                    { id: 'mappings', value: [valueMapping(healthMappings)] },
                    { id: 'custom.cellOptions', value: { type: 'color-text' } },
                  ],
                },
                { matcher: { id: 'byName', options: 'since applied' }, properties: [{ id: 'unit', value: 's' }] },
              ],
            },
          ),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          timeseries(
            'Syncs',
            [{ expr: 'sum by (trigger, result) (increase(gitops_sync_total[$__rate_interval]))', legend: '{{trigger}} {{result}}' }],
            {
              description: 'Syncs by what set them off and how they ended. A rising drift line is somebody who fights with Git.',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'CPU',
            [
              {
                expr: 'sum(kube_pod_container_resource_requests{resource="cpu"}) / sum(kube_node_status_allocatable{resource="cpu"})',
                legend: 'requested',
              },
              {
                expr: 'sum(rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval])) / sum(kube_node_status_allocatable{resource="cpu"})',
                legend: 'used',
              },
            ],
            { description: 'Share of what pods can have. Simulated nodes add room but use nothing.', unit: share, min: 0 },
          ),
        ],
        [
          8,
          timeseries(
            'Memory',
            [
              {
                expr: 'sum(kube_pod_container_resource_requests{resource="memory"}) / sum(kube_node_status_allocatable{resource="memory"})',
                legend: 'requested',
              },
              {
                expr: 'sum(container_memory_working_set_bytes{container!=""}) / sum(kube_node_status_allocatable{resource="memory"})',
                legend: 'used',
              },
            ],
            { description: 'Share of what pods can have. Simulated nodes add room but use nothing.', unit: share, min: 0 },
          ),
        ],
      ],
    },
  ],
};

function valueMapping(mappings: readonly (readonly [string, string, string])[]): unknown {
  return { type: 'value', options: Object.fromEntries(mappings.map(([value, text, color], index) => [value, { text, color, index }])) };
}
