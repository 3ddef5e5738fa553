import { appVariable, colours, type DashboardSource, stat, table, timeseries } from './builder.ts';
import { healthMappings, healthNumber, syncMappings, syncNumber } from './overview.ts';

const ofApp = 'app="$app"';
const podJoin = `on (namespace, pod) group_left (app) gitops_app_pod_info{${ofApp}}`;
const plain = [[null, colours.plain]] as const;

export const application: DashboardSource = {
  uid: 'midship-app',
  title: 'Midship / Application',
  description: 'One app: what Git says of it, what runs, what it uses.',
  variables: [{ ...appVariable, multi: false }],
  bands: [
    {
      height: 4,
      panels: [
        [
          4,
          stat('Sync', `max(${syncNumber} and on (namespace, app) gitops_app_info{${ofApp}})`, {
            description: 'State of the comparison between Git and the cluster.',
            mappings: syncMappings,
          }),
        ],
        [
          4,
          stat('Health', `max(${healthNumber} and on (namespace, app) gitops_app_info{${ofApp}})`, {
            description: 'Health of the applied objects.',
            mappings: healthMappings,
          }),
        ],
        [
          4,
          stat('Revision', [{ expr: `gitops_app_info{${ofApp}}`, legend: '{{revision}}' }], {
            description: 'Commit in force.',
            steps: plain,
          }),
        ],
        [
          4,
          stat('Since applied', `time() - max(gitops_app_last_applied_timestamp_seconds{${ofApp}})`, {
            description: 'Time since a commit last changed the app.',
            unit: 's',
            steps: plain,
          }),
        ],
        [
          4,
          stat(
            'Pods ready',
            [
              { expr: `sum(kube_pod_status_ready{condition="true"} * ${podJoin}) or vector(0)`, legend: 'ready' },
              {
                expr: `sum(kube_deployment_spec_replicas * on (namespace, deployment) group_left (app) label_replace(gitops_app_object_info{${ofApp},kind="Deployment"}, "deployment", "$1", "name", "(.*)")) or vector(0)`,
                legend: 'wanted',
              },
            ],
            { description: 'Pods of the app that take requests, and the pods its Deployments want.', steps: plain },
          ),
        ],
        [
          4,
          stat('Drift, in range', `sum(increase(gitops_drift_corrections_total{${ofApp}}[$__range])) or vector(0)`, {
            description: 'Changes by others that were put back.',
            decimals: 0,
            steps: plain,
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          12,
          timeseries(
            'CPU',
            [
              {
                expr: `sum by (pod) (rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval]) * ${podJoin})`,
                legend: '{{pod}}',
              },
            ],
            { description: 'CPUs in use by pod.', min: 0 },
          ),
        ],
        [
          12,
          timeseries(
            'Memory',
            [
              { expr: `sum by (pod) (container_memory_working_set_bytes{container!=""} * ${podJoin})`, legend: '{{pod}}' },
              { expr: `max(kube_pod_container_resource_limits{resource="memory"} * ${podJoin})`, legend: 'limit' },
            ],
            { description: 'Memory in use by pod, and the largest limit where there is one.', unit: 'bytes', min: 0 },
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
            'Restarts',
            [
              {
                expr: `sum by (pod) (increase(kube_pod_container_status_restarts_total[$__rate_interval]) * ${podJoin})`,
                legend: '{{pod}}',
              },
            ],
            { description: 'Containers started again.', min: 0 },
          ),
        ],
        [
          8,
          table('Images', `count by (container, image_spec) (kube_pod_container_info * ${podJoin})`, {
            description: 'Images by container and how many pods run them: two during a rollout.',
          }),
        ],
        [
          8,
          timeseries('Objects by state', [{ expr: `sum by (status) (gitops_app_resources{${ofApp}})`, legend: '{{status}}' }], {
            description: 'Objects of the app by what they are compared with Git.',
            min: 0,
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          12,
          timeseries(
            'Drift by kind',
            [{ expr: `sum by (kind) (increase(gitops_drift_corrections_total{${ofApp}}[$__rate_interval]))`, legend: '{{kind}}' }],
            { description: 'Changes by others that were put back.', min: 0 },
          ),
        ],
        [
          12,
          timeseries(
            'Sync time p95',
            `histogram_quantile(0.95, sum by (le) (rate(gitops_sync_duration_seconds_bucket{${ofApp}}[$__range])))`,
            { description: 'Time of a sync, over the time range.', unit: 's', min: 0 },
          ),
        ],
      ],
    },
  ],
};
