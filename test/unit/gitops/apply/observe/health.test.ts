import { describe, expect, it } from 'vitest';
import type { Deployment } from '../../../../../src/api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../../../src/api/apps/v1/replica-set.ts';
import type { Pod } from '../../../../../src/api/core/v1/pod.ts';
import { awaitsStatusIn, type HealthView, healthOf } from '../../../../../src/gitops/apply/observe/health.ts';
import { podGenerations, servingText } from '../../../../../src/gitops/apply/observe/pod-generations.ts';
import { healthByRule } from '../../../../../src/gitops/apply/observe/rule-health.ts';
import { worstOf } from '../../../../../src/lifecycle/reasons.ts';
import type { KubeObject } from '../../../../../src/machinery/object.ts';

type State = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number];

const pod = (name: string, container: Partial<State>, extra: Partial<Pod['metadata']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    creationTimestamp: '2026-01-01T00:00:00Z',
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-new', uid: 'new', controller: true }],
    ...extra,
  },
  spec: { containers: [] },
  status: {
    phase: 'Pending',
    containerStatuses: [{ name: 'web', image: 'nginx:1', imageID: '', ready: false, restartCount: 0, ...container }],
  },
});

const deployment = (status: Deployment['status'], spec: Partial<Deployment['spec']> = {}): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', generation: 2 },
  spec: { replicas: 3, selector: {}, template: {}, ...spec } as Deployment['spec'],
  status: { observedGeneration: 2, ...status },
});

const replicaSet = (uid: string, template: object): ReplicaSet =>
  ({ apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: { name: `web-${uid}`, uid }, spec: { template } }) as ReplicaSet;

const now = Date.parse('2026-01-01T00:01:00Z');
const secondsAgo = (seconds: number): string => new Date(now - seconds * 1_000).toISOString();
const health = (object: KubeObject, pods: readonly Pod[] = [], view: Partial<HealthView> = {}) =>
  healthOf(object, { podsOf: () => pods, replicaSetsOf: () => [replicaSet('new', {})], now: () => now, healthByRule, ...view });

describe('health of a Deployment', () => {
  it('follows the rollout in its message', () => {
    expect(health(deployment({ observedGeneration: 1 }))).toEqual({ status: 'Progressing', reason: 'Deployment web was changed just now' });
    expect(health(deployment({ updatedReplicas: 1, replicas: 4, availableReplicas: 3 })).reason).toBe('1 of 3 pods updated');
    expect(health(deployment({ updatedReplicas: 3, replicas: 4, availableReplicas: 3 })).reason).toBe('1 old pod leaves');
    expect(health(deployment({ updatedReplicas: 5, replicas: 5, availableReplicas: 5 })).reason).toBe('2 pods leave');
    expect(health(deployment({ updatedReplicas: 3, replicas: 3, availableReplicas: 2 })).reason).toBe('2 of 3 pods ready');
    expect(health(deployment({ updatedReplicas: 3, replicas: 3, availableReplicas: 3 })).status).toBe('Healthy');
    expect(health(deployment({ replicas: 0 }, { replicas: 0 })).status).toBe('Healthy');
    expect(health(deployment({ replicas: 1 }, { paused: true })).status).toBe('Suspended');
  });

  it('names what is wrong with a pod: image, crash, configuration, no node', () => {
    const rolling = deployment({ updatedReplicas: 1, replicas: 4, availableReplicas: 3 });
    const image = pod('web-1', {
      state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "nginx:1": ErrImagePull: no such image' } },
    });
    expect(health(rolling, [image])).toEqual({
      status: 'Degraded',
      reason: 'Image nginx:1 of container web in web-1 cannot be used: no such image',
    });
    const crash = pod('web-2', {
      restartCount: 4,
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: { terminated: { exitCode: 1, message: 'bad option --maxmem\n' } },
    });
    expect(health(rolling, [crash]).reason).toBe('Container web in web-2 exited 1, restarted 4 times: bad option --maxmem');
    const between = { ...crash.status?.containerStatuses?.[0], state: { terminated: { exitCode: 2 } } };
    expect(health(rolling, [pod('web-2', between)]).reason).toBe('Container web in web-2 exited 2, restarted 4 times');
    const config = pod('web-3', { state: { waiting: { reason: 'CreateContainerConfigError', message: 'configmap "x" not found' } } });
    expect(health(rolling, [config]).reason).toBe('Container web in web-3 cannot start: configmap "x" not found');
    const starting = pod('web-4', { state: { waiting: { reason: 'ContainerCreating' } } });
    expect(health(rolling, [starting]).status).toBe('Progressing');
    const unschedulable: Pod = {
      ...starting,
      status: {
        phase: 'Pending',
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            reason: 'Unschedulable',
            message: '0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: none',
          },
        ],
      },
    };
    expect(health(rolling, [unschedulable]).reason).toBe('Pod web-4 fits on no node: 0/2 nodes are available: 2 Insufficient cpu.');
  });

  it('gives a pod without a node 15 s', () => {
    const rolling = deployment({ updatedReplicas: 3, replicas: 3, availableReplicas: 0 });
    const since = (lastTransitionTime: string): Pod => ({
      ...pod('web-1', {}),
      status: {
        phase: 'Pending',
        conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no', lastTransitionTime }],
      },
    });
    expect(health(rolling, [since(secondsAgo(14))])).toEqual({
      status: 'Progressing',
      reason: '0 of 3 pods ready',
      recheckAt: now + 1_000,
    });
    expect(health(rolling, [since(secondsAgo(15))])).toEqual({ status: 'Degraded', reason: 'Pod web-1 fits on no node: no' });
    expect(health(since(secondsAgo(14))).status).toBe('Progressing');
    expect(health(since(secondsAgo(15))).status).toBe('Degraded');
  });

  it('names what refuses its pods', () => {
    const message = 'pods "web-5d4f-x2k9p" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2';
    const refused = deployment({
      updatedReplicas: 2,
      replicas: 2,
      availableReplicas: 2,
      conditions: [{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message }],
    });
    expect(health(refused)).toEqual({
      status: 'Degraded',
      reason: 'Deployment web cannot make its pods: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2',
    });
    expect(health({ ...refused, kind: 'ReplicaSet' }).status).toBe('Degraded');
  });

  it('hears only pods that stay, the oldest first', () => {
    const rolling = deployment({ updatedReplicas: 1, replicas: 4, availableReplicas: 3 });
    const broken = { state: { waiting: { reason: 'ErrImagePull', message: 'gone' } } };
    expect(health(rolling, [pod('leaving', broken, { deletionTimestamp: '2026-01-01T00:00:00Z' })]).status).toBe('Progressing');
    const both = [pod('young', broken, { creationTimestamp: '2026-01-02T00:00:00Z' }), pod('old', broken)];
    expect(health(rolling, both).reason).toMatch(/ in old /);
  });

  it('judges only pods of the current template, also when an older ReplicaSet has the same hash', () => {
    const ownedBy = (uid: string) => ({
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `web-${uid}`, uid, controller: true }],
    });
    const rolling = deployment({ updatedReplicas: 1, replicas: 4, availableReplicas: 3 });
    const hashed = (image: string): object => ({
      metadata: { labels: { 'pod-template-hash': 'same' } },
      spec: { containers: [{ name: 'web', image }] },
    });
    const wanted: Deployment = {
      ...rolling,
      spec: { ...rolling.spec, template: { spec: { containers: [{ name: 'web', image: 'web:1' }] } } },
    };
    const broken = { state: { waiting: { reason: 'ErrImagePull', message: 'gone' } } };
    const pods = [pod('bad-1', broken, ownedBy('bad'))];
    const both = { replicaSetsOf: () => [replicaSet('bad', hashed('web:2')), replicaSet('good', hashed('web:1'))] };
    expect(health(wanted, pods, both)).toEqual({ status: 'Progressing', reason: '1 of 3 pods updated' });
    expect(health(wanted, [...pods, pod('good-1', broken, ownedBy('good'))], both).reason).toMatch(/ in good-1 /);
    // The controller has not made the ReplicaSet yet.
    expect(health(wanted, pods, { replicaSetsOf: () => [replicaSet('bad', hashed('web:2'))] }).status).toBe('Progressing');
  });

  it('counts ready pods of an older template as serving, and not those that leave', () => {
    const ready = (name: string, uid: string, extra: Partial<Pod['metadata']> = {}): Pod => ({
      ...pod(name, {}, { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: uid, uid, controller: true }], ...extra }),
      status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
    });
    const servingOf = (pods: readonly Pod[]) =>
      servingText(
        podGenerations(deployment({}), {
          podsOf: () => pods,
          replicaSetsOf: () => [replicaSet('new', {}), replicaSet('old', { spec: { containers: [] } })],
        }),
      );
    expect(servingOf([ready('a', 'old'), ready('b', 'old'), ready('c', 'new'), pod('d', {})])).toBe('2 old pods go on serving');
    expect(servingOf([ready('a', 'old'), ready('b', 'old', { deletionTimestamp: '2026-01-01T00:00:00Z' })])).toBe(
      '1 old pod goes on serving',
    );
    expect(servingOf([ready('c', 'new')])).toBeUndefined();
  });

  it('is degraded when the rollout makes no progress', () => {
    const stuck = deployment({
      updatedReplicas: 1,
      replicas: 4,
      conditions: [
        {
          type: 'Progressing',
          status: 'False',
          reason: 'ProgressDeadlineExceeded',
          message: 'ReplicaSet "web-1" has timed out progressing.',
        },
      ],
    });
    expect(health(stuck)).toEqual({ status: 'Degraded', reason: 'ReplicaSet "web-1" has timed out progressing.' });
  });
});

describe('health of a DaemonSet', () => {
  it('judges pods of the newest template, also those that a roll back has left', () => {
    const set = {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'agent', generation: 3, annotations: { 'deprecated.daemonset.template.generation': '3' } },
      spec: {},
      status: { observedGeneration: 3, desiredNumberScheduled: 3, updatedNumberScheduled: 2, numberAvailable: 2 },
    } as KubeObject;
    const of = (name: string, generation: string, hash: string) =>
      pod(
        name,
        { state: { waiting: { reason: 'ErrImagePull', message: 'gone' } } },
        {
          labels: { 'pod-template-generation': generation, 'controller-revision-hash': hash },
        },
      );
    expect(health(set, [of('old', '2', 'x')])).toEqual({ status: 'Progressing', reason: '2 of 3 pods updated' });
    expect(health(set, [of('old', '2', 'x'), of('new', '3', 'y')]).reason).toMatch(/ in new /);
    const works = { ...of('new', '3', 'y'), status: { phase: 'Running' } };
    expect(health(set, [of('old', '2', 'x'), works]).status).toBe('Progressing');
    expect(health(set, [of('kept', '1', 'y'), works]).reason).toMatch(/ in kept /);
  });
});

describe('health of other kinds', () => {
  const withConditions = (conditions: readonly object[], status: object = {}): KubeObject =>
    ({
      apiVersion: 'example.com/v1',
      kind: 'Widget',
      metadata: { name: 'w', generation: 1 },
      status: { conditions, ...status },
    }) as KubeObject;

  it('comes from conditions and the observed generation', () => {
    expect(health(withConditions([{ type: 'Ready', status: 'True' }])).status).toBe('Healthy');
    expect(health(withConditions([{ type: 'Ready', status: 'False', reason: 'Creating', message: 'one more moment' }]))).toEqual({
      status: 'Progressing',
      reason: 'Widget w: one more moment',
    });
    for (const reason of ['IssuanceFailed', 'ReconcileError', 'ErrInitIssuer', 'InvalidSpec'])
      expect(health(withConditions([{ type: 'Ready', status: 'False', reason, message: 'no' }]))).toEqual({
        status: 'Degraded',
        reason: 'Widget w: no',
      });
    expect(
      health({
        ...withConditions([{ type: 'Ready', status: 'False', reason: 'DependencyMissing', message: 'no' }]),
        apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
        kind: 'Kustomization',
      }).status,
    ).toBe('Degraded');
    expect(
      health(
        withConditions([
          { type: 'Ready', status: 'True' },
          { type: 'Reconciling', status: 'True', message: 'again' },
        ]),
      ).status,
    ).toBe('Progressing');
    expect(health(withConditions([{ type: 'Ready', status: 'False', reason: 'DependencyNotReady' }])).status).toBe('Progressing');
    expect(health(withConditions([{ type: 'Ready', status: 'Unknown' }])).status).toBe('Progressing');
    expect(health(withConditions([{ type: 'Stalled', status: 'True', message: 'x' }])).status).toBe('Degraded');
    expect(health(withConditions([], { observedGeneration: 0 })).status).toBe('Progressing');
    expect(health(withConditions([])).status).toBe('Healthy');
    expect(health({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } }).status).toBe('Healthy');
    expect(health({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', deletionTimestamp: 'x' } }).status).toBe('Progressing');
  });

  it('waits 5 s for the status of a custom kind that has one, by the clock that made the object', () => {
    const resource = {
      group: 'example.com',
      version: 'v1',
      resource: 'widgets',
      kind: 'Widget',
      namespaced: true,
      verbs: [],
      shortNames: [],
    };
    const view = { awaitsStatus: awaitsStatusIn([{ ...resource, subresources: ['status'] }]) };
    const made = (creationTimestamp: string): KubeObject => ({
      apiVersion: 'example.com/v1',
      kind: 'Widget',
      metadata: { name: 'w', creationTimestamp },
    });
    expect(health(made(secondsAgo(2)), [], view)).toEqual({
      status: 'Progressing',
      reason: 'Widget w waits for its controller',
      recheckAt: now + 3_000,
    });
    expect(health(made(secondsAgo(5)), [], view).status).toBe('Healthy');
    expect(health(made(secondsAgo(-60)), [], view).status).toBe('Healthy');
    expect(health(made(secondsAgo(2)), [], { awaitsStatus: awaitsStatusIn([{ ...resource, subresources: [] }]) }).status).toBe('Healthy');
    const builtIn = { ...resource, group: '', kind: 'ResourceQuota', subresources: ['status'] };
    const quota = { ...made(secondsAgo(2)), apiVersion: 'v1', kind: 'ResourceQuota' };
    expect(health(quota, [], { awaitsStatus: awaitsStatusIn([builtIn]) }).status).toBe('Healthy');
  });

  it('is bad when a definition is refused', () => {
    const definition = (reason: string): KubeObject =>
      ({
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'ws' },
        status: { conditions: [{ type: 'Established', status: 'False', reason, message: 'not all names are accepted' }] },
      }) as KubeObject;
    expect(health(definition('NotAccepted'))).toEqual({
      status: 'Degraded',
      reason: 'CustomResourceDefinition ws: not all names are accepted',
    });
    expect(health(definition('Installing')).status).toBe('Progressing');
  });

  it('is bad for a Job only when the Job gave up', () => {
    const job = (conditions: readonly object[]): KubeObject =>
      ({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'm' }, spec: {}, status: { conditions } }) as unknown as KubeObject;
    expect(health(job([{ type: 'Complete', status: 'True' }])).status).toBe('Healthy');
    expect(health(job([{ type: 'Failed', status: 'True', message: 'Job has reached the specified backoff limit' }]))).toEqual({
      status: 'Degraded',
      reason: 'Job m failed: Job has reached the specified backoff limit',
    });
    const failedOnce: Pod = { ...pod('m-1', {}), status: { phase: 'Failed' } };
    expect(health(job([]), [failedOnce])).toEqual({ status: 'Progressing', reason: 'Job m runs' });
  });

  it('adds up to the worst', () => {
    const of = (status: 'Healthy' | 'Progressing' | 'Degraded' | 'Missing' | 'Suspended' | 'Unknown') => ({ status, reason: status });
    expect(worstOf([of('Healthy'), of('Progressing'), of('Degraded'), of('Missing')]).status).toBe('Degraded');
    expect(worstOf([of('Healthy'), of('Suspended')]).status).toBe('Suspended');
    expect(worstOf([]).status).toBe('Healthy');
  });
});

describe('health of workloads, volumes, Services and definitions', () => {
  const of = (apiVersion: string, kind: string, rest: object, generation = 1): KubeObject =>
    ({ apiVersion, kind, metadata: { name: 'x', generation }, ...rest }) as KubeObject;
  const says = (object: KubeObject): string => {
    const { status, reason } = health(object);
    return reason === '' ? status : `${status}: ${reason}`;
  };

  it('follows what their controllers write', () => {
    const set = (status: object, spec: object = {}) =>
      of('apps/v1', 'StatefulSet', { spec: { replicas: 2, ...spec }, status: { observedGeneration: 1, ...status } });
    expect(says(set({ replicas: 2, readyReplicas: 2, updatedReplicas: 2 }))).toBe('Healthy');
    expect(says(set({ replicas: 2, readyReplicas: 1, updatedReplicas: 2 }))).toBe('Progressing: 1 of 2 pods ready');
    expect(says(set({ replicas: 2, readyReplicas: 2, updatedReplicas: 1 }))).toBe('Progressing: 1 of 2 pods updated');
    expect(says(set({ replicas: 2, readyReplicas: 2, updatedReplicas: 1 }, { updateStrategy: { rollingUpdate: { partition: 1 } } }))).toBe(
      'Healthy',
    );
    expect(says(set({ replicas: 2, readyReplicas: 2 }, { updateStrategy: { type: 'OnDelete' } }))).toBe('Healthy');
    expect(says(of('apps/v1', 'StatefulSet', { spec: {}, status: { observedGeneration: 1 } }, 2))).toBe(
      'Progressing: StatefulSet x was changed just now',
    );
    const daemon = (status: object) =>
      of('apps/v1', 'DaemonSet', { spec: {}, status: { observedGeneration: 1, desiredNumberScheduled: 3, ...status } });
    expect(says(daemon({ updatedNumberScheduled: 3, numberAvailable: 3 }))).toBe('Healthy');
    expect(says(daemon({ updatedNumberScheduled: 2, numberAvailable: 3 }))).toBe('Progressing: 2 of 3 pods updated');
    expect(says(of('v1', 'Service', { spec: { type: 'LoadBalancer' } }))).toBe(
      'Progressing: Service x has no address of a load balancer yet',
    );
    expect(says(of('v1', 'Service', { spec: { type: 'ClusterIP' } }))).toBe('Healthy');
    expect(says(of('networking.k8s.io/v1', 'Ingress', { status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } } }))).toBe('Healthy');
    expect(says(of('v1', 'PersistentVolumeClaim', { status: { phase: 'Pending' } }))).toBe(
      'Progressing: PersistentVolumeClaim x waits for a volume',
    );
    const claim = (ageMs: number, annotations: object = {}) =>
      of('v1', 'PersistentVolumeClaim', {
        metadata: { name: 'x', creationTimestamp: new Date(now - ageMs).toISOString(), annotations },
        spec: { storageClassName: 'local-path' },
        status: { phase: 'Pending' },
      });
    // A class that waits for the first pod asks nobody before.
    expect(says(claim(1_000))).toBe('Progressing: PersistentVolumeClaim x waits for a volume');
    expect(says(claim(60_000))).toBe('Healthy');
    expect(says(claim(60_000, { 'volume.kubernetes.io/storage-provisioner': 'd.example' }))).toBe(
      'Progressing: PersistentVolumeClaim x waits for a volume',
    );
    expect(says(of('v1', 'PersistentVolumeClaim', { status: { phase: 'Lost' } }))).toBe(
      'Degraded: PersistentVolumeClaim x has lost its volume',
    );
    expect(says(of('v1', 'PersistentVolume', { status: { phase: 'Failed', message: 'no' } }))).toBe('Degraded: PersistentVolume x: no');
    const definition = (...conditions: readonly object[]) =>
      of('apiextensions.k8s.io/v1', 'CustomResourceDefinition', { status: { conditions } });
    expect(says(definition({ type: 'NamesAccepted', status: 'False', message: 'taken' }))).toBe(
      'Degraded: CustomResourceDefinition x: taken',
    );
    expect(says(definition())).toBe('Progressing: CustomResourceDefinition x is not established yet');
    expect(says(definition({ type: 'Established', status: 'True' }))).toBe('Healthy');
    const scaler = (reason: string) =>
      of('autoscaling/v2', 'HorizontalPodAutoscaler', {
        status: { conditions: [{ type: 'AbleToScale', status: 'False', reason, message: 'm' }] },
      });
    expect([says(scaler('FailedGetScale')), says(scaler('BackoffBoth'))]).toEqual(['Degraded: HorizontalPodAutoscaler x: m', 'Healthy']);
    expect(says(of('batch/v1', 'CronJob', { spec: { suspend: true } }))).toBe('Healthy');
  });
});
