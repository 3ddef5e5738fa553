import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../client/client.ts';
import { isConflict, isInvalid, isNotFound, isStatusError, type StatusError } from '../../../machinery/status-error.ts';
import { fieldManager } from '../objects/fields.ts';
import { isImmutable } from '../plan/object-errors.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { LossFinder } from './prune-losses.ts';

interface TrialOptions {
  readonly client: Client;
  readonly desired: DesiredObject;
  readonly signal?: AbortSignal;
}

/** `generateName` adds five characters; the names of some kinds end at 63. */
const maxPrefixLength = 56;

/** Asks how the server refuses the object as a new one under another name; undefined when it takes it. Nothing is written. */
async function refusalAsNew(
  { client, desired, signal }: TrialOptions,
  namespace = desired.object.metadata.namespace,
): Promise<StatusError | undefined> {
  const { name, ...rest } = desired.object.metadata;
  const metadata = { ...rest, generateName: `${name.slice(0, maxPrefixLength)}-`, ...(namespace === undefined ? {} : { namespace }) };
  try {
    await client.create(
      desired.resource,
      { ...desired.object, metadata },
      { fieldManager, dryRun: true, fieldValidation: 'Strict', ...(signal === undefined ? {} : { signal }) },
    );
    return undefined;
  } catch (err) {
    if (!isStatusError(err)) throw err;
    return err;
  }
}

/**
 * True when an apply was refused because of the object as it was before, and not as it is to be. Flux recreates an object on every Invalid
 * and Conflict, and so deletes one whose new content no server takes. Here the server is asked first, by a dry run under another name.
 *
 * @see fluxcd/pkg ssa, `IsImmutableError`
 */
export async function isFixedField(err: unknown, options: TrialOptions): Promise<boolean> {
  if (!isStatusError(err)) return false;
  const isOfFields = isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');
  if (isOfFields || !(isInvalid(err) || isConflict(err) || isImmutable(err))) return false;
  const again = await refusalAsNew(options);
  if (again === undefined) return true;
  // A quota or a policy counts the object that would go first.
  if (again.reason !== 'Invalid') return again.code < 500;
  // A sentence in both answers is about the new content. Others are about the other name, or about what the old object still has.
  const before = new Set((err.details?.causes ?? []).map(({ field, message }) => `${field} ${message}`));
  return !(again.details?.causes ?? []).some(({ field, message }) => before.has(`${field} ${message}`));
}

/** Tries out what lives in a Namespace that is not there yet, and takes such a Namespace away again. */
export interface Trials {
  /**
   * Finds errors in the fields of an object whose Namespace is still to come. The server judges the same object in the app's own Namespace,
   * or in `default` on another cluster. Errors of policies and quotas there do not count.
   */
  elsewhere(app: Kustomization, desired: DesiredObject, signal: AbortSignal): Promise<StatusError | undefined>;
  /** Deletes a Namespace or definition that this engine made under this UID, unless something is in it. True when it is gone or going. */
  unmake(desired: DesiredObject, uid: string): Promise<boolean>;
}

export function createTrials({ client, losses }: { readonly client: Client; readonly losses: LossFinder }): Trials {
  return {
    async elsewhere({ metadata, spec }, desired, signal) {
      const refusal = await refusalAsNew({ client, desired, signal }, spec.kubeConfig === undefined ? metadata.namespace : 'default');
      if (refusal === undefined) return undefined;
      const { causes = [] } = refusal.details ?? {};
      // A policy names no field; an unknown field is a bad request.
      const isOfFields = refusal.reason === 'Invalid' ? causes.length > 0 && causes.every(({ field = '' }) => field !== '') : false;
      return isOfFields || refusal.reason === 'BadRequest' ? refusal : undefined;
    },
    async unmake({ resource, ref }, uid) {
      try {
        const live = await client.get(resource, ref);
        if (live.metadata.uid !== uid || (await losses.lossOf(live)) !== undefined) return false;
        await client.delete(resource, ref, { propagationPolicy: 'Background', preconditions: { uid } });
        return true;
      } catch (err) {
        if (isNotFound(err)) return true;
        // It stays, in the inventory, and the refusal that led here is what a person has to know.
        if (isStatusError(err)) return false;
        throw err;
      }
    },
  };
}
