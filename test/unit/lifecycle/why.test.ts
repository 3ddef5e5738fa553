import { describe, expect, it } from 'vitest';
import { type Attempt, withAttempt } from '../../../src/api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import { whyOf } from '../../../src/lifecycle/why.ts';

const sha = 'a'.repeat(40);
const now = '2026-01-01T00:00:00Z';

const source = (ready: 'True' | 'False' = 'True', message = 'stored artifact'): GitRepository => ({
  apiVersion: 'source.toolkit.fluxcd.io/v1',
  kind: 'GitRepository',
  metadata: { name: 'cluster', namespace: 'flux-system' },
  spec: { url: 'https://example.com/x.git', interval: '1m' },
  status: {
    conditions: [{ type: 'Ready', status: ready, reason: 'X', message, lastTransitionTime: now }],
    artifact: { path: '', url: '', revision: `main@sha1:${sha}`, lastUpdateTime: now },
  },
});

interface Facts {
  readonly attempt?: Partial<Attempt>;
  readonly conditions?: readonly [type: string, status: string, reason: string, message: string][];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly suspend?: boolean;
}

function app({ attempt, conditions = [], annotations = {}, suspend }: Facts): Kustomization {
  const all: Attempt = {
    revision: `main@sha1:${sha}`,
    author: 'Mara',
    subject: 'five replicas',
    digest: 'ab'.repeat(32),
    seenAt: now,
    startedAt: now,
    phases: [],
    tries: 1,
    reason: 'X',
    ...attempt,
  };
  return {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'web', namespace: 'flux-system', annotations },
    spec: {
      interval: '1m',
      prune: true,
      sourceRef: { kind: 'GitRepository', name: 'cluster' },
      ...(suspend === undefined ? {} : { suspend }),
    },
    status: {
      conditions: conditions.map(([type, status, reason, message]) => ({
        type,
        status,
        reason,
        message,
        lastTransitionTime: now,
      })) as never,
      history: attempt === undefined ? [] : withAttempt([], all, now),
    },
  };
}

const phase = (name: Attempt['phases'][number]['name'], result: 'done' | 'failed' | 'running' = 'done') => ({
  name,
  result,
  durationMs: 10,
});
const results = (why: ReturnType<typeof whyOf>) => Object.fromEntries(why.phases.map(({ name, result }) => [name, result]));

describe("reasons of an app's state", () => {
  it('tells every phase of an app that is well, and that nothing blocks it', () => {
    const why = whyOf(
      app({
        attempt: { phases: [phase('fetch'), phase('render'), phase('plan'), phase('apply'), phase('health')] },
        conditions: [
          ['Ready', 'True', 'ReconciliationSucceeded', 'Applied revision'],
          ['Healthy', 'True', 'Healthy', ''],
        ],
      }),
      source(),
    );
    expect(results(why)).toEqual({
      fetch: 'done',
      verify: 'skipped',
      render: 'done',
      plan: 'done',
      apply: 'done',
      health: 'done',
      prune: 'skipped',
    });
    expect(why).toMatchObject({ blocking: '', fix: '', verdict: 'web is what Git says, and works.', nextRetryAt: undefined });
    expect(why.commit).toEqual({ sha, author: 'Mara', subject: 'five replicas', seenAt: now });
  });

  it('names the phase that failed with its first error, when it is tried again, and leaves the later ones waiting', () => {
    const why = whyOf(
      app({
        attempt: { phases: [phase('fetch'), phase('render'), phase('plan', 'failed')], tries: 4, nextRetryAt: '2026-01-01T00:01:00Z' },
        conditions: [['Ready', 'False', 'ReconciliationFailed', 'web/a.yaml:3:1 unknown field\nmore']],
      }),
      source(),
    );
    expect(results(why)).toMatchObject({ render: 'done', plan: 'failed', apply: 'waiting', health: 'waiting', prune: 'waiting' });
    expect(why).toMatchObject({ blocking: 'web/a.yaml:3:1 unknown field', tries: 4, nextRetryAt: '2026-01-01T00:01:00Z' });
    // Nothing was in force before, so a revert would bring nothing back.
    expect(why.fix).toBe('fix the reported error, and push');
  });

  it('blames the repository when it cannot be read or is not there, whatever was applied before', () => {
    const applied: Facts = {
      attempt: { phases: [phase('render'), phase('plan'), phase('apply'), phase('health')] },
      conditions: [
        ['Ready', 'True', 'ReconciliationSucceeded', ''],
        ['Healthy', 'True', 'Healthy', ''],
      ],
    };
    expect(whyOf(app(applied), source('False', 'https://example.com cannot be reached'))).toMatchObject({
      verdict: 'web is unknown.',
      blocking: 'Git cannot be read: https://example.com cannot be reached',
      fix: 'midship get sources; a revision that was read before stays in force',
    });
    expect(results(whyOf(app(applied), undefined)).fetch).toBe('failed');
  });

  it('says which app it waits for, and asks about that one', () => {
    const why = whyOf(
      app({ conditions: [['Ready', 'False', 'DependencyNotReady', "dependency 'flux-system/db' is not ready"]] }),
      source(),
    );
    expect(why).toMatchObject({ verdict: 'web waits.', fix: 'midship why flux-system/db' });
    expect(results(why)).toMatchObject({ fetch: 'done', render: 'waiting', apply: 'waiting' });
  });

  it('says what is not healthy, and what is not deleted', () => {
    const facts = (...more: NonNullable<Facts['conditions']>): Facts => ({
      attempt: { phases: [phase('render'), phase('plan'), phase('apply'), phase('health', 'running')] },
      conditions: [['Ready', 'True', 'ReconciliationSucceeded', ''], ...more],
    });
    const degraded = whyOf(app(facts(['Healthy', 'False', 'Degraded', 'Container web exited 1'])), source());
    expect(degraded).toMatchObject({ verdict: 'web does not work.', blocking: 'Container web exited 1' });
    expect(results(degraded)).toMatchObject({ health: 'failed', prune: 'skipped' });
    const blocked = whyOf(
      app(facts(['Healthy', 'True', 'Healthy', ''], ['PruneBlocked', 'True', 'PruneBlocked', '21 of 30 objects would be deleted'])),
      source(),
    );
    expect(blocked.blocking).toBe('The prune is held: 21 of 30 objects would be deleted');
    expect(results(blocked)).toMatchObject({ health: 'done', prune: 'failed' });
  });

  it('says who suspended or pinned it', () => {
    const ready: NonNullable<Facts['conditions']> = [
      ['Ready', 'True', 'ReconciliationSucceeded', ''],
      ['Healthy', 'True', 'Healthy', ''],
    ];
    expect(
      whyOf(
        app({
          conditions: ready,
          suspend: true,
          annotations: { 'midship.dev/suspended-by': 'alice', 'midship.dev/suspend-reason': 'audit' },
        }),
        source(),
      ).blocking,
    ).toBe('Suspended by alice: audit');
    const asleep = app({ conditions: ready, suspend: true, annotations: { 'midship.dev/suspend-until': '2026-01-02T00:00:00Z' } });
    expect(whyOf(asleep, source())).toMatchObject({
      state: 'Held',
      blocking: 'Suspended until 2026-01-02T00:00:00Z',
      fix: 'midship resume web',
    });
    const pinned = whyOf(
      app({
        attempt: { phases: [] },
        conditions: ready,
        annotations: { 'midship.dev/hold': sha, 'midship.dev/held-by': 'bob', 'midship.dev/held-at': now },
      }),
      source(),
    );
    expect(pinned).toMatchObject({ verdict: 'web differs from Git.', blocking: `Pinned by bob at ${now}, aaaaaaa is held back` });
  });

  it('knows nothing of an app that is new', () => {
    const why = whyOf(app({}), source());
    expect(why).toMatchObject({ verdict: 'web is unknown.', commit: undefined, blocking: 'nobody has looked at it yet' });
    expect(results(why)).toMatchObject({ fetch: 'done', render: 'waiting' });
  });
});
