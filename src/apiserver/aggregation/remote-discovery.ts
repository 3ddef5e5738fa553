/**
 * Reads the discovery documents of an extension server. The text is untrusted: malformed entries are left out, and
 * every list has a bound.
 */

export interface RemoteResource {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly group: string;
  readonly version: string;
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
}

/** Largest number of resources in one group version. */
const maxResources = 1_000;
/** Longest list of verbs, short names or categories. */
const maxWords = 64;
const namePattern = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(\/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$/;
const wordPattern = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/i;

/** The resources of an `APIResourceList`; undefined when `text` is none of the group version that was asked for. */
export function parseResourceList(text: string, groupVersion: string): readonly RemoteResource[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value.kind !== 'APIResourceList' || value.groupVersion !== groupVersion || !Array.isArray(value.resources)) {
    return undefined;
  }
  const [group = '', version = ''] = groupVersion.split('/');
  return value.resources.slice(0, maxResources).flatMap((entry: unknown) => {
    if (!isObject(entry) || !isText(entry.name, namePattern) || !isText(entry.kind, wordPattern)) return [];
    const { name, kind, namespaced } = entry;
    return [
      {
        name,
        kind,
        namespaced: namespaced === true,
        singularName: isText(entry.singularName, wordPattern) ? entry.singularName : '',
        group: isText(entry.group, wordPattern) ? entry.group : group,
        version: isText(entry.version, wordPattern) ? entry.version : version,
        verbs: wordsOf(entry.verbs),
        shortNames: wordsOf(entry.shortNames),
        categories: wordsOf(entry.categories),
      },
    ];
  });
}

/**
 * Path of the OpenAPI document that an index of version 3 names for `path`; undefined when it has none, or names
 * another host.
 */
export function parseOpenApiIndex(text: string, path: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const paths = isObject(value) && isObject(value.paths) ? value.paths : {};
  const entry = Object.hasOwn(paths, path) ? paths[path] : undefined;
  const url = isObject(entry) ? entry.serverRelativeURL : undefined;
  const plain = `/openapi/v3/${path}`;
  if (typeof url !== 'string') return undefined;
  return url === plain || (url.startsWith(`${plain}?hash=`) && /^[0-9A-Za-z]{1,256}$/.test(url.slice(plain.length + 6))) ? url : undefined;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown, pattern: RegExp): value is string => typeof value === 'string' && pattern.test(value);
const wordsOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.slice(0, maxWords).filter((word) => isText(word, wordPattern)) : [];

/** The same in the aggregated form: subresources are listed with their resource. */
export function aggregatedResources(resources: readonly RemoteResource[]): readonly unknown[] {
  const responseKind = ({ group, version, kind }: RemoteResource): unknown => ({ group, version, kind });
  return resources
    .filter(({ name }) => !name.includes('/'))
    .map((resource) => {
      const { name, namespaced, singularName, verbs, shortNames, categories } = resource;
      const subresources = resources.filter((each) => each.name.startsWith(`${name}/`));
      return {
        resource: name,
        responseKind: responseKind(resource),
        scope: namespaced ? 'Namespaced' : 'Cluster',
        singularResource: singularName,
        verbs,
        ...(shortNames.length === 0 ? {} : { shortNames }),
        ...(categories.length === 0 ? {} : { categories }),
        ...(subresources.length === 0
          ? {}
          : {
              subresources: subresources.map((each) => ({
                subresource: each.name.slice(name.length + 1),
                responseKind: responseKind(each),
                verbs: each.verbs,
              })),
            }),
      };
    });
}
