import { expect, it } from 'vitest';
import { type Attempt, withAttempt } from '../../../../src/api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../../src/api/kustomize/v1/kustomization.ts';
import { type HistoryEntry, noteOutcome } from '../../../../src/gitops/apply/records/history.ts';
import { activitiesOf } from '../../../../src/gitops/apply/status/recalled-activity.ts';
import { judgeHistory } from '../../../../src/gitops/verbs/history.ts';

const at = '2026-01-01T00:00:00Z';
const revisionOf = (letter: string): string => `main@sha1:${letter.repeat(40)}`;

const attempt = (letter: string, health: 'done' | 'running'): Attempt => ({
  revision: revisionOf(letter),
  author: '',
  subject: '',
  digest: '',
  seenAt: letter,
  startedAt: at,
  phases: [{ name: 'health', result: health, durationMs: 1 }],
  tries: 1,
  reason: '',
});
const entry = (letter: string, more: Partial<HistoryEntry> = {}): HistoryEntry => ({
  revision: revisionOf(letter),
  digest: letter,
  result: 'applied',
  at,
  durationMs: 5,
  author: 'Mara',
  subject: letter,
  rollback: false,
  changes: [{ action: 'configured', object: 'Deployment web/a', fields: [] }],
  ...more,
});

function appWith(attempts: readonly Attempt[], health: 'Healthy' | 'Degraded' | 'Progressing'): Kustomization {
  const condition = (type: string, status: string, reason: string) => ({ type, status, reason, message: '', lastTransitionTime: at });
  return {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'web', namespace: 'flux-system' },
    spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
    status: {
      lastAppliedRevision: attempts.at(-1)?.revision ?? '',
      history: attempts.reduce<ReturnType<typeof withAttempt>>((all, each) => withAttempt(all, each, at), []),
      conditions: [condition('Ready', 'True', 'X'), condition('Healthy', health === 'Healthy' ? 'True' : 'False', health)] as never,
    },
  };
}

it('says what became of each revision, not only that it was applied', () => {
  const history = [entry('a', { worked: true }), entry('b', { worked: false }), entry('c', { result: 'failed' }), entry('d')];
  const outcomes = (health: 'Healthy' | 'Degraded' | 'Progressing', phase: 'done' | 'running'): string[] =>
    judgeHistory(appWith([attempt('d', phase)], health), history).map(({ outcome }) => outcome);
  expect(outcomes('Healthy', 'done')).toEqual(['worked', 'did not work', 'not applied', 'works']);
  expect(outcomes('Degraded', 'running').at(-1)).toBe('does not work');
  expect(outcomes('Progressing', 'running').at(-1)).toBe('on the way');
});

it('writes down at the next revision whether the one before had worked', () => {
  const { history = [] } = appWith([attempt('a', 'done'), attempt('b', 'running')], 'Healthy').status ?? {};
  expect(history).toHaveLength(2);
  const attempts = [attempt('b', 'running'), { ...attempt('a', 'done'), healthyAt: at }];
  expect(noteOutcome([entry('a')], attempts)).toMatchObject([{ worked: true }]);
  expect(noteOutcome([entry('a'), entry('b'), entry('c', { result: 'failed' })], attempts)).toMatchObject([{}, { worked: false }, {}]);
});

it('gives the line of commits back after a start', () => {
  const recalled = activitiesOf({ metadata: { name: 'web', namespace: 'flux-system' } }, [
    entry('a', { worked: false }),
    entry('b', { result: 'failed' }),
    entry('c', { changes: [] }),
  ]);
  expect(recalled.map(({ type }) => type)).toEqual(['commit', 'applied', 'degraded', 'commit', 'failed', 'commit', 'recovered']);
  expect(recalled[0]).toMatchObject({ branch: 'main', sha: 'a'.repeat(40), author: 'Mara', at: Date.parse(at) - 5 });
});
