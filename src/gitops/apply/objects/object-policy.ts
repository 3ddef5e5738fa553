import { annotations } from '../../../api/well-known.ts';
import { deepEqual, type KubeObject } from '../../../machinery/object.ts';

/** When a hook runs, in Argo CD's words. */
export type HookPhase = 'PreSync' | 'Sync' | 'PostSync' | 'SyncFail';

export type HookDeletion = 'HookSucceeded' | 'HookFailed' | 'BeforeHookCreation';

export type DriftPolicy = 'correct' | 'detect' | 'ignore';

/**
 * Requests of an object's own annotations to the engine: ours, and those of Flux and Argo CD that repositories carry
 * already.
 */
export interface ObjectPolicy {
  /**
   * The engine neither applies nor corrects nor prunes the object: until then (milliseconds since the epoch), or
   * permanently.
   */
  readonly suspendedUntil: number | undefined;
  /** Is made when it is not there and never changed. */
  readonly createsOnly: boolean;
  /** Fields of other managers stay theirs, whoever they are. */
  readonly isMerged: boolean;
  readonly prune: 'last' | 'before' | 'never';
  /** May be deleted and created again when an immutable field has changed. */
  readonly recreates: boolean;
  /** A Job whose name ends with a hash of its spec: a change makes another Job. */
  readonly hashesName: boolean;
  /** Undefined: as the app has it. */
  readonly drift: DriftPolicy | undefined;
  readonly failsOnConflict: boolean | undefined;
  readonly wave: number;
  /** Empty for what is not a hook. */
  readonly hooks: readonly HookPhase[];
  readonly hookDeletion: readonly HookDeletion[];
  /** A hook of a phase that is not one: it is never run. */
  readonly isSkipped: boolean;
}

/** Keys as Argo CD has them. @see https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/ */
const argo = {
  wave: 'argocd.argoproj.io/sync-wave',
  hookDeletion: 'argocd.argoproj.io/hook-delete-policy',
  syncOptions: 'argocd.argoproj.io/sync-options',
} as const;

const hookPhases: readonly HookPhase[] = ['PreSync', 'Sync', 'PostSync', 'SyncFail'];
const hookDeletions: readonly HookDeletion[] = ['HookSucceeded', 'HookFailed', 'BeforeHookCreation'];
const driftPolicies: readonly DriftPolicy[] = ['correct', 'detect', 'ignore'];

const plain: ObjectPolicy = {
  suspendedUntil: undefined,
  createsOnly: false,
  isMerged: false,
  prune: 'last',
  recreates: false,
  hashesName: false,
  drift: undefined,
  failsOnConflict: undefined,
  wave: 0,
  hooks: [],
  hookDeletion: ['BeforeHookCreation'],
  isSkipped: false,
};

/** Objects are frozen, so what was read once holds. */
const known = new WeakMap<KubeObject, ObjectPolicy>();

/** Policy of a manifest or of a live object; Flux reads its own keys from labels, too, and accepts values in any case. */
export function policyOf(object: KubeObject): ObjectPolicy {
  const { annotations: notes, labels } = object.metadata;
  if (notes === undefined && labels === undefined) return plain;
  let policy = known.get(object);
  if (policy === undefined) {
    policy = read(notes ?? {}, labels ?? {});
    // Nearly every object: it has labels, and they ask for nothing.
    if (deepEqual(policy, plain)) policy = plain;
    known.set(object, policy);
  }
  return policy;
}

export const isSuspended = ({ suspendedUntil }: ObjectPolicy, now: number): boolean => suspendedUntil !== undefined && now < suspendedUntil;

/** Reason to leave a live object alone, or not to create a missing one; undefined when the engine may act. */
export function skipReasonOf(policy: ObjectPolicy, live: KubeObject | undefined, now: number): 'suspended' | 'exists' | undefined {
  if (isSuspended(policy, now) || (live !== undefined && isSuspended(policyOf(live), now))) return 'suspended';
  return policy.createsOnly && live !== undefined ? 'exists' : undefined;
}

function read(notes: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): ObjectPolicy {
  const says = (key: string, value: string): boolean => [notes[key], labels[key]].some((text) => text?.toLowerCase() === value);
  const options = listOf(notes[argo.syncOptions]);
  const hooks = listOf(notes[annotations.argoHook]);
  const phases = hookPhases.filter((phase) => hooks.includes(phase));
  const wave = Number(notes[argo.wave] ?? 0);
  const deletion = hookDeletions.filter((each) => listOf(notes[argo.hookDeletion]).includes(each));
  const drift = driftPolicies.find((each) => each === notes[annotations.drift]);
  const conflict = notes[annotations.onConflict];
  const until = Date.parse(notes[annotations.suspendUntil] ?? '');
  const isOff = says(annotations.fluxReconcile, 'disabled') || says(annotations.fluxSsa, 'ignore');
  const keeps = says(annotations.fluxPrune, 'disabled') || notes[annotations.prune] === 'false' || options.includes('Prune=false');
  return {
    suspendedUntil: isOff ? (Number.isNaN(until) ? Number.POSITIVE_INFINITY : until) : undefined,
    createsOnly: says(annotations.fluxSsa, 'ifnotpresent'),
    isMerged: says(annotations.fluxSsa, 'merge'),
    prune: keeps || isOff ? 'never' : notes[annotations.prune] === 'before' ? 'before' : 'last',
    recreates: says(annotations.fluxForce, 'enabled') || options.includes('Force=true') || options.includes('Replace=true'),
    hashesName: notes[annotations.recreate] === 'name-hash',
    drift,
    failsOnConflict: conflict === undefined ? undefined : conflict === 'fail',
    wave: Number.isSafeInteger(wave) ? wave : 0,
    hooks: phases,
    hookDeletion: deletion.length === 0 ? ['BeforeHookCreation'] : deletion,
    isSkipped: hooks.length > 0 && phases.length === 0,
  };
}

const listOf = (text = ''): readonly string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
