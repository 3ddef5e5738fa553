import { barGauge, colours, type DashboardSource, namespaceVariable, stat, table, timeseries } from './builder.ts';

const here = 'namespace=~"$namespace"';

export const workloads: DashboardSource = {
  uid: 'midship-workloads',
  title: 'Midship / Workloads',
  description: 'Rollouts, pods and jobs.',
  variables: [namespaceVariable],
  bands: [
    {
      height: 4,
      panels: [
        [
          6,
          stat('Deployments', `count(kube_deployment_created{${here}}) or vector(0)`, {
            description: 'Deployments that exist.',
            steps: [[null, colours.plain]],
          }),
        ],
        [
          6,
          stat('Unavailable replicas', `sum(kube_deployment_status_replicas_unavailable{${here}}) or vector(0)`, {
            description: 'Pods that Deployments want and do not have.',
            steps: [
              [null, colours.ok],
              [1, colours.drift],
            ],
          }),
        ],
        [
          6,
          stat('Unschedulable pods', `sum(kube_pod_status_unschedulable{${here}}) or vector(0)`, {
            description: 'Pods that fit on no node. Their events say why.',
            steps: [
              [null, colours.ok],
              [1, colours.drift],
            ],
          }),
        ],
        [
          6,
          stat('Jobs failed', `sum(kube_job_failed{condition="true",${here}}) or vector(0)`, {
            description: 'Jobs that gave up.',
            steps: [
              [null, colours.ok],
              [1, colours.failed],
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
          timeseries('Pods by phase', [{ expr: `sum by (phase) (kube_pod_status_phase{${here}})`, legend: '{{phase}}' }], {
            description: 'All pods by phase.',
            stacked: true,
            min: 0,
          }),
        ],
        [
          12,
          timeseries(
            'Waiting containers',
            [{ expr: `sum by (reason) (kube_pod_container_status_waiting_reason{${here}})`, legend: '{{reason}}' }],
            {
              description: 'Containers that do not run, by reason.',
              noValue: 'none waits',
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
          timeseries(
            'Rollout progress',
            [
              {
                expr: `kube_deployment_status_replicas_updated{${here}} / (kube_deployment_spec_replicas{${here}} > 0)`,
                legend: '{{namespace}}/{{deployment}}',
              },
            ],
            {
              description: 'Pods of the newest template, of those wanted.',
              unit: 'percentunit',
              min: 0,
            },
          ),
        ],
        [
          12,
          table('Missing replicas', `kube_deployment_spec_replicas{${here}} - kube_deployment_status_replicas_available{${here}} > 0`, {
            description: 'Deployments with fewer available pods than they want.',
            noValue: 'none',
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          timeseries(
            'Restarts by pod',
            [
              {
                expr: `topk(10, sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{${here}}[$__rate_interval])))`,
                legend: '{{namespace}}/{{pod}}',
              },
            ],
            {
              description: 'The ten pods whose containers were started again most often.',
              min: 0,
            },
          ),
        ],
        [
          8,
          barGauge(
            'Job duration',
            [
              {
                expr: `kube_job_status_completion_time{${here}} - kube_job_status_start_time{${here}}`,
                legend: '{{namespace}}/{{job_name}}',
              },
            ],
            {
              description: 'Time from start to completion.',
              unit: 's',
              noValue: 'no job',
              min: 0,
              steps: [[null, colours.plain]],
            },
          ),
        ],
        [
          8,
          timeseries('Pod start p95', 'histogram_quantile(0.95, sum by (le) (rate(kubelet_pod_start_duration_seconds_bucket[$__range])))', {
            description: 'From the moment an agent saw a pod until its containers ran, over the time range.',
            unit: 's',
            min: 0,
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          24,
          timeseries(
            'CPU used of requested',
            [
              {
                expr: `sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{container!="",${here}}[$__rate_interval])) / sum by (namespace, pod) (kube_pod_container_resource_requests{resource="cpu",${here}})`,
                legend: '{{namespace}}/{{pod}}',
              },
            ],
            { description: 'Far below 1: asks for too much. Above 1: asks for too little.', unit: 'percentunit', min: 0 },
          ),
        ],
      ],
    },
  ],
};
