import { appVariable, barChart, colours, type DashboardSource, heatmap, stat, timeseries } from './builder.ts';

const ofApp = 'app=~"$app"';

export const delivery: DashboardSource = {
  uid: 'midship-delivery',
  title: 'Midship / Delivery',
  description: 'Speed and safety of commits on their way to running pods.',
  variables: [appVariable],
  bands: [
    {
      height: 5,
      panels: [
        [
          5,
          stat(
            'Deploys per day',
            `sum(increase(gitops_sync_total{trigger="commit",result="succeeded",${ofApp}}[$__range])) / ($__range_s / 86400)`,
            {
              description: 'Commits that changed an app, each app counted.',
              decimals: 1,
              steps: [[null, colours.plain]],
            },
          ),
        ],
        [
          5,
          stat('Lead time', `histogram_quantile(0.5, sum by (le) (rate(gitops_commit_healthy_seconds_bucket{${ofApp}}[$__range])))`, {
            description: 'Median time from the moment a commit was seen, not authored, until the app was healthy.',
            unit: 's',
            steps: [[null, colours.plain]],
          }),
        ],
        [
          5,
          stat(
            'Change failure rate',
            `(sum(increase(gitops_sync_total{trigger="commit",result="failed",${ofApp}}[$__range])) + sum(increase(gitops_rollbacks_total{${ofApp}}[$__range]))) / (sum(increase(gitops_sync_total{trigger="commit",${ofApp}}[$__range])) > 0)`,
            {
              description: 'Syncs of commits that failed or were rolled back, of all.',
              unit: 'percentunit',
              noValue: 'no commit',
              steps: [[null, colours.plain]],
            },
          ),
        ],
        [
          5,
          stat('Time to restore', `histogram_quantile(0.5, sum by (le) (rate(gitops_restore_seconds_bucket{${ofApp}}[$__range])))`, {
            description: 'Median time from Degraded to Healthy.',
            unit: 's',
            noValue: 'never degraded',
            steps: [[null, colours.plain]],
          }),
        ],
        [
          4,
          stat('Rollbacks', `sum(increase(gitops_rollbacks_total{${ofApp}}[$__range])) or vector(0)`, {
            description: 'Commits that brought back a tree that had been applied before.',
            decimals: 0,
            steps: [[null, colours.plain]],
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          barChart(
            'Deploys by app',
            [
              {
                expr: `sum by (app) (increase(gitops_sync_total{trigger="commit",result="succeeded",${ofApp}}[$__range]))`,
                legend: '{{app}}',
              },
            ],
            {
              description: 'Commits that changed each app in the time range.',
              decimals: 0,
              instant: true,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Rollbacks by app',
            [{ expr: `sum by (app) (increase(gitops_rollbacks_total{${ofApp}}[$__rate_interval]))`, legend: '{{app}}' }],
            {
              description: 'When commits brought back an earlier tree.',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Drift',
            [
              {
                expr: `sum by (app, kind) (increase(gitops_drift_corrections_total{${ofApp}}[$__rate_interval]))`,
                legend: '{{app}} {{kind}}',
              },
            ],
            {
              description: 'Changes by others that were put back.',
              min: 0,
            },
          ),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          12,
          heatmap(
            'Commit to applied',
            [{ expr: `sum by (le) (increase(gitops_commit_applied_seconds_bucket{${ofApp}}[$__rate_interval]))`, legend: '{{le}}' }],
            {
              description: 'Time from a commit being seen until all of it was applied.',
            },
          ),
        ],
        [
          12,
          timeseries(
            'Commit to healthy',
            [
              {
                expr: `histogram_quantile(0.5, sum by (le) (rate(gitops_commit_healthy_seconds_bucket{${ofApp}}[$__range])))`,
                legend: 'p50',
              },
              {
                expr: `histogram_quantile(0.95, sum by (le) (rate(gitops_commit_healthy_seconds_bucket{${ofApp}}[$__range])))`,
                legend: 'p95',
              },
            ],
            { description: 'Time from a commit being seen until the app was healthy, over the time range.', unit: 's', min: 0 },
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
            'Fetches',
            [{ expr: 'sum by (source, result) (increase(gitops_source_fetch_total[$__rate_interval]))', legend: '{{source}} {{result}}' }],
            {
              description: 'Looks at repositories and what they found.',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Fetch time p95',
            [
              {
                expr: 'histogram_quantile(0.95, sum by (le, source) (rate(gitops_source_fetch_duration_seconds_bucket[$__rate_interval])))',
                legend: '{{source}}',
              },
            ],
            {
              description: 'Time of a look at a repository.',
              unit: 's',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Objects by action',
            [
              {
                expr: `sum by (action) (increase(gitops_apply_objects_total{${ofApp},action!="unchanged"}[$__rate_interval]))`,
                legend: '{{action}}',
              },
            ],
            {
              description: 'Operations on the objects of commits.',
              min: 0,
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
            'Time of each step p95',
            [
              {
                expr: 'histogram_quantile(0.95, sum by (le, phase) (rate(gitops_phase_duration_seconds_bucket[$__range])))',
                legend: '{{phase}}',
              },
            ],
            {
              description: 'Time of each step from a commit to a healthy app, of all apps, over the time range.',
              unit: 's',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Waiting to be applied',
            [
              { expr: 'max by (source) (gitops_source_commits_behind)', legend: '{{source}} commits behind' },
              { expr: 'max by (source) (gitops_queue_age_seconds)', legend: '{{source}} seconds waited' },
              { expr: `sum(gitops_app_prune_blocked{${ofApp}}) or vector(0)`, legend: 'prunes blocked' },
            ],
            {
              description:
                'Commits that the app furthest behind has not applied, how long the newest has waited, and prunes that need approval.',
              min: 0,
            },
          ),
        ],
        [
          8,
          timeseries(
            'Notifications',
            [{ expr: 'sum by (type, result) (increase(gitops_notifications_total[$__rate_interval]))', legend: '{{type}} {{result}}' }],
            {
              description: 'Messages to providers: sent, to be tried again, or dropped.',
              min: 0,
            },
          ),
        ],
      ],
    },
  ],
};
