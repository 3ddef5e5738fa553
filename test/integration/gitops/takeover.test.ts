import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { jobs } from '../../../src/api/batch/v1/job.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { networkPolicies } from '../../../src/api/networking/v1/network-policy.ts';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import type { Client } from '../../../src/client/client.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import type { DynamicObject, KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { setAble } from '../../support/autoscaler.ts';
import { home, namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const ref = (name: string) => ({ namespace, name });
const configMap = (name: string, data: string, annotations = ''): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, annotations: {${annotations}}}\ndata: {${data}}\n`;
const deployment = (env = '', notes = ''): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, annotations: {${notes}}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - name: shop
        image: host/node
        env: [${env}]
`;

const workload = { 'web/deployment.yaml': deployment('{name: A, value: "1"}') };

/** The content of an object that a person reads: without versions, owners and status. */
function contentOf(object: KubeObject): unknown {
  const { metadata, status: _, ...rest } = object as DynamicObject;
  return { ...rest, labels: metadata.labels, annotations: metadata.annotations };
}

const managersOf = ({ metadata }: KubeObject): readonly (string | undefined)[] =>
  (metadata.managedFields ?? []).filter(({ subresource }) => subresource === undefined).map(({ manager }) => manager);

const messagesOf = async (people: Client, reason: string): Promise<readonly string[]> =>
  (await people.list(events, { namespace: home })).items.filter((event) => event.reason === reason).map(({ message = '' }) => message);

const conditionIn = async (people: Client, type: string): Promise<string | undefined> =>
  conditionOf((await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions, type)?.message;

const isSaid = (people: Client, type: string, message: string | undefined): Promise<unknown> =>
  until(async () => (await conditionIn(people, type)) === message, {
    what: async () => `${type} is ${message}, not ${await conditionIn(people, type)}`,
  });

const patch = (people: Client, resource: Resource<KubeObject>, name: string, body: unknown, fieldManager: string): Promise<KubeObject> =>
  people.patch(resource, ref(name), { type: 'strategic', body }, { fieldManager });

describe('an addition of people or former appliers', () => {
  it('is removed, whatever field it is, and an Event says who added it', async () => {
    const { people, applied } = await startMemoryProject({
      files: {
        ...workload,
        'web/config.yaml': configMap('config', 'a: "1"'),
        'web/secret.yaml': 'apiVersion: v1\nkind: Secret\nmetadata: {name: secret}\nstringData: {a: b}\n',
        'web/service.yaml':
          'apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {selector: {app: shop}, ports: [{name: http, port: 80}]}\n',
        'web/policy.yaml':
          'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n',
      },
    });
    await applied('web');
    const template = (spec: unknown, metadata: unknown = {}) => ({ spec: { template: { metadata, spec } } });
    const inShop = (container: object) => template({ containers: [{ name: 'shop', ...container }] });
    const additions: readonly (readonly [Resource<never>, string, unknown])[] = [
      [configMaps as never, 'config', { data: { more: 'x' } }],
      [secrets as never, 'secret', { data: { more: 'eA==' } }],
      [deployments as never, 'shop', inShop({ env: [{ name: 'EXTRA', value: '1' }] })],
      [deployments as never, 'shop', inShop({ args: ['--verbose'] })],
      [deployments as never, 'shop', template({ containers: [{ name: 'extra', image: 'host/node' }] })],
      [deployments as never, 'shop', inShop({ securityContext: { privileged: true } })],
      [deployments as never, 'shop', template({ hostNetwork: true })],
      [deployments as never, 'shop', template({ volumes: [{ name: 'more', emptyDir: {} }] })],
      [deployments as never, 'shop', template({}, { annotations: { note: 'x' } })],
      [services as never, 'shop', { spec: { ports: [{ name: 'debug', port: 9229 }] } }],
      [services as never, 'shop', { spec: { externalIPs: ['192.0.2.1'] } }],
      [configMaps as never, 'config', { metadata: { labels: { team: 'x' } } }],
      [networkPolicies as never, 'deny', { spec: { ingress: [{}] } }],
    ];
    for (const [resource, name, body] of additions) {
      const before = contentOf(await people.get(resource, ref(name)));
      const changed = contentOf(await patch(people, resource, name, body, 'kubectl-edit'));
      expect(changed).not.toEqual(before);
      const read = async (): Promise<unknown> => contentOf(await people.get(resource, ref(name)));
      await until(async () => JSON.stringify(await read()) === JSON.stringify(before), {
        what: async () => `${JSON.stringify(body)} is gone from ${JSON.stringify(await read())}`,
      });
    }
    const corrections = await until(
      async () => {
        const messages = await messagesOf(people, 'DriftCorrected');
        // The eleventh similar Event and those after it share one.
        return messages.length > 10 && messages;
      },
      { what: async () => JSON.stringify(await messagesOf(people, 'DriftCorrected')) },
    );
    expect(corrections.every((message) => message.endsWith(' by kubectl-edit, put back'))).toBe(true);
    expect(corrections.find((message) => message.includes('extra'))).toMatch(
      /^Deployment web\/shop: spec\.template\.spec\.containers\[extra\] absent → /,
    );
    expect(corrections.find((message) => message.startsWith('Secret'))).toContain('data.more absent → ***');
  });

  it('stays with drift "detect" and is named until it is taken back, and is not looked at with "ignore"', async () => {
    const { people, applied } = await startMemoryProject({
      files: {
        'web/a.yaml': configMap('a', 'a: "1"', 'midship.dev/drift: detect'),
        'web/b.yaml': configMap('b', 'a: "1"', 'midship.dev/drift: ignore'),
      },
    });
    await applied('web');
    for (const name of ['b', 'a']) await patch(people, configMaps as never, name, { data: { more: 'x' } }, 'kubectl-edit');
    await isSaid(people, 'Drifted', 'ConfigMap web/a: data.more absent → x by kubectl-edit');
    await patch(people, configMaps as never, 'a', { data: { more: null } }, 'kubectl-edit');
    await isSaid(people, 'Drifted', undefined);
    expect((await people.get(configMaps, ref('b'))).data).toEqual({ a: '1', more: 'x' });
  });

  it('goes with the commit that removes it, also where kubectl, Flux or Helm had applied it before', async () => {
    const makers = ['kubectl-client-side-apply', 'kustomize-controller', 'helm'] as const;
    const files = (data: string, env: string) => ({
      ...Object.fromEntries(makers.map((name) => [`web/${name}.yaml`, configMap(name, data)])),
      'web/deployment.yaml': deployment(env),
    });
    const both = ['a: "1", b: "2"', '{name: A, value: "1"}, {name: B, value: "2"}'] as const;
    const { people, applied, commit } = await startMemoryProject({
      files: files(...both),
      async prepare(client) {
        const body = (name: string) => ({
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { ...ref(name), annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' } },
          data: { a: '1', b: '2' },
        });
        for (const name of makers) {
          if (name !== 'kustomize-controller') await client.create(configMaps, body(name), { fieldManager: name });
          else await client.patch(configMaps, ref(name), { type: 'apply', body: body(name) }, { fieldManager: name });
        }
        const env = [1, 2].map((value) => ({ name: 'AB'[value - 1] ?? '', value: String(value) }));
        await client.create(
          deployments,
          {
            apiVersion: 'apps/v1',
            kind: 'Deployment',
            metadata: ref('shop'),
            spec: {
              replicas: 2,
              selector: { matchLabels: { app: 'shop' } },
              template: {
                metadata: { labels: { app: 'shop' } },
                spec: { containers: [{ name: 'shop', image: 'host/node', env }], hostNetwork: true },
              },
            },
          } as never,
          { fieldManager: 'kubectl-create' },
        );
      },
    });
    await applied('web');
    for (const name of makers) {
      const { data, metadata } = await people.get(configMaps, ref(name));
      expect([data, metadata.annotations]).toEqual([{ a: '1', b: '2' }, undefined]);
    }
    commit(files('a: "1"', '{name: A, value: "1"}'));
    await applied('web');
    for (const name of makers) {
      const live = await people.get(configMaps, ref(name));
      expect([live.data, managersOf(live)]).toEqual([{ a: '1' }, ['midship']]);
    }
    const { spec } = await people.get(deployments, ref('shop'));
    expect([spec.template.spec?.containers[0]?.env, spec.template.spec?.hostNetwork]).toEqual([[{ name: 'A', value: '1' }], undefined]);
  });

  it('stays when it is a restart, or a word to the engine, over the next commits', async () => {
    const { people, applied, commit } = await startMemoryProject({ files: workload });
    await applied('web');
    const restart = { 'kubectl.kubernetes.io/restartedAt': '2026-01-01T00:00:00Z' };
    const template = { metadata: { annotations: { ...restart, note: 'x' } } };
    await patch(people, deployments as never, 'shop', { spec: { template } }, 'kubectl-rollout');
    const spoken = { 'kustomize.toolkit.fluxcd.io/prune': 'disabled' };
    await patch(people, deployments as never, 'shop', { metadata: { annotations: spoken } }, 'kubectl-annotate');
    const notes = async (): Promise<unknown> => {
      const { spec, metadata } = await people.get(deployments, ref('shop'));
      return [spec.template.metadata?.annotations, metadata.annotations];
    };
    await until(async () => JSON.stringify(await notes()) === JSON.stringify([restart, spoken]), {
      what: async () => JSON.stringify(await notes()),
    });
    commit({ 'web/deployment.yaml': deployment('{name: A, value: "2"}') });
    await applied('web');
    expect(await notes()).toEqual([restart, spoken]);
    expect((await messagesOf(people, 'DriftCorrected')).every((message) => message.includes('note'))).toBe(true);
  });

  it('stays with ssa: Merge, and is left to its manager when that is neither a person nor a former applier', async () => {
    const { people, applied, commit } = await startMemoryProject({
      files: { ...workload, 'web/merged.yaml': configMap('merged', 'a: "1"', 'kustomize.toolkit.fluxcd.io/ssa: Merge') },
      engine: { overrideManagers: ['k9s'] },
    });
    await applied('web');
    await patch(people, configMaps as never, 'merged', { data: { more: 'x' } }, 'kubectl-edit');
    const sidecar = { spec: { template: { spec: { containers: [{ name: 'istio-proxy', image: 'host/node' }] } } } };
    await patch(people, deployments as never, 'shop', sidecar, 'istiod');
    await patch(people, deployments as never, 'shop', { metadata: { labels: { team: 'x' } } }, 'k9s');
    await until(async () => (await people.get(deployments, ref('shop'))).metadata.labels?.team === undefined, {
      what: 'k9s is overridden',
    });
    await isSaid(people, 'Shared', 'Deployment web/shop: spec.template.spec.containers[istio-proxy] by istiod');
    commit({
      'web/deployment.yaml': deployment(),
      'web/merged.yaml': configMap('merged', 'a: "2"', 'kustomize.toolkit.fluxcd.io/ssa: Merge'),
    });
    await applied('web');
    expect((await people.get(configMaps, ref('merged'))).data).toEqual({ a: '2', more: 'x' });
    const { spec } = await people.get(deployments, ref('shop'));
    expect(spec.template.spec?.containers.map(({ name }) => name).sort()).toEqual(['istio-proxy', 'shop']);
  });

  it('stays, and is reported once, where the server does not let it go', async () => {
    const claim = (label: string): string =>
      `apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, labels: {a: "${label}"}}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n`;
    const { people, applied, commit } = await startMemoryProject({
      files: { 'web/claim.yaml': claim('1') },
      prepare: (client) =>
        client.create(
          persistentVolumeClaims,
          {
            apiVersion: 'v1',
            kind: 'PersistentVolumeClaim',
            metadata: ref('data'),
            spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'fast', resources: { requests: { storage: '1Gi' } } },
          } as never,
          { fieldManager: 'kubectl-create' },
        ),
    });
    await applied('web');
    await until(async () => (await messagesOf(people, 'FieldsStay')).length === 1, { what: 'it is reported' });
    commit({ 'web/claim.yaml': claim('2') });
    await applied('web');
    const live = await people.get(persistentVolumeClaims, ref('data'));
    expect([live.spec?.storageClassName, live.metadata.labels?.a]).toEqual(['fast', '2']);
  });

  it('costs no request where nobody else has a field', async () => {
    const requests: string[] = [];
    const { applied, commit } = await startMemoryProject({
      files: workload,
      wrap: (client) => ({
        ...client,
        async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
          const [{ resource }, , { type }, options] = args;
          if (resource === 'deployments') requests.push(`${type}${options?.dryRun === true ? ' dry run' : ''}`);
          return (await client.patch(...args)) as T;
        },
      }),
    });
    await applied('web');
    commit({ 'web/deployment.yaml': deployment('{name: A, value: "2"}') });
    await applied('web');
    expect(requests).toEqual(['apply dry run', 'apply', 'apply dry run', 'apply']);
  });
});

describe('replicas that an autoscaler is to decide', () => {
  const hpa =
    'apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: shop}\nspec: {maxReplicas: 10, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}\n';
  const scale = (people: Client, replicas: number, fieldManager: string): Promise<unknown> =>
    people.patch(deployments, ref('shop'), { type: 'merge', body: { spec: { replicas } } }, { fieldManager, subresource: 'scale' });
  const replicasIn = async (people: Client): Promise<number | undefined> => (await people.get(deployments, ref('shop'))).spec.replicas;
  const isScaledTo = (people: Client, wanted: number): Promise<unknown> =>
    until(async () => (await replicasIn(people)) === wanted, { what: async () => `${wanted} replicas, not ${await replicasIn(people)}` });

  it('are those of Git until the autoscaler can act, and its own from then on, also while its metrics are away', async () => {
    const { people, applied, commit } = await startMemoryProject({ files: { ...workload, 'web/hpa.yaml': hpa } });
    await applied('web');
    // No controller acts for it: it says nothing of itself.
    await scale(people, 1, 'kubectl');
    await isScaledTo(people, 2);
    await setAble(people, ref('shop'));
    await scale(people, 6, 'kube-controller-manager');
    const said = 'Deployment web/shop: replicas: 6 by HorizontalPodAutoscaler shop (Git says 2)';
    await isSaid(people, 'Autoscaled', said);
    await setAble(people, ref('shop'), { active: false, reason: 'FailedGetResourceMetric' });
    commit({ 'web/hpa.yaml': hpa, 'web/deployment.yaml': deployment('{name: A, value: "2"}') });
    await applied('web');
    expect(await replicasIn(people)).toBe(6);
    await isSaid(people, 'Autoscaled', said);
    await setAble(people, ref('shop'), { active: false, reason: 'ScalingDisabled' });
    await isScaledTo(people, 2);
    await isSaid(people, 'Autoscaled', undefined);
  });
});

describe('the rules of an aggregated ClusterRole', () => {
  const role = (team: string): string => `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: monitoring, labels: {team: ${team}}}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {to-monitoring: "true"}}]}
rules: []
`;

  it('are the cluster’s, whatever Git says of them', async () => {
    const { people, commit, applied } = await startMemoryProject({ files: { 'web/role.yaml': role('a') } });
    await applied('web');
    const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }];
    const live = await people.get(clusterRoles, { name: 'monitoring' });
    await people.update(clusterRoles, { ...live, rules }, { fieldManager: 'kube-controller-manager' });
    commit({ 'web/role.yaml': role('b') });
    await applied('web');
    expect(await people.get(clusterRoles, { name: 'monitoring' })).toMatchObject({ metadata: { labels: { team: 'b' } }, rules });
    expect(await messagesOf(people, 'DriftCorrected')).toEqual([]);
    expect(await messagesOf(people, 'FieldConflict')).toEqual([]);
  });
});

describe('a Job with a time to live', () => {
  const jobOf = (image: string): string => `apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  ttlSecondsAfterFinished: 60
  template:
    spec: {restartPolicy: Never, containers: [{name: a, image: ${image}}]}
`;
  const job = jobOf('host/true');
  const time = '2026-01-01T00:00:00Z';
  const endedWith = (type: string, status: object) => ({
    status: {
      startTime: time,
      ...status,
      conditions: [type === 'Complete' ? 'SuccessCriteriaMet' : 'FailureTarget', type].map((each) => ({
        type: each,
        status: 'True',
        lastProbeTime: time,
        lastTransitionTime: time,
      })),
    },
  });

  it('is not run again when it completed and is gone, also after a start, and is when it failed or Git changes it', async () => {
    const { people, commit, applied, restart } = await startMemoryProject({ files: { 'web/job.yaml': job } });
    await applied('web');
    const { uid } = (await people.get(jobs, ref('migrate'))).metadata;
    const end = async (body: object): Promise<void> => {
      await people.patch(jobs, ref('migrate'), { type: 'merge', body }, { subresource: 'status' });
      await people.delete(jobs, ref('migrate'), { propagationPolicy: 'Background' });
    };
    await end(endedWith('Failed', { failed: 1 }));
    await until(async () => ![undefined, uid].includes((await tryGet(people, jobs, ref('migrate')))?.metadata.uid), {
      what: 'it is made again',
    });
    await end(endedWith('Complete', { succeeded: 1, completionTime: time }));
    commit({ 'web/job.yaml': job, 'web/config.yaml': configMap('config', 'a: "1"') });
    await applied('web');
    expect(await tryGet(people, jobs, ref('migrate'))).toBeUndefined();
    expect(await messagesOf(people, 'DriftCorrected')).toEqual([`Job ${namespace}/migrate: deleted, put back`]);
    expect(await conditionIn(people, 'Healthy')).toBe('');

    await restart();
    commit({ 'web/job.yaml': job, 'web/config.yaml': configMap('config', 'a: "2"') });
    await applied('web');
    expect(await tryGet(people, jobs, ref('migrate'))).toBeUndefined();
    expect(await conditionIn(people, 'Healthy')).toBe('');

    const changed = jobOf('host/other');
    for (const manifest of [changed, job]) {
      commit({ 'web/job.yaml': manifest });
      await applied('web');
      const { metadata } = await people.get(jobs, ref('migrate'));
      expect(metadata.uid).not.toBe(uid);
      if (manifest === changed) await end(endedWith('Complete', { succeeded: 1, completionTime: time }));
    }
  });

  it('is not run again when it goes before an engine starts that has seen it complete', async () => {
    const { people, commit, applied, stop, start } = await startMemoryProject({ files: { 'web/job.yaml': job } });
    await applied('web');
    expect(await conditionIn(people, 'Healthy')).not.toBe('');
    await people.patch(
      jobs,
      ref('migrate'),
      { type: 'merge', body: endedWith('Complete', { succeeded: 1, completionTime: time }) },
      { subresource: 'status' },
    );
    await until(async () => (await conditionIn(people, 'Healthy')) === '', { what: 'the app is healthy' });
    await stop();
    await people.delete(jobs, ref('migrate'), { propagationPolicy: 'Background' });
    await start();
    commit({ 'web/job.yaml': job, 'web/config.yaml': configMap('config', 'a: "1"') });
    await applied('web');
    expect(await tryGet(people, jobs, ref('migrate'))).toBeUndefined();
  });
});
