import { createHash } from 'node:crypto';
import type { KindDefinition, Subresource } from '../../machinery/kind.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { KindTable } from '../service.ts';
import { isCustomKind } from './api-request.ts';

/**
 * The documents by which clients learn what is served: the aggregated form (one document for `/api`, one for `/apis`, with an ETag) and
 * the older one (a document a group and a version), which some clients still read.
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

export function createDiscovery(kinds: KindTable): Discovery {
  let cached: Documents | undefined;
  const documents = (): Documents => {
    if (cached?.revision !== kinds.revision) cached = buildDocuments(kinds);
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

interface Documents {
  readonly revision: number;
  readonly aggregated: Readonly<Record<'core' | 'groups', { readonly json: string; readonly etag: string }>>;
  readonly coreVersions: readonly string[];
  readonly groups: ReadonlyMap<string, GroupDocument>;
  readonly resourceLists: ReadonlyMap<string, unknown>;
  readonly paths: readonly string[];
}

function buildDocuments(kinds: KindTable): Documents {
  const { revision } = kinds;
  // Group, then version, in the order of the kinds: the first version of a group is the preferred one.
  const byGroup = new Map<string, Map<string, KindDefinition[]>>();
  for (const kind of kinds.all()) {
    const versions = byGroup.get(kind.group) ?? new Map<string, KindDefinition[]>();
    byGroup.set(kind.group, versions);
    const list = versions.get(kind.version) ?? [];
    versions.set(kind.version, list);
    list.push(kind);
  }
  const core = byGroup.get('') ?? new Map<string, KindDefinition[]>();
  const named = [...byGroup].filter(([group]) => group !== '');
  const groups = new Map(
    named.map(([name, versions]) => {
      const list = [...versions.keys()].map((version) => ({ groupVersion: `${name}/${version}`, version }));
      return [name, { name, versions: list, preferredVersion: list[0] }];
    }),
  );
  const resourceLists = new Map(
    [...byGroup].flatMap(([group, versions]) =>
      [...versions].map(([version, list]) => {
        const groupVersion = apiVersionOf({ group, version });
        // The core group's list has no apiVersion on the real server either.
        const head = group === '' ? { kind: 'APIResourceList' } : { kind: 'APIResourceList', apiVersion: 'v1' };
        return [groupVersion, { ...head, groupVersion, resources: sorted(list).flatMap(legacyResources) }] as const;
      }),
    ),
  );
  return {
    revision,
    aggregated: {
      core: aggregatedDocument([aggregatedGroup('', core)]),
      groups: aggregatedDocument(named.map(([group, versions]) => aggregatedGroup(group, versions))),
    },
    coreVersions: [...core.keys()],
    groups,
    resourceLists,
    paths: [
      '/api',
      ...[...core.keys()].map((version) => `/api/${version}`),
      '/apis',
      ...named.flatMap(([group, versions]) => [`/apis/${group}`, ...[...versions.keys()].map((version) => `/apis/${group}/${version}`)]),
    ],
  };
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

const aggregatedGroup = (group: string, versions: ReadonlyMap<string, readonly KindDefinition[]>): unknown => ({
  metadata: group === '' ? {} : { name: group },
  versions: [...versions].map(([version, kinds]) => ({
    version,
    resources: sorted(kinds).map(aggregatedResource),
    freshness: 'Current',
  })),
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
