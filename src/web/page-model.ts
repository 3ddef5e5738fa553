import type { Event } from '../api/core/v1/event.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { attemptsOf } from '../api/kustomize/v1/attempt.ts';
import { holdOf } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import type { Activity, ActivityFeed } from '../base/contracts/activity.ts';
import type { AppInspection } from '../base/contracts/app-inspection.ts';
import { appStateNames, appStates, isMatch, type VerdictState } from '../base/contracts/app-states.ts';
import type { AppOverview, CommitOverview, NodeOverview, Overview } from '../base/contracts/overview.ts';
import { compareNaturally } from '../base/natural-order.ts';
import type { InformerSet } from '../client/informer.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { type KubeObject, keyOf } from '../machinery/object.ts';
import { milliValueOf } from '../machinery/quantity.ts';
import { podsOn } from '../reconcile/pods-by-node.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import {
  type AppObject,
  createAppObjects,
  differencesOf,
  type PodSquare,
  parseInventoryId,
  podStates,
  problemOf,
  squareState,
  squaresOf,
} from './app-objects.ts';
import { commitLine, type LineMark } from './commit-line.ts';
import type { GitOpsLeaderSource } from './gitops-leader.ts';
import { countHealedDrifts } from './healed-drifts.ts';
import { branchOf, createOverviewSource } from './overview.ts';
import { createRecentEvents, lastSeenMs } from './recent-events.ts';
import { type Shown, type State, shownOf } from './state.ts';
import { containersOf, type ObjectName } from './user-api.ts';
import { publicActivity, publicApp, publicMessage } from './without-values.ts';

/** Data of the pages, computed when a page is rendered and not before. */
export interface PageModel {
  /** As anybody may read it: without values of changed fields. */
  overview(): Overview;
  /** As the owner of the cluster reads it. */
  overviewOfOwner(): Overview;
  home(): HomeModel;
  /** Undefined when there is no such app. */
  app(namespace: string, name: string): AppModel | undefined;
  /** An object of an app, or a pod below one, by its inventory id; undefined when the app has no such object. */
  object(app: AppModel, id: string): ObjectModel | undefined;
  /** Differences of an object from Git with their values, for users who may read the object. */
  differencesWithValues(app: AppModel, name: ObjectName): readonly string[];
  /** Objects of all apps with `filter` in their kind, namespace, name or app. */
  objects(filter: string, page: number): Paged<ObjectRow>;
  /** Pages, apps, nodes and objects with `text` in their names. */
  find(text: string): readonly Found[];
  /** Undefined when there is no such pod. */
  pod(namespace: string, name: string): PodModel | undefined;
  node(name: string): NodeModel | undefined;
  events(page: number): Paged<EventRow>;
  /** Newest first. */
  steps(page: number): Paged<StepRow>;
  source(): SourceModel | undefined;
  /** Calls back when something changed that a page may show. Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}

export interface SourceModel {
  readonly branch: string;
  readonly revision: string;
  /** Empty when the repository can be read. */
  readonly problem: string;
}

export interface HomeModel {
  readonly overview: Overview;
  /** Reason as a sentence; empty when all is well. */
  readonly lead: string;
  readonly tally: {
    readonly podsReady: number;
    readonly podsWanted: number;
    readonly nodesReady: number;
    readonly nodes: number;
    /** Changes by hand that were put back within the last hour. */
    readonly drifts: number;
  };
  /** Worst first; states without an app are left out. */
  readonly segments: readonly { readonly name: VerdictState; readonly state: State; readonly word: string; readonly count: number }[];
  /** Worst first, then by name. */
  readonly apps: readonly AppRow[];
  readonly line: readonly LineMark[];
  readonly nodes: readonly NodeCard[];
  readonly events: readonly EventRow[];
}

export interface AppRow extends Shown {
  readonly name: string;
  readonly namespace: string;
  /** Namespace of its objects. */
  readonly places: readonly string[];
  readonly revision: string;
  readonly reason: string;
  readonly notes: readonly string[];
  /** Commit that the trouble came with; absent when the app is well or the cause is no commit. */
  readonly cause: CommitOverview | undefined;
  readonly squares: readonly PodSquare[];
  /** When the app came into this state; undefined when it never said. */
  readonly since: number | undefined;
}

export interface AppModel {
  readonly row: AppRow;
  readonly overview: AppOverview;
  readonly path: string;
  readonly source: string;
  readonly objects: readonly AppObject[];
  /** Newest first. */
  readonly history: readonly HistoryEntry[];
  /** About the app, its objects and their pods, as far as they are among the newest of the cluster. */
  readonly events: readonly EventRow[];
  readonly isSuspended: boolean;
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
}

export interface HistoryEntry {
  readonly activity: Exclude<Activity, { type: 'commit' }>;
  /** Empty when nobody knows any more. */
  readonly author: string;
  readonly subject: string;
}

/** The public part of an object. Its fields are read by the API's rules. */
export interface ObjectModel extends Shown {
  readonly id: string;
  readonly name: ObjectName;
  readonly reason: string;
  /** The object above it; undefined when the app itself is. */
  readonly owner: { readonly id: string; readonly text: string } | undefined;
  readonly differences: readonly string[];
  readonly events: readonly EventRow[];
  readonly pod: PodModel | undefined;
}

export interface PodModel {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** Those that run once included. */
  readonly containers: readonly { readonly name: string; readonly restarts: number }[];
  readonly state: PodSquare['state'];
  readonly problem: string;
}

export interface ObjectRow {
  readonly app: { readonly namespace: string; readonly name: string };
  readonly object: AppObject;
}

/** A part of a long list; pages count from 1. */
export interface Paged<T> {
  readonly rows: readonly T[];
  readonly page: number;
  readonly pages: number;
  readonly total: number;
}

export interface Found {
  readonly kind: string;
  readonly name: string;
  /** Beside the name: a namespace, an app. */
  readonly detail: string;
  readonly href: string;
}

export interface NodeCard extends NodeOverview {
  readonly cordoned: boolean;
  /** Shares of what pods may have that pods ask for, 0 to 1; undefined when the node does not say. */
  readonly cpu: number | undefined;
  readonly memory: number | undefined;
  readonly squares: readonly PodSquare[];
}

export interface NodeModel {
  readonly card: NodeCard;
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
  readonly pods: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly state: PodSquare['state'];
    readonly problem: string;
  }[];
}

export type StepRow = ReturnType<StepLog['recent']>[number];

export interface EventRow {
  readonly id: string;
  readonly at: number;
  readonly warning: boolean;
  readonly reason: string;
  /** `Pod web/cache-1` */
  readonly object: string;
  readonly message: string;
  readonly count: number;
}

export interface PageModelOptions {
  readonly informers: InformerSet;
  readonly activity: ActivityFeed;
  /** Steps of lifecycle machines; absent when nobody records them. */
  readonly steps?: Pick<StepLog, 'recent'> | undefined;
  /** Absent when this server is alone. */
  readonly gitOpsLeader?: GitOpsLeaderSource | undefined;
  /** The engine's knowledge of apps; absent before it starts, and where none runs. */
  inspection?(): AppInspection | undefined;
}

const maxHomeEvents = 20;
const maxHistory = 50;
const pageSize = 100;
/** Hits of each kind. */
const maxFound = 10;
const maxWords = 10;

export function createPageModel(options: PageModelOptions): PageModel {
  const { informers, activity, steps, gitOpsLeader, inspection = () => undefined } = options;
  const source = createOverviewSource(informers, publicApp);
  const ownersSource = createOverviewSource(informers);
  const objects = createAppObjects(informers, inspection);
  const recent = createRecentEvents(informers);
  const recentActivity = (): readonly Activity[] => activity.recent().map(publicActivity);
  const healedDrifts = countHealedDrifts(informers);
  const apps = informers.get(kustomizations);
  const repositories = informers.get(gitRepositories);
  const machines = informers.get(nodes);
  const allPods = informers.get(pods);

  const rowOf = (overview: AppOverview): AppRow => {
    const app = apps.get(overview);
    const owned = app === undefined ? [] : objects.objectsOf(app);
    return {
      ...shownOf(overview.state),
      name: overview.name,
      namespace: overview.namespace,
      places: [...new Set(owned.map((object) => object.namespace))].filter((place) => place !== '').sort(),
      revision: overview.revision,
      reason: overview.reason,
      notes: overview.notes,
      cause: overview.cause,
      squares: owned.flatMap(squaresOf),
      since: app === undefined ? undefined : sinceOf(app),
    };
  };
  const cardOf = (overview: NodeOverview): NodeCard => {
    const node = machines.get({ name: overview.name });
    const onNode = podsOn(allPods, overview.name).filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed');
    return {
      ...overview,
      cordoned: node?.spec?.unschedulable === true,
      ...sharesOf(node, onNode),
      squares: onNode.map((pod) => ({ name: pod.metadata.name, namespace: pod.metadata.namespace ?? '', state: squareState(pod) })),
    };
  };
  const withLeader = (overview: Overview): Overview =>
    gitOpsLeader === undefined ? overview : { ...overview, gitops: gitOpsLeader.read() };
  const eventRows = (max: number): readonly EventRow[] => recent.list().slice(0, max).map(eventRow);
  /** Ids of objects that have every word of `text` in their id or the key of their app: a state costs more than a name. */
  const idsWith = (text: string): { readonly app: Kustomization; readonly id: string }[] => {
    const isHit = createFilter(text);
    return [...apps.list()].sort(byKey).flatMap((app) => {
      const key = keyOf(app);
      return (app.status?.inventory?.entries ?? []).flatMap(({ id }) => (isHit(`${id} ${key}`) ? [{ app, id }] : []));
    });
  };

  return {
    overview: () => withLeader(source.read()),
    overviewOfOwner: () => withLeader(ownersSource.read()),
    home() {
      const overview = withLeader(source.read());
      const sorted = [...overview.apps].sort((a, b) => appStateNames.indexOf(a.state) - appStateNames.indexOf(b.state));
      const rows = sorted.map(rowOf);
      const squares = rows.flatMap((row) => row.squares);
      return {
        overview,
        lead: leadOf(sorted, [...repositories.list()]),
        tally: {
          podsReady: squares.filter(({ state }) => state === 'ready').length,
          podsWanted: squares.length,
          nodesReady: overview.nodes.filter(({ ready }) => ready).length,
          nodes: overview.nodes.length,
          drifts: healedDrifts(),
        },
        segments: appStateNames.flatMap((name) => {
          const count = sorted.filter(({ state }) => state === name).length;
          return count === 0 ? [] : [{ name, ...shownOf(name), count }];
        }),
        apps: rows,
        line: commitLine(recentActivity(), source.allApps()),
        nodes: overview.nodes
          .map(cardOf)
          .sort(
            (a, b) => Number(a.ready) - Number(b.ready) || Number(a.simulated) - Number(b.simulated) || compareNaturally(a.name, b.name),
          ),
        events: eventRows(maxHomeEvents),
      };
    },
    app(namespace, name) {
      const app = apps.get({ namespace, name });
      const overview = source.appOf(namespace, name);
      if (app === undefined || overview === undefined) return undefined;
      const owned = objects.objectsOf(app);
      return {
        row: rowOf(overview),
        overview,
        path: app.spec.path ?? './',
        source: app.spec.sourceRef.name,
        objects: owned,
        history: withCommits(app, recentActivity()),
        events: recent.list().filter(isAbout(app, owned)).slice(0, maxHomeEvents).map(eventRow),
        isSuspended: app.spec.suspend === true || holdOf(app) !== undefined,
        conditions: (publicApp(app).status?.conditions ?? []).map(({ type, status, reason, message }) => ({
          type,
          status,
          reason,
          message,
        })),
      };
    },
    object({ objects: owned, overview }, id) {
      const found = owned.find((each) => each.id === id);
      const about = (name: ObjectName): Pick<ObjectModel, 'id' | 'name' | 'events' | 'differences'> => ({
        id,
        name,
        events: recent.about(name).map(eventRow),
        differences: differencesOf(overview.differences.join('\n'), name),
      });
      if (found !== undefined) {
        const { state, word, reason } = found;
        const pod = found.kind === 'Pod' && found.group === '' ? podModel(allPods.get(found)) : undefined;
        return { ...about(found), state, word, reason, owner: undefined, pod };
      }
      const name = parseInventoryId(id);
      const parent = owned.find(({ pods: below }) =>
        below.some(({ metadata }) => metadata.name === name?.name && idOfPod(metadata) === id),
      );
      const pod = name === undefined || parent === undefined ? undefined : podModel(allPods.get(name));
      if (name === undefined || parent === undefined || pod === undefined) return undefined;
      const owner = { id: parent.id, text: `${parent.kind} ${parent.name}` };
      return { ...about(name), ...podStates[pod.state], reason: pod.problem, owner, pod };
    },
    differencesWithValues({ overview: { namespace, name: app } }, name) {
      return differencesOf((ownersSource.appOf(namespace, app)?.differences ?? []).join('\n'), name);
    },
    objects(filter, page) {
      const { rows, ...place } = pageOf(idsWith(filter), page);
      return {
        ...place,
        rows: rows.flatMap(({ app, id }) =>
          objects
            .objectsWith(app, [id])
            .map((object) => ({ app: { namespace: app.metadata.namespace ?? '', name: app.metadata.name }, object })),
        ),
      };
    },
    find(text) {
      const isHit = createFilter(text);
      const first = (all: readonly Found[]): readonly Found[] =>
        all.filter(({ kind, name, detail }) => isHit(`${kind} ${name} ${detail}`)).slice(0, maxFound);
      return [
        ...first(pageLinks),
        ...first([...apps.list()].sort(byKey).map(foundApp)),
        ...first([...machines.list()].map(foundNode)),
        // An empty search names pages and apps: what one starts from.
        ...(text.trim() === '' ? [] : idsWith(text).slice(0, maxFound).flatMap(foundObject)),
        ...(text.trim() === '' ? [] : first([...allPods.list()].map(foundPod))),
      ];
    },
    pod: (namespace, name) => podModel(allPods.get({ namespace, name })),
    node(name) {
      const node = machines.get({ name });
      const overview = source.read().nodes.find((each) => each.name === name);
      if (node === undefined || overview === undefined) return undefined;
      return {
        card: cardOf(overview),
        conditions: (node.status?.conditions ?? []).map(({ type, status, reason = '', message = '' }) => ({
          type,
          status,
          reason,
          message,
        })),
        pods: podsOn(allPods, name).map((pod) => ({
          namespace: pod.metadata.namespace ?? '',
          name: pod.metadata.name,
          state: squareState(pod),
          problem: problemOf(pod) ?? '',
        })),
      };
    },
    steps: (page) => pageOf(steps?.recent() ?? [], page),
    events(page) {
      const { rows, ...place } = pageOf(recent.list(), page);
      return { ...place, rows: rows.map(eventRow) };
    },
    source() {
      const [repository] = repositories.list();
      return repository === undefined ? undefined : sourceModel(repository);
    },
    onChange(listener) {
      const removers = [source, recent, ...(gitOpsLeader === undefined ? [] : [gitOpsLeader])].map((each) => each.onChange(listener));
      removers.push(activity.onAdded(listener));
      return () => {
        for (const remove of removers) remove();
      };
    },
  };
}

/** @param page  counts from 1; one beyond the last is the last */
function pageOf<T>(all: readonly T[], page: number): Paged<T> {
  const pages = Math.max(1, Math.ceil(all.length / pageSize));
  const shown = Math.min(Math.max(1, page), pages);
  return { rows: all.slice((shown - 1) * pageSize, shown * pageSize), page: shown, pages, total: all.length };
}

/** True for texts that have every word, in any order and case. */
function createFilter(text: string): (name: string) => boolean {
  const words = text.toLowerCase().split(/\s+/).slice(0, maxWords);
  return (name) => words.every((word) => name.toLowerCase().includes(word));
}

const byKey = (a: KubeObject, b: KubeObject): number => (keyOf(a) < keyOf(b) ? -1 : 1);

const pageLinks: readonly Found[] = Object.entries({
  Overview: '/',
  Objects: '/objects',
  Events: '/events',
  'Lifecycle steps': '/steps',
}).map(([name, href]) => ({ kind: 'Page', name, detail: '', href }));

export const appPath = (namespace: string, name: string): string => `/apps/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
export const objectPath = (app: string, id: string): string => `${app}?${new URLSearchParams({ object: id })}`;
export const logsPath = (namespace: string, pod: string, container = ''): string =>
  `/logs/${encodeURIComponent(namespace)}/${encodeURIComponent(pod)}${container === '' ? '' : `?${new URLSearchParams({ container })}`}`;

const foundApp = ({ metadata: { namespace = '', name } }: Kustomization): Found => ({
  kind: 'App',
  name,
  detail: namespace,
  href: appPath(namespace, name),
});
const foundNode = ({ metadata: { name } }: Node): Found => ({ kind: 'Node', name, detail: '', href: `/nodes/${encodeURIComponent(name)}` });
const foundPod = ({ metadata: { namespace = '', name } }: Pod): Found => ({
  kind: 'Pod',
  name,
  detail: `${namespace}, logs`,
  href: logsPath(namespace, name),
});

function foundObject({ app: { metadata }, id }: { readonly app: Kustomization; readonly id: string }): readonly Found[] {
  const parsed = parseInventoryId(id);
  if (parsed === undefined) return [];
  const { kind, namespace, name } = parsed;
  const href = objectPath(appPath(metadata.namespace ?? '', metadata.name), id);
  return [{ kind, name, detail: `${namespace === '' ? '' : `${namespace}, `}app ${metadata.name}`, href }];
}

export const idOfPod = ({ namespace = '', name }: Pod['metadata']): string => `${namespace}_${name}__Pod`;

function podModel(pod: Pod | undefined): PodModel | undefined {
  if (pod === undefined) return undefined;
  const { metadata, spec, status } = pod;
  const statuses = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    node: spec.nodeName ?? '',
    containers: containersOf(pod).map((name) => ({ name, restarts: statuses.find((each) => each.name === name)?.restartCount ?? 0 })),
    state: squareState(pod),
    problem: problemOf(pod) ?? '',
  };
}

/** Events about the app, one of its objects, or a pod below one. */
function isAbout(app: Kustomization, owned: readonly AppObject[]): (event: Event) => boolean {
  const key = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`;
  const names = new Set([
    key(app.kind, app.metadata.namespace ?? '', app.metadata.name),
    ...owned.map(({ kind, namespace, name }) => key(kind, namespace, name)),
    ...owned.flatMap(({ pods: below }) => below.map(({ metadata }) => key('Pod', metadata.namespace ?? '', metadata.name))),
  ]);
  return ({ involvedObject: { kind = '', namespace = '', name = '' } }) => names.has(key(kind, namespace, name));
}

/** The history with the authors and subjects of its commits, as far as feed and status know them. */
function withCommits(app: Kustomization, activities: readonly Activity[]): readonly HistoryEntry[] {
  const commits = new Map<string, { readonly author: string; readonly subject: string }>();
  for (const { revision, author, subject } of attemptsOf(app))
    commits.set(revision.slice(revision.lastIndexOf(':') + 1), { author, subject });
  for (const each of activities) if (each.type === 'commit') commits.set(each.sha, each);
  return historyOf(app, activities).map((entry) => {
    const { author = '', subject = '' } = (entry.type === 'drift' ? undefined : commits.get(entry.sha)) ?? {};
    return { activity: entry, author, subject };
  });
}

/** Activities of the app, and before them what its status still knows of earlier starts. */
function historyOf(app: Kustomization, activities: readonly Activity[]): readonly HistoryEntry['activity'][] {
  const said = activities.flatMap((each) => (each.type !== 'commit' && each.app === app.metadata.name ? [each] : []));
  const shas = new Set(said.flatMap((each) => (each.type === 'drift' ? [] : [each.sha])));
  const earlier = attemptsOf(app).flatMap(({ revision, startedAt, phases, reason }): readonly HistoryEntry['activity'][] => {
    const sha = revision.slice(revision.lastIndexOf(':') + 1);
    if (shas.has(sha)) return [];
    const common = { at: Date.parse(startedAt), app: app.metadata.name, sha };
    const durationMs = phases.reduce((sum, phase) => sum + (phase.name === 'fetch' || phase.name === 'health' ? 0 : phase.durationMs), 0);
    return phases.some(({ name, result }) => result === 'failed' && name !== 'health' && name !== 'prune')
      ? [{ type: 'failed', ...common, errors: [reason] }]
      : [{ type: 'applied', ...common, changes: [], durationMs, rollback: false }];
  });
  // Equal times keep the order in which things were said.
  return [...said.reverse(), ...earlier].sort((a, b) => b.at - a.at).slice(0, maxHistory);
}

function sourceModel({ spec, status }: GitRepository): SourceModel {
  const ready = conditionOf(status?.conditions, 'Ready');
  const revision = status?.artifact?.revision ?? '';
  return {
    branch: revision === '' ? (spec.ref?.branch ?? 'main') : branchOf(revision),
    revision: revision.slice(revision.lastIndexOf(':') + 1),
    problem: ready?.status === 'False' ? ready.message : '',
  };
}

/** The sentence below the verdict: which app it is and since which commit, or why Git cannot be read. */
function leadOf(apps: readonly AppOverview[], repositories: readonly GitRepository[]): string {
  const problem = repositories.map(sourceModel).find((each) => each.problem !== '')?.problem;
  if (problem !== undefined) return sentence(problem);
  const [worst, ...others] = apps.filter(({ state }) => !isMatch(state));
  if (worst === undefined) return '';
  const { name, state, cause } = worst;
  const since = cause === undefined ? '' : ` since commit ${cause.sha.slice(0, 7)}${cause.author === '' ? '' : ` by ${cause.author}`}`;
  return sentence(`${name} ${appStates[state].one}${since}${others.length === 0 ? '' : `, and ${others.length} more`}`);
}

const sentence = (text: string): string => (/[.!?…]$/.test(text) ? text : `${text}.`);

function sinceOf(app: Kustomization): number | undefined {
  const times = (app.status?.conditions ?? [])
    .filter(({ type }) => type === 'Ready' || type === 'Healthy')
    .flatMap(({ lastTransitionTime }) => Date.parse(lastTransitionTime ?? '') || []);
  return times.length === 0 ? undefined : Math.max(...times);
}

function sharesOf(node: Node | undefined, onNode: readonly Pod[]): Pick<NodeCard, 'cpu' | 'memory'> {
  const share = (resource: 'cpu' | 'memory'): number | undefined => {
    const allocatable = node?.status?.allocatable?.[resource];
    if (allocatable === undefined) return undefined;
    let asked = 0;
    for (const { spec } of onNode) {
      for (const { resources } of spec.containers) asked += milliValueOf(resources?.requests?.[resource] ?? '0');
    }
    const total = milliValueOf(allocatable);
    return total === 0 ? undefined : asked / total;
  };
  return { cpu: share('cpu'), memory: share('memory') };
}

function eventRow(event: Event): EventRow {
  const { kind = '', namespace, name = '' } = event.involvedObject;
  return {
    id: event.metadata.uid ?? event.metadata.name,
    at: lastSeenMs(event),
    warning: event.type === 'Warning',
    reason: event.reason ?? '',
    object: `${kind} ${namespace === undefined || namespace === '' ? '' : `${namespace}/`}${name}`,
    message: publicMessage(event.reason ?? '', (event.message ?? '').trim()),
    count: event.series?.count ?? event.count ?? 1,
  };
}
