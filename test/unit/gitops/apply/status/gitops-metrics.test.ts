import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../../../src/base/metrics.ts';
import {
  type AppMetricsState,
  createGitOpsMetrics,
  type SourceMetricsState,
} from '../../../../../src/gitops/apply/status/gitops-metrics.ts';
import { createSeenRevisions } from '../../../../../src/gitops/sources/follow/seen-revisions.ts';
import { createManualClock } from '../../../../support/manual-clock.ts';

const app = (name: string, changes: Partial<AppMetricsState> = {}): AppMetricsState => ({
  namespace: 'flux-system',
  app: name,
  source: 'flux-system/cluster',
  path: './',
  revision: 'aaaaaaa',
  verdict: 'Matches',
  sync: 'Synced',
  health: 'Healthy',
  suspended: false,
  pruneBlocked: false,
  followsAt: 'main@sha1:b',
  lastAppliedAt: 0,
  manifestErrors: 0,
  objects: [],
  resources: { synced: 0, outOfSync: 0, missing: 0, extra: 0 },
  pods: [],
  ...changes,
});

function metricsOf(apps: readonly AppMetricsState[], seen: readonly string[]) {
  const clock = createManualClock();
  const revisions = createSeenRevisions();
  for (const revision of seen) revisions.add('flux-system/cluster', revision);
  const source: SourceMetricsState = {
    source: 'flux-system/cluster',
    url: 'https://example.com/x',
    branch: 'main',
    lastFetchAt: clock.now() / 1_000 - 12,
    revision: seen.at(-1) ?? '',
    seenAt: clock.now() - 5_000,
  };
  const metrics = createMetrics();
  const gitops = createGitOpsMetrics({ metrics, clock, commitsAfter: revisions.after, apps: () => apps, sources: () => [source] });
  return { gitops, lines: async () => (await metrics.text()).split('\n') };
}

describe('gitops metrics', () => {
  it('end with the app or the source that they are of', async () => {
    const { gitops, lines } = metricsOf([], []);
    for (const name of ['web', 'web2']) gitops.appSeen('flux-system', name);
    gitops.fetched('flux-system/old', 'changed', 5);
    const counts = async (): Promise<readonly string[]> => (await lines()).filter((line) => /app="web"|flux-system\/old/.test(line));
    expect((await counts()).length).toBeGreaterThan(30);
    gitops.appGone('flux-system', 'web');
    gitops.sourceGone('flux-system/old');
    expect(await counts()).toEqual([]);
    expect((await lines()).filter((line) => line.includes('app="web2"')).length).toBeGreaterThan(30);
    // A recreated series starts where a new one does.
    gitops.appSeen('flux-system', 'web');
    expect(await counts()).toContain('gitops_rollbacks_total{namespace="flux-system",app="web"} 0');
  });

  it('say how far the apps of a source are behind it, and for how long', async () => {
    const seen = ['main@sha1:a', 'main@sha1:b', 'main@sha1:c', 'main@sha1:d'];
    const caughtUp = app('new', { followsAt: 'main@sha1:d' });
    const behind = await metricsOf([caughtUp, app('old'), app('asleep', { followsAt: undefined })], seen).lines();
    expect(behind).toContain('gitops_source_commits_behind{source="flux-system/cluster"} 2');
    expect(behind).toContain('gitops_queue_age_seconds{source="flux-system/cluster"} 5');
    expect(behind).toContain('gitops_source_age_seconds{source="flux-system/cluster"} 12.000');
    expect(behind).toContain('gitops_source_revision_info{source="flux-system/cluster",revision="d"} 1');
    const level = await metricsOf([caughtUp], seen).lines();
    expect(level).toContain('gitops_source_commits_behind{source="flux-system/cluster"} 0');
    expect(level).toContain('gitops_queue_age_seconds{source="flux-system/cluster"} 0');
    // In force since before this process: all that it saw came after.
    expect(await metricsOf([app('ancient', { followsAt: 'main@sha1:x' })], seen).lines()).toContain(
      'gitops_source_commits_behind{source="flux-system/cluster"} 4',
    );
  });

  it('have every family of an app and every phase from the start, at zero', async () => {
    const { gitops, lines } = metricsOf([app('web', { pruneBlocked: true })], ['main@sha1:b']);
    gitops.appSeen('flux-system', 'web');
    const labels = 'namespace="flux-system",app="web"';
    const before = await lines();
    for (const line of [
      `gitops_drift_detected_total{${labels}} 0`,
      `gitops_rollbacks_total{${labels}} 0`,
      `gitops_sync_total{${labels},trigger="retry",result="failed"} 0`,
      `gitops_commit_applied_seconds_count{${labels}} 0`,
      `gitops_commit_healthy_seconds_count{${labels}} 0`,
      `gitops_restore_seconds_count{${labels}} 0`,
      `gitops_app_prune_blocked{${labels}} 1`,
      ...['fetch', 'verify', 'render', 'plan', 'apply', 'health', 'prune'].map(
        (phase) => `gitops_phase_duration_seconds_count{phase="${phase}"} 0`,
      ),
    ]) {
      expect(before).toContain(line);
    }
    gitops.phase('plan', 20);
    gitops.driftDetected({ namespace: 'flux-system', app: 'web' });
    const after = await lines();
    expect(after).toContain('gitops_phase_duration_seconds_bucket{le="0.025",phase="plan"} 1');
    expect(after).toContain(`gitops_drift_detected_total{${labels}} 1`);
  });
});

it('remembers a bounded number of commits a source, and counts one that comes twice in a row once', () => {
  const seen = createSeenRevisions();
  for (let index = 0; index < 1_500; index += 1) {
    seen.add('s', String(index));
    seen.add('s', String(index));
  }
  expect([seen.after('s', '1499'), seen.after('s', '1490'), seen.after('s', '0'), seen.after('other', 'x')]).toEqual([0, 9, 1_000, 0]);
});
