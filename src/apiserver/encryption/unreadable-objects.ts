import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { KindTable } from '../kube-api.ts';
import { resourcePrefixOf, splitStoreKey } from '../registry/keys.ts';
import type { Unreadable } from './value-seals.ts';

/** As many objects as this names one by one; the log names all. */
const maxTold = 100;

interface UnreadableSource {
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  readonly kinds: Pick<KindTable, 'all'>;
}

/** Gives placeholders for the objects that cannot be decrypted, with the reason: only their names are known. */
export function unreadableObjects({
  unreadable,
  kinds,
}: UnreadableSource): readonly { readonly object: KubeObject; readonly message: string }[] {
  return [...unreadable].slice(0, maxTold).flatMap(([storeKey, { reason }]) => {
    const { prefix, key } = splitStoreKey(storeKey);
    const kind = kinds.all().find((known) => resourcePrefixOf(known) === prefix);
    if (kind === undefined) return [];
    const [namespace, name] = kind.namespaced ? key.split('/', 2) : [undefined, key];
    const metadata = { name: name ?? '', ...(namespace === undefined ? {} : { namespace }) };
    const message = `cannot be decrypted: ${reason}; it is left out of lists until its key is back in the encryption configuration, or it is deleted`;
    return [{ object: { apiVersion: apiVersionOf(kind), kind: kind.kind, metadata }, message }];
  });
}
