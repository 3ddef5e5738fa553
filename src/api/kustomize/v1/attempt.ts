import { parseDuration } from '../../flux.ts';
import type { HistorySnapshot, Kustomization } from './kustomization.ts';

/** The steps from a commit to a healthy app, in order. */
export const phaseNames = ['fetch', 'verify', 'render', 'plan', 'apply', 'health', 'prune'] as const;
export type PhaseName = (typeof phaseNames)[number];

export interface Phase {
  readonly name: PhaseName;
  /** `running` has begun and not ended; a phase that was not come to is left out. */
  readonly result: 'done' | 'failed' | 'running';
  /** So far, when it is running. */
  readonly durationMs: number;
}

/** One go at putting a revision of an app in force, and how far it came. */
export interface Attempt {
  /** `main@sha1:…` */
  readonly revision: string;
  readonly author: string;
  /** First line of the commit's message. */
  readonly subject: string;
  /** Digest of the rendered manifests, in hex; empty when rendering failed. */
  readonly digest: string;
  /** When the commit was seen and when this attempt (the newest, when it was tried again) began; RFC 3339. */
  readonly seenAt: string;
  readonly startedAt: string;
  readonly phases: readonly Phase[];
  /** Times it was tried; 1 at first. */
  readonly tries: number;
  /** RFC 3339; absent when nothing is left to try. */
  readonly nextRetryAt?: string;
  /** Reason of the condition Ready after it. */
  readonly reason: string;
  /** Names what went wrong; absent when nothing did. */
  readonly failure?: string;
  /** When the app was first healthy at this revision, in this try or an earlier one; RFC 3339. */
  readonly healthyAt?: string;
}

/** As many as Flux keeps; the whole history is in a Secret of its own. */
const maxSnapshots = 5;
const maxTextLength = 200;
/** A failure before anything was rendered has no digest; the field wants one. */
const noDigest = 'sha256:';

/**
 * Attempts as entries of `status.history`, Flux's own field, so that a cluster with Flux's definitions keeps them.
 * `metadata` holds the parts that Flux does not write. Another try of the same revision replaces the earlier one. An
 * attempt of a later revision that fails in the same way replaces it, too, since the earlier commit broke the app.
 */
export function withAttempt(history: readonly HistorySnapshot[], attempt: Attempt, now: string): readonly HistorySnapshot[] {
  const before = history[0];
  const isSameFailure = attempt.failure !== undefined && before?.metadata?.failure === attempt.failure;
  const isAgain = isSameFailure || (before?.metadata?.revision === attempt.revision && before.metadata.seen === attempt.seenAt);
  const isHealthy = attempt.phases.some(({ name, result }) => name === 'health' && result === 'done');
  const healthyAt = (isAgain ? before.metadata?.healthy : undefined) ?? (isHealthy ? now : undefined);
  const { revision, author, subject, seen } = isSameFailure
    ? { seen: '', revision: '', author: '', subject: '', ...before?.metadata }
    : { revision: attempt.revision, author: attempt.author, subject: attempt.subject, seen: attempt.seenAt };
  const snapshot: HistorySnapshot = {
    digest: attempt.digest === '' ? `${noDigest}${'0'.repeat(64)}` : `${noDigest}${attempt.digest}`,
    firstReconciled: isAgain ? before.firstReconciled : attempt.startedAt,
    lastReconciled: now,
    lastReconciledDuration: goDuration(attempt.phases.reduce((sum, { durationMs }) => sum + durationMs, 0)),
    lastReconciledStatus: attempt.reason,
    totalReconciliations: attempt.tries,
    metadata: {
      revision,
      author: author.slice(0, maxTextLength),
      subject: subject.slice(0, maxTextLength),
      seen,
      started: attempt.startedAt,
      phases: attempt.phases.map(({ name, result, durationMs }) => `${name}=${result}:${Math.round(durationMs)}ms`).join(' '),
      ...(attempt.nextRetryAt === undefined ? {} : { nextRetry: attempt.nextRetryAt }),
      ...(attempt.failure === undefined ? {} : { failure: attempt.failure }),
      ...(healthyAt === undefined ? {} : { healthy: healthyAt }),
    },
  };
  return [snapshot, ...(isAgain ? history.slice(1) : history)].slice(0, maxSnapshots);
}

/** The attempts that an app's status tells of, newest first; those of Flux, which say less, are left out. */
export function attemptsOf(app: Pick<Kustomization, 'status'>): readonly Attempt[] {
  return (app.status?.history ?? []).flatMap((snapshot) => tryParse(snapshot) ?? []);
}

/** `231ms`, `1.5s` */
const goDuration = (ms: number): string => (ms < 1_000 ? `${Math.round(ms)}ms` : `${Number((ms / 1_000).toFixed(3))}s`);

/** The newest of them. */
export function newestAttempt(app: Kustomization): Attempt | undefined {
  for (const snapshot of app.status?.history ?? []) {
    const attempt = tryParse(snapshot);
    if (attempt !== undefined) return attempt;
  }
  return undefined;
}

function tryParse({ digest, metadata, totalReconciliations, lastReconciledStatus }: HistorySnapshot): Attempt | undefined {
  const { revision, author = '', subject = '', seen, started, phases, nextRetry, failure, healthy } = metadata ?? {};
  if (revision === undefined || seen === undefined || started === undefined || phases === undefined) return undefined;
  const hex = digest.slice(digest.indexOf(':') + 1);
  return {
    revision,
    author,
    subject,
    digest: /^0+$/.test(hex) ? '' : hex,
    seenAt: seen,
    startedAt: started,
    phases: phases.split(' ').flatMap((text) => {
      const [, name, result, duration] = /^([a-z]+)=(done|failed|running):([0-9]+ms)$/.exec(text) ?? [];
      const known = phaseNames.find((each) => each === name);
      return known === undefined ? [] : [{ name: known, result: result as Phase['result'], durationMs: parseDuration(duration ?? '0ms') }];
    }),
    tries: totalReconciliations,
    ...(nextRetry === undefined ? {} : { nextRetryAt: nextRetry }),
    reason: lastReconciledStatus,
    ...(failure === undefined ? {} : { failure }),
    ...(healthy === undefined ? {} : { healthyAt: healthy }),
  };
}
