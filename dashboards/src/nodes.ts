import { barGauge, colours, type DashboardSource, stat, stateTimeline, timeseries } from './builder.ts';

const requested = (resource: 'cpu' | 'memory'): string =>
  `sum by (node) (kube_pod_container_resource_requests{resource="${resource}"} * on (namespace, pod) group_left () max by (namespace, pod) (kube_pod_status_phase{phase=~"Pending|Running"} == 1)) / sum by (node) (kube_node_status_allocatable{resource="${resource}"})`;

const full = [
  [null, colours.plain],
  [0.8, colours.drift],
  [0.95, colours.failed],
] as const;

export const nodes: DashboardSource = {
  uid: 'midship-nodes',
  title: 'Midship / Nodes',
  description: 'Health and room of the machines. Simulated nodes have room and no usage.',
  variables: [],
  bands: [
    {
      height: 4,
      panels: [
        [
          6,
          stat('Ready', 'sum(kube_node_status_condition{condition="Ready",status="true"})', {
            description: 'Nodes whose agent says that it is ready.',
            steps: [[null, colours.ok]],
          }),
        ],
        [
          6,
          stat('Not ready', 'sum(kube_node_status_condition{condition="Ready",status=~"false|unknown"}) or vector(0)', {
            description: 'Nodes that are not ready or send no heartbeats.',
            steps: [
              [null, colours.ok],
              [1, colours.failed],
            ],
          }),
        ],
        [
          6,
          stat('Cordoned', 'sum(kube_node_spec_unschedulable)', {
            description: 'Nodes that take no new pods.',
            steps: [[null, colours.plain]],
          }),
        ],
        [
          6,
          stat('Simulated', 'count(kube_node_labels{label_midship_dev_simulated="true"}) or vector(0)', {
            description: 'Nodes that only pretend to run pods.',
            steps: [[null, colours.plain]],
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          24,
          stateTimeline(
            'Ready by node',
            [{ expr: 'max by (node) (kube_node_status_condition{condition="Ready",status="true"})', legend: '{{node}}' }],
            {
              description: 'When each node was ready.',
              mappings: [
                ['1', 'Ready', colours.ok],
                ['0', 'Not ready', colours.failed],
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
          barGauge('CPU requested', [{ expr: requested('cpu'), legend: '{{node}}' }], {
            description: 'Share of what pods can have that pods ask for.',
            unit: 'percentunit',
            min: 0,
            max: 1,
            steps: full,
          }),
        ],
        [
          8,
          barGauge('Memory requested', [{ expr: requested('memory'), legend: '{{node}}' }], {
            description: 'Share of what pods can have that pods ask for.',
            unit: 'percentunit',
            min: 0,
            max: 1,
            steps: full,
          }),
        ],
        [
          8,
          barGauge(
            'Pods',
            [
              {
                expr: 'count by (node) (kube_pod_info{node!=""}) / on (node) sum by (node) (kube_node_status_allocatable{resource="pods"})',
                legend: '{{node}}',
              },
            ],
            { description: 'Pods on each node, as share of the most it takes.', unit: 'percentunit', min: 0, max: 1, steps: full },
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
            'CPU used',
            [
              {
                expr: 'sum by (node) (rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval]) * on (namespace, pod) group_left (node) max by (namespace, pod, node) (kube_pod_info))',
                legend: '{{node}}',
              },
            ],
            { description: 'CPUs that pods use, by node. Measured, so simulated nodes have none.', min: 0 },
          ),
        ],
        [
          12,
          timeseries(
            'Memory used',
            [
              {
                expr: 'sum by (node) (container_memory_working_set_bytes{container!=""} * on (namespace, pod) group_left (node) max by (namespace, pod, node) (kube_pod_info))',
                legend: '{{node}}',
              },
            ],
            { description: 'Memory that pods use, by node. Measured, so simulated nodes have none.', unit: 'bytes', min: 0 },
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
            'Pressure',
            [{ expr: 'sum by (condition) (kube_node_status_condition{condition=~".*Pressure",status="true"})', legend: '{{condition}}' }],
            {
              description: 'Nodes short of memory, disk or processes.',
              min: 0,
            },
          ),
        ],
        [
          12,
          timeseries(
            'Runtime operations',
            [{ expr: 'sum by (operation_type) (rate(kubelet_runtime_operations_total[$__rate_interval]))', legend: '{{operation_type}}' }],
            {
              description: 'Calls of agents to the container runtime, per second.',
              unit: 'ops',
              min: 0,
            },
          ),
        ],
      ],
    },
  ],
};
