import { describe, expect, it } from 'vitest';
import { type Attempt, attemptsOf, withAttempt } from '../../../../../src/api/kustomize/v1/attempt.ts';
import type { HistorySnapshot, Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';

const app = (history: readonly HistorySnapshot[]): Kustomization => ({
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'web', namespace: 'flux-system' },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  status: { history },
});

const attempt = (sha: string, changes: Partial<Attempt> = {}): Attempt => ({
  revision: `main@sha1:${sha}`,
  author: 'Mara',
  subject: 'five replicas',
  digest: 'ab'.repeat(32),
  seenAt: '2026-01-01T00:00:00Z',
  startedAt: '2026-01-01T00:00:01Z',
  phases: [
    { name: 'fetch', result: 'done', durationMs: 4 },
    { name: 'plan', result: 'failed', durationMs: 1_200 },
  ],
  tries: 1,
  reason: 'ReconciliationFailed',
  ...changes,
});

describe('attempts in status.history', () => {
  it('are read back as they were written, newest first', () => {
    const first = attempt('a');
    const second = attempt('b', { digest: '', tries: 3, nextRetryAt: '2026-01-01T00:00:09Z' });
    const history = withAttempt(withAttempt([], first, '2026-01-01T00:00:02Z'), second, '2026-01-01T00:00:08Z');
    expect(attemptsOf(app(history))).toEqual([second, first]);
    expect(history[0]).toMatchObject({ digest: `sha256:${'0'.repeat(64)}`, lastReconciledDuration: '1.204s', totalReconciliations: 3 });
  });

  it('hold one entry for all tries of a revision, and no more than five revisions', () => {
    let history: readonly HistorySnapshot[] = [];
    for (let sha = 0; sha < 9; sha += 1) {
      for (const tries of [1, 2]) history = withAttempt(history, attempt(String(sha), { tries }), '2026-01-01T00:00:02Z');
    }
    expect(attemptsOf(app(history)).map(({ revision, tries }) => [revision, tries])).toEqual(
      [8, 7, 6, 5, 4].map((sha) => [`main@sha1:${sha}`, 2]),
    );
  });

  it('blame the commit that broke the app, not a later one that leaves it broken', () => {
    const broken = withAttempt([], attempt('a', { failure: 'f1' }), '');
    expect(attemptsOf(app(withAttempt(broken, attempt('b', { failure: 'f1', tries: 4, author: 'Jonas' }), '')))).toEqual([
      attempt('a', { failure: 'f1', tries: 4 }),
    ]);
    expect(attemptsOf(app(withAttempt(broken, attempt('b', { failure: 'f2' }), ''))).map(({ revision }) => revision)).toEqual([
      'main@sha1:b',
      'main@sha1:a',
    ]);
    expect(attemptsOf(app(withAttempt(broken, attempt('c', { reason: 'ReconciliationSucceeded' }), ''))).length).toBe(2);
  });

  it('keep a commit message of any length small', () => {
    const [snapshot] = withAttempt([], attempt('a', { subject: 'x'.repeat(100_000), author: 'y'.repeat(100_000) }), '');
    expect(JSON.stringify(snapshot).length).toBeLessThan(1_500);
  });

  it('leaves out what Flux or anyone else wrote', () => {
    const written = withAttempt([], attempt('a'), '')[0] as HistorySnapshot;
    const strange = { ...written, metadata: { ...written.metadata, phases: 'plan=done:x bogus=done:1ms render=done:2ms' } };
    expect(attemptsOf(app([{ ...written, metadata: { originRevision: 'x' } }]))).toEqual([]);
    expect(attemptsOf(app([strange]))[0]?.phases).toEqual([{ name: 'render', result: 'done', durationMs: 2 }]);
  });
});
