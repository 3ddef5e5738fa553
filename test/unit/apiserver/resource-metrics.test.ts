import { describe, expect, it } from 'vitest';
import { machineUsageBetween, parseResourceMetrics, quantitiesOf, usageBetween } from '../../../src/apiserver/resource-metrics/usage.ts';

const page = (cpu: number, at: number, memory = 4_096): string =>
  [
    '# TYPE container_cpu_usage_seconds_total counter',
    `container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web"} ${cpu} ${at}`,
    `container_memory_working_set_bytes{container="main",namespace="shop",pod="web"} ${memory} ${at}`,
    `pod_cpu_usage_seconds_total{namespace="shop",pod="web"} ${cpu} ${at}`,
    '',
  ].join('\n');

describe('the report of a node about its containers', () => {
  it('is read by container', () => {
    expect([...parseResourceMetrics(page(1.5, 1_000)).containers.values()]).toEqual([
      { namespace: 'shop', pod: 'web', container: 'main', cpuSeconds: 1.5, memoryBytes: 4_096, at: 1_000 },
    ]);
  });

  it('is left out where it is half or none', () => {
    const odd = [
      'container_cpu_usage_seconds_total{container="a",namespace="n",pod="p"} 1 1000',
      'container_cpu_usage_seconds_total{container="b",namespace="n",pod="p"} NaN 1000',
      'container_memory_working_set_bytes{container="b",namespace="n",pod="p"} -1 1000',
      `container_memory_working_set_bytes{container="${'c'.repeat(300)}",namespace="n",pod="p"} 1 1000`,
      'container_memory_working_set_bytes{container="x"} 1',
      'nonsense',
    ];
    expect(parseResourceMetrics(odd.join('\n')).containers.size).toBe(0);
  });

  it('has an end', () => {
    const lines = Array.from({ length: 12_000 }, (_, n) => page(1, 1).replaceAll('pod="web"', `pod="web-${n}"`));
    expect(parseResourceMetrics(lines.join('\n')).containers.size).toBe(10_000);
  });
});

describe('usage of containers', () => {
  it('is what they have used between two looks, over the time between them', () => {
    expect(usageBetween(parseResourceMetrics(page(1, 1_000)), parseResourceMetrics(page(1.5, 3_000, 8_192)))).toEqual([
      { namespace: 'shop', pod: 'web', container: 'main', nanocores: 250_000_000, memoryBytes: 8_192, at: 3_000, windowMs: 2_000 },
    ]);
  });

  it('is unknown for a container that has just started or restarted, or was not measured twice', () => {
    const first = parseResourceMetrics(page(2, 1_000));
    expect(usageBetween({ containers: new Map(), machine: undefined }, first)).toEqual([]);
    expect(usageBetween(first, parseResourceMetrics(page(0.1, 2_000)))).toEqual([]);
    expect(usageBetween(first, first)).toEqual([]);
  });

  it('counts the whole machine of a node that has one to itself, and has no rate across a restart', () => {
    const machine = (cpu: number, at: number): string =>
      `${page(1, at)}node_cpu_usage_seconds_total ${cpu} ${at}\nnode_memory_working_set_bytes 65536 ${at}\n`;
    const [first, second] = [parseResourceMetrics(machine(10, 1_000)), parseResourceMetrics(machine(13, 3_000))];
    expect(machineUsageBetween(first, second)).toEqual({ nanocores: 1_500_000_000, memoryBytes: 65_536 });
    expect(machineUsageBetween(second, parseResourceMetrics(machine(2, 5_000)))).toBeUndefined();
    expect(machineUsageBetween(parseResourceMetrics(page(1, 1_000)), second)).toBeUndefined();
  });

  it('is said in the quantities of metrics.k8s.io', () => {
    expect(quantitiesOf({ nanocores: 123_456_789, memoryBytes: 1_025 })).toEqual({ cpu: '123456789n', memory: '2Ki' });
    expect(quantitiesOf({ nanocores: 0, memoryBytes: 0 })).toEqual({ cpu: '0', memory: '0Ki' });
  });
});
