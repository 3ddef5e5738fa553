import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { createReadyPods } from '../../../src/web/ready-pods.ts';

const objects: Readonly<Record<string, object>> = {
  'Deployment/web/shop': { spec: { replicas: 3 }, status: { readyReplicas: 2 } },
  'Deployment/web/idle': { spec: { replicas: 0 } },
  'Deployment/web/new': { spec: {} },
  'StatefulSet/web/db': { spec: { replicas: 2 }, status: { readyReplicas: 2 } },
  'ReplicationController/web/old': { spec: { replicas: 1 }, status: { readyReplicas: 1 } },
  'DaemonSet/web/logs': { spec: {}, status: { desiredNumberScheduled: 4, numberReady: 3 } },
  'Job/web/once': { spec: { completions: 1, parallelism: 1 }, status: { succeeded: 1 } },
  'Job/web/batch': { spec: { completions: 10, parallelism: 3 }, status: { succeeded: 4, active: 3, ready: 2 } },
  'Job/web/last': { spec: { completions: 10, parallelism: 3 }, status: { succeeded: 9, active: 1, ready: 1 } },
  'Job/web/failed': { spec: { completions: 1, parallelism: 1 }, status: { failed: 1 } },
  'Job/web/queue': { spec: { parallelism: 2 }, status: { active: 2, ready: 1 } },
  'Job/web/drained': { spec: { parallelism: 2 }, status: { succeeded: 2 } },
  'Job/web/held': { spec: { completions: 2, parallelism: 2, suspend: true } },
  'Pod/web/up': { status: { conditions: [{ type: 'Ready', status: 'True' }] } },
  'Pod/web/down': { status: { conditions: [{ type: 'Ready', status: 'False' }] } },
};
const informers = {
  get: ({ kind }: { readonly kind: string }) => ({
    get: ({ namespace, name }: { readonly namespace: string; readonly name: string }) => objects[`${kind}/${namespace}/${name}`],
  }),
} as unknown as InformerSet;

const appWith = (...ids: readonly string[]) =>
  ({ status: { inventory: { entries: ids.map((id) => ({ id, v: 'v1' })) } } }) as unknown as Kustomization;

describe('ready pods of an app', () => {
  const readyPods = createReadyPods(informers);

  it('add up over its workloads and bare pods, and leave out workloads that are gone', () => {
    const app = appWith(
      'web_shop_apps_Deployment',
      'web_db_apps_StatefulSet',
      'web_up__Pod',
      'web_down__Pod',
      'web_gone_apps_Deployment',
      'web_old__ReplicationController',
      'web_shop__Service',
    );
    expect(readyPods(app)).toEqual({ ready: 6, wanted: 8 });
  });

  it('are wanted of a DaemonSet on each node that should run one', () => {
    expect(readyPods(appWith('web_logs_apps_DaemonSet'))).toEqual({ ready: 3, wanted: 4 });
  });

  it.each([
    ['once', { ready: 1, wanted: 1 }],
    ['batch', { ready: 6, wanted: 7 }],
    ['last', { ready: 10, wanted: 10 }],
    ['failed', { ready: 0, wanted: 1 }],
    ['queue', { ready: 1, wanted: 2 }],
    ['drained', { ready: 2, wanted: 2 }],
    ['held', { ready: 0, wanted: 0 }],
  ])('are, for the Job %s, those that succeeded and those that run', (name, count) => {
    expect(readyPods(appWith(`web_${name}_batch_Job`))).toEqual(count);
  });

  it('are wanted as Kubernetes does: one replica when none is named, and none when scaled to zero', () => {
    expect(readyPods(appWith('web_new_apps_Deployment'))).toEqual({ ready: 0, wanted: 1 });
    expect(readyPods(appWith('web_idle_apps_Deployment'))).toEqual({ ready: 0, wanted: 0 });
  });

  it('are not counted for an app without workloads', () => {
    expect(readyPods(appWith('web_settings__ConfigMap'))).toBeUndefined();
    expect(readyPods({ status: {} } as Kustomization)).toBeUndefined();
  });
});
