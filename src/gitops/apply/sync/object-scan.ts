import type { Client } from '../../../client/client.ts';
import { eachPage } from '../../../client/each-page.ts';
import type { KubeObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isUnknownResource } from '../../../machinery/status-error.ts';
import type { ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';

/** Pages of one kind that are looked at; with more objects that pass, the next one counts. */
const maxPages = 20;

export interface ScanOptions {
  readonly client: Pick<Client, 'list'>;
  readonly mapper: Pick<ResourceMapper, 'forget'>;
}

/** Objects of a resource: of one Namespace, or of all when it is absent. */
export interface Scope {
  readonly resource: Resource;
  readonly namespace?: string;
}

/**
 * Finds the first object on the server that counts. Behind 10,000 objects that do not, the next one counts without a look: its id has `…`
 * for a name. A kind that went meanwhile has none.
 */
export async function findFirst(
  { client, mapper }: ScanOptions,
  { resource, namespace }: Scope,
  counts: (id: ObjectId, item: KubeObject) => boolean | Promise<boolean>,
): Promise<ObjectId | undefined> {
  const where = namespace === undefined ? {} : { namespace };
  try {
    let pages = 0;
    for await (const { items, metadata } of eachPage(client, resource, where)) {
      for (const item of items) {
        const id = idIn(resource, item.metadata);
        if (await counts(id, item)) return id;
      }
      pages += 1;
      if (pages === maxPages && (metadata.continue ?? '') !== '') return idIn(resource, { ...where, name: '…' });
    }
    return undefined;
  } catch (err) {
    if (!isUnknownResource(err)) throw err;
    // The kind went meanwhile, with all of its objects.
    mapper.forget();
    return undefined;
  }
}

/** Items of a list do not say of which kind they are. */
const idIn = ({ group, kind }: Resource, { namespace = '', name }: ObjectRef): ObjectId =>
  [namespace, name.replaceAll(':', '__'), group, kind].join('_');
