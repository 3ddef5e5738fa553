import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { type Attempt, newestAttempt, type PhaseName, phaseNames } from '../api/kustomize/v1/attempt.ts';
import { describeHold, holdOf } from '../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { failedOnHealth, kustomizationReasons, stateOf } from './kustomization.facts.ts';

/** Why an app is as it is: the answer of `midship why`, of `status.json` and of the app's page. */
export interface Why {
  /** One sentence. */
  readonly verdict: string;
  /** The one thing that keeps the app from being what Git says, healthy; empty when nothing does. One line. */
  readonly blocking: string;
  /** The commit that changed the app last, whether it could be applied or not; undefined before the first. */
  readonly commit: WhyCommit | undefined;
  /** From commit to prune, each phase once. */
  readonly phases: readonly WhyPhase[];
  /** RFC 3339; undefined when nothing is tried again by itself. */
  readonly nextRetryAt: string | undefined;
  readonly tries: number;
  /** What to do; empty when there is nothing to do. */
  readonly fix: string;
}

export interface WhyCommit {
  readonly sha: string;
  readonly author: string;
  readonly subject: string;
  /** RFC 3339. */
  readonly seenAt: string;
}

export interface WhyPhase {
  readonly name: PhaseName;
  /** `waiting`: its turn has not come; `skipped`: there was nothing to do. */
  readonly result: 'done' | 'failed' | 'running' | 'waiting' | 'skipped';
  /** Undefined when it was not measured. */
  readonly durationMs: number | undefined;
  readonly detail: string;
}

/** @param source  the app's GitRepository; undefined when it does not exist */
export function whyOf(app: Kustomization, source: GitRepository | undefined): Why {
  const attempt = newestAttempt(app);
  const phases = phasesOf(app, source, attempt);
  const { blocking, fix } = blockOf(app, phases);
  const isRetried = phases.some(({ name, result }) => result === 'failed' && name !== 'fetch' && name !== 'health');
  return {
    verdict: verdictOf(app, blocking),
    blocking,
    commit: attempt === undefined ? undefined : commitOf(attempt),
    phases,
    nextRetryAt: isRetried && app.spec.suspend !== true ? attempt?.nextRetryAt : undefined,
    tries: attempt?.tries ?? 0,
    fix,
  };
}

const shaOf = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1);
const firstLine = (text = ''): string => text.split('\n')[0] ?? '';

function commitOf({ revision, author, subject, seenAt }: Attempt): WhyCommit {
  return { sha: shaOf(revision), author, subject, seenAt };
}

function phasesOf(app: Kustomization, source: GitRepository | undefined, attempt: Attempt | undefined): readonly WhyPhase[] {
  const fetched = fetchPhase(app, source, attempt);
  const verified: WhyPhase =
    source?.spec.verify === undefined
      ? { name: 'verify', result: 'skipped', durationMs: undefined, detail: 'no signature is asked for' }
      : { name: 'verify', result: fetched.result === 'done' ? 'done' : 'waiting', durationMs: undefined, detail: '' };
  const phases = [fetched, verified];
  const ready = conditionOf(app.status?.conditions, 'Ready');
  const waits = ready?.reason === kustomizationReasons.dependencyNotReady;
  const isStalled = stateOf(app) === 'Stalled';
  let stopped = attempt === undefined || waits || isStalled;
  for (const name of phaseNames.slice(2)) {
    const known = attempt?.phases.find((phase) => phase.name === name);
    let phase: WhyPhase;
    if (name === 'render' && (waits || isStalled)) {
      phase = { name, result: isStalled ? 'failed' : 'waiting', durationMs: undefined, detail: firstLine(ready?.message) };
    } else if (stopped) phase = { name, result: 'waiting', durationMs: undefined, detail: '' };
    else if (name === 'health') phase = healthPhase(app, known?.durationMs);
    else if (name === 'prune') phase = prunePhase(app, known?.durationMs);
    else if (known === undefined) phase = { name, result: 'skipped', durationMs: undefined, detail: 'nothing changed' };
    else
      phase = {
        name,
        result: known.result,
        durationMs: known.durationMs,
        detail: known.result === 'failed' ? firstLine(ready?.message) : '',
      };
    phases.push(phase);
    // What is not healthy may still be pruned; everything else comes one after the other.
    if (phase.result === 'failed' && name !== 'health') stopped = true;
  }
  return phases;
}

function fetchPhase(app: Kustomization, source: GitRepository | undefined, attempt: Attempt | undefined): WhyPhase {
  const fetch = { name: 'fetch', durationMs: attempt?.phases.find(({ name }) => name === 'fetch')?.durationMs } as const;
  if (source === undefined) {
    const { kind, name, namespace = app.metadata.namespace } = app.spec.sourceRef;
    return { ...fetch, result: 'failed', detail: `${kind} ${namespace}/${name} does not exist` };
  }
  const ready = conditionOf(source.status?.conditions, 'Ready');
  if (ready?.status === 'False') return { ...fetch, result: 'failed', detail: firstLine(ready.message) };
  const revision = source.status?.artifact?.revision;
  if (revision === undefined) return { ...fetch, result: 'running', detail: 'not looked at yet' };
  return { ...fetch, result: 'done', detail: `${revision.slice(0, revision.lastIndexOf('@'))} @ ${shaOf(revision).slice(0, 7)}` };
}

function healthPhase(app: Kustomization, durationMs: number | undefined): WhyPhase {
  const health = conditionOf(app.status?.conditions, 'Healthy');
  const base = { name: 'health', detail: firstLine(health?.message) } as const;
  if (health?.status === 'True') return { ...base, result: 'done', durationMs };
  if (health?.status === 'False' || failedOnHealth(app)) return { ...base, result: 'failed', durationMs: undefined };
  return { ...base, result: 'running', durationMs: undefined };
}

function prunePhase(app: Kustomization, durationMs: number | undefined): WhyPhase {
  const blocked = conditionOf(app.status?.conditions, 'PruneBlocked');
  if (blocked?.status === 'True') return { name: 'prune', result: 'failed', durationMs, detail: firstLine(blocked.message) };
  if (durationMs !== undefined) return { name: 'prune', result: 'done', durationMs, detail: '' };
  return { name: 'prune', result: 'skipped', durationMs: undefined, detail: 'nothing to delete' };
}

/** `Suspended by alice until …: why`, and the revision that waits for its end. */
function describeSuspension({ metadata, status }: Kustomization): string {
  const {
    [annotations.suspendReason]: reason,
    [annotations.suspendUntil]: until,
    [annotations.suspendedBy]: by,
  } = metadata.annotations ?? {};
  const { lastAppliedRevision, lastAttemptedRevision } = status ?? {};
  const waits =
    lastAttemptedRevision === undefined || lastAttemptedRevision === lastAppliedRevision ? '' : shaOf(lastAttemptedRevision).slice(0, 7);
  return [
    `Suspended${by === undefined ? '' : ` by ${by}`}${until === undefined ? '' : ` until ${until}`}`,
    ...(reason === undefined ? [] : [`: ${reason}`]),
    ...(waits === '' ? [] : [`; ${waits} is waiting`]),
  ].join('');
}

function blockOf(app: Kustomization, phases: readonly WhyPhase[]): Pick<Why, 'blocking' | 'fix'> {
  const name = nameOfApp(app.metadata);
  if (app.spec.suspend === true) return { blocking: describeSuspension(app), fix: `midship resume ${name}` };
  const ready = conditionOf(app.status?.conditions, 'Ready');
  if (stateOf(app) === 'Deleting' && ready?.status !== 'True') {
    const fix = ready?.reason === kustomizationReasons.pruneFailed ? 'allow the deletion' : 'take away what holds the objects';
    return { blocking: firstLine(ready?.message), fix: `${fix}, or keep them: set spec.deletionPolicy of ${name} to Orphan` };
  }
  const failed = phases.find(({ result }) => result === 'failed');
  if (failed === undefined) {
    if (ready?.reason === kustomizationReasons.dependencyNotReady) {
      const dependency = /'([^']*)'/.exec(ready.message)?.[1];
      return { blocking: firstLine(ready.message), fix: dependency === undefined ? '' : `midship why ${dependency}` };
    }
    const hold = holdOf(app);
    if (hold !== undefined) return { blocking: describeHold(hold), fix: `midship resume ${name}, or push a commit that changes the app` };
    const running = phases.find(({ result }) => result === 'running');
    return { blocking: running?.detail ?? '', fix: '' };
  }
  switch (failed.name) {
    case 'fetch':
      return { blocking: failed.detail, fix: 'midship get sources; the last good revision stays in force' };
    case 'verify':
    case 'render':
    case 'plan':
    case 'apply':
      return { blocking: failed.detail, fix: `correct it and push, or undo it: midship revert ${name}` };
    case 'health':
      if (conditionOf(app.status?.conditions, 'Healthy')?.reason === 'NoController')
        return { blocking: failed.detail, fix: 'take the object out of Git, or run what acts on it: a controller that writes its status' };
      return { blocking: failed.detail, fix: `midship events ${name}, or undo it: midship revert ${name}` };
    case 'prune':
      return { blocking: failed.detail, fix: 'read what would be deleted, then approve it or take the commit back' };
    default:
      return failed.name satisfies never;
  }
}

function verdictOf(app: Kustomization, blocking: string): string {
  const { name } = app.metadata;
  const isHealthy = conditionOf(app.status?.conditions, 'Healthy')?.status === 'True';
  const state = stateOf(app);
  switch (state) {
    case 'Deleting':
      return `${name} is being deleted.`;
    case 'Suspended':
      return `${name} is suspended: nothing is applied or put back.`;
    case 'New':
      return `${name} was not looked at yet.`;
    case 'Waiting':
      return `${name} waits.`;
    case 'Stalled':
      return `${name} cannot be applied until its spec is changed.`;
    case 'Progressing':
      return `${name} is applied and not healthy yet.`;
    case 'Failed':
      return failedOnHealth(app) ? `${name} is applied and did not become healthy in time.` : `${name} is not what Git says.`;
    case 'Ready':
      if (holdOf(app) !== undefined) return `${name} is pinned.`;
      if (blocking === '') return isHealthy ? `${name} is what Git says, and healthy.` : `${name} is what Git says.`;
      return isHealthy ? `${name} is what Git said last.` : `${name} is what Git says, and not healthy.`;
    default:
      return state satisfies never;
  }
}
