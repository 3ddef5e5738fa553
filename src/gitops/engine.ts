import { kustomizations } from '../api/kustomize/v1/kustomization.ts';
import type { Component } from '../base/component.ts';
import type { ActivityFeed } from '../base/contracts/activity.ts';
import type { AppInspection, ObjectChangeDiff } from '../base/contracts/app-inspection.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Redactor } from '../base/redactor.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { parseKubeconfig } from '../client/kubeconfig.ts';
import { type DynamicObject, type KubeObject, keyOf } from '../machinery/object.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { type AppController, createAppController } from './apply/app-controller.ts';
import type { ReadLastLine } from './apply/observe/causes.ts';
import { sourceKeyOf } from './apply/plan/app-spec.ts';
import { createGitOpsMetrics } from './apply/status/gitops-metrics.ts';
import { createNotifier } from './notify/notifier.ts';
import { type Builder, createBuilder } from './render/builder.ts';
import type { KnownRevision } from './sources/follow/known-revision.ts';
import { createRepositoryController } from './sources/follow/repository-controller.ts';
import { createSeenRevisions } from './sources/follow/seen-revisions.ts';
import type { OpenSource } from './sources/open-source.ts';
import { createAppTrees } from './verbs/app-tree.ts';
import { diffOfCommit } from './verbs/commit-diff.ts';
import type { ObjectDiff } from './verbs/diff.ts';
import { textToRead } from './verbs/object-text.ts';

export interface EngineOptions extends ControllerDependencies {
  readonly openSource: OpenSource;
  readonly feed: ActivityFeed;
  /** Is given what apps have from Secrets. */
  readonly redactor: Redactor;
  /** Registry of `/metrics/gitops`. */
  readonly gitopsMetrics: Metrics;
  readonly random: () => number;
  /** Shared with who looks at pushes, so that what it built is not built again. */
  readonly builder?: Builder;
  /** Only apps and repositories with these labels are followed: for a cluster that has those of others, too. */
  readonly labelSelector?: string;
  /** Says of an object that nothing in the engine's own cluster acts on it. Absent: the cluster has the controllers of Kubernetes. */
  readonly noControllerText?: ((object: KubeObject) => string | undefined) | undefined;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[];
  /** Reads the last line of a container's log; absent: a crash is reported without it. */
  readonly readLastLine?: ReadLastLine | undefined;
  /** Called with each revision of a repository, `namespace/name`, that was read. */
  onRead?(repository: string, revision: KnownRevision): void;
  /** Name and version in the logs of other clusters. */
  readonly userAgent?: string;
  /** Put around the clients of other clusters, where `client` has it already: what ends all writes when another engine takes over. */
  readonly guard?: (client: Client) => Client;
}

/** An engine, which also answers what the page asks it. */
export interface Engine extends Component, AppInspection {}

/** For the recorder of Events: an app's own lose more than those of other objects. */
export const redactEvent =
  (redactor: Redactor) =>
  (message: string, about: KubeObject): string =>
    redactor.text(message, about.kind === kustomizations.kind ? keyOf(about) : undefined);

/**
 * The GitOps engine: repositories are followed, apps are kept what their commits say. It uses the public API alone, so it runs in this
 * process, over HTTP, or against any Kubernetes cluster.
 */
export function createEngine(options: EngineOptions): Engine {
  let apps: AppController | undefined;
  const seen = createSeenRevisions();
  const gitops = createGitOpsMetrics({
    metrics: options.gitopsMetrics,
    clock: options.clock,
    commitsAfter: seen.after,
    apps: () => apps?.metricsStates() ?? [],
    *sources() {
      for (const [source, { url, branch, lastFetchAt, seenAt, commit }] of repositories.revisions.all()) {
        yield { source, url, branch, lastFetchAt: Math.round(lastFetchAt / 1_000), seenAt, revision: commit.revision };
      }
    },
  });
  const repositories = createRepositoryController({
    ...options,
    gitops,
    onRevision(key) {
      const known = repositories.revisions.get(key);
      if (known !== undefined) {
        seen.add(key, known.commit.revision);
        options.onRead?.(key, known);
      }
      apps?.revisionChanged(key);
    },
  });
  const controller = createAppController({
    ...options,
    builder: options.builder ?? createBuilder(),
    revisions: repositories.revisions,
    gitops,
    async openCluster(kubeconfig, name) {
      const remote = createHttpClient({
        ...(await parseKubeconfig(kubeconfig, name)),
        userAgent: options.userAgent ?? 'midship',
        clock: options.clock,
        random: options.random,
      });
      return options.guard === undefined ? remote : { ...remote, ...options.guard(remote) };
    },
  });
  apps = controller;
  const notifier = createNotifier(options);
  const all = options.informers.get(kustomizations, options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector });

  return {
    name: 'gitops',
    healthsOf: controller.healthsOf,
    async commitDiff(key, sha, signal) {
      const app = all.getByKey(key);
      const source = app === undefined ? undefined : repositories.revisions.get(sourceKeyOf(app))?.source;
      if (app === undefined || source === undefined) throw new Error('The repository of this app was not read yet.');
      const trees = createAppTrees(options.client);
      return (await diffOfCommit({ builder: controller.builder, trees, app, source, sha, signal })).map(changeOf);
    },
    textOf: (object, app) => textToRead(object as DynamicObject, (text) => options.redactor.quoted(text, app)),
    async start({ signal }) {
      await controller.start({ signal });
      await repositories.start({ signal });
      await notifier.start({ signal });
    },
    async stop() {
      await notifier.stop();
      await repositories.stop();
      await controller.stop();
    },
  };
}

/** `Deployment web/storefront` in its parts. */
function changeOf({ action, object, file, diff }: ObjectDiff): ObjectChangeDiff {
  const [kind = '', path = ''] = object.split(' ', 2);
  const slash = path.indexOf('/');
  return { action, kind, namespace: slash === -1 ? '' : path.slice(0, slash), name: path.slice(slash + 1), file, diff };
}
