import { createHash } from 'node:crypto';
import type { KindDefinition, Subresource } from '../../machinery/kind.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { AggregatedGroupVersion, Aggregator } from '../aggregation/aggregator.ts';
import { aggregatedResources } from '../aggregation/remote-discovery.ts';
import type { KindTable } from '../kube-api.ts';
import { isCustomKind } from './api-request.ts';

/**
 * The documents by which clients learn the served resources. The aggregated form has one document for `/api` and one
 * for `/apis`, with an ETag. The older form has a document for each group and version; some clients still read it.
 */
export interface Discovery {
  /** `/api` or `/apis` in the aggregated form; the ETag is quoted. */
  aggregated(root: 'core' | 'groups'): { readonly json: string; readonly etag: string };
  /** `/api`; `address` is where the client reached the server. */
  versions(address: string): unknown;
  /** `/apis` */
  groupList(): unknown;
  /** `/apis/G` */
  group(group: string): unknown | undefined;
  /** `/api/v1`, `/apis/G/V` */
  resourceList(group: string, version: string): unknown | undefined;
  hasGroup(group: string): boolean;
  /** Every group version's path, for the index at `/`. */
  paths(): readonly string[];
}

/** @param aggregated  group versions of other servers, to be listed among the own ones; absent: there are none */
export function createDiscovery(kinds: KindTable, aggregated?: AggregatedGroups): Discovery {
  let cached: Documents | undefined;
  const documents = (): Documents => {
    const { revision } = kinds;
    const aggregatedRevision = aggregated?.revision ?? 0;
    if (cached?.revision !== revision || cached.aggregatedRevision !== aggregatedRevision) {
      cached = { ...buildDocuments(kinds, aggregated?.groupVersions() ?? []), revision, aggregatedRevision };
    }
    return cached;
  };
  return {
    aggregated: (root) => documents().aggregated[root],
    versions: (address) => ({
      kind: 'APIVersions',
      versions: documents().coreVersions,
      serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
    }),
    groupList: () => ({ kind: 'APIGroupList', apiVersion: 'v1', groups: [...documents().groups.values()] }),
    group(group) {
      const document = documents().groups.get(group);
      return document === undefined ? undefined : { kind: 'APIGroup', apiVersion: 'v1', ...document };
    },
    resourceList: (group, version) => documents().resourceLists.get(apiVersionOf({ group, version })),
    hasGroup: (group) => group === '' || documents().groups.has(group),
    paths: () => documents().paths,
  };
}

interface GroupDocument {
  readonly name: string;
  readonly versions: readonly GroupVersion[];
  readonly preferredVersion: GroupVersion | undefined;
}

interface GroupVersion {
  readonly groupVersion: string;
  readonly version: string;
}

type AggregatedGroups = Pick<Aggregator, 'revision' | 'groupVersions'>;

interface Documents {
  readonly revision: number;
  readonly aggregatedRevision: number;
  readonly aggregated: Readonly<Record<'core' | 'groups', { readonly json: string; readonly etag: string }>>;
  readonly coreVersions: readonly string[];
  readonly groups: ReadonlyMap<string, GroupDocument>;
  readonly resourceLists: ReadonlyMap<string, unknown>;
  readonly paths: readonly string[];
}

interface Group {
  readonly name: string;
  readonly priority: number;
  readonly versions: readonly Version[];
}

interface Version {
  readonly version: string;
  readonly aggregated: unknown;
  /** Undefined for what is asked of another server. */
  readonly legacy: unknown | undefined;
}

/** Priority of a group that has no APIService: that of groups from outside Kubernetes. */
const otherGroupPriority = 1_000;

function buildDocuments(
  kinds: KindTable,
  aggregated: readonly AggregatedGroupVersion[],
): Omit<Documents, 'revision' | 'aggregatedRevision'> {
  const all = withRemote(ownGroups(kinds, aggregated), aggregated);
  const core = all.find(({ name }) => name === '') ?? { name: '', priority: 0, versions: [] };
  const named = all.filter(({ name }) => name !== '');
  const groups = new Map(
    named.map(({ name, versions }) => {
      const list = versions.map(({ version }) => ({ groupVersion: `${name}/${version}`, version }));
      return [name, { name, versions: list, preferredVersion: list[0] }];
    }),
  );
  const resourceLists = all.flatMap(({ name: group, versions }) =>
    versions.flatMap(({ version, legacy }) => (legacy === undefined ? [] : [[apiVersionOf({ group, version }), legacy] as const])),
  );
  return {
    aggregated: {
      core: aggregatedDocument([aggregatedGroup(core)]),
      groups: aggregatedDocument(named.map(aggregatedGroup)),
    },
    coreVersions: core.versions.map(({ version }) => version),
    groups,
    resourceLists: new Map(resourceLists),
    paths: [
      '/api',
      ...core.versions.map(({ version }) => `/api/${version}`),
      '/apis',
      '/apis/',
      ...named.flatMap(({ name, versions }) => [`/apis/${name}`, ...versions.map(({ version }) => `/apis/${name}/${version}`)]),
    ].sort(),
  };
}

/** Group, then version, in the order of the kinds: the first version of a group is the preferred one. */
function ownGroups(kinds: KindTable, aggregated: readonly AggregatedGroupVersion[]): readonly Group[] {
  const byGroup = new Map<string, Map<string, KindDefinition[]>>();
  for (const kind of kinds.all()) {
    const versions = byGroup.get(kind.group) ?? new Map<string, KindDefinition[]>();
    byGroup.set(kind.group, versions);
    const list = versions.get(kind.version) ?? [];
    versions.set(kind.version, list);
    list.push(kind);
  }
  return [...byGroup].map(([group, versions]) => ({
    name: group,
    priority: priorityOf(group, aggregated) ?? otherGroupPriority,
    versions: [...versions].map(([version, list]) => {
      const groupVersion = apiVersionOf({ group, version });
      // The core group's list has no apiVersion on the real server either.
      const head = group === '' ? { kind: 'APIResourceList' } : { kind: 'APIResourceList', apiVersion: 'v1' };
      return {
        version,
        aggregated: { version, resources: sorted(list).map(aggregatedResource), freshness: 'Current' },
        legacy: { ...head, groupVersion, resources: sorted(list).flatMap(legacyResources) },
      };
    }),
  }));
}

/** The highest that any version of the group asks for. */
function priorityOf(group: string, aggregated: readonly AggregatedGroupVersion[]): number | undefined {
  const priorities = aggregated.filter((each) => each.group === group).map(({ groupPriority }) => groupPriority);
  return priorities.length === 0 ? undefined : Math.max(...priorities);
}

/** A group that this server serves is never delegated; the other groups are sorted by priority. */
function withRemote(own: readonly Group[], aggregated: readonly AggregatedGroupVersion[]): readonly Group[] {
  const groups = new Map(own.map((group) => [group.name, group]));
  const remote = aggregated
    .filter(({ remote, group, version }) => remote && !groups.get(group)?.versions.some((served) => served.version === version))
    .sort((a, b) => b.versionPriority - a.versionPriority || (a.version < b.version ? -1 : 1));
  if (remote.length === 0) return own;
  for (const { group, version, available, resources } of remote) {
    const before = groups.get(group) ?? { name: group, priority: priorityOf(group, aggregated) ?? 0, versions: [] };
    const freshness = available && resources !== undefined ? 'Current' : 'Stale';
    const served = resources === undefined ? {} : { resources: aggregatedResources(resources) };
    const entry: Version = { version, aggregated: { version, ...served, freshness }, legacy: undefined };
    groups.set(group, { ...before, versions: [...before.versions, entry] });
  }
  const isOwn = new Set(own.map(({ name }) => name));
  const guests = [...groups.values()]
    .filter(({ name }) => !isOwn.has(name))
    .sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  const result = own.map(({ name }) => groups.get(name) as Group);
  for (const guest of guests) {
    const place = result.findIndex(({ name, priority }) => name !== '' && priority < guest.priority);
    result.splice(place === -1 ? result.length : place, 0, guest);
  }
  return result;
}

const sorted = (kinds: readonly KindDefinition[]): readonly KindDefinition[] =>
  [...kinds].sort((a, b) => (a.resource < b.resource ? -1 : 1));

/** Custom resources keep their order. */
const subresourcesOf = ({ custom, subresources }: KindDefinition): readonly Subresource[] =>
  custom === undefined ? [...subresources].sort((a, b) => (a.name < b.name ? -1 : 1)) : subresources;

function legacyResources(kind: KindDefinition): unknown[] {
  return [
    {
      name: kind.resource,
      singularName: kind.singular,
      namespaced: kind.namespaced,
      kind: kind.kind,
      verbs: verbsOf(kind),
      ...(kind.shortNames.length === 0 ? {} : { shortNames: kind.shortNames }),
      ...(kind.categories.length === 0 ? {} : { categories: kind.categories }),
      ...(kind.transient === true ? {} : { storageVersionHash: storageVersionHashOf(kind.storedAs?.kind ?? kind) }),
    },
    ...subresourcesOf(kind).map((subresource) => ({
      name: `${kind.resource}/${subresource.name}`,
      singularName: '',
      namespaced: kind.namespaced,
      ...foreignGroupVersion(kind, subresource),
      kind: subresource.body?.kind ?? kind.kind,
      verbs: [...subresource.verbs].sort(),
    })),
  ];
}

/** Tells clients that move stored objects to another version whether there is something to move. */
const storageVersionHashOf = ({ group, version, kind }: KindDefinition): string =>
  createHash('sha256').update(`${group}/${version}/${kind}`).digest().subarray(0, 8).toString('base64');

/** Named only where the body's group version is not the resource's own. */
function foreignGroupVersion(kind: KindDefinition, { body }: Subresource): { readonly group?: string; readonly version?: string } {
  if (body === undefined || (body.group === kind.group && body.version === kind.version)) return {};
  return body.group === '' ? { version: body.version } : { group: body.group, version: body.version };
}

function aggregatedDocument(items: readonly unknown[]): { readonly json: string; readonly etag: string } {
  const json = JSON.stringify({ kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items });
  return { json, etag: `"${createHash('sha512').update(json).digest('hex').toUpperCase()}"` };
}

const aggregatedGroup = ({ name, versions }: Group): unknown => ({
  metadata: name === '' ? {} : { name },
  versions: versions.map(({ aggregated }) => aggregated),
});

/** Group and version of a response kind are empty where they are those of the resource. */
const responseKindOf = (kind: KindDefinition, body?: Subresource['body']): unknown => {
  if (body !== undefined && (body.group !== kind.group || body.version !== kind.version)) return { ...body };
  // Custom resources name theirs.
  const { group, version } = isCustomKind(kind) ? kind : { group: '', version: '' };
  return { group, version, kind: body?.kind ?? kind.kind };
};

/** In the order of the real server: custom resources keep their own. */
const verbsOf = (kind: KindDefinition): readonly string[] => (kind.custom === undefined ? [...kind.verbs].sort() : kind.verbs);

const aggregatedResource = (kind: KindDefinition): unknown => ({
  resource: kind.resource,
  responseKind: responseKindOf(kind),
  scope: kind.namespaced ? 'Namespaced' : 'Cluster',
  singularResource: kind.singular,
  verbs: verbsOf(kind),
  ...(kind.shortNames.length === 0 ? {} : { shortNames: kind.shortNames }),
  ...(kind.categories.length === 0 ? {} : { categories: kind.categories }),
  ...(kind.subresources.length === 0
    ? {}
    : {
        subresources: subresourcesOf(kind).map(({ name, body, verbs }) => ({
          subresource: name,
          responseKind: responseKindOf(kind, body),
          verbs: [...verbs].sort(),
        })),
      }),
});
