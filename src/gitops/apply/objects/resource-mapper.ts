import type { Clock } from '../../../base/clock.ts';
import type { Client, DiscoveredResource } from '../../../client/client.ts';

/**
 * Finds the resource of a kind through discovery. The answers are remembered. Discovery is asked again for a kind that is not
 * known, and after `forget`, because a known kind may be gone.
 */
export interface ResourceMapper {
  /** In the named version; undefined when the server does not have it. */
  find(group: string, version: string, kind: string): Promise<DiscoveredResource | undefined>;
  /** Like `find`, but asks the server again when the kind is unknown. */
  findNow(group: string, version: string, kind: string): Promise<DiscoveredResource | undefined>;
  /** In whatever version the server prefers. */
  findPreferred(group: string, kind: string): Promise<DiscoveredResource | undefined>;
  all(): Promise<readonly DiscoveredResource[]>;
  /** The latest answer of discovery; empty before it was asked. */
  readonly last: readonly DiscoveredResource[];
  /** A definition changed, or a request showed that a kind is gone: the next search asks the server. */
  forget(): void;
}

/** An unknown kind is looked up again at most this often. */
const minRefreshMs = 1_000;

export function createResourceMapper({ client, clock }: { readonly client: Client; readonly clock: Clock }): ResourceMapper {
  let known: Promise<readonly DiscoveredResource[]> | undefined;
  let last: readonly DiscoveredResource[] = [];
  let refreshedAt = Number.NEGATIVE_INFINITY;

  async function search(
    matches: (resource: DiscoveredResource) => boolean,
    maxAgeMs = minRefreshMs,
  ): Promise<DiscoveredResource | undefined> {
    const found = (await load()).find(matches);
    if (found !== undefined || clock.monotonicMs() - refreshedAt < maxAgeMs) return found;
    known = undefined;
    return (await load()).find(matches);
  }

  function load(): Promise<readonly DiscoveredResource[]> {
    if (known === undefined) {
      refreshedAt = clock.monotonicMs();
      const asked = client.discover();
      known = asked;
      asked.then(
        (resources) => {
          last = resources;
        },
        () => {
          if (known === asked) known = undefined;
        },
      );
    }
    return known;
  }

  return {
    find: (group, version, kind) =>
      search((resource) => resource.group === group && resource.version === version && resource.kind === kind),
    findNow: (group, version, kind) =>
      search((resource) => resource.group === group && resource.version === version && resource.kind === kind, 0),
    findPreferred: (group, kind) => search((resource) => resource.group === group && resource.kind === kind),
    all: load,
    get last() {
      return last;
    },
    forget() {
      known = undefined;
      refreshedAt = Number.NEGATIVE_INFINITY;
    },
  };
}
