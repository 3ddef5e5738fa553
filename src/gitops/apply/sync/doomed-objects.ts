import { apiServices } from '../../../api/apiregistration/v1/api-service.ts';
import type { Client } from '../../../client/client.ts';
import { preconditionsOf } from '../../../client/preconditions.ts';
import { isConditionTrue } from '../../../machinery/conditions.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isConflict, isNotFound, StatusError } from '../../../machinery/status-error.ts';
import { type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { DoomedObject } from '../records/object-sets.ts';

/** An object on the server. */
export interface ObjectPlace {
  readonly resource: Resource<DynamicObject>;
  readonly ref: ObjectRef;
}

/** Requests to the server about objects that are to go. */
export interface DoomedObjects {
  /**
   * Finds the resource of an object of the inventory; undefined when the server does not have its kind any more.
   *
   * @throws StatusError `ServiceUnavailable` (503) when the server of its kind does not answer
   */
  locate(id: ObjectId, doomed: DoomedObject): Promise<ObjectPlace | undefined>;
  find(place: ObjectPlace): Promise<DynamicObject | undefined>;
  /** False when the object is gone, or has changed since it was looked at: another app may have taken it over. */
  deleteAsSeen(place: ObjectPlace, seen: DynamicObject): Promise<boolean>;
}

export function createDoomedObjects({ client, mapper }: { readonly client: Client; readonly mapper: ResourceMapper }): DoomedObjects {
  return { locate, find, deleteAsSeen };

  async function locate(id: ObjectId, { version, resource, ref }: DoomedObject): Promise<ObjectPlace | undefined> {
    if (resource !== undefined && ref !== undefined) return { resource, ref };
    const parsed = tryParseId(id);
    if (parsed === undefined) return undefined;
    const found = (await mapper.find(parsed.group, version, parsed.kind)) ?? (await mapper.findPreferred(parsed.group, parsed.kind));
    if (found !== undefined) return { resource: found as unknown as Resource<DynamicObject>, ref: parsed.ref };
    await refuseUnavailable(parsed.group, version);
    return undefined;
  }

  /** A group whose server does not answer is left out of discovery, but its objects exist. */
  async function refuseUnavailable(group: string, version: string): Promise<void> {
    if (group === '') return;
    const name = `${version}.${group}`;
    try {
      const { status } = await client.get(apiServices, { name });
      if (isConditionTrue(status?.conditions, 'Available')) return;
    } catch (err) {
      if (isNotFound(err)) return;
      throw err;
    }
    throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: `APIService ${name} is not available` });
  }

  async function find({ resource, ref }: ObjectPlace): Promise<DynamicObject | undefined> {
    try {
      return await client.get(resource, ref);
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async function deleteAsSeen({ resource, ref }: ObjectPlace, object: DynamicObject): Promise<boolean> {
    try {
      await client.delete(resource, ref, {
        propagationPolicy: 'Background',
        preconditions: preconditionsOf(object),
      });
      return true;
    } catch (err) {
      if (isNotFound(err) || isConflict(err)) return false;
      throw err;
    }
  }
}
