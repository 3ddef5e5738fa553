import { type Secret, secrets } from '../../api/core/v1/secret.ts';
import { parseDuration } from '../../api/flux.ts';
import { type GitRepository, gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations } from '../../api/well-known.ts';
import type { ActivityFeed } from '../../base/activity.ts';
import { timestampOf } from '../../base/clock.ts';
import { redactUrl } from '../../base/log.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import { conditionsOf, stateOf } from '../../lifecycle/git-repository.facts.ts';
import { type GitRepositoryEvent, gitRepositoryMachine } from '../../lifecycle/git-repository.machine.ts';
import { deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { type Controller, createController } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import type { Commit, GitSource } from '../sources/git-source.ts';
import { SourceError } from '../sources/git-source.ts';
import type { OpenSource } from '../sources/open-source.ts';
import type { RemoteCredentials } from '../sources/remote-source.ts';
import type { GitOpsMetrics } from './gitops-metrics.ts';

/** The newest commit of each repository that could be read; what apps are built from. */
export interface RevisionStore {
  get(key: string): KnownRevision | undefined;
  all(): Iterable<readonly [string, KnownRevision]>;
}

export interface KnownRevision {
  readonly commit: Commit;
  readonly source: GitSource;
  readonly url: string;
  readonly branch: string;
  /** When the commit was first seen; milliseconds since the epoch. */
  readonly seenAt: number;
  readonly lastFetchAt: number;
  /** How long the look took that found the commit. */
  readonly fetchMs?: number;
}

export interface RepositoryControllerOptions extends ControllerDependencies {
  readonly openSource: OpenSource;
  readonly feed: ActivityFeed;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
  /** A repository has another commit than before. */
  onRevision(key: string): void;
}

/** Fields of Flux that are not there yet. They would change what is applied, so an object that uses one is not followed at all. */
const unsupportedFields = [
  'verify',
  'include',
  'recurseSubmodules',
  'proxySecretRef',
  'serviceAccountName',
  'ignore',
  'sparseCheckout',
] as const satisfies readonly (keyof GitRepository['spec'])[];

const defaultTimeoutMs = 60_000;
/** Retries after a failure come no later than this, whatever the interval. */
const maxRetryMs = 5 * 60_000;
/** Up to this share of the interval is added, so that many repositories of one server are not asked at once. */
const jitter = 0.1;

interface OpenRepository {
  readonly identity: string;
  readonly source: GitSource;
  stopListening(): void;
}

/** Follows GitRepositories: asks for the commit of the ref when an interval is over, a push is announced or someone asks for it. */
export function createRepositoryController(options: RepositoryControllerOptions): Controller & { readonly revisions: RevisionStore } {
  const { client, informers, clock, log, recorder, metrics, steps, openSource, feed, gitops, random, onRevision } = options;
  const repositories = informers.get(gitRepositories);
  const revisions = new Map<string, KnownRevision>();
  const open = new Map<string, OpenRepository>();
  const failures = new Map<string, number>();
  /** The failure that was told last, so that a repository that stays away is told of once. */
  const told = new Map<string, string>();

  const controller = createController({
    name: 'git-repository',
    clock,
    log,
    reconcile,
    waitForSync: informers.waitForSync,
    observer: metrics.observerOf('git-repository'),
  });
  repositories.addHandler(({ before, after }) => {
    const object = after ?? before;
    // Our own status writes are not news.
    if (object !== undefined && (before === undefined || after === undefined || isNews(before, after))) controller.enqueue(keyOf(object));
  });

  return {
    ...controller,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    revisions: { get: (key) => revisions.get(key), all: () => revisions },
    async stop() {
      await controller.stop();
      await Promise.all([...open.keys()].map(closeRepository));
    },
  };

  async function reconcile(key: string, { signal }: { readonly signal: AbortSignal }) {
    const repository = repositories.getByKey(key);
    if (repository === undefined) {
      await closeRepository(key);
      revisions.delete(key);
      failures.delete(key);
      told.delete(key);
      return undefined;
    }
    const outcome = await resolve(key, repository, signal);
    const finding = outcome.finding;
    await writeStatus(repository, outcome);
    if (repository.spec.suspend === true || finding.reason === 'NotSupported') return undefined;
    const intervalMs = parseDuration(repository.spec.interval);
    const failed = failures.get(key) ?? 0;
    const delay = failed === 0 ? intervalMs : Math.min(intervalMs, maxRetryMs, 1_000 * 2 ** Math.min(failed - 1, 10));
    return { requeueAfterMs: delay * (1 + jitter * random()) };
  }

  interface Outcome {
    readonly state: ReturnType<typeof stateOf>;
    readonly finding: Finding;
  }

  async function resolve(key: string, repository: GitRepository, signal: AbortSignal): Promise<Outcome> {
    let finding: Finding = { reason: 'Progressing', message: 'building artifact' };
    const learned: GitRepositoryEvent[] = [];
    const effects = {
      resolveCommit: async () => {
        const startedAt = clock.monotonicMs();
        try {
          const changed = await lookAt(key, repository, signal);
          const revision = revisions.get(key)?.commit.revision ?? '';
          finding = { reason: 'Succeeded', message: `stored artifact for revision '${revision}'` };
          failures.delete(key);
          told.delete(key);
          learned.push({ type: 'RESOLVED' });
          gitops.fetched(key, changed ? 'changed' : 'unchanged', clock.monotonicMs() - startedAt);
          if (changed) onRevision(key);
        } catch (err) {
          if (signal.aborted) throw err;
          finding = findingOf(err);
          failures.set(key, (failures.get(key) ?? 0) + 1);
          learned.push({ type: 'RESOLVE_FAILED' });
          gitops.fetched(key, 'error', clock.monotonicMs() - startedAt);
          log.warn({ gitRepository: key, err }, 'Could not read repository');
          recorder.record(repository, { type: 'Warning', ...finding });
          if (told.get(key) !== finding.message) {
            told.set(key, finding.message);
            feed.add({ type: 'failed', at: clock.now(), app: repository.metadata.name, sha: '', errors: [finding.message] });
          }
        }
      },
      closeSource: () => closeRepository(key),
    };
    const machine = gitRepositoryMachine;
    const first = await advance({ machine, key, from: stateOf(repository), events: observed(), effects, steps });
    const last = await advance({ machine, key, from: first.value, events: learned, effects, steps });
    return { state: last.value, finding };

    function* observed(): Iterable<GitRepositoryEvent> {
      if (repository.metadata.deletionTimestamp !== undefined) yield { type: 'DELETED' };
      else if (repository.spec.suspend === true) yield { type: 'SUSPENDED' };
      else {
        const unsupported = unsupportedIn(repository);
        if (unsupported === undefined) {
          yield { type: 'RESUMED' };
          yield { type: 'DUE' };
        } else {
          finding = { reason: 'NotSupported', message: `not supported: ${unsupported}` };
          yield { type: 'UNSUPPORTED' };
        }
      }
    }
  }

  /** Reads the commit of the ref; true when it is another one than before. */
  async function lookAt(key: string, repository: GitRepository, signal: AbortSignal): Promise<boolean> {
    const timeoutMs = repository.spec.timeout === undefined ? defaultTimeoutMs : parseDuration(repository.spec.timeout);
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const { source } = await openRepository(key, repository);
    const ref = repository.spec.ref ?? {};
    const before = revisions.get(key);
    const startedAt = clock.monotonicMs();
    let commit: Commit;
    try {
      commit = await source.resolve(ref, { signal: limit });
    } catch (err) {
      // After a restart the last good commit is enforced even while the remote cannot be reached.
      const sha = repository.status?.artifact?.revision.split('sha1:')[1];
      if (before === undefined && sha !== undefined && err instanceof SourceError && err.reason === 'Unreachable') {
        await source.resolve({ commit: sha }, { signal: limit }).then(
          (known) => {
            remember(known, repository.status?.artifact?.revision);
            onRevision(key);
          },
          (cause: unknown) => log.debug({ gitRepository: key, err: cause }, 'Had no copy of the last commit'),
        );
      }
      throw err;
    }
    const changed = before?.commit.sha !== commit.sha || before.commit.revision !== commit.revision;
    remember(commit, commit.revision);
    if (changed) {
      log.info({ gitRepository: key, revision: commit.revision }, 'Saw commit');
      feed.add({
        type: 'commit',
        at: clock.now(),
        branch: branchOf(repository),
        sha: commit.sha,
        author: commit.author,
        subject: commit.subject,
      });
    }
    return changed;

    function remember(known: Commit, revision: string | undefined): void {
      revisions.set(key, {
        commit: { ...known, revision: revision ?? known.revision },
        source,
        url: redactUrl(repository.spec.url),
        branch: branchOf(repository),
        seenAt: before?.commit.sha === known.sha ? before.seenAt : clock.now(),
        lastFetchAt: clock.now(),
        fetchMs: before?.commit.sha === known.sha ? (before.fetchMs ?? 0) : clock.monotonicMs() - startedAt,
      });
    }
  }

  async function openRepository(key: string, repository: GitRepository): Promise<OpenRepository> {
    const secret = await credentialsSecret(repository);
    // A rotated token opens the repository anew.
    const identity = `${repository.spec.url}\0${secret?.metadata.uid ?? ''}\0${secret?.metadata.resourceVersion ?? ''}`;
    const known = open.get(key);
    if (known?.identity === identity) return known;
    await closeRepository(key);
    const source = await openSource(repository.spec.url, secret === undefined ? undefined : credentialsOf(secret));
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

  async function credentialsSecret(repository: GitRepository): Promise<Secret | undefined> {
    const { secretRef } = repository.spec;
    if (secretRef === undefined) return undefined;
    const ref = { namespace: repository.metadata.namespace, name: secretRef.name };
    try {
      return await client.get(secrets, ref);
    } catch (err) {
      if (!isNotFound(err)) throw err;
      throw new SourceError('AuthenticationFailed', `secret ${ref.namespace}/${ref.name} does not exist`, {
        hint: 'Create it with the keys username and password, or bearerToken.',
        cause: err,
      });
    }
  }

  async function writeStatus(repository: GitRepository, { state, finding }: Outcome): Promise<void> {
    const { metadata, status } = repository;
    const known = revisions.get(keyOf(repository));
    const now = timestampOf(clock.now());
    const conditions = conditionsOf({ state, before: status?.conditions ?? [], finding, generation: metadata.generation ?? 0, now });
    const artifact =
      known === undefined || known.commit.revision === status?.artifact?.revision
        ? status?.artifact
        : {
            path: `gitrepository/${keyOf(repository)}/${known.commit.sha}`,
            url: `${known.url}#${known.commit.sha}`,
            revision: known.commit.revision,
            lastUpdateTime: now,
          };
    const next = {
      observedGeneration: metadata.generation ?? 0,
      conditions,
      ...(artifact === undefined ? {} : { artifact }),
      lastHandledReconcileAt: metadata.annotations?.[annotations.reconcileRequestedAt],
    };
    if (deepEqual({ ...status, ...next }, { lastHandledReconcileAt: undefined, ...status })) return;
    try {
      await client.patch(
        gitRepositories,
        refOf(keyOf(repository)),
        { type: 'merge', body: { status: next } },
        { subresource: 'status', fieldManager: 'midship' },
      );
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

function unsupportedIn({ spec }: GitRepository): string | undefined {
  const field = unsupportedFields.find((name) => spec[name] !== undefined && spec[name] !== false);
  if (field !== undefined) return `spec.${field}`;
  if (spec.ref?.semver !== undefined) return 'spec.ref.semver';
  if (spec.provider !== undefined && spec.provider !== 'generic') return `spec.provider ${spec.provider}`;
  return undefined;
}

function credentialsOf({ data = {} }: Secret): RemoteCredentials {
  const text = (name: string): string | undefined =>
    data[name] === undefined ? undefined : Buffer.from(data[name], 'base64').toString('utf8');
  const username = text('username');
  const password = text('password');
  const bearerToken = text('bearerToken');
  const ca = text('ca.crt') ?? text('caFile');
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(bearerToken === undefined ? {} : { bearerToken }),
    ...(ca === undefined ? {} : { ca }),
  };
}

/** The reason and message that Flux writes for a failure. */
function findingOf(err: unknown): Finding {
  if (err instanceof SourceError) {
    const reason =
      err.reason === 'AuthenticationFailed'
        ? 'AuthenticationFailed'
        : err.reason === 'NotSupported'
          ? 'NotSupported'
          : 'GitOperationFailed';
    return { reason, message: `${err.message}. ${err.hint}` };
  }
  return { reason: 'GitOperationFailed', message: err instanceof Error ? err.message : String(err) };
}
