import type { Event } from '../api/core/v1/event.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { attemptsOf } from '../api/kustomize/v1/attempt.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import type { Activity, ActivityFeed } from '../base/contracts/activity.ts';
import { appStateNames, appStates, isMatch, type VerdictState } from '../base/contracts/app-states.ts';
import type { AppOverview, CommitOverview, NodeOverview, Overview } from '../base/contracts/overview.ts';
import type { InformerSet } from '../client/informer.ts';
import { podProblem } from '../lifecycle/reasons.ts';
import { conditionOf } from '../machinery/conditions.ts';
import { milliValueOf } from '../machinery/quantity.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { type AppObject, createAppObjects, type PodSquare, squareState, squaresOf } from './app-objects.ts';
import { commitLine, type LineMark } from './commit-line.ts';
import { countHealedDrifts } from './healed-drifts.ts';
import { compareNaturally } from './natural-order.ts';
import { createOverviewSource, podsByNode } from './overview.ts';
import { createRecentEvents, lastSeenMs } from './recent-events.ts';
import { type Shown, type State, shownOf } from './state.ts';

/** Data of the pages, computed when a page is rendered and not before. */
export interface PageModel {
  overview(): Overview;
  home(): HomeModel;
  /** Undefined when there is no such app. */
  app(namespace: string, name: string): AppModel | undefined;
  node(name: string): NodeModel | undefined;
  events(): readonly EventRow[];
  /** Newest first. */
  steps(): readonly StepRow[];
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
  readonly history: readonly Exclude<Activity, { type: 'commit' }>[];
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
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
}

const maxHomeEvents = 20;
const maxHistory = 50;

export function createPageModel({ informers, activity, steps }: PageModelOptions): PageModel {
  const source = createOverviewSource(informers);
  const objects = createAppObjects(informers);
  const recent = createRecentEvents(informers);
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
    const onNode = allPods
      .byIndex(podsByNode, overview.name)
      .filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed');
    return {
      ...overview,
      cordoned: node?.spec?.unschedulable === true,
      ...sharesOf(node, onNode),
      squares: onNode.map((pod) => ({ name: pod.metadata.name, state: squareState(pod) })),
    };
  };
  const eventRows = (max: number): readonly EventRow[] => recent.list().slice(0, max).map(eventRow);

  return {
    overview: () => source.read(),
    home() {
      const overview = source.read();
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
        line: commitLine(activity.recent(), source.allApps()),
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
      return {
        row: rowOf(overview),
        overview,
        path: app.spec.path ?? './',
        source: app.spec.sourceRef.name,
        objects: objects.objectsOf(app),
        history: historyOf(app, activity.recent()),
        conditions: (app.status?.conditions ?? []).map(({ type, status, reason, message }) => ({ type, status, reason, message })),
      };
    },
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
        pods: allPods.byIndex(podsByNode, name).map((pod) => ({
          namespace: pod.metadata.namespace ?? '',
          name: pod.metadata.name,
          state: squareState(pod),
          problem: podProblem(pod) ?? '',
        })),
      };
    },
    steps: () => steps?.recent() ?? [],
    events: () => eventRows(Number.POSITIVE_INFINITY),
    source() {
      const [repository] = repositories.list();
      return repository === undefined ? undefined : sourceModel(repository);
    },
    onChange(listener) {
      const removers = [source.onChange(listener), activity.onAdded(listener), recent.onChange(listener)];
      return () => {
        for (const remove of removers) remove();
      };
    },
  };
}

/** Activities of the app, and before them what its status still knows of earlier starts. */
function historyOf(app: Kustomization, activities: readonly Activity[]): AppModel['history'] {
  const said = activities.flatMap((each) => (each.type !== 'commit' && each.app === app.metadata.name ? [each] : []));
  const shas = new Set(said.flatMap((each) => (each.type === 'drift' ? [] : [each.sha])));
  const earlier = attemptsOf(app).flatMap(({ revision, startedAt, phases, reason }): AppModel['history'] => {
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
    branch: spec.ref?.branch ?? 'main',
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
    message: (event.message ?? '').trim(),
    count: event.series?.count ?? event.count ?? 1,
  };
}
