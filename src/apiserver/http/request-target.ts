import { badRequest } from '../../machinery/status-error.ts';

/** The parts of a request's path, before the look-up of the resource. */
export type RequestTarget =
  | { readonly type: 'versions' }
  | { readonly type: 'groups' }
  | { readonly type: 'group'; readonly group: string }
  | { readonly type: 'group-version'; readonly group: string; readonly version: string }
  | ResourceTarget
  /** Not a path of the API. */
  | { readonly type: 'other' };

export interface ResourceTarget {
  readonly type: 'resource';
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  /** The path after the subresource (`proxy/…`), without a leading slash. */
  readonly rest: string | undefined;
  /** The deprecated `/watch/` form of the path. */
  readonly watch: boolean;
}

/** Subresources of a Namespace, whose path has the form of a resource in the namespace. */
const namespaceSubresources = new Set(['status', 'finalize']);

/**
 * Reads a path as the API server does: `/api/V/…` for the core group, `/apis/G/V/…` for the others. `namespaces/NS` is in front of
 * namespaced resources, and one trailing slash is ignored.
 *
 * @throws StatusError `BadRequest` for a malformed percent-encoding
 */
export function parseTarget(path: string): RequestTarget {
  if (!path.startsWith('/') || path.startsWith('//')) return { type: 'other' };
  const segments = path.slice(1).split('/');
  if (segments.length > 1 && segments.at(-1) === '') segments.pop();
  if (segments.includes('')) return { type: 'other' };
  const [root, ...rest] = segments.map(decodeSegment);
  if (root === 'api') {
    const [version, ...parts] = rest;
    return version === undefined ? { type: 'versions' } : resourceTarget('', version, parts);
  }
  if (root === 'apis') {
    const [group, version, ...parts] = rest;
    if (group === undefined) return { type: 'groups' };
    return version === undefined ? { type: 'group', group } : resourceTarget(group, version, parts);
  }
  return { type: 'other' };
}

function resourceTarget(group: string, version: string, segments: readonly string[]): RequestTarget {
  const watch = segments[0] === 'watch' && segments.length > 1;
  const parts = watch ? segments.slice(1) : segments;
  const [first, second, third] = parts;
  if (first === undefined) return { type: 'group-version', group, version };
  const inNamespace =
    first === 'namespaces' && third !== undefined && !(group === '' && parts.length === 3 && namespaceSubresources.has(third));
  const namespace = inNamespace ? second : undefined;
  const [resource = '', name, subresource, ...rest] = inNamespace ? parts.slice(2) : parts;
  return {
    type: 'resource',
    group,
    version,
    resource,
    namespace,
    name,
    subresource,
    rest: rest.length === 0 ? undefined : rest.join('/'),
    watch,
  };
}

function decodeSegment(segment: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest(`invalid URL escape in "${segment.slice(0, 100)}"`);
  }
}
