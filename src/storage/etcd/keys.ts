/**
 * The place of the store in etcd: objects at `PREFIX/KEY`, and what the store keeps for itself below `PREFIX/meta/`. All is inside of one
 * prefix, so that an etcd user who is limited to it is enough. A key of the store never begins with `meta/`: groups of resources have a dot
 * or are built in.
 */
export interface StoreKeys {
  /** First key, and the one after the last, of the whole store. */
  readonly first: string;
  readonly end: string;
  readonly compaction: string;
  readonly format: string;
  readonly offset: string;
  fence(serverId: string): string;
  record(name: string): string;
  of(key: string): string;
  /** Undefined for a key of the store itself. */
  nameOf(etcdKey: string): string | undefined;
}

export function createStoreKeys(prefix: string): StoreKeys {
  const first = `${prefix}/`;
  const meta = `${first}meta/`;
  return {
    first,
    end: keyAfterPrefix(first),
    compaction: `${meta}compaction`,
    format: `${meta}format`,
    offset: `${meta}offset`,
    record: (name) => `${meta}${name}`,
    fence: (serverId) => `${meta}fence/${serverId}`,
    of: (key) => `${first}${key}`,
    nameOf: (etcdKey) => (etcdKey.startsWith(meta) ? undefined : etcdKey.slice(first.length)),
  };
}

/** The first key that does not begin with `prefix`. Keys are ASCII where it matters: the last character of a prefix is a slash. */
export const keyAfterPrefix = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
