import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { createAppObjects, parseInventoryId, squareState, squaresOf } from '../../../src/web/app-objects.ts';

const pod = (name: string, status: Pod['status'], metadata: Partial<Pod['metadata']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'web', ...metadata },
  spec: { containers: [] },
  status: status ?? {},
});
const ready = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
const broken = {
  phase: 'Pending',
  containerStatuses: [
    { name: 'main', image: 'x', imageID: '', ready: false, restartCount: 0, state: { waiting: { reason: 'ErrImagePull' } } },
  ],
};

describe('app objects', () => {
  it('draw pods by age, with those that are missing', () => {
    const pods = [
      pod('new', broken, { creationTimestamp: '2026-01-02T00:00:00Z' }),
      pod('old', ready, { creationTimestamp: '2026-01-01T00:00:00Z' }),
      pod('done', { phase: 'Succeeded' }),
      pod('leaving', ready, { deletionTimestamp: '2026-01-02T00:00:00Z' }),
      pod('coming', { phase: 'Pending' }, { creationTimestamp: '2026-01-03T00:00:00Z' }),
    ];
    const squares = squaresOf({ pods, wanted: 5 });
    expect(squares.map(({ name, state }) => `${name} ${state}`)).toEqual([
      'old ready',
      'new failed',
      'coming starting',
      ' missing',
      ' missing',
    ]);
  });

  it('call a pod that succeeded done, and not starting', () => {
    expect(squareState(pod('job', { phase: 'Succeeded', conditions: [{ type: 'Ready', status: 'False' }] }))).toBe('done');
  });

  it('want as many pods as each kind of workload does', () => {
    const objects: Readonly<Record<string, object>> = {
      StatefulSet: { kind: 'StatefulSet', metadata: { uid: 'sts' }, spec: { replicas: 3 } },
      DaemonSet: { kind: 'DaemonSet', metadata: { uid: 'ds' }, spec: {}, status: { desiredNumberScheduled: 2 } },
      Job: { kind: 'Job', metadata: { uid: 'job' }, spec: {} },
    };
    const informers = {
      get: ({ kind }: { readonly kind: string }) => ({
        addIndex: () => undefined,
        get: () => objects[kind],
        byIndex: (_: string, uid: string) => (kind === 'Pod' && uid === 'sts' ? [pod('db-0', ready)] : []),
      }),
    } as unknown as InformerSet;
    const ids = ['web_db_apps_StatefulSet', 'web_agent_apps_DaemonSet', 'web_once_batch_Job', 'web_settings__ConfigMap'];
    const found = createAppObjects(informers, () => undefined).objectsWith({ metadata: { name: 'web' } } as Kustomization, ids);
    expect(found.map(({ name, wanted, pods }) => [name, wanted, pods.length])).toEqual([
      ['db', 3, 1],
      ['agent', 2, 0],
      ['once', undefined, 0],
      ['settings', undefined, 0],
    ]);
  });

  it('read inventory ids', () => {
    expect(parseInventoryId('web_cache_apps_Deployment')).toEqual({ namespace: 'web', name: 'cache', group: 'apps', kind: 'Deployment' });
    expect(parseInventoryId('_web__Namespace')).toEqual({ namespace: '', name: 'web', group: '', kind: 'Namespace' });
    expect(parseInventoryId('_system__node_rbac.authorization.k8s.io_ClusterRole')).toMatchObject({ name: 'system:node' });
    expect(parseInventoryId('nonsense')).toBeUndefined();
  });
});
