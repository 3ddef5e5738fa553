import { describe, expect, it } from 'vitest';
import { horizontalPodAutoscalers } from '../../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { networkPolicies } from '../../../src/api/networking/v1/network-policy.ts';
import { podDisruptionBudgets } from '../../../src/api/policy/v1/pod-disruption-budget.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';

/** Errors of an object with this spec, defaults filled in. */
function broken<T extends KubeObject>(kind: KindDefinition<T>, spec: object): readonly string[] {
  const object = { apiVersion: 'v1', kind: kind.kind, metadata: { name: 'a', namespace: 'n' }, spec } as unknown as T;
  return (kind.validate?.(kind.defaults?.(object) ?? object) ?? []).map(({ field, message }) => `${field}: ${message}`);
}

it('a PodDisruptionBudget has one bound', () => {
  expect(broken(podDisruptionBudgets, { minAvailable: 1, maxUnavailable: '50%', selector: { matchLabels: { a: 'b' } } })).toEqual([
    'spec: Invalid value: {"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":"50%","UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set',
  ]);
});

describe('a HorizontalPodAutoscaler', () => {
  const autoscaler = (parts: object): readonly string[] =>
    broken(horizontalPodAutoscalers, {
      maxReplicas: 3,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
      ...parts,
    });
  const metric = (type: string, source: object): readonly string[] =>
    autoscaler({ metrics: [{ type, [`${type[0]?.toLowerCase()}${type.slice(1)}`]: source }] });

  it('scales a kind of a group, in one of its versions', () => {
    const target = (apiVersion: string) => autoscaler({ scaleTargetRef: { apiVersion, kind: 'Deployment', name: 'd' } });
    expect(target('v1')).toEqual(['spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group']);
    expect(target('a/b/c')).toEqual(['spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c']);
  });

  it('measures by one source, completely', () => {
    expect(metric('Resource', { name: 'cpu', target: { type: 'Utilization' } })).toEqual([
      'spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization',
    ]);
    expect(metric('Pods', { metric: {}, target: { type: 'AverageValue', averageValue: '0' } })).toEqual([
      'spec.metrics[0].pods.metric.name: Required value: must specify a metric name',
      'spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive',
      'spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue',
    ]);
    expect(metric('External', { metric: { name: 'm' }, target: { type: 'Value', value: '1', averageValue: '1' } })).toEqual([
      'spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target',
    ]);
    expect(metric('Object', { metric: { name: 'm' }, describedObject: { kind: 'Service', name: 's' }, target: { type: 'Value' } })).toEqual(
      ['spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue'],
    );
    const two = { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 1 } }, pods: {} };
    expect(autoscaler({ metrics: [two] })).toContain('spec.metrics[0].pods: Forbidden: must populate the given metric source only');
  });

  it('moves within bounds', () => {
    const rules = { stabilizationWindowSeconds: 4000, selectPolicy: 'Most', policies: [{ type: 'Nodes', value: 0, periodSeconds: 2000 }] };
    expect(autoscaler({ behavior: { scaleUp: rules } })).toEqual([
      'spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600',
      'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Most": supported values: "Disabled", "Max", "Min"',
      'spec.behavior.scaleUp.policies[0].type: Unsupported value: "Nodes": supported values: "Percent", "Pods"',
      'spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero',
      'spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800',
    ]);
  });
});

it('a NetworkPolicy leaves out parts of the range it names, and has ports in order', () => {
  const ipBlock = { cidr: '10.0.0.0/8', except: ['10.1.0.0/16', '11.0.0.0/16', '10.0.0.0/8', 'fd00::/64'] };
  const ports = [{ port: 80, endPort: 79 }, { port: 'http', endPort: 90 }, { protocol: 'ICMP' }];
  expect(broken(networkPolicies, { ingress: [{ ports, from: [{ ipBlock }] }] })).toEqual([
    'spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`',
    'spec.ingress[0].ports[1].endPort: Invalid value: 90: may not be specified when `port` is non-numeric',
    'spec.ingress[0].ports[2].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"',
    'spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
    'spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
    'spec.ingress[0].from[0].ipBlock.except[3]: Invalid value: "fd00::/64": must be a strict subset of `cidr`',
  ]);
});
