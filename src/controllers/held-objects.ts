import type { Client } from '../client/client.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isNotFound } from '../machinery/status-error.ts';

/** An object that waits for a controller before it goes. */
export interface HeldObject<T extends KubeObject> {
  readonly resource: Resource<T>;
  readonly object: T;
  readonly finalizer: string;
}

export const isHeld = ({ metadata }: KubeObject, finalizer: string): boolean =>
  metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(finalizer) === true;

/** Takes the finalizer from an object as it was seen. One that is gone needs nothing. @throws StatusError `Conflict` when it changed */
export async function release<T extends KubeObject>(
  client: Client,
  { resource, object, finalizer }: HeldObject<T>,
  signal: AbortSignal,
): Promise<void> {
  const { metadata } = object;
  const left = (metadata.finalizers ?? []).filter((name) => name !== finalizer);
  try {
    await client.update(resource, { ...object, metadata: { ...metadata, finalizers: left } }, { signal });
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
}
