import type { Hold } from '../../api/kustomize/v1/hold.ts';
import type { HistorySnapshot, InventoryEntry, Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { ObjectChange } from '../../base/activity.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import type { DynamicObject, ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import type { FieldSet } from '../../machinery/structured-merge/field-set.ts';
import type { BuildError, BuildResult } from '../manifests/manifest.ts';
import type { Commit } from '../sources/git-source.ts';
import type { FieldPath, FieldTree } from './objects/fields.ts';
import type { ObjectId } from './objects/object-id.ts';
import type { Cause } from './observe/causes.ts';
import type { CheckedObject } from './observe/health-checks.ts';
import type { DesiredObject, Plan } from './plan/plan.ts';
import type { SyncTrigger } from './status/gitops-metrics.ts';
import type { HistoryEntry } from './status/history.ts';
import type { AttemptRecord } from './sync/attempt.ts';

/** What came of the hooks of one digest: a hook runs once for each. */
export interface HookRecord {
  digest: string;
  /** Nothing of them is left to run. */
  complete: boolean;
  /** `PHASE id` */
  readonly succeeded: Set<string>;
  /** Succeeded, and to be deleted once that is written down. */
  readonly cleaning: Map<ObjectId, { readonly hook: DesiredObject; readonly live: DynamicObject }>;
}

/** A revision that is being put in force wave by wave. */
export interface Rollout {
  readonly build: BuildResult;
  /** `main@sha1:…` */
  readonly revision: string;
  readonly generation: number;
  /** Of the monotonic clock. */
  readonly startedAt: number;
  /** How each object is applied, as the dry run found. */
  readonly modes: Map<ObjectId, ApplyMode>;
  readonly plan: Plan;
  /** Namespaces and definitions that were made for it before all that needs them was tried out. */
  readonly made: Set<ObjectId>;
  readonly changes: ObjectChange[];
  /** What the next wave waits for; a sentence each. */
  waitsFor: readonly string[];
  /** When to look again although nothing changed. */
  recheckMs: number | undefined;
}

/** `force` takes fields from others, `recreate` deletes first. */
export type ApplyMode = 'apply' | 'force' | 'recreate';

/** An object that is in force: what was sent, and what we owned of it right after. */
export interface AppliedObject {
  readonly desired: DesiredObject;
  readonly ownFields: FieldTree | undefined;
  readonly uid: string | undefined;
  /** Of our own write. */
  readonly resourceVersion: number;
  /** It was not written: its annotations say that it is left alone for now, or that it is only to be there. */
  readonly skipped?: 'suspended' | 'exists';
  /** Fields of others that the server did not let go when they were taken over: they stay until Git changes the object. */
  readonly refused?: FieldSet;
  /** A later write was not answered with success: the server may hold what that one said, and its event is one of our own. */
  readonly inDoubt?: true;
}

/** Fields of a live object that are not what Git says, and that stay. */
export interface ObjectNotes {
  /** `replicas: 6 by HorizontalPodAutoscaler shop (Git says 4)`; empty when no autoscaler has set another number. */
  readonly replicas: string;
  /** `spec.template.spec.containers[istio-proxy] by istiod`: additions of managers whose fields are not taken over; at most 5. */
  readonly additions: readonly string[];
  /** Fields that left Git, that nobody owns, and that an apply does not take away, as `spec.clusterIP None`; at most 5. */
  readonly leftOver: readonly { readonly path: FieldPath; readonly text: string }[];
}

/** An object of the inventory that the newest revision no longer names. */
export interface DoomedObject {
  readonly version: string;
  readonly uid: string | undefined;
  /** Known once discovery was asked. */
  readonly resource?: Resource<DynamicObject>;
  readonly ref?: ObjectRef;
}

/** How an object of the write-ahead inventory stands. */
export interface InventoryRecord {
  readonly revision: string;
  readonly entries: readonly {
    readonly id: ObjectId;
    readonly v: string;
    readonly uid?: string;
    readonly state: 'pending' | 'applied' | 'pruning';
    /** `ObjectNotes.leftOver`: only the apply that took the fields out of Git could tell. */
    readonly leftOver?: ObjectNotes['leftOver'];
  }[];
  readonly hooks?: { readonly digest: string; readonly complete: boolean; readonly succeeded: readonly string[] };
  readonly healthy?: HealthyRevision;
  readonly autoReverted?: string;
}

/** A revision that could not be put in force, and when it is tried again. */
export interface FailedAttempt {
  readonly revision: string;
  readonly generation: number;
  /** Of the monotonic clock. */
  readonly failedAt: number;
  /** 0: the app waits for another one, and its failure is not announced. */
  readonly failures: number;
  readonly retryMs: number;
}

/** The newest revision at which an app was healthy; where an automatic revert goes. */
export interface HealthyRevision {
  readonly sha: string;
  readonly digest: string;
}

/** What was found to be different from what we applied. */
export interface Drift {
  readonly id: ObjectId;
  readonly change: string;
  readonly by: string;
  /** Git says none of it: when it is gone again, nothing differs any more. */
  readonly isAddition?: true;
  /** Milliseconds since the epoch. */
  readonly detectedAt: number;
  /** Why it is not put back: the policy says so, or it was put back too often until this time (milliseconds since the epoch). */
  readonly left?: 'detect' | { readonly until: number };
}

/** Fields whose corrections are remembered, for each app. */
const maxCorrectedFields = 1_000;

/**
 * What the engine knows of an app. All of it can be found out again: from the tree, the inventory Secret and the live objects; it is
 * kept so that nothing has to be done twice.
 */
export interface AppState {
  readonly key: string;
  /** The app as our last write left it, until the cache has it, too. */
  written: Kustomization | undefined;
  /** A status write was not answered: what the status says is not known until the next one, whatever the cache holds. */
  statusInDoubt: boolean;
  /** False until the inventory was read after a start. */
  loaded: boolean;
  /** The build that is in force as a whole. */
  build: BuildResult | undefined;
  readonly applied: Map<ObjectId, AppliedObject>;
  /** Revision, digest and generation of what is in force; the digest is empty after a start until a first pass has compared. */
  revision: string;
  /** Root tree of it: an included repository changes that alone. */
  tree: string;
  sha: string;
  digest: string;
  generation: number;
  /** A variable's source changed since the sync that is under way, or the last one, began: it may have read the old value. */
  valuesChanged: boolean;
  /** `reconcile.fluxcd.io/requestedAt` that was served. */
  handledRequest: string | undefined;
  readonly doomed: Map<ObjectId, DoomedObject>;
  /** Objects that were to be applied and of which no answer came that they are: they may be there all the same. */
  readonly pending: Map<ObjectId, DesiredObject>;
  hooks: HookRecord;
  /** Objects that the inventory lists because a hook made them. */
  readonly hookObjects: Map<ObjectId, DesiredObject>;
  rollout: Rollout | undefined;
  healthy: HealthyRevision | undefined;
  /** The revision that was reverted by itself, which is done once for each. */
  autoReverted: string;
  /** What an app with a hold runs, for as long as `key` stays what it is. */
  held:
    | { readonly key: string; readonly commit: Commit | undefined; readonly hold: Hold | undefined; readonly isReleased: boolean }
    | undefined;
  /** The newest revision, when it would change the app and the app is suspended, for as long as `key` stays what it is. */
  waiting: { readonly key: string; readonly revision: string | undefined } | undefined;
  /** Objects whose errors keep the revision from being in force, as they were: when one changes, it is tried again at once. */
  failing: ReadonlyMap<ObjectId, string>;
  /** Objects whose apply is under way: their events are our own writes. */
  readonly writing: Set<ObjectId>;
  readonly drifts: Map<ObjectId, Drift>;
  /** Notes of objects that have any. */
  readonly notes: Map<ObjectId, ObjectNotes>;
  /** Why objects could not be put back at the last try, and how often they were tried; `triedAt` is of the monotonic clock. */
  readonly unhealed: Map<ObjectId, { readonly reason: string; readonly tries: number; readonly triedAt: number }>;
  /** Namespaces in which nothing can be put back, and since when; of the monotonic clock. */
  readonly blockedNamespaces: Map<string, { readonly reason: string; readonly since: number; readonly triedAt: number }>;
  /** Times of recent corrections by object and field, for noticing a fight. */
  readonly corrections: Map<string, number[]>;
  readonly health: Map<ObjectId, Health>;
  readonly healthDirty: Set<ObjectId>;
  /** Objects whose health time alone changes, and when; milliseconds since the epoch. */
  readonly healthDue: Map<ObjectId, number>;
  /** Why the app is not healthy yet, and since when it has been just this. */
  progress: { readonly reason: string; readonly since: number } | undefined;
  /** The cause of `of`, the object and reason that the app is not healthy for; `at` is the time of the next search. */
  cause: { readonly of: string; at: number; looks: number; found: Cause | undefined } | undefined;
  /** Health did not come in time after what was applied last. */
  isOverdue: boolean;
  /** What `spec.healthChecks` names, and the list that it was made of; undefined while a kind of it is not known. */
  checks: ReadonlyMap<ObjectId, CheckedObject>;
  checkedFor: Kustomization['spec']['healthChecks'];
  /** Aborts the sync under way when a newer revision is there. */
  abortSync: AbortController | undefined;
  /** Revision whose sync is under way or failed; a failed one is tried again with a back-off, not at each wake-up. */
  attempted: FailedAttempt | undefined;
  errors: readonly BuildError[];
  history: readonly HistoryEntry[];
  /** The newest go at a revision that changed something or failed, and what the status says of it and of those before. */
  attempt: AttemptRecord | undefined;
  snapshots: readonly HistorySnapshot[] | undefined;
  /** When the revision in force was seen and applied; milliseconds since the epoch. 0: not in this process. */
  seenAt: number;
  appliedAt: number;
  /** When what is in force began to be waited for; 0 before. */
  waitsSince: number;
  announcedHealthy: boolean;
  /** The problem that was told last, so that it is told once. */
  announcedProblem: string;
  /** SHA at which an app that had worked was said to have that problem; empty when none was, or it was said to be over. */
  brokeAt: string;
  /** When the app last became healthy, while it is; 0 otherwise. */
  wellSince: number;
  degradedSince: number;
  lastHealth: Health;
  isRollback: boolean;
  /** The inventory Secret may not be what `applied` and `doomed` say; a digest of what it holds, so that it is written only when it changes. */
  inventoryDirty: boolean;
  writtenInventory: string;
  /** The inventory as the status has it; undefined when it has to be made anew. */
  entries: readonly InventoryEntry[] | undefined;
  pruneBlocked: string;
  /** Looks at the same deletion that was held back, and when the next one is due, of the monotonic clock. */
  heldLooks: number;
  lookAtHeldAt: number;
  /** Deletions that were refused one after the other. */
  pruneFailures: number;
  trigger: SyncTrigger;
}

/** A write of the object ended without an answer that says what is there now. */
export function doubt({ applied }: AppState, id: ObjectId): void {
  const known = applied.get(id);
  if (known !== undefined) applied.set(id, { ...known, inDoubt: true });
}

const noNotes: ObjectNotes = { replicas: '', additions: [], leftOver: [] };

/** Changes the notes of an object; an object that is what Git says has none. */
export function setNotes({ notes }: AppState, id: ObjectId, change: Partial<ObjectNotes>): void {
  const next = { ...(notes.get(id) ?? noNotes), ...change };
  if (next.replicas === '' && next.additions.length + next.leftOver.length === 0) notes.delete(id);
  else notes.set(id, next);
}

/** Objects came to the app or left it. */
export function touchInventory(state: AppState): void {
  state.inventoryDirty = true;
  state.entries = undefined;
}

export function newAppState(key: string): AppState {
  return {
    key,
    written: undefined,
    statusInDoubt: false,
    loaded: false,
    build: undefined,
    applied: new Map(),
    revision: '',
    tree: '',
    sha: '',
    digest: '',
    generation: 0,
    valuesChanged: false,
    handledRequest: undefined,
    doomed: new Map(),
    pending: new Map(),
    hooks: { digest: '', complete: false, succeeded: new Set(), cleaning: new Map() },
    hookObjects: new Map(),
    rollout: undefined,
    healthy: undefined,
    autoReverted: '',
    held: undefined,
    waiting: undefined,
    failing: new Map(),
    writing: new Set(),
    drifts: new Map(),
    notes: new Map(),
    unhealed: new Map(),
    blockedNamespaces: new Map(),
    corrections: new BoundedMap(maxCorrectedFields),
    health: new Map(),
    healthDirty: new Set(),
    healthDue: new Map(),
    progress: undefined,
    cause: undefined,
    isOverdue: false,
    checks: new Map(),
    checkedFor: undefined,
    abortSync: undefined,
    attempted: undefined,
    errors: [],
    history: [],
    attempt: undefined,
    snapshots: undefined,
    seenAt: 0,
    appliedAt: 0,
    waitsSince: 0,
    announcedHealthy: false,
    announcedProblem: '',
    brokeAt: '',
    wellSince: 0,
    degradedSince: 0,
    lastHealth: { status: 'Unknown', reason: '' },
    isRollback: false,
    inventoryDirty: true,
    writtenInventory: '',
    entries: undefined,
    pruneBlocked: '',
    heldLooks: 0,
    lookAtHeldAt: 0,
    pruneFailures: 0,
    trigger: 'commit',
  };
}
