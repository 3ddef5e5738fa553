import { attemptsOf } from '../../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../api/source/v1/git-repository.ts';
import { kustomizationReasons } from '../../lifecycle/kustomization.facts.ts';
import { conditionOf } from '../../machinery/conditions.ts';

/**
 * The notice for the present state of an app or a repository. It is derived from the status, so that a restart sends
 * nothing twice.
 */
export interface Notice {
  /** `main@sha1:…` of the commit that made it so; empty when no commit did. */
  readonly revision: string;
  readonly state: 'pending' | 'success' | 'failure';
  /** Reason of the condition that it tells of. */
  readonly reason: string;
  readonly message: string;
}

/** A notice, or when to look again. */
export type Verdict = { readonly notice: Notice } | { readonly lookAgainAfterMs: number } | undefined;

/** An app that is unhealthy this long is reported; most recover earlier. */
export const graceMs = 30_000;

/** Reasons of a Ready condition that pass by themselves. */
const passing: readonly string[] = [kustomizationReasons.dependencyNotReady, kustomizationReasons.artifactFailed];

/** Name of a notice: a second one of the same name is not sent again. */
export const nameOfNotice = ({ revision, state, reason }: Notice): string =>
  `${state} ${revision} ${state === 'failure' ? reason : ''}`.trimEnd();

/** For an app: the result of the commit that changed it last, and the health of its objects. */
export function noticeOfApp(app: Kustomization, now: number): Verdict {
  const { conditions } = app.status ?? {};
  const ready = conditionOf(conditions, 'Ready');
  if (app.spec.suspend === true || app.metadata.deletionTimestamp !== undefined || ready === undefined) return undefined;
  if (app.status?.observedGeneration !== app.metadata.generation) return undefined;
  const attempt = attemptsOf(app)[0];
  const revision = attempt?.revision ?? '';
  if (ready.status === 'False') {
    if (passing.includes(ready.reason)) return undefined;
    return { notice: { revision, state: 'failure', reason: ready.reason, message: ready.message } };
  }
  if (attempt === undefined) return undefined;
  const health = conditionOf(conditions, 'Healthy');
  // An app without objects has no health to wait for.
  if (health === undefined ? ready.status === 'True' : health.status === 'True') {
    return { notice: { revision, state: 'success', reason: kustomizationReasons.succeeded, message: `Applied revision: ${revision}` } };
  }
  if (health?.status === 'False') {
    const waitedMs = now - Date.parse(health.lastTransitionTime);
    if (waitedMs < graceMs) return { lookAgainAfterMs: graceMs - waitedMs };
    return {
      notice: { revision, state: 'failure', reason: kustomizationReasons.healthCheckFailed, message: health.message || health.reason },
    };
  }
  const message = health?.message || `Applied revision: ${revision}, waiting for health`;
  return { notice: { revision, state: 'pending', reason: kustomizationReasons.progressing, message } };
}

/** For a repository: a new commit, or a failed read. */
export function noticeOfRepository(repository: GitRepository): Verdict {
  const ready = conditionOf(repository.status?.conditions, 'Ready');
  if (repository.spec.suspend === true || repository.metadata.deletionTimestamp !== undefined) return undefined;
  const revision = repository.status?.artifact?.revision ?? '';
  // The last good revision is not what failed.
  if (ready?.status === 'False') return { notice: { revision: '', state: 'failure', reason: ready.reason, message: ready.message } };
  if (ready?.status !== 'True' || revision === '') return undefined;
  return { notice: { revision, state: 'success', reason: 'NewArtifact', message: `stored artifact for revision '${revision}'` } };
}

/** True when a notice is worth sending after the last one: one pending notice for a commit, and none after its end. */
export function isNews(notice: Notice, last: string | undefined): boolean {
  if (nameOfNotice(notice) === last) return false;
  if (notice.state !== 'pending') return true;
  const [, revision] = (last ?? '').split(' ');
  return revision !== notice.revision;
}
