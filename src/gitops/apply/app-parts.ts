import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { ActivityFeed } from '../../base/contracts/activity.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { Informer } from '../../client/informer.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import type { Builder } from '../render/builder.ts';
import type { RevisionStore } from '../sources/follow/known-revision.ts';
import { createAppHealth } from './acts/app-health.ts';
import { createAppObject } from './acts/app-object.ts';
import { createAutoRevert } from './acts/auto-revert.ts';
import { createDriftCorrection } from './acts/correct-drift.ts';
import { createRevisionFinder } from './acts/find-revision.ts';
import { createHeldRevisions } from './acts/held-revision.ts';
import { createNextLook } from './acts/next-look.ts';
import { createAppObserver } from './acts/observe-app.ts';
import { createPassingFailures } from './acts/passing-failure.ts';
import { createPruneAct } from './acts/prune-objects.ts';
import { createSuspensions } from './acts/suspension.ts';
import { createSyncAttempts } from './acts/sync-attempts.ts';
import { createSyncAct } from './acts/sync-revision.ts';
import { createUnreachableApps } from './acts/unreachable.ts';
import { createStatusWriter } from './acts/write-status.ts';
import type { ReadLastLine } from './observe/causes.ts';
import { createExpressions } from './observe/expressions.ts';
import type { HealthView } from './observe/health.ts';
import { overriddenBy } from './observe/takeover.ts';
import { labelsOf } from './plan/app-spec.ts';
import { createClaims } from './plan/claims.ts';
import { createAppBuilder } from './plan/post-build.ts';
import type { RecordKeeper } from './record-keeper.ts';
import type { GitOpsMetrics } from './status/gitops-metrics.ts';
import { redactedFeed } from './status/redacted-feed.ts';
import type { Inventory } from './sync/inventory.ts';
import { createTarget, type TargetDependencies } from './target/target.ts';
import { createTargets, type OpenCluster } from './target/targets.ts';

export interface AppControllerOptions extends ControllerDependencies {
  readonly builder: Builder;
  readonly revisions: RevisionStore;
  readonly feed: ActivityFeed;
  /** Holds what apps have from Secrets, for everybody who shows messages. */
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
  readonly openCluster: OpenCluster;
  /** Apps that this engine is for; all of the cluster by default. */
  readonly labelSelector?: string | undefined;
  /** `HealthView.noControllerText` for objects of the engine's own cluster. */
  readonly noControllerText?: HealthView['noControllerText'];
  /** Reads the last line of containers in the engine's own cluster. */
  readonly readLastLine?: ReadLastLine | undefined;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[] | undefined;
}

export type AppParts = ReturnType<typeof createAppParts>;

export interface AppPartsOptions {
  readonly options: AppControllerOptions;
  readonly apps: Informer<Kustomization>;
  /** Name of an index of `apps` by source key. */
  readonly bySource: string;
  readonly inventory: Inventory;
  readonly keeper: Omit<RecordKeeper, 'store' | 'forget'>;
  /** The app is looked at again. */
  wake(key: string): void;
}

/** Makes the parts of the app controller and connects them. No part stores records. */
export function createAppParts({ options, apps, bySource, inventory, keeper, wake }: AppPartsOptions) {
  const { client, informers, clock, log, recorder, builder, revisions, redactor, gitops, random, openCluster, labelSelector } = options;
  /** Objects without the label are not seen. */
  const absent = `does not exist${labelSelector === undefined ? '' : `, or not with the label ${labelSelector}`}`;
  const appBuilder = createAppBuilder({ client, builder, redactor });
  const claims = createClaims({ apps, builder: appBuilder, revisions, bySource });
  const expressions = createExpressions();
  const feed = redactedFeed(options.feed, redactor);
  const appOf = (key: string) => apps.getByKey(key);
  const load = async (app: Kustomization): Promise<void> => void (await keeper.load(app));

  const shared: TargetDependencies = {
    builder: appBuilder,
    inventory,
    claims,
    expressions,
    recorder,
    clock,
    isOverridden: overriddenBy(options.overrideManagers),
    appOf,
    recordsOf: keeper.of,
    objectChanged: keeper.noteObject,
    handedOver(key, id) {
      if (keeper.noteHandover(key, id)) wake(key);
    },
    wake,
    drifted(key) {
      const app = appOf(key);
      if (app !== undefined) gitops.driftDetected(labelsOf(app));
    },
  };
  const { noControllerText, readLastLine } = options;
  const local = createTarget({ client, informers, noControllerText, readLastLine }, shared);
  const targets = createTargets({
    local,
    client,
    openCluster,
    clock,
    log,
    random,
    createTarget: (of) => createTarget(of, shared),
    wake,
  });

  const object = createAppObject({ client });
  const held = createHeldRevisions({ builder: appBuilder });
  const historyOf = async (app: Kustomization) => (await keeper.load(app)).announced.history;
  const finder = createRevisionFinder({ clock, recorder, feed, revisions, object, held, absent, historyOf });
  const status = createStatusWriter({ clock, redactor, object, held });
  const appHealth = createAppHealth({ clock, log, wake, feed, gitops });
  const autoRevert = createAutoRevert({ clock, recorder, inventory, object });
  const passingFailure = createPassingFailures({ apps, revisions, claims, clock, recordsOf: keeper.of });
  return {
    builder: appBuilder,
    claims,
    targets,
    object,
    held,
    finder,
    status,
    appHealth,
    autoRevert,
    observe: createAppObserver({ clock, expressions, absent, appOf }),
    suspensions: createSuspensions({ clock, log, recorder, object, load }),
    attempts: createSyncAttempts({ clock, object, load, passingFailure }),
    syncAct: createSyncAct({ clock, log, recorder, feed, redactor, gitops, random }),
    pruneAct: createPruneAct({ clock, recorder, feed, gitops, object, random, load: ({ app }) => load(app) }),
    correctDrift: createDriftCorrection({ clock, recorder, feed, redactor, gitops }),
    unreachable: createUnreachableApps({ recorder, object, status }),
    nextLook: createNextLook({ clock, appHealth, autoRevert }),
  };
}
