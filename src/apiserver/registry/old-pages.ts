import type { KubeObject } from '../../machinery/object.ts';
import { isExpired } from '../../machinery/status-error.ts';
import type { RangeResult } from '../../storage/storage.ts';
import type { ListPage } from '../kube-api.ts';
import { formatContinueToken } from './continue-token.ts';
import { decode } from './encoding.ts';
import { type Filter, matches } from './filter.ts';
import { resourcePrefixOf } from './keys.ts';
import type { Registry } from './registry.ts';
import type { ResourceState } from './resource-state.ts';

export interface OldPageRequest {
  readonly state: ResourceState;
  readonly filter: Filter;
  readonly limit: number;
  readonly after: string;
  readonly revision: number;
}

/** Entries asked for at once; a selective filter may take few of them. */
const readEntries = 500;

/**
 * A page as of a revision that the memory of this server does not reach, out of the store. A shared store has the past until somebody
 * compacts it, so a continue token is good on every server for that long.
 *
 * The page has no `remainingItemCount`, which clients must not rely on.
 *
 * @returns undefined when the past is gone, and for an embedded store, which reads the newest state alone
 */
export async function readOldPage(registry: Pick<Registry, 'storage'>, request: OldPageRequest): Promise<ListPage | undefined> {
  const { storage } = registry;
  const { state, filter, limit, revision } = request;
  if (!storage.isShared) return undefined;
  const root = `${resourcePrefixOf(state.kind)}/`;
  const prefix = filter.namespace === undefined || !state.kind.namespaced ? root : `${root}${filter.namespace}/`;
  const items: KubeObject[] = [];
  const resourceVersion = String(revision);
  for (let { after } = request, last = ''; ; ) {
    let found: RangeResult;
    try {
      found = await storage.range({ prefix, limit: readEntries, revision, ...(after === '' ? {} : { after: `${root}${after}` }) });
    } catch (err) {
      if (isExpired(err)) return undefined;
      throw err;
    }
    for (const { key: storeKey, text, revision: written } of found.entries) {
      const key = storeKey.slice(root.length);
      const object = state.seen(decode(text, written));
      after = key;
      if (!matches(state.kind, filter, object)) continue;
      if (items.length === limit) return { items, resourceVersion, continue: formatContinueToken({ revision, after: last }) };
      items.push(object);
      last = key;
    }
    // Entries that cannot be decrypted are left out. When a whole read is made of them there is no key to go on from.
    if (found.more && found.entries.length === 0) return undefined;
    if (!found.more) return { items, resourceVersion };
  }
}
