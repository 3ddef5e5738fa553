import { type Attempt, attemptsOf } from '../api/kustomize/v1/attempt.ts';
import { describeHold, holdOf } from '../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import type { VerdictState } from '../base/contracts/app-states.ts';
import type { AppOverview, CommitOverview } from '../base/contracts/overview.ts';
import { conditionOf, isConditionTrue } from '../machinery/conditions.ts';
import { hasFailedOnHealth, kustomizationReasons as reasons, stateOf } from './kustomization.facts.ts';
import type { HealthStatus } from './reasons.ts';

/** Is an app what Git says? Everything that is shown of it is made of this. */
export interface AppVerdict {
  readonly state: VerdictState;
  readonly sync: AppOverview['sync'];
  readonly health: HealthStatus;
  /** Reasons for this state, the most useful line first; empty when the app matches and no hold is set. */
  readonly reason: string;
  /** Names who suspended or pinned the app, until when and why; empty when nobody did. */
  readonly hold: string;
  /** Differences from Git that are left so, one line each. */
  readonly differences: readonly string[];
  /** Values that Git leaves to others and they have set, and files that are not read, one line each. */
  readonly notes: readonly string[];
  readonly cause: CommitOverview | undefined;
}

/** Condition `Suspended`, reason: the newest commit would change the app. */
export const commitWaits = 'CommitWaits';

/** Condition `Healthy`, reason: the app waits for health, and an app that it applies is not ready. Nothing is wrong with the app itself. */
export const appNotReady = 'AppNotReady';

/** True when the only thing in the way of an app is another app that it applies. */
export const waitsForApp = ({ status }: Kustomization): boolean => conditionOf(status?.conditions, 'Healthy')?.reason === appNotReady;

/**
 * The one place that decides whether an app is what Git says. It uses the stored facts of the app and its source alone. So the engine, the
 * page and every command come to the same answer.
 *
 * @param source  the app's GitRepository; undefined when it does not exist or is of another kind
 */
export function judgeApp(app: Kustomization, source: GitRepository | undefined): AppVerdict {
  const differences = differencesOf(app, source);
  const hold = holdText(app);
  const { state, reason } = decide(app, source, { differences, hold });
  const health = healthOf(app);
  return {
    state,
    sync: syncOf(state, differences),
    health: app.spec.suspend === true && health !== 'Degraded' && health !== 'Missing' && health !== 'NoController' ? 'Suspended' : health,
    reason,
    hold,
    differences,
    notes: notesOf(app),
    cause: causeOf(app, state),
  };
}

interface Findings {
  readonly differences: readonly string[];
  readonly hold: string;
}

function decide(
  app: Kustomization,
  source: GitRepository | undefined,
  { differences, hold }: Findings,
): Pick<AppVerdict, 'state' | 'reason'> {
  const conditions = app.status?.conditions;
  const ready = conditionOf(conditions, 'Ready');
  const readyMessage = ready?.message ?? '';
  const health = healthOf(app);
  // A second line is what to do about it.
  const [healthMessage = ''] = (conditionOf(conditions, 'Healthy')?.message ?? '').split('\n');
  const isSuspended = app.spec.suspend === true;
  const state = stateOf(app);
  const unread = conditionOf(source?.status?.conditions, 'Ready');
  if (state === 'Deleting')
    return ready?.status === 'False' ? { state: 'Differs', reason: readyMessage } : { state: 'OnTheWay', reason: readyMessage };
  if (ready === undefined)
    return isSuspended ? { state: 'Held', reason: hold } : { state: 'Unknown', reason: 'nobody has looked at it yet' };
  if (!isSuspended && app.status?.observedGeneration !== app.metadata.generation)
    return { state: 'OnTheWay', reason: 'its spec was changed just now' };
  // A suspended app is not tried: what its last try came to is no answer to what Git says now.
  if (ready.status === 'False' && !isSuspended && !hasFailedOnHealth(app)) {
    // Nothing was ever read of it: the source says why, and what to do.
    if (ready.reason === reasons.artifactFailed && unread?.status === 'False')
      return { state: 'Waiting', reason: `Git cannot be read: ${unread.message}` };
    if (state === 'Waiting') return { state: 'Waiting', reason: readyMessage };
    return { state: ready.reason === reasons.pruneFailed ? 'Differs' : 'NotApplied', reason: readyMessage };
  }
  if (hasFailedOnHealth(app) && !isSuspended && health !== 'NoController') {
    // That app has a verdict of its own.
    if (waitsForApp(app)) return { state: 'Waiting', reason: readyMessage };
    return { state: 'Broken', reason: readyMessage || healthMessage };
  }
  if (health === 'Degraded') return { state: 'Broken', reason: healthMessage };
  const isMoving = !isSuspended && (ready.status === 'Unknown' || isBehind(app, source));
  const [first = '', ...more] = differences;
  if (differences.length > 0) {
    const isNamed = hold === '' || first.includes(hold);
    return { state: 'Differs', reason: [isNamed ? first : `${first}; ${lowerFirst(hold)}`, ...more].join('\n') };
  }
  if (health === 'NoController') return { state: 'NoController', reason: healthMessage };
  if (health === 'Missing' && !isMoving) return { state: 'Differs', reason: healthMessage };
  if (waitsForApp(app) && !isMoving) return { state: 'Waiting', reason: healthMessage };
  if (isMoving || health === 'Progressing' || health === 'Missing')
    return { state: 'OnTheWay', reason: healthMessage || (ready.status === 'Unknown' ? readyMessage : '') };
  // The app's own condition reports a source that is not there.
  if (unread?.status === 'False') return { state: 'Unknown', reason: `Git cannot be read: ${unread.message}` };
  if (health === 'Unknown' && conditionOf(conditions, 'Healthy') !== undefined) return { state: 'Unknown', reason: healthMessage };
  return hold === '' ? { state: 'Matches', reason: '' } : { state: 'Held', reason: hold };
}

const lowerFirst = (text: string): string => `${text.charAt(0).toLowerCase()}${text.slice(1)}`;
const shaOf = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1);

/** An app that applies nothing but other apps. */
export function isAppList({ status }: Kustomization): boolean {
  const entries = status?.inventory?.entries ?? [];
  return entries.length > 0 && entries.every(({ id }) => id.endsWith('_kustomize.toolkit.fluxcd.io_Kustomization'));
}

/** Health of what the app applied, as the engine saw it last. */
export function healthOf(app: Kustomization): HealthStatus {
  if (waitsForApp(app)) return 'Progressing';
  return (conditionOf(app.status?.conditions, 'Healthy')?.reason as HealthStatus | undefined) ?? 'Unknown';
}

function differencesOf(app: Kustomization, source: GitRepository | undefined): readonly string[] {
  const { conditions, lastAppliedRevision } = app.status ?? {};
  const said = (type: string): string => (isConditionTrue(conditions, type) ? (conditionOf(conditions, type)?.message ?? '') : '');
  const newest = source?.status?.artifact?.revision;
  const hold = holdOf(app);
  const blocked = said('PruneBlocked');
  const suspended = conditionOf(conditions, 'Suspended');
  return [
    ...said('Drifted')
      .split('\n')
      .filter((line) => line !== ''),
    ...(blocked === '' ? [] : [`The prune is held: ${blocked}`]),
    // The held commit changes the app: that is what a hold is for.
    ...(hold !== undefined && newest !== undefined && newest !== lastAppliedRevision ? [describeHold(hold)] : []),
    ...(app.spec.suspend === true && suspended?.reason === commitWaits
      ? [`${holdText(app)}; ${shaOf(suspended.message).slice(0, 7)} changes the app and waits`]
      : []),
  ];
}

/** Conditions about fields that are not what Git says because Git leaves them, or cannot take them away. */
const noteTypes = ['Autoscaled', 'Shared', 'LeftOver', 'LeftOut'] as const;
const noteWords: Readonly<Record<(typeof noteTypes)[number], string>> = {
  Autoscaled: '',
  Shared: 'kept: ',
  LeftOver: 'left over: ',
  LeftOut: '',
};

function notesOf({ status }: Kustomization): readonly string[] {
  return noteTypes.flatMap((type) =>
    (conditionOf(status?.conditions, type)?.message ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => `${noteWords[type]}${line}`),
  );
}

/** `Suspended by alice until …: why`, or who pinned the app. */
function holdText(app: Kustomization): string {
  if (app.spec.suspend !== true) {
    const hold = holdOf(app);
    return hold === undefined ? '' : describeHold(hold);
  }
  const {
    [annotations.suspendReason]: why,
    [annotations.suspendUntil]: until,
    [annotations.suspendedBy]: by,
  } = app.metadata.annotations ?? {};
  return [
    'Suspended',
    ...(by === undefined ? [] : [` by ${by}`]),
    ...(until === undefined ? [] : [` until ${until}`]),
    ...(why === undefined ? [] : [`: ${why}`]),
  ].join('');
}

/** The source has a revision that the app has neither applied nor refused yet; of a large repository it takes seconds to read one. */
function isBehind(app: Kustomization, source: GitRepository | undefined): boolean {
  const { lastAppliedRevision, lastAttemptedRevision } = app.status ?? {};
  const newest = source?.status?.artifact?.revision;
  if (newest === undefined || lastAppliedRevision === undefined || holdOf(app) !== undefined) return false;
  return lastAppliedRevision !== newest && lastAttemptedRevision !== newest;
}

function syncOf(state: VerdictState, differences: readonly string[]): AppVerdict['sync'] {
  switch (state) {
    case 'NotApplied':
      return 'Failed';
    case 'Differs':
      return 'OutOfSync';
    case 'Waiting':
    case 'OnTheWay':
      return 'Progressing';
    case 'Unknown':
      return 'Unknown';
    // The applied objects are what Git says, though they do not work.
    case 'Broken':
    case 'NoController':
      return differences.length === 0 ? 'Synced' : 'OutOfSync';
    case 'Held':
    case 'Matches':
      return 'Synced';
    default:
      return state satisfies never;
  }
}

/**
 * The commit to blame. It is the newest one that changed the app, when the trouble began with it and an earlier state is there to go back
 * to. Drift, a lost node and a changed spec are no commit's fault; where nothing ever worked, a revert brings nothing back.
 */
function causeOf(app: Kustomization, state: VerdictState): CommitOverview | undefined {
  if (state !== 'NotApplied' && state !== 'Broken') return undefined;
  const [newest, ...earlier] = attemptsOf(app);
  const inForce = app.status?.lastAppliedRevision;
  if (newest === undefined || inForce === undefined) return undefined;
  const isBlamed =
    state === 'NotApplied'
      ? newest.revision !== inForce && failedBeforeHealth(newest)
      : newest.revision === inForce && newest.healthyAt === undefined && earlier.some(wasApplied);
  return isBlamed ? commitOf(newest) : undefined;
}

const failedBeforeHealth = ({ phases }: Attempt): boolean =>
  phases.some(({ name, result }) => result === 'failed' && name !== 'health' && name !== 'prune' && name !== 'fetch');
const wasApplied = ({ phases }: Attempt): boolean => phases.some(({ name, result }) => name === 'apply' && result === 'done');

export const commitOf = ({ revision, author, subject, seenAt }: Attempt): CommitOverview => ({
  sha: shaOf(revision),
  author,
  subject,
  seenAt,
});
