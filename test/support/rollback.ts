import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { persistentVolumeClaims } from '../../src/api/core/v1/persistent-volume-claim.ts';
import { kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import { type Client, inPreferredVersion } from '../../src/client/client.ts';
import { tryGet } from '../../src/client/try-get.ts';
import { fieldManager } from '../../src/gitops/apply/objects/fields.ts';
import { isConditionTrue } from '../../src/machinery/conditions.ts';
import { type DynamicObject, deepEqual } from '../../src/machinery/object.ts';
import { groupResourceOf, type Resource } from '../../src/machinery/resource.ts';
import { isNotFound } from '../../src/machinery/status-error.ts';
import { startTestApi } from './api.ts';
import { createApps, home, startEngine, startNamespaces } from './engine.ts';
import { createMemoryRepository, type Files } from './memory-repository.ts';
import { createRandom } from './random.ts';
import { until } from './until.ts';

const apps = ['a', 'b', 'c', 'd'] as const;
const url = 'https://example.com/rollback.git';
const commits = 6;
const group = 'rollback.example.com';

/** Everything that is live, by kind and name, without what differs from server to server. */
export type Live = Readonly<Record<string, unknown>>;

/**
 * One seeded history of four apps, of which three depend on the first. The way back to one of its commits is a commit of the old tree,
 * reverts one by one, or a force-push. Returns the live objects then, and those of a server that only ever saw that commit.
 */
export async function rollBack(seed: number): Promise<{ readonly live: Live; readonly fresh: Live }> {
  const random = createRandom(seed);
  const repository = createMemoryRepository(url);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const done: string[] = [];
  const world = createWorld(pick);
  const history = [repository.commit('first', world.files())];
  const server = await startServer(repository);
  try {
    await server.settled(done);
    for (let step = 0; step < commits; step += 1) {
      const acts = Array.from({ length: 1 + Math.floor(random() * 3) }, () => world.act());
      done.push(acts.join(', '));
      history.push(repository.commit(acts.join(', '), world.files()));
      // Some commits are overtaken by the next one.
      if (random() < 0.7) {
        await server.settled(done);
        if (random() < 0.5) await meddle(server.people, { pick, done });
      }
    }
    await server.settled(done);
    const target = Math.floor(random() * (history.length - 1));
    const way = pick(['tree', 'reverts', 'force-push']);
    done.push(`back to ${target} by ${way}`);
    const goal = history[target] ?? '';
    if (way === 'force-push') repository.moveTo(goal);
    else if (way === 'tree') repository.commit('back', repository.files(goal));
    else
      for (let index = history.length - 1; index > target; index -= 1) {
        repository.commit(`Revert "${index}"\n\nThis reverts commit ${history[index]}.`, repository.files(history[index - 1]));
        if (random() < 0.5) await server.settled(done);
      }
    await server.settled(done);
    const other = await startServer(repository);
    try {
      await other.settled(done);
      return { live: await liveOf(server.people), fresh: await liveOf(other.people) };
    } finally {
      await other.stop();
    }
  } catch (err) {
    throw new Error(`seed ${seed}:\n${done.join('\n')}`, { cause: err });
  } finally {
    await server.stop();
  }
}

async function startServer(repository: ReturnType<typeof createMemoryRepository>) {
  const api = await startTestApi();
  const people = api.clientFor(undefined, 'kubectl/test');
  const stopNamespaces = await startNamespaces(api.clientFor());
  const dependent = { targetNamespace: undefined, dependsOn: [{ name: 'a' }] } as object;
  await createApps(people, url, { a: { ...({ targetNamespace: undefined } as object) }, b: dependent, c: dependent, d: dependent });
  const engine = await startEngine({
    client: api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test'),
    openSource: async () => repository.source,
  });
  return {
    people,
    async stop() {
      await engine.stop();
      await stopNamespaces();
      await api.stop();
    },
    /** All apps are ready at the newest commit, with nothing left to delete or to put back. */
    async settled(done: readonly string[]) {
      const read = async () => (await people.list(kustomizations, { namespace: home })).items;
      await until(
        async () => {
          const isReady = (await read()).every(
            ({ status }) =>
              status?.lastAppliedRevision === `main@sha1:${repository.head}` &&
              isConditionTrue(status.conditions, 'Ready') &&
              !status.conditions?.some(({ type }) => type === 'PruneBlocked' || type === 'Drifted'),
          );
          await releaseClaims(people);
          if (!isReady) return false;
          const owned = new Set(Object.keys(await liveOf(people)));
          const listed = (await read()).reduce((sum, { status }) => sum + (status?.inventory?.entries.length ?? 0), 0);
          return (
            owned.size === listed && (await people.list(namespaces)).items.every(({ metadata }) => metadata.deletionTimestamp === undefined)
          );
        },
        {
          timeoutMs: 30_000,
          what: async () =>
            `settled after ${done.at(-1)}: ${JSON.stringify(
              (await read()).map(({ metadata, status }) => [
                metadata.name,
                status?.lastAppliedRevision === `main@sha1:${repository.head}`,
                status?.conditions?.map(({ type, status: is, message }) => `${type}=${is} ${message}`),
                status?.inventory?.entries.map(({ id }) => id),
              ]),
              undefined,
              1,
            )} live: ${Object.keys(await liveOf(people)).join(' ')}`,
        },
      );
    },
  };
}

/** Changes or deletes an object of an app by hand, and waits until it is as in Git again. */
async function meddle(
  people: Client,
  { pick, done }: { readonly pick: <T>(items: readonly T[]) => T; readonly done: string[] },
): Promise<void> {
  const { resource, object } = pick(await ownedBy(people));
  // Whole Namespaces and definitions take too long to come back.
  const mayDelete = !['Namespace', 'CustomResourceDefinition'].includes(object.kind);
  const act = pick(mayDelete ? ['label', 'annotation', 'delete'] : ['label', 'annotation']);
  done.push(`${act} ${object.kind} ${object.metadata.name} by hand`);
  if (act === 'delete') await people.delete(resource, object.metadata);
  else {
    const body = { metadata: act === 'label' ? { labels: { 'by-hand': 'x', tier: 'x' } } : { annotations: { 'by-hand': 'x' } } };
    await people.patch(resource, object.metadata, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
  }
  await until(
    async () => {
      await releaseClaims(people);
      const live = await tryGet(people, resource, object.metadata);
      if (live === undefined || live.metadata.deletionTimestamp !== undefined) return false;
      if (act === 'delete') return live.metadata.uid !== object.metadata.uid;
      return deepEqual([live.metadata.labels, live.metadata.annotations], [object.metadata.labels, object.metadata.annotations]);
    },
    { timeoutMs: 30_000, what: `put back after ${done.at(-1)}` },
  );
}

/** As the controller of claims does for those that no pod uses. */
async function releaseClaims(people: Client): Promise<void> {
  for (const { metadata } of (await people.list(persistentVolumeClaims)).items) {
    if (metadata.deletionTimestamp === undefined) continue;
    const body = { metadata: { finalizers: null } };
    await people.patch(persistentVolumeClaims, metadata, { type: 'merge', body }).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  }
}

interface Owned {
  readonly resource: Resource<DynamicObject>;
  readonly object: DynamicObject;
}

/** The objects with an app's label. */
async function ownedBy(people: Client): Promise<readonly Owned[]> {
  const owned: Owned[] = [];
  for (const each of inPreferredVersion(await people.discover())) {
    if (!each.verbs.includes('list') || !each.verbs.includes('delete')) continue;
    const resource = each as unknown as Resource<DynamicObject>;
    for (const object of (await people.list(resource)).items) {
      if (object.metadata.labels?.['kustomize.toolkit.fluxcd.io/name'] !== undefined) owned.push({ resource, object });
    }
  }
  return owned;
}

/** Content of the objects with an app's label, without the values that each server makes up: ids, times, addresses. */
async function liveOf(people: Client): Promise<Live> {
  const live: Record<string, unknown> = {};
  for (const { resource, object } of await ownedBy(people)) {
    const { apiVersion: _, kind: __, metadata, status: ____, ...content } = object;
    const { name, namespace = '', labels, annotations, managedFields, deletionTimestamp } = metadata;
    live[`${groupResourceOf(resource)} ${namespace}/${name}`] = {
      ...JSON.parse(JSON.stringify(content, withoutAddresses)),
      labels,
      annotations,
      deletionTimestamp,
      owned: managedFields?.filter(({ manager }) => manager === fieldManager).map(({ fieldsV1 }) => fieldsV1),
    };
  }
  return live;
}

/** The server gives these out, but for `None`, which a manifest says. */
const withoutAddresses = (key: string, value: unknown): unknown =>
  [
    'clusterIP',
    'clusterIPs',
    'nodePort',
    'uid',
    'resourceVersion',
    'healthCheckNodePort',
    'controller-uid',
    'batch.kubernetes.io/controller-uid',
  ].includes(key) && String(value) !== 'None'
    ? undefined
    : value;

/** Objects of the four apps, and the changes that people make to them. */
function createWorld(pick: <T>(items: readonly T[]) => T) {
  interface Item {
    readonly kind: keyof typeof kinds;
    readonly name: string;
    readonly namespace: string;
    readonly app: string;
    readonly value: number;
    readonly extra: boolean;
  }
  const items = new Map<string, Item>();
  /** Namespaces that the first app brings, beside the one that is there. */
  let places: readonly string[] = ['web'];
  let hasKind = true;
  let hasSecondVersion = false;
  let count = 0;
  const newNumber = (): number => {
    count += 1;
    return count;
  };
  const all = (): readonly string[] => Object.keys(kinds);
  const usable = (): readonly (keyof typeof kinds)[] => all().filter((kind) => kind !== 'Gear' || hasKind) as (keyof typeof kinds)[];

  function add(): string {
    const item: Item = {
      kind: pick(usable()),
      name: `n${newNumber()}`,
      namespace: pick(places),
      app: pick(apps),
      value: count,
      extra: false,
    };
    items.set(item.name, item);
    return `add ${item.kind} ${item.name} to ${item.app} in ${item.namespace}`;
  }
  /** Changes whatever is derived from the number: the step shares no factor with the divisors in the manifests. */
  const next = ({ value }: Item): Partial<Item> => ({ value: value + 101 });
  const change = (what: string, changed: (item: Item) => Partial<Item>) => (): string => {
    const item = pick([...items.values()]);
    if (item === undefined) return add();
    items.set(item.name, { ...item, ...changed(item) });
    return `${what} ${item.kind} ${item.name}`;
  };
  const acts: readonly (() => string)[] = [
    add,
    add,
    () => {
      const item = pick([...items.values()]);
      if (item === undefined) return add();
      items.delete(item.name);
      return `remove ${item.kind} ${item.name}`;
    },
    change('change', next),
    change('change', next),
    change('toggle', ({ extra }) => ({ extra: !extra })),
    change('move to another app', () => ({ app: pick(apps) })),
    change('move to another namespace', () => ({ namespace: pick(places) })),
    () => {
      const item = pick([...items.values()]);
      if (item === undefined) return add();
      items.delete(item.name);
      const name = `n${newNumber()}`;
      items.set(name, { ...item, name });
      return `rename ${item.name} to ${name}`;
    },
    () => {
      const name = `ns${newNumber()}`;
      places = [...places, name];
      return `add Namespace ${name}, ${add()}, ${add()}`;
    },
    () => {
      const gone = places.at(-1) ?? 'web';
      if (gone === 'web') return add();
      places = places.slice(0, -1);
      for (const item of items.values()) if (item.namespace === gone) items.delete(item.name);
      return `remove Namespace ${gone}`;
    },
    () => {
      hasKind = !hasKind;
      if (!hasKind) for (const item of items.values()) if (item.kind === 'Gear') items.delete(item.name);
      return hasKind ? 'add definition' : 'remove definition';
    },
    () => {
      hasSecondVersion = !hasSecondVersion;
      return `${hasSecondVersion ? 'add' : 'remove'} the second version of the definition`;
    },
  ];
  for (let index = 0; index < 14; index += 1) add();

  return {
    act: (): string => pick(acts)(),
    files(): Files {
      const files = new Map<string, string>();
      for (const app of apps)
        files.set(
          `${app}/keep.yaml`,
          manifest({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `keep-${app}`, namespace: 'web' } }),
        );
      for (const place of places) {
        if (place !== 'web') files.set(`a/${place}.yaml`, manifest({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: place } }));
      }
      if (hasKind) files.set('a/definition.yaml', manifest(definitionOf(hasSecondVersion)));
      for (const { kind, name, namespace, app, value, extra } of items.values()) {
        const { isGlobal = false, ...object } = kinds[kind](value, extra);
        const metadata = {
          name,
          ...(isGlobal ? {} : { namespace }),
          labels: extra ? { tier: `t${value}`, odd: 'yes' } : { tier: `t${value}` },
          annotations: { 'kustomize.toolkit.fluxcd.io/force': 'enabled', ...(extra ? { note: 'x' } : {}) },
        };
        files.set(`${app}/${name}.yaml`, manifest({ ...object, kind: kind.replace(/\d$/, ''), metadata }));
      }
      return files;
    },
  };
}

const manifest = (object: unknown): string => `${JSON.stringify(object)}\n`;

const schema = {
  openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } },
};

const definitionOf = (hasSecondVersion: boolean) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `gears.${group}` },
  spec: {
    group,
    scope: 'Namespaced',
    names: { plural: 'gears', kind: 'Gear' },
    versions: [
      { name: 'v1', served: true, storage: true, schema },
      ...(hasSecondVersion ? [{ name: 'v1beta1', served: true, storage: false, schema }] : []),
    ],
  },
});

const template = (value: number, extra: boolean) => ({
  metadata: { labels: { app: 'x' } },
  spec: {
    containers: [
      { name: 'main', image: `i:${value}`, env: [{ name: 'A', value: `${value}` }, ...(extra ? [{ name: 'B', value: 'b' }] : [])] },
      ...(extra ? [{ name: 'side', image: 's' }] : []),
    ],
  },
});

type Made = { readonly apiVersion: string; readonly isGlobal?: boolean } & Readonly<Record<string, unknown>>;

/** Manifests of each kind, by a number and a switch; fixed fields change with the number. */
const kinds = {
  ConfigMap: (value: number, extra: boolean): Made => ({ apiVersion: 'v1', data: { a: `${value}`, ...(extra ? { b: 'b' } : {}) } }),
  ConfigMap2: (value: number): Made => ({ apiVersion: 'v1', immutable: true, data: { a: `${value}` } }),
  Secret: (value: number, extra: boolean): Made => ({ apiVersion: 'v1', type: extra ? 'a/one' : 'a/two', stringData: { a: `${value}` } }),
  Service: (value: number, extra: boolean): Made => ({
    apiVersion: 'v1',
    spec: {
      selector: { app: `x${value}` },
      ...(value % 2 === 0 ? { clusterIP: 'None' } : {}),
      ports: [{ name: 'http', port: 80 }, ...(extra ? [{ name: 'more', port: 8000 + (value % 100), protocol: 'UDP' }] : [])],
    },
  }),
  ServiceAccount: (): Made => ({ apiVersion: 'v1' }),
  PersistentVolumeClaim: (value: number): Made => ({
    apiVersion: 'v1',
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: `c${value}`, resources: { requests: { storage: '1Gi' } } },
  }),
  StatefulSet: (value: number, extra: boolean): Made => ({
    apiVersion: 'apps/v1',
    spec: { serviceName: `s${value}`, selector: { matchLabels: { app: 'x' } }, template: template(value, extra) },
  }),
  Job: (value: number, extra: boolean): Made => ({
    apiVersion: 'batch/v1',
    spec: { suspend: true, template: { spec: { ...template(value, extra).spec, restartPolicy: 'Never' } } },
  }),
  StorageClass: (value: number): Made => ({ apiVersion: 'storage.k8s.io/v1', isGlobal: true, provisioner: `p${value}.example.com` }),
  HorizontalPodAutoscaler: (value: number, extra: boolean): Made => ({
    apiVersion: 'autoscaling/v2',
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: `n${value}` },
      maxReplicas: 3 + (value % 5),
      ...(extra
        ? { metrics: [{ type: 'Resource', resource: { name: 'memory', target: { type: 'Utilization', averageUtilization: 70 } } }] }
        : {}),
    },
  }),
  Ingress: (value: number, extra: boolean): Made => ({
    apiVersion: 'networking.k8s.io/v1',
    spec: {
      defaultBackend: { service: { name: 'x', port: { number: 1 + value } } },
      ...(extra ? { tls: [{ hosts: ['a.example.com'], secretName: 't' }] } : {}),
    },
  }),
  Deployment: (value: number, extra: boolean): Made => ({
    apiVersion: 'apps/v1',
    spec: {
      replicas: value % 5,
      selector: { matchLabels: { app: 'x' } },
      template: template(value, extra),
      ...(extra ? { strategy: { type: 'Recreate' } } : {}),
    },
  }),
  Role: (value: number, extra: boolean): Made => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    rules: [{ apiGroups: [''], resources: [extra ? 'pods' : 'secrets'], verbs: ['get'], resourceNames: [`n${value}`] }],
  }),
  RoleBinding: (value: number): Made => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: `r${value}` },
    subjects: [{ kind: 'User', name: 'mara', apiGroup: 'rbac.authorization.k8s.io' }],
  }),
  PriorityClass: (value: number): Made => ({ apiVersion: 'scheduling.k8s.io/v1', isGlobal: true, value }),
  CronJob: (value: number, extra: boolean): Made => ({
    apiVersion: 'batch/v1',
    spec: {
      schedule: `${value % 60} * * * *`,
      jobTemplate: { spec: { template: { ...template(value, extra), spec: { ...template(value, extra).spec, restartPolicy: 'Never' } } } },
    },
  }),
  NetworkPolicy: (value: number, extra: boolean): Made => ({
    apiVersion: 'networking.k8s.io/v1',
    spec: { podSelector: { matchLabels: { app: `x${value}` } }, policyTypes: extra ? ['Ingress', 'Egress'] : ['Ingress'] },
  }),
  Gear: (value: number, extra: boolean): Made => ({ apiVersion: `${group}/v1`, spec: { size: value, ...(extra ? { color: 'red' } : {}) } }),
} as const;
