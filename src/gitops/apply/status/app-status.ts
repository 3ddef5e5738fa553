import type { Condition } from '../../../api/flux.ts';
import { describeHold, type Hold, holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization, KustomizationStatus } from '../../../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../../../api/source/v1/git-repository.ts';
import { annotations } from '../../../api/well-known.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import { type KustomizationState, statusOf } from '../../../lifecycle/kustomization.facts.ts';
import { type Health, sentenceOf } from '../../../lifecycle/reasons.ts';
import { appNotReady, commitWaits, judgeApp } from '../../../lifecycle/verdict.ts';
import { setCondition } from '../../../machinery/conditions.ts';
import { deepEqual } from '../../../machinery/object.ts';
import type { RevisionStore } from '../../sources/follow/known-revision.ts';
import { describeId, describeObject } from '../objects/object-id.ts';
import { maxCorrections } from '../observe/drift.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { sourceKeyOf } from '../plan/app-spec.ts';
import type { AppRecords } from '../records/app-records.ts';
import { driftLine, type ObjectNotes } from '../records/drifts.ts';
import type { AppMetricsState } from './gitops-metrics.ts';

export interface StatusFacts {
  readonly app: Kustomization;
  readonly state: AppRecords;
  /** State of the machine after this pass. */
  readonly value: KustomizationState;
  readonly finding: Finding;
  readonly health: Health;
  /** The source's newest revision, when it is known. */
  readonly attempted: string | undefined;
  /** Hold that keeps the app at another revision than the newest. */
  readonly hold: Hold | undefined;
  /** The last status write was not answered: the status is written whatever it seems to say. */
  readonly isInDoubt: boolean;
  /** The newest revision, when the app is suspended and it would change the app. */
  readonly waiting: string | undefined;
  /** RFC 3339. */
  readonly now: string;
  /** Takes values of Secrets out of a message. */
  redact(text: string): string;
}

/** Status to be written after a pass; undefined when the app has it already. */
export function statusChange({
  app,
  state,
  value,
  finding,
  health,
  attempted,
  hold,
  isInDoubt,
  waiting,
  now,
  redact,
}: StatusFacts): KustomizationStatus | undefined {
  const generation = app.metadata.generation ?? 0;
  let conditions = statusOf({ state: value, before: app.status?.conditions ?? [], finding, generation, now });
  if (state.ownership.applied.size > 0) conditions = setCondition(conditions, healthCondition(health, generation), now);
  const note = (type: string, reason: string, message: string): void => {
    if (message !== '')
      conditions = setCondition(conditions, { type, status: 'True', reason, message, observedGeneration: generation }, now);
    else if (conditions.some((condition) => condition.type === type))
      conditions = conditions.filter((condition) => condition.type !== type);
  };
  note('PruneBlocked', 'PruneBlocked', state.prune.blocked);
  note('Pinned', 'Held', hold === undefined ? '' : describeHold(hold));
  note('Drifted', 'DriftDetected', driftText(state));
  note(
    'Autoscaled',
    'ReplicasLeft',
    notesText(state, ({ replicas }) => (replicas === '' ? [] : [replicas])),
  );
  note(
    'Shared',
    'FieldsOfOthers',
    notesText(state, ({ additions }) => additions),
  );
  note(
    'LeftOver',
    'NotTakenAway',
    notesText(state, ({ leftOver }) => leftOver.map(({ text }) => text)),
  );
  note('LeftOut', 'FilesNotRead', unreadText(state));
  note('Suspended', waiting === undefined ? 'Suspended' : commitWaits, value === 'Suspended' ? suspensionText(app, waiting) : '');
  conditions = conditions.map((condition) => {
    const message = redact(condition.message ?? '');
    return message === (condition.message ?? '') ? condition : { ...condition, message };
  });
  const settled = value !== 'Suspended' && value !== 'Deleting';
  const next: KustomizationStatus = {
    ...(settled ? { observedGeneration: generation } : {}),
    conditions,
    ...(state.ownership.isLoaded ? { inventory: { entries: state.ownership.entriesFor(app.status?.inventory?.entries) } } : {}),
    ...(state.announced.snapshots === undefined ? {} : { history: state.announced.snapshots }),
    ...(state.inForce.revision === '' ? {} : { lastAppliedRevision: state.inForce.revision }),
    ...(attempted === undefined || !settled || value === 'Waiting' ? {} : { lastAttemptedRevision: attempted }),
    ...(state.inForce.handledRequest === undefined ? {} : { lastHandledReconcileAt: state.inForce.handledRequest }),
  };
  return !isInDoubt && deepEqual({ ...app.status, ...next }, app.status ?? {}) ? undefined : next;
}

/** `held until 14:03:12 UTC after 3 corrections` */
export const heldText = (until: number): string =>
  `held until ${new Date(until).toISOString().slice(11, 19)} UTC after ${maxCorrections} corrections`;

/** Drifts that the status names. */
const maxDriftsShown = 5;

/** Names the differences from Git that are left as they are, for now or by policy. */
function driftText({ drifts: { found, unhealed, blockedNamespaces }, ownership: { applied } }: AppRecords): string {
  if (found.size === 0) return '';
  const texts = [...found.values()].map(({ id, change, by, left }) => {
    const known = applied.get(id);
    const object = known === undefined ? describeId(id) : describeObject(known.desired.object);
    const blocked = blockedNamespaces.get(known?.desired.ref.namespace ?? '')?.reason ?? unhealed.get(id)?.reason;
    const why = typeof left === 'object' ? `, ${heldText(left.until)}` : blocked === undefined ? '' : `; not healed: ${blocked}`;
    return `${driftLine(object, { change, by })}${why}`;
  });
  const more = texts.length - maxDriftsShown;
  return `${texts.slice(0, maxDriftsShown).join('\n')}${more > 0 ? `\n… and ${more} more` : ''}`;
}

/** `apps/web/a.json is a manifest in JSON, which is not read`, a line each. */
function unreadText({ inForce: { build } }: AppRecords): string {
  const unread = build?.unread ?? [];
  const more = unread.length - maxNotesShown;
  return [
    ...unread.slice(0, maxNotesShown).map(({ file, message }) => `${file} ${message}`),
    ...(more > 0 ? [`… and ${more} more files`] : []),
  ].join('\n');
}

/** Lines of notes that the status names. */
const maxNotesShown = 5;

/** `Deployment web/shop: replicas: 6 by HorizontalPodAutoscaler shop (Git says 4)`, a line each. */
function notesText({ drifts: { notes }, ownership: { applied } }: AppRecords, linesOf: (notes: ObjectNotes) => readonly string[]): string {
  const lines: string[] = [];
  let count = 0;
  for (const [id, of] of notes) {
    const known = applied.get(id);
    if (known === undefined) continue;
    for (const line of linesOf(of)) {
      if (count < maxNotesShown) lines.push(`${describeObject(known.desired.object)}: ${line}`);
      count += 1;
    }
  }
  return `${lines.join('\n')}${count > maxNotesShown ? `\n… and ${count - maxNotesShown} more` : ''}`;
}

function suspensionText({ metadata }: Kustomization, waiting: string | undefined): string {
  const { [annotations.suspendReason]: reason, [annotations.suspendUntil]: until } = metadata.annotations ?? {};
  const pending = waiting === undefined ? '' : `; pending: ${waiting}`;
  return `Suspended${until === undefined ? '' : ` until ${until}`}${reason === undefined ? '' : `: ${reason}`}${pending}`;
}

function healthCondition(health: Health, generation: number): Omit<Condition, 'lastTransitionTime'> {
  const status =
    health.status === 'Healthy' ? 'True' : health.status === 'Progressing' || health.status === 'Unknown' ? 'Unknown' : 'False';
  // The second line is the next step, so the reason has one.
  const sentence = sentenceOf(health).replace(/\s*\n\s*/g, ' ');
  const message = health.fix === undefined ? sentence : `${sentence}\n${health.fix}`;
  const reason = health.isOfApp === true ? appNotReady : health.status;
  return { type: 'Healthy', status, reason, message, observedGeneration: generation };
}

/** Facts about an app beside its object, for its metrics. */
export interface MetricsFacts {
  readonly state: AppRecords | undefined;
  readonly source: GitRepository | undefined;
  readonly owned: OwnedObjects | undefined;
}

/** Facts of an app for the state families of `/metrics/gitops`. */
export function metricsStateOf(app: Kustomization, { state, source, owned }: MetricsFacts): AppMetricsState {
  const verdict = judgeApp(app, source);
  const objects = [...(state?.ownership.applied.values() ?? [])];
  const missing = [...(state?.health.known.values() ?? [])].filter(({ status }) => status === 'Missing').length;
  const outOfSync = state?.drifts.found.size ?? 0;
  return {
    namespace: app.metadata.namespace ?? '',
    app: app.metadata.name,
    source: sourceKeyOf(app),
    path: app.spec.path ?? './',
    revision: (state?.inForce.sha ?? '').slice(0, 7),
    verdict: verdict.state,
    sync: verdict.sync,
    health: verdict.health,
    suspended: app.spec.suspend === true,
    pruneBlocked: (state?.prune.blocked ?? '') !== '',
    followsAt: app.spec.suspend === true || holdOf(app) !== undefined || state === undefined ? undefined : state.inForce.revision,
    lastAppliedAt: Math.round((state === undefined ? 0 : lastAppliedAtOf(state)) / 1_000),
    manifestErrors: state?.attempt.errors.length ?? 0,
    objects: objects.map(({ desired: { object, ref } }) => ({ kind: object.kind, namespace: ref.namespace ?? '', name: ref.name })),
    resources: { synced: objects.length - outOfSync - missing, outOfSync, missing, extra: state?.ownership.doomed.size ?? 0 },
    pods: objects.flatMap(({ desired }) => {
      const live = owned?.live(desired.resource, desired.ref);
      return owned === undefined || live === undefined
        ? []
        : owned.podsOf(live).map(({ metadata: { namespace = '', name } }) => ({ namespace, name }));
    }),
  };
}

/** The source of an app at the revision that apps are built from. Its cache may be behind, and an app ahead of that is not behind Git. */
export function sourceAt(
  source: GitRepository | undefined,
  app: Kustomization,
  revisions: Pick<RevisionStore, 'get'>,
): GitRepository | undefined {
  if (app.spec.sourceRef.kind !== gitRepositories.kind) return undefined;
  const newest = revisions.get(sourceKeyOf(app))?.commit.revision;
  const artifact = source?.status?.artifact;
  if (source === undefined || newest === undefined || artifact === undefined || artifact.revision === newest) return source;
  return { ...source, status: { ...source.status, artifact: { ...artifact, revision: newest } } };
}

/** A new process knows by the history when earlier ones applied something. */
function lastAppliedAtOf({ inForce: { appliedAt }, announced: { history } }: AppRecords): number {
  if (appliedAt > 0) return appliedAt;
  return Date.parse(history.findLast(({ result }) => result === 'applied')?.at ?? '') || 0;
}
