import { type Node, nodes } from '../api/core/v1/node.ts';
import { pods } from '../api/core/v1/pod.ts';
import { describeHold, holdOf } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { labels } from '../api/well-known.ts';
import { isMatch, type VerdictState, verdictOver } from '../base/contracts/app-states.ts';
import type { AppOverview, Overview, WhyOverview } from '../base/contracts/overview.ts';
import type { Informer, InformerSet } from '../client/informer.ts';
import { hasNoCommits } from '../lifecycle/git-repository.facts.ts';
import { isAppList, judgeApp, waitsForApp } from '../lifecycle/verdict.ts';
import { whyOf } from '../lifecycle/why.ts';
import { conditionOf, isConditionTrue } from '../machinery/conditions.ts';
import { indexByNode, podsOn } from '../reconcile/pods-by-node.ts';
import { createReadyPods, type ReadyPods } from './ready-pods.ts';

export interface OverviewSource {
  read(): Overview;
  /** One app, also one that `read` leaves out because it only lists other apps. */
  appOf(namespace: string, name: string): AppOverview | undefined;
  /** All apps, those that `read` leaves out included. */
  allApps(): readonly AppOverview[];
  /** Calls back when something changed that the overview may show. Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}

/** @param shown  gives each app as its readers may see it */
export function createOverviewSource(informers: InformerSet, shown: (app: Kustomization) => Kustomization = unchanged): OverviewSource {
  const apps = informers.get(kustomizations);
  const repositories = informers.get(gitRepositories);
  const machines = informers.get(nodes);
  const allPods = informers.get(pods);
  indexByNode(allPods);
  const readyPods = createReadyPods(informers);
  /** Objects are frozen: what was worked out once holds for as long as the app and its source are the same. */
  const known = new WeakMap<Kustomization, { readonly source: GitRepository | undefined; readonly overview: AppOverview }>();
  const overviewNow: Judge = (app, source) => {
    const before = known.get(app);
    if (before !== undefined && before.source === source) return before.overview;
    const overview = appOverview(app, source, readyPods);
    known.set(app, { source, overview });
    return overview;
  };
  return {
    read: () =>
      overviewOf(
        {
          apps: [...apps.list()].map(shown),
          repositories: [...repositories.list()],
          nodes: [...machines.list()],
          podsOn: (node) => podsOn(allPods, node).length,
        },
        overviewNow,
      ),
    appOf(namespace, name) {
      const app = apps.get({ namespace, name });
      return app === undefined ? undefined : overviewNow(shown(app), sourceIn([...repositories.list()], app));
    },
    allApps() {
      const all = [...repositories.list()];
      return [...apps.list()].map((app) => overviewNow(shown(app), sourceIn(all, app)));
    },
    onChange(listener) {
      const removers = [apps, repositories, machines, allPods].map((informer) => (informer as Informer<never>).addHandler(listener));
      return () => {
        for (const remove of removers) remove();
      };
    },
  };
}

const unchanged = (app: Kustomization): Kustomization => app;

export interface World {
  readonly apps: readonly Kustomization[];
  readonly repositories: readonly GitRepository[];
  readonly nodes: readonly Node[];
  podsOn(node: string): number;
}

/** Judges an app by its source. */
type Judge = (app: Kustomization, source: GitRepository | undefined) => AppOverview;

/** Pure: what the world amounts to, apps and nodes by name. */
export function overviewOf({ apps, repositories, nodes: machines, podsOn }: World, judge: Judge = appOverview): Overview {
  const all = apps.map((app) => ({ app, overview: judge(app, sourceIn(repositories, app)) }));
  const shown = all.filter(({ app, overview }) => isShown(app, overview)).map(({ overview }) => overview);
  const states = (shown.length === 0 ? all.map(({ overview }) => overview) : shown).map(({ state }) => state);
  const unread = repositories.find((repository) => conditionOf(repository.status?.conditions, 'Ready')?.status === 'False');
  return {
    verdict: unread !== undefined && hasNoCommits(unread) ? firstPushOf(unread, apps) : verdictOf(states, unread),
    matches: unread === undefined && states.length > 0 && states.every(isMatch),
    revision: shaOf(repositories[0]?.status?.artifact?.revision),
    branch: branchOf(repositories[0]?.status?.artifact?.revision),
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

/** The `main` of `main@sha1:…`; a branch may have an `@` of its own. */
export const branchOf = (revision = ''): string => revision.slice(0, Math.max(0, revision.lastIndexOf('@')));

/** An app that applies nothing but other apps is a list, as long as there is nothing to say of the list itself. */
function isShown(app: Kustomization, { state }: AppOverview): boolean {
  if (!isAppList(app)) return true;
  return state !== 'Matches' && state !== 'OnTheWay' && state !== 'Unknown' && !waitsForApp(app);
}

function sourceIn(repositories: readonly GitRepository[], { spec, metadata }: Kustomization): GitRepository | undefined {
  const { kind, name, namespace = metadata.namespace } = spec.sourceRef;
  if (kind !== gitRepositories.kind) return undefined;
  return repositories.find((repository) => repository.metadata.name === name && repository.metadata.namespace === namespace);
}

/** An id of the inventory begins with the namespace of its object. @see `NAMESPACE_NAME_GROUP_KIND` of Flux */
function targetsOf({ status }: Kustomization): readonly string[] {
  const namespaces = (status?.inventory?.entries ?? []).map(({ id }) => id.slice(0, id.indexOf('_')));
  return [...new Set(namespaces)].filter((namespace) => namespace !== '').sort();
}

function appOverview(app: Kustomization, source: GitRepository | undefined, readyPods?: ReadyPods): AppOverview {
  const verdict = judgeApp(app, source);
  const hold = holdOf(app);
  let why: WhyOverview | undefined;
  return {
    name: app.metadata.name,
    namespace: app.metadata.namespace ?? '',
    state: verdict.state,
    sync: verdict.sync,
    health: verdict.health,
    revision: shaOf(app.status?.lastAppliedRevision),
    targets: targetsOf(app),
    // Changes without the app.
    get pods() {
      return readyPods?.(app);
    },
    since: conditionOf(app.status?.conditions, 'Ready')?.lastTransitionTime ?? '',
    reason: verdict.reason,
    pinned: hold === undefined ? '' : describeHold(hold),
    differences: verdict.differences,
    notes: verdict.notes,
    cause: verdict.cause,
    // A client that waits for a thousand apps polls all of them, and reads no history.
    get why() {
      why ??= whyOf(app, source, verdict);
      return why;
    },
  };
}

/** Asks for the first commit of a repository that has none: what to push, and to which branch. */
function firstPushOf({ metadata: { name, namespace }, spec }: GitRepository, apps: readonly Kustomization[]): string {
  const paths = apps
    .filter(({ spec: { sourceRef }, metadata }) => sourceRef.name === name && (sourceRef.namespace ?? metadata.namespace) === namespace)
    .map(({ spec: { path = '' } }) => path.replace(/^\.?\/+/, '').replace(/\/+$/, ''));
  const places = [...new Set(paths)].sort();
  const below = places.length === 0 || places.includes('') ? '' : ` below ${places.slice(0, 3).join(', ')}`;
  return `The Git repository ${name} has no commits yet: push manifests${below} to its branch ${spec.ref?.branch ?? 'master'}.`;
}

function verdictOf(states: readonly VerdictState[], unread: GitRepository | undefined): string {
  if (unread !== undefined) {
    const sha = shaOf(unread.status?.artifact?.revision);
    return `Cannot read the Git repository ${unread.metadata.name}${sha === '' ? '' : `, running on ${sha.slice(0, 7)}`}.`;
  }
  return states.length === 0 ? 'No app is defined yet.' : verdictOver(states);
}
