import { type PhaseName, phaseNames } from '../../../api/kustomize/v1/attempt.ts';
import type { Clock } from '../../../base/clock.ts';
import type { VerdictState } from '../../../base/contracts/app-states.ts';
import type { AppOverview } from '../../../base/contracts/overview.ts';
import { buckets, type Metrics } from '../../../base/metrics.ts';
import { escapeLabel, familyHead } from '../../../base/series.ts';
import type { HealthStatus } from '../../../lifecycle/reasons.ts';

type SyncStatus = AppOverview['sync'];
const syncStatuses: readonly SyncStatus[] = ['Synced', 'OutOfSync', 'Progressing', 'Failed', 'Unknown'];
const healthStatuses: readonly HealthStatus[] = ['Healthy', 'Progressing', 'Degraded', 'Suspended', 'Missing', 'NoController', 'Unknown'];

export type SyncTrigger = 'commit' | 'drift' | 'manual' | 'retry';
export type SyncResult = 'succeeded' | 'failed' | 'noop';

/** Input for the state families of an app at each scrape. */
export interface AppMetricsState {
  readonly namespace: string;
  readonly app: string;
  readonly source: string;
  readonly path: string;
  readonly revision: string;
  readonly verdict: VerdictState;
  readonly sync: SyncStatus;
  readonly health: HealthStatus;
  readonly suspended: boolean;
  readonly pruneBlocked: boolean;
  /** Full revision in force; undefined for an app that does not follow its source now. */
  readonly followsAt: string | undefined;
  /** Seconds since the epoch; 0 before the first apply. */
  readonly lastAppliedAt: number;
  readonly manifestErrors: number;
  /** Namespaces are those of the objects, which join them to `kube_*`, not the app's. */
  readonly objects: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
  readonly resources: { readonly synced: number; readonly outOfSync: number; readonly missing: number; readonly extra: number };
  readonly pods: readonly { readonly namespace: string; readonly name: string }[];
}

export interface SourceMetricsState {
  readonly source: string;
  readonly url: string;
  readonly branch: string;
  readonly lastFetchAt: number;
  /** Newest revision, and when it was seen; milliseconds since the epoch. */
  readonly revision: string;
  readonly seenAt: number;
}

/** The `gitops_*` families of the design. State is text written at the scrape; counters of an app start at 0 when it is first seen. */
export interface GitOpsMetrics {
  appSeen(namespace: string, app: string): void;
  appGone(namespace: string, app: string): void;
  synced(app: AppLabels, sync: { readonly trigger: SyncTrigger; readonly result: SyncResult; readonly durationMs: number }): void;
  applied(app: AppLabels, action: 'created' | 'configured' | 'pruned' | 'unchanged' | 'failed', count?: number): void;
  driftDetected(app: AppLabels): void;
  driftCorrected(app: AppLabels, kind: string): void;
  /** A step of an attempt ended. */
  phase(name: PhaseName, ms: number): void;
  commitApplied(app: AppLabels, ms: number): void;
  commitHealthy(app: AppLabels, ms: number): void;
  rolledBack(app: AppLabels): void;
  restored(app: AppLabels, ms: number): void;
  superseded(app: AppLabels): void;
  fetched(source: string, result: 'changed' | 'unchanged' | 'error', durationMs: number): void;
  sourceGone(source: string): void;
}

export interface AppLabels {
  readonly namespace: string;
  readonly app: string;
}

const restoreBuckets = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600];

export interface GitOpsMetricsOptions {
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Commits of a source that were seen after a revision. */
  commitsAfter(source: string, revision: string): number;
  apps(): Iterable<AppMetricsState>;
  sources(): Iterable<SourceMetricsState>;
}

export function createGitOpsMetrics({ metrics, clock, commitsAfter, apps, sources }: GitOpsMetricsOptions): GitOpsMetrics {
  const app = ['namespace', 'app'] as const;
  const syncs = metrics.counter({ name: 'gitops_sync_total', help: 'Syncs of an app.', labelNames: [...app, 'trigger', 'result'] });
  const durations = metrics.histogram({
    name: 'gitops_sync_duration_seconds',
    help: 'Time of a sync.',
    labelNames: app,
    buckets: [...buckets.sync],
  });
  const objects = metrics.counter({
    name: 'gitops_apply_objects_total',
    help: 'Objects by the operation on them.',
    labelNames: [...app, 'action'],
  });
  const drifts = metrics.counter({
    name: 'gitops_drift_corrections_total',
    help: 'Changes by others that were put back.',
    labelNames: [...app, 'kind'],
  });
  const driftsSeen = metrics.counter({ name: 'gitops_drift_detected_total', help: 'Changes by others that were seen.', labelNames: app });
  const phases = metrics.histogram({
    name: 'gitops_phase_duration_seconds',
    help: 'Time of a step from commit to healthy, of all apps.',
    labelNames: ['phase'],
    buckets: [...buckets.sync],
  });
  for (const phase of phaseNames) phases.zero({ phase });
  const appliedIn = metrics.histogram({
    name: 'gitops_commit_applied_seconds',
    help: 'From the moment a commit was seen until all of it was applied.',
    labelNames: app,
    buckets: [...buckets.delivery],
  });
  const healthyIn = metrics.histogram({
    name: 'gitops_commit_healthy_seconds',
    help: 'From the moment a commit was seen until the app was healthy.',
    labelNames: app,
    buckets: [...buckets.delivery],
  });
  const rollbacks = metrics.counter({
    name: 'gitops_rollbacks_total',
    help: 'Commits that brought back a tree applied before.',
    labelNames: app,
  });
  const restores = metrics.histogram({
    name: 'gitops_restore_seconds',
    help: 'From Degraded to Healthy.',
    labelNames: app,
    buckets: restoreBuckets,
  });
  const superseded = metrics.counter({ name: 'gitops_superseded_total', help: 'Syncs cut short by a newer revision.', labelNames: app });
  const fetches = metrics.counter({ name: 'gitops_source_fetch_total', help: 'Looks at a repository.', labelNames: ['source', 'result'] });
  const fetchDurations = metrics.histogram({
    name: 'gitops_source_fetch_duration_seconds',
    help: 'Time of a look at a repository, fetch included.',
    labelNames: ['source'],
    buckets: [...buckets.sync],
  });
  const knownApps = new Set<string>();
  const knownSources = new Set<string>();
  metrics.addCollector(function* () {
    const all = [...apps()];
    const repositories = [...sources()];
    yield* stateLines(all, repositories);
    yield* lagLines(all, repositories, { now: clock.now(), commitsAfter });
  });

  return {
    appSeen(namespace, name) {
      const key = `${namespace}/${name}`;
      if (knownApps.has(key)) return;
      knownApps.add(key);
      const labels = { namespace, app: name };
      for (const trigger of ['commit', 'drift', 'manual', 'retry']) {
        for (const result of ['succeeded', 'failed', 'noop']) syncs.inc({ ...labels, trigger, result }, 0);
      }
      for (const action of ['created', 'configured', 'pruned', 'unchanged', 'failed']) objects.inc({ ...labels, action }, 0);
      for (const kind of ['Deployment', 'Service', 'ConfigMap']) drifts.inc({ ...labels, kind }, 0);
      rollbacks.inc(labels, 0);
      driftsSeen.inc(labels, 0);
      superseded.inc(labels, 0);
      for (const histogram of [durations, appliedIn, healthyIn, restores]) histogram.zero(labels);
    },
    appGone(namespace, name) {
      knownApps.delete(`${namespace}/${name}`);
      for (const family of [syncs, objects, drifts, rollbacks, driftsSeen, superseded, durations, appliedIn, healthyIn, restores])
        family.end({ namespace, app: name });
    },
    synced(labels, { trigger, result, durationMs }) {
      syncs.inc({ ...labels, trigger, result });
      if (result !== 'noop') durations.observe({ ...labels }, durationMs / 1_000);
    },
    applied: (labels, action, count = 1) => objects.inc({ ...labels, action }, count),
    driftDetected: (labels) => driftsSeen.inc({ ...labels }),
    phase: (phase, ms) => phases.observe({ phase }, ms / 1_000),
    driftCorrected: (labels, kind) => drifts.inc({ ...labels, kind }),
    commitApplied: (labels, ms) => appliedIn.observe({ ...labels }, ms / 1_000),
    commitHealthy: (labels, ms) => healthyIn.observe({ ...labels }, ms / 1_000),
    rolledBack: (labels) => rollbacks.inc({ ...labels }),
    restored: (labels, ms) => restores.observe({ ...labels }, ms / 1_000),
    superseded: (labels) => superseded.inc({ ...labels }),
    fetched(source, result, durationMs) {
      if (!knownSources.has(source)) {
        knownSources.add(source);
        for (const known of ['changed', 'unchanged', 'error']) fetches.inc({ source, result: known }, 0);
      }
      fetches.inc({ source, result });
      fetchDurations.observe({ source }, durationMs / 1_000);
    },
    sourceGone(source) {
      knownSources.delete(source);
      fetches.end({ source });
      fetchDurations.end({ source });
    },
  };
}

const head = (name: string, help: string): string => familyHead(name, help, 'gauge');

function* stateLines(all: readonly AppMetricsState[], repositories: readonly SourceMetricsState[]): Iterable<string> {
  const labelsOf = ({ namespace, app }: AppMetricsState): string => `namespace="${escapeLabel(namespace)}",app="${escapeLabel(app)}"`;
  yield head('gitops_app_info', 'An app, where it comes from and its revision.');
  for (const state of all) {
    yield `gitops_app_info{${labelsOf(state)},source="${escapeLabel(state.source)}",path="${escapeLabel(state.path)}",revision="${escapeLabel(state.revision)}"} 1\n`;
  }
  yield head('gitops_app_state', '1 for the present state of the app, one of docs/reference/states.md.');
  for (const state of all) yield `gitops_app_state{${labelsOf(state)},state="${state.verdict}"} 1\n`;
  yield head('gitops_app_sync_status', '1 for the present sync status of the app.');
  for (const state of all) {
    for (const status of syncStatuses)
      yield `gitops_app_sync_status{${labelsOf(state)},status="${status}"} ${status === state.sync ? 1 : 0}\n`;
  }
  yield head('gitops_app_health_status', '1 for the present health status of the app.');
  for (const state of all) {
    for (const status of healthStatuses)
      yield `gitops_app_health_status{${labelsOf(state)},status="${status}"} ${status === state.health ? 1 : 0}\n`;
  }
  yield head('gitops_app_suspended', '1 while the app is suspended.');
  for (const state of all) yield `gitops_app_suspended{${labelsOf(state)}} ${state.suspended ? 1 : 0}\n`;
  yield head('gitops_app_prune_blocked', '1 while a prune waits for approval.');
  for (const state of all) yield `gitops_app_prune_blocked{${labelsOf(state)}} ${state.pruneBlocked ? 1 : 0}\n`;
  yield head('gitops_app_last_applied_timestamp_seconds', 'When a revision of the app was last applied.');
  for (const state of all)
    if (state.lastAppliedAt > 0) yield `gitops_app_last_applied_timestamp_seconds{${labelsOf(state)}} ${state.lastAppliedAt}\n`;
  yield head('gitops_app_resources', 'Objects of the app by whether they are as applied.');
  for (const state of all) {
    const { synced, outOfSync, missing, extra } = state.resources;
    for (const [status, count] of [
      ['Synced', synced],
      ['OutOfSync', outOfSync],
      ['Missing', missing],
      ['Extra', extra],
    ]) {
      yield `gitops_app_resources{${labelsOf(state)},status="${status}"} ${count}\n`;
    }
  }
  yield head('gitops_app_object_info', 'An object of the app.');
  for (const state of all) {
    for (const { kind, namespace, name } of state.objects)
      yield `gitops_app_object_info{namespace="${escapeLabel(namespace)}",app="${escapeLabel(state.app)}",kind="${escapeLabel(kind)}",name="${escapeLabel(name)}"} 1\n`;
  }
  yield head('gitops_app_pod_info', 'A pod of the app.');
  for (const state of all) {
    for (const { namespace, name } of state.pods)
      yield `gitops_app_pod_info{namespace="${escapeLabel(namespace)}",app="${escapeLabel(state.app)}",pod="${escapeLabel(name)}"} 1\n`;
  }
  yield head('gitops_manifest_errors', 'Errors in the manifests of the newest revision.');
  for (const state of all) yield `gitops_manifest_errors{${labelsOf(state)}} ${state.manifestErrors}\n`;
  yield head('gitops_source_info', 'A repository and the branch that is followed.');
  for (const { source, url, branch } of repositories) {
    yield `gitops_source_info{source="${escapeLabel(source)}",url="${escapeLabel(url)}",branch="${escapeLabel(branch)}"} 1\n`;
  }
  yield head('gitops_source_last_fetch_timestamp_seconds', 'When the repository was last looked at with success.');
  for (const { source, lastFetchAt } of repositories) {
    if (lastFetchAt > 0) yield `gitops_source_last_fetch_timestamp_seconds{source="${escapeLabel(source)}"} ${lastFetchAt}\n`;
  }
}

/** Lag of the apps behind each source, and age of the knowledge about it. */
function* lagLines(
  apps: readonly AppMetricsState[],
  sources: readonly SourceMetricsState[],
  { now, commitsAfter }: { readonly now: number } & Pick<GitOpsMetricsOptions, 'commitsAfter'>,
): Iterable<string> {
  const label = ({ source }: SourceMetricsState): string => `source="${escapeLabel(source)}"`;
  const newest = new Map(sources.map(({ source, revision }) => [source, revision]));
  const behind = new Map<string, number>();
  for (const { source, followsAt } of apps) {
    if (followsAt === undefined || followsAt === newest.get(source)) continue;
    behind.set(source, Math.max(behind.get(source) ?? 0, commitsAfter(source, followsAt)));
  }
  yield head('gitops_source_revision_info', 'The newest commit that could be read.');
  for (const source of sources) {
    const sha = source.revision.slice(source.revision.lastIndexOf(':') + 1);
    yield `gitops_source_revision_info{${label(source)},revision="${escapeLabel(sha.slice(0, 7))}"} 1\n`;
  }
  yield head('gitops_source_age_seconds', 'Time since the repository was last looked at with success.');
  for (const source of sources) {
    if (source.lastFetchAt > 0)
      yield `gitops_source_age_seconds{${label(source)}} ${Math.max(0, now / 1_000 - source.lastFetchAt).toFixed(3)}\n`;
  }
  yield head('gitops_source_commits_behind', 'Commits that were seen and that the app furthest behind has not applied.');
  for (const source of sources) {
    yield `gitops_source_commits_behind{${label(source)}} ${behind.get(source.source) ?? 0}\n`;
  }
  yield head('gitops_queue_age_seconds', 'Time that the newest commit has waited for an app to apply it; 0 when all have.');
  for (const source of sources) {
    const age = behind.has(source.source) ? Math.max(0, now - source.seenAt) / 1_000 : 0;
    yield `gitops_queue_age_seconds{${label(source)}} ${age}\n`;
  }
}
