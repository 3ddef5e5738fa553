import { describe, expect, it } from 'vitest';
import { type Attempt, withAttempt } from '../../../src/api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import { judgeApp } from '../../../src/lifecycle/verdict.ts';

const at = '2026-01-01T00:00:00Z';
const good = 'a'.repeat(40);
const bad = 'b'.repeat(40);
const revisionOf = (sha: string): string => `main@sha1:${sha}`;

const sourceAt = (sha: string): GitRepository => ({
  apiVersion: 'source.toolkit.fluxcd.io/v1',
  kind: 'GitRepository',
  metadata: { name: 'cluster', namespace: 'flux-system' },
  spec: { url: 'https://example.com/x.git', interval: '1m' },
  status: { artifact: { path: '', url: '', revision: revisionOf(sha), lastUpdateTime: at } },
});

interface Facts {
  readonly conditions?: Readonly<Record<string, readonly [status: string, reason: string, message?: string]>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly suspend?: boolean;
  readonly inForce?: string;
  /** Oldest first. */
  readonly attempts?: readonly Partial<Attempt>[];
  readonly entries?: readonly string[];
}

const ready = { Ready: ['True', 'ReconciliationSucceeded'] } as const;
const healthy = { ...ready, Healthy: ['True', 'Healthy'] } as const;

function app({
  conditions = healthy,
  annotations = {},
  suspend,
  inForce = good,
  attempts = [],
  entries = ['web_a_apps_Deployment'],
}: Facts): Kustomization {
  const history = attempts.reduce<ReturnType<typeof withAttempt>>(
    (all, attempt) =>
      withAttempt(
        all,
        {
          revision: revisionOf(good),
          author: 'Mara',
          subject: 's',
          digest: '',
          seenAt: at,
          startedAt: at,
          phases: [],
          tries: 1,
          reason: 'X',
          ...attempt,
        },
        at,
      ),
    [],
  );
  return {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'web', namespace: 'flux-system', annotations, generation: 1 },
    spec: {
      interval: '1m',
      prune: true,
      sourceRef: { kind: 'GitRepository', name: 'cluster' },
      ...(suspend === undefined ? {} : { suspend }),
    },
    status: {
      observedGeneration: 1,
      lastAppliedRevision: revisionOf(inForce),
      conditions: Object.entries(conditions).map(([type, [status, reason, message = '']]) => ({
        type,
        status,
        reason,
        message,
        lastTransitionTime: at,
      })) as never,
      inventory: { entries: entries.map((id) => ({ id, v: 'v1' })) },
      history,
    },
  };
}

const judge = (facts: Facts, newest = good) => judgeApp(app(facts), sourceAt(newest));
const phase = (name: Attempt['phases'][number]['name'], result: Attempt['phases'][number]['result'] = 'done') => ({
  name,
  result,
  durationMs: 1,
});
const worked: Partial<Attempt> = { revision: revisionOf(good), phases: [phase('apply'), phase('health')] };

describe('the verdict on an app', () => {
  it('differs while a change by hand is left as it is, and says which field, by whom and until when', () => {
    const line = 'Deployment web/storefront: spec.replicas 3 → 8 by kubectl, held until 14:03:12 UTC after 3 corrections';
    expect(judge({ conditions: { ...healthy, Drifted: ['True', 'DriftDetected', line] } })).toMatchObject({
      state: 'Differs',
      sync: 'OutOfSync',
      reason: line,
      differences: [line],
      cause: undefined,
    });
  });

  it('differs when a suspended app was changed by hand, and names who suspended it', () => {
    const line = 'Deployment web/a: spec.replicas 2 → 5 by kubectl';
    const facts: Facts = {
      conditions: { ...healthy, Drifted: ['True', 'DriftDetected', line] },
      suspend: true,
      annotations: { 'midship.dev/suspended-by': 'alice', 'midship.dev/suspend-until': '2026-01-02T00:00:00Z' },
    };
    expect(judge(facts)).toMatchObject({ state: 'Differs', reason: `${line}; suspended by alice until 2026-01-02T00:00:00Z` });
  });

  it('holds a suspended app to be what Git says until a commit comes that changes it', () => {
    expect(judge({ suspend: true }, bad)).toMatchObject({ state: 'Held', reason: 'Suspended' });
    const waits = { ...healthy, Suspended: ['True', 'CommitWaits', `Suspended; pending: ${revisionOf(bad)}`] } as const;
    expect(judge({ suspend: true, conditions: waits }, bad)).toMatchObject({
      state: 'Differs',
      reason: 'Suspended; bbbbbbb changes the app and waits',
    });
  });

  it('waits for a source that was never read, with the reason that the source gives', () => {
    const conditions = { Ready: ['False', 'ArtifactFailed', 'Source artifact not found, retrying: flux-system/cluster'] } as const;
    const message = 'main does not exist in x.git. The repository has no commits yet: push one.';
    const unread = { type: 'Ready', status: 'False', reason: 'GitOperationFailed', message, lastTransitionTime: at } as const;
    const { artifact: _, ...status } = sourceAt(good).status ?? {};
    expect(judgeApp(app({ conditions, entries: [] }), { ...sourceAt(good), status: { ...status, conditions: [unread] } })).toMatchObject({
      state: 'Waiting',
      reason: `Git cannot be read: ${message}`,
    });
    expect(judge({ conditions, entries: [] })).toMatchObject({ state: 'Waiting', reason: conditions.Ready[2] });
  });

  it('does not hide behind a suspension what does not work', () => {
    const conditions = { ...ready, Healthy: ['False', 'Degraded', 'Pod a crashes'] } as const;
    expect(judge({ suspend: true, conditions })).toMatchObject({ state: 'Broken', health: 'Degraded' });
  });

  it('does not leave an app on the way that did not become healthy in time', () => {
    const conditions = {
      Ready: ['False', 'HealthCheckFailed', '1 of 3 pods ready'],
      Healthy: ['Unknown', 'Progressing', '1 of 3 pods ready'],
    } as const;
    expect(judge({ conditions })).toMatchObject({ state: 'Broken', reason: '1 of 3 pods ready' });
  });

  it('notes what others have set, without a difference', () => {
    const conditions = {
      ...healthy,
      Autoscaled: ['True', 'ReplicasLeft', 'Deployment web/shop: replicas: 6 by HorizontalPodAutoscaler shop (Git says 4)'],
      Shared: ['True', 'FieldsOfOthers', 'Deployment web/shop: spec.template.spec.containers[istio-proxy] by istiod'],
    } as const;
    expect(judge({ conditions })).toMatchObject({
      state: 'Matches',
      reason: '',
      notes: [
        'Deployment web/shop: replicas: 6 by HorizontalPodAutoscaler shop (Git says 4)',
        'kept: Deployment web/shop: spec.template.spec.containers[istio-proxy] by istiod',
      ],
    });
  });

  it('waits while an app that it applies is not ready, and is not broken by it', () => {
    const entries = ['_web__Namespace', 'flux-system_a_kustomize.toolkit.fluxcd.io_Kustomization'];
    const reason = 'waits for Kustomization a: image does not exist';
    const waits = { Healthy: ['Unknown', 'AppNotReady', reason] } as const;
    const late = { ...waits, Ready: ['False', 'HealthCheckFailed', reason] } as const;
    const expected = { state: 'Waiting', health: 'Progressing', reason, cause: undefined };
    expect(judge({ entries, conditions: late, attempts: [worked] })).toMatchObject(expected);
    expect(judge({ entries, conditions: { ...ready, ...waits } })).toMatchObject(expected);
    expect(judge({ entries, conditions: { ...ready, Healthy: ['False', 'Missing', 'a does not exist'] } })).toMatchObject({
      state: 'Differs',
    });
  });

  it('does not know what Git says when Git cannot be read', () => {
    const source = sourceAt(good);
    const conditions = [{ type: 'Ready', status: 'False', reason: 'R', message: 'no route', lastTransitionTime: at } as const];
    expect(judgeApp(app({}), { ...source, status: { ...source.status, conditions } })).toMatchObject({
      state: 'Unknown',
      reason: 'Git cannot be read: no route',
    });
  });
});

describe('the commit to blame', () => {
  const failed: Partial<Attempt> = {
    revision: revisionOf(bad),
    seenAt: '2026-01-01T00:01:00Z',
    phases: [phase('plan', 'failed')],
    failure: 'f',
  };
  const refused = { ...healthy, Ready: ['False', 'ReconciliationFailed', 'a.yaml:3:1 no'] } as const;
  const crashes = { ...ready, Healthy: ['False', 'Degraded', 'Pod a crashes'] } as const;

  it('is the one that is refused', () => {
    expect(judge({ conditions: refused, attempts: [worked, failed] }, bad)).toMatchObject({
      state: 'NotApplied',
      cause: { sha: bad, author: 'Mara' },
    });
  });

  it('is the one that broke what worked before it', () => {
    const breaks: Partial<Attempt> = { ...failed, phases: [phase('apply'), phase('health', 'running')] };
    const { failure: _, ...attempt } = breaks;
    expect(judge({ conditions: crashes, inForce: bad, attempts: [worked, attempt] }, bad)).toMatchObject({
      state: 'Broken',
      cause: { sha: bad },
    });
  });

  it.each<readonly [string, Facts]>([
    ['nothing ever worked', { conditions: crashes, attempts: [{ ...worked, phases: [phase('apply'), phase('health', 'running')] }] }],
    [
      'it worked, and a node was lost since',
      {
        conditions: crashes,
        attempts: [
          { ...worked, revision: revisionOf(bad) },
          { ...worked, seenAt: 'later' },
        ],
      },
    ],
    [
      'the commit in force was applied before and is not any more, as in a namespace that was deleted',
      { conditions: refused, attempts: [worked, { ...failed, revision: revisionOf(good) }] },
    ],
    ['the app is on the way', { conditions: { Ready: ['Unknown', 'Progressing'] }, attempts: [worked, { ...failed, phases: [] }] }],
    ['somebody changed a field', { conditions: { ...healthy, Drifted: ['True', 'DriftDetected', 'x'] }, attempts: [worked] }],
  ])('is none when %s', (_, facts) => {
    expect(judge(facts).cause).toBeUndefined();
  });
});
