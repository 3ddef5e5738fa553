import type { DiscoveredResource } from './client.ts';

/** Reads what a server serves: the aggregated documents, or the older ones, a document a group version, where there are no others. */

export type Fetch = (path: string, accept: string) => Promise<{ readonly document: unknown; readonly contentType: string }>;

const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';

export async function discoverResources(fetch: Fetch): Promise<readonly DiscoveredResource[]> {
  const found: DiscoveredResource[] = [];
  for (const root of ['/api', '/apis']) {
    const { document, contentType } = await fetch(root, accept);
    const resources = contentType.includes('as=APIGroupDiscoveryList')
      ? aggregatedResources(document as AggregatedList)
      : await legacyResources(fetch, document as LegacyRoot);
    found.push(...resources);
  }
  return found;
}

interface AggregatedList {
  readonly items: readonly {
    readonly metadata?: { readonly name?: string };
    readonly versions?: readonly {
      readonly version: string;
      readonly resources?: readonly {
        readonly resource: string;
        readonly responseKind?: { readonly kind?: string };
        readonly scope?: string;
        readonly verbs?: readonly string[];
        readonly shortNames?: readonly string[];
        readonly subresources?: readonly { readonly subresource: string }[];
      }[];
    }[];
  }[];
}

const aggregatedResources = ({ items }: AggregatedList): readonly DiscoveredResource[] =>
  items.flatMap(({ metadata, versions = [] }) =>
    versions.flatMap(({ version, resources = [] }) =>
      resources.map((entry) => ({
        group: metadata?.name ?? '',
        version,
        resource: entry.resource,
        kind: entry.responseKind?.kind ?? '',
        namespaced: entry.scope === 'Namespaced',
        verbs: entry.verbs ?? [],
        shortNames: entry.shortNames ?? [],
        subresources: (entry.subresources ?? []).map(({ subresource }) => subresource),
      })),
    ),
  );

interface LegacyRoot {
  /** Of `/api`. */
  readonly versions?: readonly string[];
  /** Of `/apis`. */
  readonly groups?: readonly { readonly name: string; readonly versions: readonly { readonly version: string }[] }[];
}

interface LegacyResourceList {
  readonly resources?: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
    readonly verbs?: readonly string[];
    readonly shortNames?: readonly string[];
  }[];
}

const apiServices = '/apis/apiregistration.k8s.io/v1/apiservices';

interface ApiServiceList {
  readonly items?: readonly {
    readonly spec?: { readonly group?: string; readonly version?: string; readonly service?: object | null };
    readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
}

/** True when the server reports that the server behind this group version is not available. */
async function isAway(fetch: Fetch, group: string, version: string): Promise<boolean> {
  const { document } = await fetch(apiServices, 'application/json');
  const found = (document as ApiServiceList).items?.find(({ spec }) => spec?.group === group && spec.version === version);
  if (found?.spec?.service === undefined || found.spec.service === null) return false;
  return found.status?.conditions?.some(({ type, status }) => type === 'Available' && status !== 'True') ?? false;
}

async function legacyResources(fetch: Fetch, root: LegacyRoot): Promise<readonly DiscoveredResource[]> {
  const groupVersions = [
    ...(root.versions ?? []).map((version) => ({ group: '', version, path: `/api/${version}` })),
    ...(root.groups ?? []).flatMap(({ name, versions }) =>
      versions.map(({ version }) => ({ group: name, version, path: `/apis/${name}/${version}` })),
    ),
  ];
  const lists = await Promise.all(
    groupVersions.map(async ({ group, version, path }) => {
      const { resources = [] } = await fetch(path, 'application/json').then(
        ({ document }) => document as LegacyResourceList,
        async (err: unknown): Promise<LegacyResourceList> => {
          // One extension server that is away must not hide all the rest; anything else that fails makes the whole answer unknown.
          if (group !== '' && (await isAway(fetch, group, version).catch(() => false))) return {};
          throw err;
        },
      );
      return resources
        .filter(({ name }) => !name.includes('/'))
        .map((entry) => ({
          group,
          version,
          resource: entry.name,
          kind: entry.kind,
          namespaced: entry.namespaced,
          verbs: entry.verbs ?? [],
          shortNames: entry.shortNames ?? [],
          subresources: resources.flatMap(({ name }) => (name.startsWith(`${entry.name}/`) ? [name.slice(entry.name.length + 1)] : [])),
        }));
    }),
  );
  return lists.flat();
}
