import { describe, expect, it } from 'vitest';
import type { Deployment } from '../../../src/api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../src/api/apps/v1/replica-set.ts';
import {
  type DeploymentState,
  type DeploymentWorld,
  deadlineOf,
  eventsOf,
  fencepostsOf,
  stateOf,
  statusOf,
} from '../../../src/lifecycle/deployment.facts.ts';
import { type DeploymentEvent, deploymentMachine } from '../../../src/lifecycle/deployment.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const timestamp = '2026-01-01T00:00:00Z';
const now = Date.parse(timestamp);

const deployment = (spec: Partial<Deployment['spec']> = {}, overrides: Partial<Deployment> = {}): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default', generation: 1 },
  spec: { replicas: 4, progressDeadlineSeconds: 600, selector: { matchLabels: { app: 'web' } }, template: {}, ...spec },
  ...overrides,
});

const replicaSet = (name: string, size: number, available = size): ReplicaSet => ({
  apiVersion: 'apps/v1',
  kind: 'ReplicaSet',
  metadata: { name, namespace: 'default' },
  spec: { replicas: size, selector: { matchLabels: { app: 'web' } } },
  status: { replicas: size, readyReplicas: available, availableReplicas: available },
});

const world = (overrides: Partial<DeploymentWorld> = {}): DeploymentWorld => ({
  newReplicaSet: replicaSet('web-new', 4),
  oldReplicaSets: [],
  oldPodsMustGo: false,
  resized: false,
  newReplicasDue: false,
  oldReplicasDispensable: false,
  historyTooLong: false,
  now,
  ...overrides,
});

function written(state: DeploymentState, before = deployment(), seen = world()): Deployment {
  const status = statusOf(state, before, { world: seen, timestamp });
  return { ...before, metadata: { ...before.metadata, ...(state === 'Deleting' ? { deletionTimestamp: timestamp } : {}) }, status };
}

machineSuite({
  machine: deploymentMachine,
  samples: [
    { type: 'PAUSED' },
    { type: 'RESUMED' },
    { type: 'RESIZED' },
    { type: 'NEW_REPLICA_SET_MISSING', oldPodsMustGo: false },
    { type: 'NEW_REPLICA_SET_MISSING', oldPodsMustGo: true },
    { type: 'NEW_REPLICAS_DUE', oldPodsMustGo: false },
    { type: 'NEW_REPLICAS_DUE', oldPodsMustGo: true },
    { type: 'OLD_REPLICAS_DISPENSABLE' },
    { type: 'REPLICA_SET_REFUSED' },
    { type: 'PROGRESSED' },
    { type: 'ROLLED_OUT' },
    { type: 'DEADLINE_EXCEEDED' },
    { type: 'HISTORY_TOO_LONG' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (value) => stateOf(written(value)),
});

describe('deployment events', () => {
  const types = (object: Deployment, seen: DeploymentWorld): readonly DeploymentEvent['type'][] =>
    eventsOf(object, seen).map(({ type }) => type);

  it('create before they grow, grow before they shrink', () => {
    const half = replicaSet('web-new', 2);
    expect(types(deployment(), world({ newReplicaSet: undefined, oldReplicasDispensable: true }))).toEqual(['NEW_REPLICA_SET_MISSING']);
    expect(types(deployment(), world({ newReplicaSet: half, newReplicasDue: true, oldReplicasDispensable: true }))[0]).toBe(
      'NEW_REPLICAS_DUE',
    );
    expect(types(deployment(), world({ newReplicaSet: half, oldReplicasDispensable: true }))[0]).toBe('OLD_REPLICAS_DISPENSABLE');
  });

  it('shrink first when old pods must go', () => {
    const seen = world({ newReplicaSet: undefined, oldPodsMustGo: true, oldReplicasDispensable: true });
    expect(types(deployment(), seen)).toEqual(['OLD_REPLICAS_DISPENSABLE']);
  });

  it('touch no ReplicaSet while paused, except for its size', () => {
    const seen = world({ newReplicaSet: undefined, newReplicasDue: true, oldReplicasDispensable: true });
    expect(types(deployment({ paused: true }), seen)).toEqual(['PAUSED']);
    expect(types(deployment({ paused: true }), { ...seen, resized: true })).toEqual(['PAUSED', 'RESIZED']);
  });

  it('tell a finished rollout only of the newest template', () => {
    expect(types(deployment(), world())).toEqual(['ROLLED_OUT']);
    expect(types(deployment({ replicas: 0 }), world({ newReplicaSet: undefined }))).toEqual(['NEW_REPLICA_SET_MISSING']);
    expect(types(deployment(), world({ oldReplicaSets: [replicaSet('web-old', 1)] }))).not.toContain('ROLLED_OUT');
  });

  it('tell that the deadline passed, unless the rollout is complete', () => {
    const stuck = written({ Active: 'Progressing' }, deployment(), world({ newReplicaSet: replicaSet('web-new', 4, 1) }));
    const late = world({ newReplicaSet: replicaSet('web-new', 4, 1), now: now + 600_001 });
    expect(types(stuck, { ...late, now: now + 599_000 })).toEqual([]);
    expect(types(stuck, late)).toEqual(['DEADLINE_EXCEEDED']);
    expect(types(written({ Active: 'Complete' }), late)).toEqual([]);
    expect(types({ ...stuck, spec: { ...stuck.spec, progressDeadlineSeconds: 2_147_483_647 } }, late)).toEqual([]);
  });
});

describe('deployment status', () => {
  it('counts what was asked for and is not available as unavailable', () => {
    const seen = world({ newReplicaSet: replicaSet('web-new', 3, 1), oldReplicaSets: [replicaSet('web-old', 2)] });
    expect(written({ Active: 'Progressing' }, deployment(), seen).status).toMatchObject({
      observedGeneration: 1,
      replicas: 5,
      updatedReplicas: 3,
      readyReplicas: 3,
      availableReplicas: 3,
      unavailableReplicas: 2,
    });
  });

  it('says what happened in the words of the real controller', () => {
    const progressing = (state: DeploymentState, news = {}, before = deployment()) =>
      statusOf(state, before, { world: world(), news, timestamp }).conditions?.find(({ type }) => type === 'Progressing');
    expect(progressing({ Active: 'Progressing' }, { createdReplicaSet: 'web-1' })).toMatchObject({
      reason: 'NewReplicaSetCreated',
      message: 'Created new replica set "web-1"',
    });
    expect(progressing({ Active: 'Progressing' })).toMatchObject({
      reason: 'FoundNewReplicaSet',
      message: 'Found new replica set "web-new"',
    });
    expect(progressing({ Active: 'Complete' })).toMatchObject({ message: 'ReplicaSet "web-new" has successfully progressed.' });
    expect(progressing('Paused')).toMatchObject({ status: 'Unknown', reason: 'DeploymentPaused', message: 'Deployment is paused' });
    expect(progressing({ Active: 'Progressing' }, {}, written('Paused'))).toMatchObject({ status: 'Unknown', reason: 'DeploymentResumed' });
    expect(progressing({ Active: 'Stalled' }, { refusal: 'exceeded quota' })).toMatchObject({
      status: 'False',
      reason: 'ReplicaSetCreateError',
    });
  });

  it('renews the time of the last progress, not of the last transition', () => {
    const first = written({ Active: 'Progressing' }, deployment(), world({ newReplicaSet: replicaSet('web-new', 4, 1) }));
    const later = '2026-01-01T00:01:00Z';
    const status = statusOf({ Active: 'Progressing' }, first, {
      world: world({ newReplicaSet: replicaSet('web-new', 4, 2) }),
      timestamp: later,
    });
    expect(status.conditions?.find(({ type }) => type === 'Progressing')).toMatchObject({
      lastUpdateTime: later,
      lastTransitionTime: timestamp,
    });
    expect(deadlineOf({ ...first, status })).toBe(Date.parse(later) + 600_000);
  });

  it('passes on why pods cannot be created, and takes it back', () => {
    const failing: ReplicaSet = {
      ...replicaSet('web-new', 4, 0),
      status: { replicas: 0, conditions: [{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message: 'exceeded quota' }] },
    };
    const before = written({ Active: 'Progressing' }, deployment(), world({ newReplicaSet: failing }));
    expect(before.status?.conditions?.find(({ type }) => type === 'ReplicaFailure')).toMatchObject({
      reason: 'FailedCreate',
      message: 'exceeded quota',
    });
    expect(written({ Active: 'Progressing' }, before).status?.conditions?.some(({ type }) => type === 'ReplicaFailure')).toBe(false);
  });
});

describe('fenceposts', () => {
  const of = (replicas: number, maxSurge: number | string, maxUnavailable: number | string) =>
    fencepostsOf(deployment({ replicas, strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } } as never));

  it('round surge up and unavailable down, and never both to zero', () => {
    expect(of(10, '25%', '25%')).toEqual({ maxSurge: 3, maxUnavailable: 2 });
    expect(of(3, '25%', '25%')).toEqual({ maxSurge: 1, maxUnavailable: 0 });
    expect(of(3, 0, '10%')).toEqual({ maxSurge: 0, maxUnavailable: 1 });
    expect(of(2, 0, 5)).toEqual({ maxSurge: 0, maxUnavailable: 2 });
  });
});
