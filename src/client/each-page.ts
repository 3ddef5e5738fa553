import type { KubeObject, List } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import type { Client, ListOptions } from './client.ts';

const pageSize = 500;

/**
 * Lists in pages of 500, so that no answer grows with the cluster. All pages show the moment of the first one.
 *
 * @throws StatusError `Expired` (410) when the reader is so slow that the moment is compacted away: begin again
 */
export async function* eachPage<T extends KubeObject>(
  client: Pick<Client, 'list'>,
  resource: Resource<T>,
  options: Omit<ListOptions, 'limit' | 'continue'> = {},
): AsyncGenerator<List<T>> {
  let page = await client.list(resource, { ...options, limit: pageSize });
  for (;;) {
    yield page;
    const next = page.metadata.continue;
    if (next === undefined || next === '') return;
    page = await client.list(resource, { ...options, limit: pageSize, continue: next });
  }
}
