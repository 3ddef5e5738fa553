import type { Client } from '../../client/client.ts';
import { isConflict, isInvalid, isStatusError } from '../../machinery/status-error.ts';
import { fieldManager } from './fields.ts';
import { isImmutable } from './object-errors.ts';
import type { DesiredObject } from './plan.ts';

/** `generateName` adds five characters; the names of some kinds end at 63. */
const maxPrefixLength = 56;

/**
 * Whether an apply was refused for what the object was before, and not for what it is to be. Flux makes an object anew on every Invalid and
 * Conflict, and so deletes one whose new content no server takes. Here the server is asked first, by a dry run under another name.
 *
 * @see fluxcd/pkg ssa, `IsImmutableError`
 */
export async function isFixedField(
  err: unknown,
  { client, desired, signal }: { readonly client: Client; readonly desired: DesiredObject; readonly signal?: AbortSignal },
): Promise<boolean> {
  if (!isStatusError(err)) return false;
  const isOfFields = isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');
  if (isOfFields || !(isInvalid(err) || isConflict(err) || isImmutable(err))) return false;
  const { name, ...metadata } = desired.object.metadata;
  const object = { ...desired.object, metadata: { ...metadata, generateName: `${name.slice(0, maxPrefixLength)}-` } };
  try {
    await client.create(desired.resource, object, {
      fieldManager,
      dryRun: true,
      fieldValidation: 'Strict',
      ...(signal === undefined ? {} : { signal }),
    });
    return true;
  } catch (again) {
    if (!isStatusError(again)) throw again;
    // A quota or a policy counts the object that would go first.
    if (again.reason !== 'Invalid') return again.code < 500;
    // A sentence in both answers is about the new content. Others are about the other name, or about what the old object still has.
    const before = new Set((err.details?.causes ?? []).map(({ field, message }) => `${field} ${message}`));
    return !(again.details?.causes ?? []).some(({ field, message }) => before.has(`${field} ${message}`));
  }
}
