import type { DynamicObject } from '../../../machinery/object.ts';
import type { ObjectId } from '../objects/object-id.ts';
import type { DesiredObject } from '../plan/plan.ts';

/** Results of the hooks of one digest: a hook runs once for each. */
export interface HookRecord {
  readonly digest: string;
  /** Nothing of them is left to run. */
  readonly complete: boolean;
  /** `PHASE id` */
  readonly succeeded: ReadonlySet<string>;
  /** Succeeded, and to be deleted once that is written down. */
  readonly cleaning: ReadonlyMap<ObjectId, { readonly hook: DesiredObject; readonly live: DynamicObject }>;
}

/** A hook that ended well. */
export interface SucceededHook {
  readonly id: ObjectId;
  /** `PHASE id` */
  readonly name: string;
  /** The object of the hook, when the hook wants it deleted. */
  readonly clean: { readonly hook: DesiredObject; readonly live: DynamicObject } | undefined;
}

export const noHooks: HookRecord = { digest: '', complete: false, succeeded: new Set(), cleaning: new Map() };

/** The results for `digest`: none yet when `hooks` are those of another one. */
export const hooksOf = (hooks: HookRecord, digest: string): HookRecord => (hooks.digest === digest ? hooks : { ...noHooks, digest });

export function withSuccess(hooks: HookRecord, { id, name, clean }: SucceededHook): HookRecord {
  const cleaning = clean === undefined ? hooks.cleaning : new Map([...hooks.cleaning, [id, clean] as const]);
  return { ...hooks, succeeded: new Set([...hooks.succeeded, name]), cleaning };
}

export const withoutCleaning = (hooks: HookRecord, id: ObjectId): HookRecord => ({
  ...hooks,
  cleaning: new Map([...hooks.cleaning].filter(([each]) => each !== id)),
});
