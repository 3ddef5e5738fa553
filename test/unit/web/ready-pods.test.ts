import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { createReadyPods } from '../../../src/web/ready-pods.ts';

const objects: Readonly<Record<string, object>> = {
  'Deployment/web/shop': { spec: { replicas: 3 }, status: { readyReplicas: 2 } },
  'Deployment/web/idle': { spec: { replicas: 0 } },
  'Deployment/web/new': { spec: {} },
  'StatefulSet/web/db': { spec: { replicas: 2 }, status: { readyReplicas: 2 } },
  'DaemonSet/web/agent': { spec: {}, status: { desiredNumberScheduled: 3, numberReady: 1 } },
  'ReplicationController/web/old': { spec: { replicas: 2 }, status: { readyReplicas: 1 } },
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

  it('add up over its workloads and bare pods, and leave out Jobs and workloads that are gone', () => {
    const app = appWith(
      'web_shop_apps_Deployment',
      'web_db_apps_StatefulSet',
      'web_agent_apps_DaemonSet',
      'web_old__ReplicationController',
      'web_up__Pod',
      'web_down__Pod',
      'web_gone_apps_Deployment',
      'web_once_batch_Job',
      'web_shop__Service',
    );
    expect(readyPods(app)).toEqual({ ready: 7, wanted: 12 });
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
