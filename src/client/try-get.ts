import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Client } from './client.ts';

/**
 * Gets an object that may not exist; undefined when it does not, or its kind does not.
 *
 * @throws every other failure
 */
export async function tryGet<T extends KubeObject>(client: Client, resource: Resource<T>, ref: ObjectRef): Promise<T | undefined> {
  try {
    return await client.get(resource, ref);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
