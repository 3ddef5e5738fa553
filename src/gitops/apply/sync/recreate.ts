import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../client/client.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { FixedFieldError } from '../plan/object-errors.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { isFixedField } from './trial.ts';

export interface RecreateOptions {
  readonly client: Client;
  readonly app: Kustomization;
  readonly desired: DesiredObject;
  readonly signal?: AbortSignal;
}

/** True when the app, or the object itself, asks for objects that cannot be changed to be deleted and made again. */
export const asksForRecreation = (app: Kustomization, { policy }: DesiredObject): boolean => app.spec.force === true || policy.recreates;

/** Decides if an object is to be deleted and made again after its apply was refused with `err`. */
export const mayRecreate = async (err: unknown, { client, app, desired }: RecreateOptions): Promise<boolean> =>
  asksForRecreation(app, desired) && (await isFixedField(err, { client, desired }));

/** @throws the refusal when the object may not be recreated for it */
export async function recreateAfter(
  err: unknown,
  { client, app, desired, signal, owned }: RecreateOptions & { readonly signal: AbortSignal; readonly owned: Pick<OwnedObjects, 'live'> },
): Promise<'recreate'> {
  if (!isStatusError(err) || owned.live(desired.resource, desired.ref) === undefined) throw err;
  if (!(await isFixedField(err, { client, desired, signal }))) throw err;
  if (asksForRecreation(app, desired)) return 'recreate';
  throw new FixedFieldError(err);
}
