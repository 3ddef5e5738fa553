import { colours, type DashboardSource, stat, timeseries } from './builder.ts';

const rate = (metric: string, by: string): string => `sum by (${by}) (rate(${metric}[$__rate_interval]))`;
const p99 = (metric: string, by = 'le'): string => `histogram_quantile(0.99, sum by (${by}) (rate(${metric}[$__rate_interval])))`;
const plain = [[null, colours.plain]] as const;

export const controlPlane: DashboardSource = {
  uid: 'midship-control-plane',
  title: 'Midship / Control plane',
  description: 'The API, the store, the controllers, the scheduler and the process they share.',
  variables: [],
  bands: [
    {
      height: 4,
      panels: [
        [
          4,
          stat('Requests', 'sum(rate(apiserver_request_total[$__rate_interval]))', {
            description: 'API requests over the wire, a second.',
            unit: 'reqps',
            steps: plain,
          }),
        ],
        [
          4,
          stat(
            'Errors',
            '(sum(rate(apiserver_request_total{code=~"5.."}[$__range])) or vector(0)) / clamp_min(sum(rate(apiserver_request_total[$__range])) or vector(0), 0.000001)',
            {
              description: 'Share of API requests of the time range that ended with a 5xx code.',
              unit: 'percentunit',
              noValue: 'no requests',
              steps: [
                [null, colours.ok],
                [0.001, colours.failed],
              ],
            },
          ),
        ],
        [
          4,
          stat('Open watches', 'sum(apiserver_longrunning_requests) or vector(0)', { description: 'Watches over the wire.', steps: plain }),
        ],
        [
          4,
          stat('Store size', 'sum(apiserver_storage_size_bytes)', {
            description: 'Size of the store on disk.',
            unit: 'bytes',
            steps: plain,
          }),
        ],
        [
          4,
          stat('Event loop lag p99', 'max(nodejs_eventloop_lag_p99_seconds)', {
            description: 'Delay of the event loop: the health of a design with one process.',
            unit: 's',
            steps: [
              [null, colours.ok],
              [0.05, colours.drift],
              [0.25, colours.failed],
            ],
          }),
        ],
        [
          4,
          stat('Resident memory', 'max(process_resident_memory_bytes)', {
            description: 'Memory of the process.',
            unit: 'bytes',
            steps: plain,
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          timeseries('Requests by verb', [{ expr: rate('apiserver_request_total', 'verb'), legend: '{{verb}}' }], {
            description: 'API requests over the wire.',
            unit: 'reqps',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Answers by code', [{ expr: rate('apiserver_request_total', 'code'), legend: '{{code}}' }], {
            description: 'How API requests ended.',
            unit: 'reqps',
            min: 0,
          }),
        ],
        [
          8,
          timeseries(
            'Request time p99',
            [
              { expr: p99('apiserver_request_sli_duration_seconds_bucket{verb=~"GET|LIST"}'), legend: 'read' },
              { expr: p99('apiserver_request_sli_duration_seconds_bucket{verb=~"POST|PUT|PATCH|APPLY|DELETE"}'), legend: 'write' },
            ],
            { description: 'Time of API requests, watches left out.', unit: 's', min: 0 },
          ),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          timeseries('In flight', [{ expr: 'sum by (request_kind) (apiserver_current_inflight_requests)', legend: '{{request_kind}}' }], {
            description: 'API requests that are being worked on.',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Watch events', [{ expr: rate('apiserver_watch_events_total', 'kind'), legend: '{{kind}}' }], {
            description: 'Events sent to watches, a second.',
            unit: 'ops',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Commit time p99', [{ expr: p99('store_txn_duration_seconds_bucket', 'le, op'), legend: '{{op}}' }], {
            description: 'Time of a transaction of the store, which holds many writes.',
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
          8,
          timeseries('Queue depth', [{ expr: 'sum by (name) (workqueue_depth)', legend: '{{name}}' }], {
            description: 'Keys that wait for a controller.',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Queue wait p99', [{ expr: p99('workqueue_queue_duration_seconds_bucket', 'le, name'), legend: '{{name}}' }], {
            description: 'Time that keys wait for a controller.',
            unit: 's',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Work p99', [{ expr: p99('workqueue_work_duration_seconds_bucket', 'le, name'), legend: '{{name}}' }], {
            description: 'Time that a controller works on a key.',
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
          8,
          timeseries(
            'Reconciles',
            [{ expr: rate('controller_runtime_reconcile_total', 'controller, result'), legend: '{{controller}} {{result}}' }],
            { description: 'Passes of controllers by how they ended.', unit: 'ops', min: 0 },
          ),
        ],
        [
          8,
          timeseries('Retries', [{ expr: rate('workqueue_retries_total', 'name'), legend: '{{name}}' }], {
            description: 'Keys that came back after a failure.',
            unit: 'ops',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Machine steps', [{ expr: rate('midship_machine_steps_total', 'machine'), legend: '{{machine}}' }], {
            description: 'Steps of lifecycle machines.',
            unit: 'ops',
            min: 0,
          }),
        ],
      ],
    },
    {
      height: 8,
      panels: [
        [
          8,
          timeseries('Scheduling attempts', [{ expr: rate('scheduler_schedule_attempts_total', 'result'), legend: '{{result}}' }], {
            description: 'Attempts to place a pod by how they ended.',
            unit: 'ops',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Scheduling time p99', p99('scheduler_scheduling_attempt_duration_seconds_bucket'), {
            description: 'Time of an attempt, binding included.',
            unit: 's',
            min: 0,
          }),
        ],
        [
          8,
          timeseries('Pending pods', [{ expr: 'sum by (queue) (scheduler_pending_pods)', legend: '{{queue}}' }], {
            description: 'Pods without a node by where they wait.',
            min: 0,
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
            'Heap',
            [
              { expr: 'max(nodejs_heap_size_used_bytes)', legend: 'used' },
              { expr: 'max(nodejs_heap_size_total_bytes)', legend: 'total' },
              { expr: 'max(process_resident_memory_bytes)', legend: 'resident' },
            ],
            { description: 'Memory of the process.', unit: 'bytes', min: 0 },
          ),
        ],
        [
          8,
          timeseries(
            'Processor',
            [
              { expr: 'max(rate(process_cpu_seconds_total[$__rate_interval]))', legend: 'process' },
              {
                expr: 'max(sum by (instance, job) (rate(nodejs_gc_duration_seconds_sum[$__rate_interval])))',
                legend: 'garbage collection',
              },
            ],
            { description: 'CPUs in use. The event loop is the limit at 1.', min: 0 },
          ),
        ],
        [
          8,
          timeseries(
            'File descriptors',
            [
              { expr: 'max(process_open_fds)', legend: 'open' },
              { expr: 'max(process_max_fds)', legend: 'most' },
            ],
            { description: 'Open files and connections, and how many there may be.', min: 0 },
          ),
        ],
      ],
    },
  ],
};
