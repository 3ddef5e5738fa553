import type { Client, New } from '../client/client.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../machinery/status-error.ts';

export interface Wanted<T extends KubeObject> {
  /** Created when there is none. */
  readonly object: New<T>;
  /** Brings a stored one in line; by default it stays as it is. */
  readonly change?: (stored: T) => T;
  /** True for a stored one that no update brings in line: it is deleted, and `object` created. */
  readonly replaces?: (stored: T) => boolean;
}

const maxAttempts = 5;

/**
 * Creates the object, or brings the stored one in line. Another server that starts at the same time does the same.
 *
 * @throws StatusError of the last of five tries
 */
export async function ensure<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  { object, change = (stored) => stored, replaces = () => false }: Wanted<T>,
): Promise<void> {
  const { namespace, name = '' } = object.metadata;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const stored = await client.get(resource, { namespace, name });
      if (!replaces(stored)) {
        const wanted = change(stored);
        if (wanted !== stored) await client.update(resource, wanted);
        return;
      }
      await client.delete(resource, { namespace, name });
    } catch (err) {
      if (isConflict(err) && attempt < maxAttempts) continue;
      if (!isNotFound(err)) throw err;
    }
    try {
      await client.create(resource, object);
      return;
    } catch (err) {
      if (!isAlreadyExists(err) || attempt === maxAttempts) throw err;
    }
  }
}
