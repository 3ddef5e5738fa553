import { type Node, nodes } from '../api/core/v1/node.ts';
import { pods } from '../api/core/v1/pod.ts';
import { describeHold, holdOf } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { labels } from '../api/well-known.ts';
import type { AppOverview, Overview } from '../base/overview.ts';
import type { Informer, InformerSet } from '../client/informer.ts';
import type { HealthStatus } from '../lifecycle/reasons.ts';
import { type Why, whyOf } from '../lifecycle/why.ts';
import { conditionOf, isConditionTrue } from '../machinery/conditions.ts';

/** Index of pods by node. */
export const podsByNode = 'web-node';
const nodeNameOf = (pod: { readonly spec: { readonly nodeName?: string } }): readonly string[] =>
  pod.spec.nodeName ? [pod.spec.nodeName] : [];

export interface OverviewSource {
  read(): Overview;
  /** One app, also one that `read` leaves out because it only lists other apps. */
  appOf(namespace: string, name: string): AppOverview | undefined;
  /** All apps, those that `read` leaves out included. */
  allApps(): readonly AppOverview[];
  /** Calls back when something changed that the overview may show. Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}

export function createOverviewSource(informers: InformerSet): OverviewSource {
  const apps = informers.get(kustomizations);
  const repositories = informers.get(gitRepositories);
  const machines = informers.get(nodes);
  const allPods = informers.get(pods);
  allPods.addIndex(podsByNode, nodeNameOf);
  return {
    read: () =>
      overviewOf({
        apps: [...apps.list()],
        repositories: [...repositories.list()],
        nodes: [...machines.list()],
        podsOn: (node) => allPods.byIndex(podsByNode, node).length,
      }),
    appOf(namespace, name) {
      const app = apps.get({ namespace, name });
      return app === undefined ? undefined : appOverview(app, sourceIn([...repositories.list()], app));
    },
    allApps() {
      const all = [...repositories.list()];
      return [...apps.list()].map((app) => appOverview(app, sourceIn(all, app)));
    },
    onChange(listener) {
      const removers = [apps, repositories, machines, allPods].map((informer) => (informer as Informer<never>).addHandler(listener));
      return () => {
        for (const remove of removers) remove();
      };
    },
  };
}

export interface World {
  readonly apps: readonly Kustomization[];
  readonly repositories: readonly GitRepository[];
  readonly nodes: readonly Node[];
  podsOn(node: string): number;
}

/** Pure: what the world amounts to, apps and nodes by name. */
export function overviewOf({ apps, repositories, nodes: machines, podsOn }: World): Overview {
  const shown = apps.filter((app) => isShown(app)).map((app) => appOverview(app, sourceIn(repositories, app)));
  const revision = shaOf(repositories[0]?.status?.artifact?.revision);
  return {
    verdict: verdictOf(shown, apps.length, repositories),
    revision,
    apps: shown.sort(byName),
    nodes: machines
      .map((node) => ({
        name: node.metadata.name,
        ready: isConditionTrue(node.status?.conditions, 'Ready'),
        simulated: node.metadata.labels?.[labels.midshipSimulated] === 'true',
        pods: podsOn(node.metadata.name),
      }))
      .sort(byName),
  };
}

const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/** The SHA of `main@sha1:…`. */
const shaOf = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1);

/** An app that applies nothing but other apps is a list, not an app, as long as it is well. */
function isShown(app: Kustomization): boolean {
  const entries = app.status?.inventory?.entries ?? [];
  const isList = entries.length > 0 && entries.every(({ id }) => id.endsWith('_kustomize.toolkit.fluxcd.io_Kustomization'));
  return !isList || conditionOf(app.status?.conditions, 'Ready')?.status === 'False';
}

function sourceIn(repositories: readonly GitRepository[], { spec, metadata }: Kustomization): GitRepository | undefined {
  const { kind, name, namespace = metadata.namespace } = spec.sourceRef;
  if (kind !== gitRepositories.kind) return undefined;
  return repositories.find((repository) => repository.metadata.name === name && repository.metadata.namespace === namespace);
}

/** Objects are frozen: what was worked out once holds for as long as the app and its source are the same. */
const known = new WeakMap<Kustomization, { readonly source: GitRepository | undefined; readonly why: Why }>();

function whyNow(app: Kustomization, source: GitRepository | undefined): Why {
  const before = known.get(app);
  if (before !== undefined && before.source === source) return before.why;
  const why = whyOf(app, source);
  known.set(app, { source, why });
  return why;
}

function appOverview(app: Kustomization, source: GitRepository | undefined): AppOverview {
  const { conditions = [], lastAppliedRevision } = app.status ?? {};
  const ready = conditionOf(conditions, 'Ready');
  const health = conditionOf(conditions, 'Healthy');
  const blocked = conditionOf(conditions, 'PruneBlocked');
  const suspended = app.spec.suspend === true;
  const sync = syncOf(app, source);
  const hold = holdOf(app);
  const pinned = hold === undefined ? '' : describeHold(hold);
  const healthStatus = suspended ? 'Suspended' : ((health?.reason as HealthStatus | undefined) ?? 'Unknown');
  const reason =
    sync === 'Failed' || (sync === 'Progressing' && ready?.status === 'False')
      ? (ready?.message ?? '')
      : blocked?.status === 'True'
        ? `Prune blocked: ${blocked.message}`
        : suspended
          ? whyNow(app, source).blocking
          : healthStatus === 'Healthy'
            ? pinned
            : (health?.message ?? '');
  return {
    name: app.metadata.name,
    namespace: app.metadata.namespace ?? '',
    sync,
    health: healthStatus,
    revision: shaOf(lastAppliedRevision),
    reason,
    pinned,
    // Who waits for a thousand apps to be well looks at all of them again and again, and reads the story of none.
    get why() {
      return whyNow(app, source);
    },
  };
}

function syncOf(app: Kustomization, source: GitRepository | undefined): AppOverview['sync'] {
  const ready = conditionOf(app.status?.conditions, 'Ready');
  if (ready === undefined) return 'Unknown';
  if (app.status?.observedGeneration !== app.metadata.generation && app.spec.suspend !== true) return 'Progressing';
  if (ready.status === 'False')
    return ready.reason === 'DependencyNotReady' || ready.reason === 'ArtifactFailed' ? 'Progressing' : healthFailed(ready.reason);
  // What a hold keeps is not what Git says now.
  if (isConditionTrue(app.status?.conditions, 'PruneBlocked') || holdOf(app) !== undefined) return 'OutOfSync';
  return isBehind(app, source) ? 'Progressing' : 'Synced';
}

/** The source has a revision that the app has neither applied nor refused yet; of a large repository it takes seconds to read one. */
function isBehind({ spec, status }: Kustomization, source: GitRepository | undefined): boolean {
  const revision = source?.status?.artifact?.revision;
  if (revision === undefined || spec.suspend === true || status?.lastAppliedRevision === undefined) return false;
  return status.lastAppliedRevision !== revision && status.lastAttemptedRevision !== revision;
}

/** What was applied is what Git says, though it is not healthy. */
const healthFailed = (reason: string | undefined): AppOverview['sync'] => (reason === 'HealthCheckFailed' ? 'Synced' : 'Failed');

const isGood = ({ sync, health }: AppOverview): boolean => sync === 'Synced' && (health === 'Healthy' || health === 'Suspended');

function verdictOf(apps: readonly AppOverview[], total: number, repositories: readonly GitRepository[]): string {
  const unreachable = repositories.find((repository) => conditionOf(repository.status?.conditions, 'Ready')?.status === 'False');
  if (unreachable !== undefined) {
    const sha = shaOf(unreachable.status?.artifact?.revision);
    return `Cannot read the Git repository ${unreachable.metadata.name}${sha === '' ? '' : `, running on ${sha.slice(0, 7)}`}.`;
  }
  if (total === 0) return 'No app is defined yet.';
  const bad = apps.filter((app) => !isGood(app));
  const moving = bad.filter(
    ({ sync, health }) =>
      sync !== 'Failed' && health !== 'Degraded' && health !== 'Missing' && health !== 'NoController' && sync !== 'OutOfSync',
  );
  const count = apps.length === 1 ? '1 app' : `${apps.length} apps`;
  if (bad.length === 0) return `${count} ${apps.length === 1 ? 'matches' : 'match'} Git.`;
  if (moving.length === bad.length) return `${moving.length} of ${count} ${moving.length === 1 ? 'is' : 'are'} on the way.`;
  const broken = bad.length - moving.length;
  return `${broken} of ${count} ${broken === 1 ? 'is' : 'are'} not what Git says.`;
}
