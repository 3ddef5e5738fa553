import { describe, expect, it } from 'vitest';
import { hintOfKind, nearestField, wrongQuantities } from '../../../../../src/gitops/apply/plan/spelling.ts';

const deployment = { apiVersion: 'apps/v1', kind: 'Deployment' };

describe('a misspelled field', () => {
  it.each([
    ['spec.replica', 'replicas'],
    ['spec.template.spec.containers[0].resorces', 'resources'],
    ['spec.template.spec.containers[0].ports[containerPort=0,protocol="TCP"].containerport', 'containerPort'],
    ['spec.template.spec.containers[0].livenessProbe.httpGet.prot', 'port'],
    ['metdata', 'metadata'],
  ])('%s is taken for %s', (path, meant) => {
    expect(nearestField(deployment, path)).toBe(meant);
  });

  it('has no hint where none is like it, the path is unknown, or the kind is no built-in one', () => {
    for (const path of ['spec.xyzzy', 'no.such.place', 'spec.replicas.replica', 'metadata.labels.a.b', 'spec.toString', '']) {
      expect(nearestField(deployment, path), path).toBeUndefined();
    }
    expect(nearestField({ apiVersion: 'example.com/v1', kind: 'Widget' }, 'spec.replica')).toBeUndefined();
    expect(nearestField({ apiVersion: 'apps/v1', kind: 'toString' }, 'spec')).toBeUndefined();
  });
});

it('an amount that is no quantity is named by its field', () => {
  const containers = [
    { name: 'a', image: 'i', resources: { requests: { cpu: 1, memory: '32MiB' }, limits: { cpu: '0.5', memory: '1Gi' } } },
  ];
  const object = {
    ...deployment,
    metadata: { name: 'a' },
    spec: { template: { spec: { containers, volumes: [{ emptyDir: { sizeLimit: 'x' } }] } } },
  };
  expect(wrongQuantities(object)).toEqual([
    'spec.template.spec.containers[0].resources.requests.memory',
    'spec.template.spec.volumes[0].emptyDir.sizeLimit',
  ]);
  expect(wrongQuantities({ apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name: 'a' }, spec: { memory: 'x' } })).toEqual([]);
});

describe('a kind that the cluster does not have', () => {
  const served = [
    { group: '', version: 'v1', kind: 'Service' },
    { group: 'apps', version: 'v1', kind: 'Deployment' },
    { group: 'networking.k8s.io', version: 'v1', kind: 'Ingress' },
  ];
  it.each([
    ['apps/v1', 'Deploymnt', 'Did you mean Deployment?'],
    ['apps/v1beta1', 'Deployment', 'Deployment is in apps/v1.'],
    ['v1', 'Deployment', 'Deployment is in apps/v1.'],
    ['extensions/v1beta1', 'Ingress', 'Ingress is in networking.k8s.io/v1.'],
    ['serving.knative.dev/v1', 'Service', 'Check apiVersion and kind, or apply the CustomResourceDefinition first.'],
    ['example.com/v1', 'Widget', 'Check apiVersion and kind, or apply the CustomResourceDefinition first.'],
  ])('%s %s: %s', (apiVersion, kind, hint) => {
    expect(hintOfKind({ apiVersion, kind }, served)).toBe(hint);
  });
});
