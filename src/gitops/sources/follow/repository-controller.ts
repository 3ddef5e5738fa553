import { type Condition, parseDuration } from '../../../api/flux.ts';
import { type Artifact, type GitRepository, gitRepositories } from '../../../api/source/v1/git-repository.ts';
import { annotations } from '../../../api/well-known.ts';
import { timestampOf } from '../../../base/clock.ts';
import { untilAborted } from '../../../base/concurrency.ts';
import type { ActivityFeed } from '../../../base/contracts/activity.ts';
import { redactUrl } from '../../../base/redact-url.ts';
import { timeLimit } from '../../../base/time-limit.ts';
import { tryGet } from '../../../client/try-get.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import { eventsOf, type FailedCondition, stateOf, statusOf } from '../../../lifecycle/git-repository.facts.ts';
import { type GitRepositoryEvent, gitRepositoryMachine } from '../../../lifecycle/git-repository.machine.ts';
import { deepEqual, keyOf, refOf } from '../../../machinery/object.ts';
import { isNotFound } from '../../../machinery/status-error.ts';
import { type Controller, createController } from '../../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import { advance } from '../../../reconcile/effects.ts';
import { newerOf } from '../../../reconcile/newer.ts';
import type { Commit, GitSource } from '../git-source.ts';
import { SourceError } from '../git-source.ts';
import { clusterUser } from '../git-users.ts';
import type { OpenSource } from '../open-source.ts';
import { createTreeView, type IncludedTree } from '../tree-view.ts';
import type { KnownRevision, RevisionStore } from './known-revision.ts';
import { readAccess } from './repository-access.ts';
import { checkRewrite, mayHalt } from './repository-history.ts';

/** Counts what came of looks at repositories. */
export interface SourceMetrics {
  fetched(source: string, result: 'changed' | 'unchanged' | 'error', durationMs: number): void;
  sourceGone(source: string): void;
}

export interface RepositoryControllerOptions extends ControllerDependencies {
  readonly openSource: OpenSource;
  readonly feed: ActivityFeed;
  readonly gitops: SourceMetrics;
  readonly random: () => number;
  /** Repositories that this engine is for; all of the cluster by default. */
  readonly labelSelector?: string | undefined;
  /** A repository has another commit than before. */
  onRevision(key: string): void;
}

/** Fields of Flux that are not there yet. They would change what is applied, so an object that uses one is not followed at all. */
const unsupportedFields = ['verify', 'serviceAccountName'] as const satisfies readonly (keyof GitRepository['spec'])[];

const defaultTimeoutMs = 60_000;
/** No server is asked more often, whatever an interval says. */
const minIntervalMs = 1_000;
/** Retries after a failure come no later than this, whatever the interval. */
const maxRetryMs = 5 * 60_000;
/** Up to this share of the interval is added, so that many repositories of one server are not asked at once. */
const jitter = 0.1;
const byInclude = 'gitops-include';

interface OpenRepository {
  readonly identity: string;
  readonly source: GitSource;
  stopListening(): void;
}

/** Follows GitRepositories: asks for the commit of the ref when an interval is over, a push is announced or someone asks for it. */
export function createRepositoryController(options: RepositoryControllerOptions): Controller & { readonly revisions: RevisionStore } {
  const { client, informers, clock, log, recorder, metrics, steps, openSource, feed, gitops, random, onRevision } = options;
  const repositories = informers.get(gitRepositories, options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector });
  const revisions = new Map<string, KnownRevision>();
  const open = new Map<string, OpenRepository>();
  const failures = new Map<string, number>();
  /** The last reported failure, so that a repository that stays away is reported once. */
  const reported = new Map<string, string>();

  /** Repositories as our last status write left them, until the cache has that, too. */
  const written = new Map<string, GitRepository>();

  const controller = createController({
    name: 'git-repository',
    clock,
    log,
    reconcile,
    // A kind of someone's app that cannot be listed must not keep repositories from being followed.
    waitForSync: ({ signal }) => untilAborted(repositories.whenSynced, signal),
    observer: metrics.observerOf('git-repository'),
  });
  repositories.addIndex(byInclude, includeIndex);

  return {
    ...controller,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    // Not before: a cache that is full already reports all it has at once, and `onRevision` needs what is made after this controller.
    async start({ signal }) {
      follow();
      await controller.start({ signal });
    },
    revisions: {
      get: (key) => revisions.get(key),
      isKnown: (key) => !repositories.synced || repositories.getByKey(key) !== undefined,
      keys: () => [...repositories.list()].map(keyOf),
      all: () => revisions,
    },
    async stop() {
      await controller.stop();
      await Promise.all([...open.keys()].map(closeRepository));
    },
  };

  function follow(): void {
    repositories.addHandler(({ before, after }) => {
      const object = after ?? before;
      // Our own status writes are not news.
      if (object === undefined || (before !== undefined && after !== undefined && !isNews(before, after))) return;
      controller.enqueue(keyOf(object));
      // Its apps said that it is not there.
      if (before === undefined) onRevision(keyOf(object));
    });
  }

  async function reconcile(key: string, { signal }: { readonly signal: AbortSignal }) {
    const cached = repositories.getByKey(key);
    if (cached === undefined) {
      const source = open.get(key)?.source;
      await closeRepository(key);
      await source?.forget?.();
      revisions.delete(key);
      failures.delete(key);
      reported.delete(key);
      written.delete(key);
      gitops.sourceGone(key);
      return undefined;
    }
    const repository = newerOf(cached, written.get(key));
    if (repository === cached) written.delete(key);
    const outcome = await resolve(key, repository, signal);
    const finding = outcome.finding;
    await writeStatus(repository, outcome);
    if (repository.spec.suspend === true || finding.reason === 'NotSupported') return undefined;
    const intervalMs = Math.max(minIntervalMs, parseDuration(repository.spec.interval));
    const failed = failures.get(key) ?? 0;
    const delay = failed === 0 ? intervalMs : Math.min(intervalMs, maxRetryMs, 1_000 * 2 ** Math.min(failed - 1, 10));
    return { requeueAfterMs: delay * (1 + jitter * random()) };
  }

  interface Outcome {
    readonly state: ReturnType<typeof stateOf>;
    readonly finding: Finding;
    readonly failed: FailedCondition;
  }

  async function resolve(key: string, repository: GitRepository, signal: AbortSignal): Promise<Outcome> {
    const unsupported = findUnsupported(repository);
    const isFollowed = repository.metadata.deletionTimestamp === undefined && repository.spec.suspend !== true;
    let finding: Finding =
      isFollowed && unsupported !== undefined
        ? { reason: 'NotSupported', message: `not supported: ${unsupported}` }
        : { reason: 'Progressing', message: 'building artifact' };
    let failed: FailedCondition = 'FetchFailed';
    const learned: GitRepositoryEvent[] = [];
    const effects = {
      resolveCommit: async () => {
        const startedAt = clock.monotonicMs();
        try {
          const { changed, check } = await lookAt(key, repository, signal);
          const revision = revisions.get(key)?.commit.revision ?? '';
          finding = { reason: 'Succeeded', message: `stored artifact for revision '${revision}'` };
          failures.delete(key);
          reported.delete(key);
          learned.push({ type: 'RESOLVED' });
          gitops.fetched(key, changed ? 'changed' : 'unchanged', clock.monotonicMs() - startedAt);
          if (changed) {
            onRevision(key);
            for (const other of repositories.byIndex(byInclude, key)) controller.enqueue(keyOf(other));
            const rewrite = await check().catch((err: unknown) => {
              log.debug({ gitRepository: key, err }, 'Could not compare histories');
              return undefined;
            });
            if (rewrite !== undefined) recorder.record(repository, { type: 'Warning', reason: 'HistoryRewritten', message: rewrite });
          }
        } catch (err) {
          if (signal.aborted) throw err;
          finding = findingOf(err);
          if (err instanceof IncludeUnavailable) failed = 'IncludeUnavailable';
          failures.set(key, (failures.get(key) ?? 0) + 1);
          learned.push({ type: 'RESOLVE_FAILED' });
          gitops.fetched(key, 'error', clock.monotonicMs() - startedAt);
          log.warn({ gitRepository: key, err }, 'Could not read repository');
          recorder.record(repository, { type: 'Warning', ...finding });
          if (reported.get(key) !== finding.message) {
            reported.set(key, finding.message);
            feed.add({ type: 'failed', at: clock.now(), app: repository.metadata.name, sha: '', errors: [finding.message] });
          }
        }
      },
      closeSource: () => closeRepository(key),
    };
    const machine = gitRepositoryMachine;
    const first = await advance({ machine, key, from: stateOf(repository), events: eventsOf(repository, { unsupported }), effects, steps });
    const last = await advance({ machine, key, from: first.value, events: learned, effects, steps });
    return { state: last.value, finding, failed };
  }

  interface Look {
    /** The commit, or what is seen of it, is another one than before. */
    readonly changed: boolean;
    /**
     * Detects a rewritten history and describes it. When no decision depends on it, this runs after the commit was
     * passed on.
     */
    check(): Promise<string | undefined>;
  }

  /** Reads the commit of the ref. */
  async function lookAt(key: string, repository: GitRepository, signal: AbortSignal): Promise<Look> {
    const timeoutMs = repository.spec.timeout === undefined ? defaultTimeoutMs : parseDuration(repository.spec.timeout);
    const startedAt = clock.monotonicMs();
    const limit = timeLimit(signal, timeoutMs);
    const includes = includesOf(repository);
    const { source } = await openRepository(key, repository);
    const before = revisions.get(key);
    const lastRevision = repository.status?.artifact?.revision ?? '';
    const lastSha = lastRevision.split('sha1:')[1];
    let commit: Commit;
    let current = repository;
    let rewrite: Promise<string | undefined> | undefined;
    const check = (): Promise<string | undefined> => {
      rewrite ??= checkRewrite({ repository: current, before: before?.commit, commit, source, signal: limit });
      return rewrite;
    };
    try {
      commit = await source.resolve(repository.spec.ref ?? {}, { signal: limit, inForce: before?.commit.sha ?? lastSha });
      // A user may have asked to halt a moment ago; a stale cache must not accept the rewrite.
      if (before?.commit.sha !== commit.sha) current = (await tryGet(client, gitRepositories, refOf(key))) ?? repository;
      if (mayHalt(current)) await check();
    } catch (err) {
      // After a restart the last good commit is enforced even while the remote cannot be reached, or its newest is not agreed to.
      if (before === undefined && lastSha !== undefined && isKeptOver(err)) {
        await recall(lastSha, lastRevision).catch((cause: unknown) =>
          log.debug({ gitRepository: key, err: cause }, 'Had no copy of the last commit'),
        );
      }
      throw err;
    }
    const known = await remember(commit);
    const changed = before?.commit !== known.commit;
    if (before?.commit.sha !== commit.sha) {
      log.info({ gitRepository: key, revision: commit.revision }, 'Saw commit');
      // The cluster's own token says nothing about who has it.
      const pusher = source.pusherOf?.(commit.sha);
      const by = pusher === undefined || pusher === clusterUser || pusher === commit.author ? '' : `, pushed by ${pusher}`;
      const isAnnounced = [...revisions].some(
        ([other, { url, branch, commit: seen }]) =>
          other !== key && seen.sha === commit.sha && url === known.url && branch === known.branch,
      );
      // A commit of one repository under two names is announced once.
      if (!isAnnounced) {
        feed.add({
          type: 'commit',
          at: clock.now(),
          branch: branchOf(repository),
          sha: commit.sha,
          author: `${commit.author}${by}`,
          subject: commit.subject,
        });
      }
      recorder.record(repository, {
        type: 'Normal',
        reason: 'NewArtifact',
        message: `stored artifact for commit '${commit.subject}'${by}`,
      });
    }
    return { changed, check };

    /** The commit of an earlier run, from what was fetched then. */
    async function recall(sha: string, revision: string): Promise<void> {
      await remember({ ...(await source.resolve({ commit: sha }, { signal: limit })), revision });
      onRevision(key);
    }

    async function remember(found: Commit): Promise<KnownRevision> {
      const { ignore, sparseCheckout } = repository.spec;
      const view = createTreeView({ source, ignore, sparse: sparseCheckout, includes: includes.map(({ tree }) => tree) });
      const tree = await view.rootOf(found.tree);
      const isSame = before?.commit.sha === found.sha && before.commit.revision === found.revision && before.commit.tree === tree;
      const known: KnownRevision = {
        commit: isSame ? before.commit : { ...found, tree },
        source: isSame ? before.source : { ...source, ...view },
        included: includes.map(({ artifact }) => artifact),
        url: redactUrl(repository.spec.url),
        branch: branchOf(repository),
        seenAt: before?.commit.sha === found.sha ? before.seenAt : clock.now(),
        lastFetchAt: clock.now(),
        fetchMs: before?.commit.sha === found.sha ? (before.fetchMs ?? 0) : clock.monotonicMs() - startedAt,
      };
      revisions.set(key, known);
      return known;
    }
  }

  /** The newest trees of the repositories that are included. @throws IncludeUnavailable */
  function includesOf(repository: GitRepository): readonly { readonly tree: IncludedTree; readonly artifact: Artifact }[] {
    return (repository.spec.include ?? []).map(({ repository: { name }, fromPath = '', toPath = '' }) => {
      const key = `${repository.metadata.namespace}/${name}`;
      const known = revisions.get(key);
      const artifact = repositories.getByKey(key)?.status?.artifact;
      if (repositories.getByKey(key) === undefined) {
        throw new IncludeUnavailable('NotFound', `could not get resource for include '${name}': GitRepository ${key} does not exist`);
      }
      if (known === undefined) throw new IncludeUnavailable('NoArtifact', `no artifact available for include '${name}'`);
      return {
        tree: { name, source: known.source, tree: known.commit.tree, fromPath, toPath: toPath === '' ? name : toPath },
        artifact: artifact?.revision === known.commit.revision ? artifact : artifactOf(key, known, timestampOf(known.seenAt)),
      };
    });
  }

  async function openRepository(key: string, repository: GitRepository): Promise<OpenRepository> {
    const { url, recurseSubmodules = false } = repository.spec;
    const { access, identity: secretsIdentity } = await readAccess(client, repository);
    // A rotated token opens the repository again.
    const identity = JSON.stringify([url, recurseSubmodules, secretsIdentity]);
    const known = open.get(key);
    if (known?.identity === identity) return known;
    await closeRepository(key);
    const source = await openSource(url, { owner: key, access, recurseSubmodules });
    const stopListening = source.onChange?.(() => controller.enqueue(key)) ?? (() => undefined);
    const opened = { identity, source, stopListening };
    open.set(key, opened);
    return opened;
  }

  async function closeRepository(key: string): Promise<void> {
    const known = open.get(key);
    if (known === undefined) return;
    open.delete(key);
    known.stopListening();
    await known.source.close();
  }

  async function writeStatus(repository: GitRepository, { state, finding, failed }: Outcome): Promise<void> {
    const { metadata, spec, status } = repository;
    const key = keyOf(repository);
    const known = revisions.get(key);
    const now = timestampOf(clock.now());
    const before = status?.conditions ?? [];
    const conditions = statusOf({
      state,
      before,
      finding: state === 'Failed' && known !== undefined ? withStaleness(finding, known, { before, failed, now }) : finding,
      failed,
      generation: metadata.generation ?? 0,
      now,
    });
    const isRead = state === 'Ready';
    const isSameArtifact = known === undefined || known.commit.revision === status?.artifact?.revision;
    const artifact = isSameArtifact ? status?.artifact : artifactOf(key, known, now);
    const next = {
      observedGeneration: metadata.generation ?? 0,
      conditions,
      ...(artifact === undefined ? {} : { artifact }),
      lastHandledReconcileAt: metadata.annotations?.[annotations.reconcileRequestedAt],
      ...(isRead
        ? {
            includedArtifacts: known?.included === undefined || known.included.length === 0 ? undefined : known.included,
            observedIgnore: spec.ignore,
            observedInclude: spec.include,
            observedRecurseSubmodules: spec.recurseSubmodules,
            observedSparseCheckout: spec.sparseCheckout,
          }
        : {}),
    };
    if (deepEqual(withoutAbsent({ ...status, ...next }), withoutAbsent(status ?? {}))) return;
    try {
      const answer = await client.patch(
        gitRepositories,
        refOf(key),
        { type: 'merge', body: { status: withNulls(next, status ?? {}) } },
        { subresource: 'status', fieldManager: 'midship' },
      );
      written.set(key, answer);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const branchOf = ({ spec: { ref } }: GitRepository): string => ref?.branch ?? ref?.tag ?? ref?.name ?? ref?.commit?.slice(0, 7) ?? 'master';

function isNews(before: GitRepository, after: GitRepository): boolean {
  return (
    before.metadata.generation !== after.metadata.generation ||
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    before.metadata.annotations?.[annotations.reconcileRequestedAt] !== after.metadata.annotations?.[annotations.reconcileRequestedAt]
  );
}

const includeIndex = ({ metadata, spec }: GitRepository): readonly string[] =>
  (spec.include ?? []).map(({ repository }) => `${metadata.namespace}/${repository.name}`);

function findUnsupported({ spec }: GitRepository): string | undefined {
  const field = unsupportedFields.find((name) => spec[name] !== undefined);
  if (field !== undefined) return `spec.${field}`;
  if (spec.provider !== undefined && spec.provider !== 'generic') return `spec.provider ${spec.provider}`;
  return undefined;
}

/** A failure that says nothing against the commit that was last in force. */
const isKeptOver = (err: unknown): boolean =>
  err instanceof SourceError && ['Unreachable', 'Timeout', 'AuthenticationFailed', 'HistoryRewritten'].includes(err.reason);

/** A repository that is included is not there, or has not been read yet. */
class IncludeUnavailable extends Error {
  readonly reason: string;
  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

function artifactOf(key: string, { commit, url, source }: KnownRevision, now: string): Artifact {
  const pusher = source.pusherOf?.(commit.sha);
  return {
    path: `gitrepository/${key}/${commit.sha}`,
    url: `${url}#${commit.sha}`,
    revision: commit.revision,
    lastUpdateTime: now,
    ...(pusher === undefined ? {} : { metadata: { [annotations.pushedBy]: pusher } }),
  };
}

/** Says since when the repository is not what its remote has, and what stays in force meanwhile. */
function withStaleness(
  finding: Finding,
  { commit }: KnownRevision,
  { before, failed, now }: { readonly before: readonly Condition[]; readonly failed: FailedCondition; readonly now: string },
): Finding {
  const since = before.find(({ type, status }) => type === failed && status === 'True')?.lastTransitionTime ?? now;
  return { ...finding, message: `${finding.message}. Stale since ${since}: ${commit.revision} stays in force`.replace('..', '.') };
}

const withoutAbsent = (fields: object): object => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

/** For a merge patch: a field that is no longer there is taken away. */
function withNulls(next: object, before: object): object {
  return Object.fromEntries(
    Object.entries(next).flatMap(([name, value]) => (value !== undefined ? [[name, value]] : name in before ? [[name, null]] : [])),
  );
}

/** The reason and message that Flux writes for a failure. */
function findingOf(err: unknown): Finding {
  if (err instanceof IncludeUnavailable) return { reason: err.reason, message: err.message };
  if (err instanceof SourceError) {
    const reason =
      err.reason === 'AuthenticationFailed'
        ? 'AuthenticationFailed'
        : err.reason === 'NotSupported'
          ? 'NotSupported'
          : err.reason === 'HistoryRewritten'
            ? 'HistoryRewritten'
            : 'GitOperationFailed';
    return { reason, message: `${err.message}. ${err.hint}` };
  }
  return { reason: 'GitOperationFailed', message: err instanceof Error ? err.message : String(err) };
}
