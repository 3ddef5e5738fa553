import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { type Attempt, newestAttempt, phaseNames } from '../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../api/source/v1/git-repository.ts';
import { appStates } from '../base/contracts/app-states.ts';
import type { WhyOverview, WhyPhase } from '../base/contracts/overview.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { hasFailedOnHealth, kustomizationReasons, stateOf } from './kustomization.facts.ts';
import { type AppVerdict, commitOf, judgeApp } from './verdict.ts';

/**
 * Reasons for an app's state, for `midship why`, `status.json` and the app's page.
 *
 * @param source  the app's GitRepository; undefined when it does not exist
 */
export function whyOf(app: Kustomization, source: GitRepository | undefined, verdict = judgeApp(app, source)): WhyOverview {
  const attempt = newestAttempt(app);
  const phases = phasesOf(app, source, attempt);
  const isRetried = phases.some(({ name, result }) => result === 'failed' && name !== 'fetch' && name !== 'health');
  return {
    state: verdict.state,
    verdict: `${app.metadata.name} ${appStates[verdict.state].one}.`,
    blocking: blockingOf(verdict, phases),
    differences: verdict.differences,
    notes: verdict.notes,
    commit: attempt === undefined ? undefined : commitOf(attempt),
    cause: verdict.cause,
    phases,
    nextRetryAt: isRetried && app.spec.suspend !== true ? attempt?.nextRetryAt : undefined,
    tries: attempt?.tries ?? 0,
    fix: fixOf(app, verdict, phases),
  };
}

/** The one blocking reason, without the details that have lines of their own. */
function blockingOf({ state, reason }: AppVerdict, phases: readonly WhyPhase[]): string {
  if (reason !== '' || state === 'Matches') return firstLine(reason);
  return phases.find(({ result }) => result === 'failed' || result === 'running')?.detail ?? '';
}

const shaOf = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1);
const firstLine = (text = ''): string => text.split('\n')[0] ?? '';

function phasesOf(app: Kustomization, source: GitRepository | undefined, attempt: Attempt | undefined): readonly WhyPhase[] {
  const fetched = fetchPhase(app, source, attempt);
  const verified: WhyPhase =
    source?.spec.verify === undefined
      ? { name: 'verify', result: 'skipped', durationMs: undefined, detail: 'no signature is required' }
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
    // Unhealthy objects may still be pruned; the other steps follow one after the other.
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
  if (health?.status === 'False' || hasFailedOnHealth(app)) return { ...base, result: 'failed', durationMs: undefined };
  return { ...base, result: 'running', durationMs: undefined };
}

function prunePhase(app: Kustomization, durationMs: number | undefined): WhyPhase {
  const blocked = conditionOf(app.status?.conditions, 'PruneBlocked');
  if (blocked?.status === 'True') return { name: 'prune', result: 'failed', durationMs, detail: firstLine(blocked.message) };
  if (durationMs !== undefined) return { name: 'prune', result: 'done', durationMs, detail: '' };
  return { name: 'prune', result: 'skipped', durationMs: undefined, detail: 'nothing to delete' };
}

/** A command that shows more of just the problem that the health names; empty when there is none. */
const healthFix = (app: Kustomization): string => conditionOf(app.status?.conditions, 'Healthy')?.message?.split('\n')[1] ?? '';

/** One line; empty when there is nothing to do, or nothing but to wait. */
function fixOf(app: Kustomization, { state, differences, hold, cause }: AppVerdict, phases: readonly WhyPhase[]): string {
  const name = nameOfApp(app.metadata);
  const undo = cause === undefined ? '' : `, or undo the commit: midship revert ${name}`;
  const ready = conditionOf(app.status?.conditions, 'Ready');
  if (stateOf(app) === 'Deleting' && state === 'Differs') {
    const fix = ready?.reason === kustomizationReasons.pruneFailed ? 'allow the deletion' : 'take away what holds the objects';
    return `${fix}, or keep them: set spec.deletionPolicy of ${name} to Orphan`;
  }
  const unread = phases.find(({ name: phase, result }) => phase === 'fetch' && result === 'failed');
  switch (state) {
    case 'NotApplied':
      return `fix the reported error, and push${undo}`;
    case 'Broken':
      return `${healthFix(app) || `midship events ${name}`}${undo}`;
    case 'Differs':
      if (app.spec.suspend === true) return `midship resume ${name}`;
      if (hold !== '') return `midship resume ${name}, or push a commit that changes the app`;
      if (phases.some(({ name: phase, result }) => phase === 'prune' && result === 'failed'))
        return 'read what would be deleted, then approve it or take the commit back';
      return differences.length === 0
        ? `midship sync ${name}`
        : `stop the writer, or take the field out of Git; to put it back now: midship sync ${name}`;
    case 'Held':
      return `midship resume ${name}`;
    case 'NoController':
      return 'take the object out of Git, or run what acts on it: a controller that writes its status';
    case 'Waiting': {
      const dependency = /'([^']*)'/.exec(ready?.reason === kustomizationReasons.dependencyNotReady ? ready.message : '')?.[1];
      if (dependency !== undefined) return `midship why ${dependency}`;
      return hasFailedOnHealth(app) ? 'midship status' : 'midship get sources';
    }
    case 'Unknown':
      return unread === undefined ? '' : 'midship get sources; a revision that was read before stays in force';
    case 'OnTheWay':
      return healthFix(app);
    case 'Matches':
      return '';
    default:
      return state satisfies never;
  }
}
