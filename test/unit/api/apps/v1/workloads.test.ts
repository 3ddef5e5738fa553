import { describe, expect, it } from 'vitest';
import { type Deployment, type DeploymentSpec, type DeploymentStatus, deployments } from '../../../../../src/api/apps/v1/deployment.ts';
import { type ReplicaSet, replicaSets } from '../../../../../src/api/apps/v1/replica-set.ts';
import { type StatefulSet, type StatefulSetSpec, statefulSets } from '../../../../../src/api/apps/v1/stateful-set.ts';
import { deepFreeze } from '../../../../../src/machinery/object.ts';

const metadata = { name: 'x', namespace: 'd' };
const selector = { matchLabels: { app: 'x' } };
const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'host/x:1' }] } };

function deployment(spec: Partial<DeploymentSpec> = {}): Deployment {
  const object = { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec: { selector, template, ...spec } };
  return deployments.defaults?.(object) ?? object;
}
const fieldsOf = (object: Deployment, before?: Deployment) => (deployments.validate?.(object, before) ?? []).map(({ field }) => field);

describe('a deployment', () => {
  const stored = deepFreeze(deployment());

  it('keeps its template by reference when it is scaled', () => {
    const scaled = { ...stored, spec: { ...stored.spec, replicas: 5 } };
    const next = deployments.defaults?.(scaled, stored) ?? scaled;
    expect(next).toBe(scaled);
    expect(next.spec.template).toBe(stored.spec.template);
    expect(fieldsOf(next, stored)).toEqual([]);
  });

  it('does not change its selector', () => {
    const other = { matchLabels: { app: 'y' } };
    const moved = deployment({ selector: other, template: { ...template, metadata: { labels: { app: 'y' } } } });
    expect(fieldsOf(moved, stored)).toEqual(['spec.selector']);
  });

  it('recreates without rolling, or rolls with some room to move', () => {
    expect(deployment({ strategy: { type: 'Recreate' } }).spec.strategy).toEqual({ type: 'Recreate' });
    expect(fieldsOf(deployment({ strategy: { type: 'Recreate', rollingUpdate: {} } }))).toEqual(['spec.strategy.rollingUpdate']);
    const rolling = (maxSurge: number | string, maxUnavailable: number | string) =>
      fieldsOf(deployment({ strategy: { rollingUpdate: { maxSurge, maxUnavailable } } }));
    expect(rolling(0, '0%')).toEqual(['spec.strategy.rollingUpdate.maxUnavailable']);
    expect(rolling('200%', 0)).toEqual([]);
  });

  it('has a deadline that leaves pods time to become available', () => {
    expect(fieldsOf(deployment({ minReadySeconds: 600 }))).toEqual(['spec.progressDeadlineSeconds']);
  });

  it('has a status whose counts agree', () => {
    const errorsOf = (status: DeploymentStatus) =>
      (deployments.validateStatus?.({ ...stored, status }, stored, 'status') ?? []).map(({ field, message }) => `${field}: ${message}`);
    expect(errorsOf({ replicas: 3, updatedReplicas: 3, readyReplicas: 2, availableReplicas: 2 })).toEqual([]);
    expect(errorsOf({ replicas: 1, readyReplicas: 2 })).toEqual([
      'status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas',
    ]);
    expect(errorsOf({ replicas: 2, availableReplicas: 1 })).toEqual([
      'status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas',
    ]);
  });
});

describe('a replica set', () => {
  const stored: ReplicaSet = deepFreeze(
    replicaSets.defaults?.({ apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata, spec: { selector, template } }) ?? {
      ...{ apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata },
      spec: { selector },
    },
  );

  it('wants one pod by default, and never fewer than none', () => {
    expect(stored.spec.replicas).toBe(1);
    const fields = (replicas: number) => replicaSets.validate?.({ ...stored, spec: { ...stored.spec, replicas } }, stored);
    expect(fields(0)).toEqual([]);
    expect(fields(-1)?.map(({ field }) => field)).toEqual(['spec.replicas']);
  });

  it('warns of a name that its pods cannot have as host name, once', () => {
    const dotted = { ...stored, metadata: { ...metadata, name: 'a.b' } };
    expect(replicaSets.warnings?.(dotted)).toHaveLength(1);
    expect(replicaSets.warnings?.(dotted, dotted)).toEqual([]);
  });
});

describe('a stateful set', () => {
  const statefulSet = (mounted: string, claims: readonly string[]): StatefulSet => {
    const containers = [{ name: 'c', image: 'host/x:1', volumeMounts: [{ name: mounted, mountPath: '/data' }] }];
    const volumeClaimTemplates = claims.map((name) => ({
      metadata: { name },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    }));
    const spec = { serviceName: 'x', selector, template: { ...template, spec: { containers } }, volumeClaimTemplates } as StatefulSetSpec;
    const object = { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata, spec };
    return deepFreeze(statefulSets.defaults?.(object) ?? object);
  };
  const errorsOf = (object: StatefulSet) =>
    (statefulSets.validate?.(object, undefined) ?? []).map(({ field, message }) => `${field}: ${message}`);

  it('may mount a claim of its own templates', () => {
    expect(errorsOf(statefulSet('www', ['www']))).toEqual([]);
  });

  it('may not mount a claim that another set with the same template has', () => {
    const { spec } = statefulSet('www', ['www']);
    const field = 'spec.template.spec.containers[0].volumeMounts[0].name';
    const without = { ...statefulSet('www', []), spec: { ...spec, volumeClaimTemplates: [] } };
    expect(errorsOf(without)).toEqual([`${field}: Not found: "www"`]);
  });
});
