import type { VNode } from 'preact';
import type { Activity } from '../../base/contracts/activity.ts';
import { type AppObject, podStates, problemOf, squareState } from '../app-objects.ts';
import { durationText } from '../commit-line.ts';
import { type AppModel, appPath, type HistoryEntry, idOfPod, logsPath, type ObjectModel, objectPath } from '../page-model.ts';
import type { State } from '../state.ts';
import { changeWithoutValues } from '../without-values.ts';
import { CommitDiff } from './commit-diff.tsx';
import { Events, Reason } from './home.tsx';
import { Inspector, ObjectFields } from './inspector.tsx';
import { Age, Command, Conditions, commandOf, Glyph, Sha, shortSha, type View, type Viewer, type ViewOptions } from './parts.tsx';
import { Steps } from './steps.tsx';

export const appTabs = ['objects', 'history', 'logs', 'events', 'conditions'] as const;
export type AppTab = (typeof appTabs)[number];

export interface AppViewOptions extends ViewOptions {
  readonly tab: AppTab;
  readonly object: ObjectModel | undefined;
  /** An object was asked for, and the app does not have it. */
  readonly isGone: boolean;
  /** SHA of the commit whose changes are shown; empty for none. */
  readonly commit: string;
}

export function appView(model: AppModel, options: AppViewOptions): View {
  const { row } = model;
  const { viewer, grafanaUrl } = options;
  const path = appPath(row.namespace, row.name);
  const { regions, layout } = tabOf(model, path, options);
  return {
    title: `${row.name}: ${row.word}`,
    regions: [
      { id: 'head', content: <AppHead model={model} grafanaUrl={grafanaUrl} /> },
      { id: 'actions', content: <Actions model={model} viewer={viewer} path={path} /> },
      ...regions,
    ],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / {row.namespace} / {row.name}
        </p>
        {slot('head')}
        {/* The buttons are in a region, which viewers share; the secret is not. */}
        {viewer.isUser ? (
          <form id="act" method="post" action={`${path}/sync`}>
            <input type="hidden" name="form" value={viewer.formToken} />
          </form>
        ) : null}
        {slot('actions')}
        <nav class="tabs" aria-label="Parts of the app">
          {appTabs.map((tab) => (
            <a
              key={tab}
              href={tab === 'objects' ? path : `${path}?tab=${tab}`}
              {...(tab === options.tab ? { 'aria-current': 'page' } : {})}
            >
              {tabNames[tab]}
            </a>
          ))}
        </nav>
        {layout(slot)}
      </main>
    ),
  };
}

const tabNames: Readonly<Record<AppTab, string>> = {
  objects: 'Objects',
  history: 'History',
  logs: 'Logs',
  events: 'Events',
  conditions: 'Conditions',
};

function tabOf(model: AppModel, path: string, options: AppViewOptions): Pick<View, 'regions' | 'layout'> {
  switch (options.tab) {
    case 'objects':
      return objectsTab(model, path, options);
    case 'history':
      return historyTab(model, path, options);
    case 'logs':
      return {
        regions: [{ id: 'pods', content: <Pods model={model} /> }],
        layout: (slot) => <Section id="pods" title="Pods and their containers" slot={slot} />,
      };
    case 'events':
      return {
        regions: [{ id: 'events', content: <Events events={model.events} /> }],
        layout: (slot) => <Section id="events" title="Events" slot={slot} />,
      };
    case 'conditions':
      return {
        regions: [{ id: 'conditions', content: <Conditions conditions={model.conditions} /> }],
        layout: (slot) => <Section id="conditions" title="Conditions" slot={slot} />,
      };
    default:
      return options.tab satisfies never;
  }
}

function Section({ id, title, slot }: { readonly id: string; readonly title: string; readonly slot: (id: string) => VNode }): VNode {
  return (
    <section aria-labelledby={`${id}-head`}>
      <h2 id={`${id}-head`}>{title}</h2>
      {slot(id)}
    </section>
  );
}

function objectsTab(model: AppModel, path: string, options: AppViewOptions): Pick<View, 'regions' | 'layout'> {
  const { object, isGone, viewer, answer } = options;
  const hasInspector = object !== undefined || isGone;
  return {
    regions: [
      { id: 'objects', content: <Objects model={model} path={path} chosen={object?.id ?? ''} /> },
      hasInspector
        ? { id: 'inspector', content: <Inspector object={object} path={path} /> }
        : { id: 'history', content: <History model={model} path={path} max={8} /> },
      { id: 'why', content: <Steps why={model.overview.why} /> },
    ],
    layout: (slot) => (
      <>
        <div class={hasInspector ? 'halves' : 'columns'}>
          <Section id="objects" title="Objects" slot={slot} />
          {hasInspector ? (
            <section aria-label="The chosen object" class="inspector">
              {slot('inspector')}
              {object === undefined ? null : <ObjectFields object={object} viewer={viewer} answer={answer} />}
            </section>
          ) : (
            <section aria-labelledby="history-head" class="side">
              <h2 id="history-head">History</h2>
              {slot('history')}
            </section>
          )}
        </div>
        <Section id="why" title="From commit to healthy" slot={slot} />
      </>
    ),
  };
}

function historyTab(model: AppModel, path: string, options: AppViewOptions): Pick<View, 'regions' | 'layout'> {
  const { commit, viewer, answer } = options;
  return {
    regions: [{ id: 'history', content: <History model={model} path={path} max={Number.POSITIVE_INFINITY} chosen={commit} /> }],
    layout: (slot) => (
      <div class={commit === '' ? '' : 'halves'}>
        <Section id="history" title="History" slot={slot} />
        {commit === '' ? null : (
          <section aria-labelledby="diff-head">
            <h2 id="diff-head">
              What <Sha sha={commit} /> changes in this app
            </h2>
            <CommitDiff sha={commit} path={model.path} viewer={viewer} answer={answer} />
          </section>
        )}
      </div>
    ),
  };
}

function AppHead({ model, grafanaUrl }: { readonly model: AppModel; readonly grafanaUrl: string | undefined }): VNode {
  const { row, overview, path, source } = model;
  const applies = appliesOf(model);
  return (
    <div class="app-head">
      <h1>
        <Glyph state={row.state} /> {row.name} <span class="word">{row.word}</span>
      </h1>
      <dl class="facts">
        <Fact name="Git">{row.revision === '' ? 'nothing applied yet' : <Sha sha={row.revision} />}</Fact>
        <Fact name="Sync">{overview.sync}</Fact>
        <Fact name="Health">{overview.health}</Fact>
        <Fact name="From">
          <code>
            {source}: {path}
          </code>
        </Fact>
        {row.since === undefined ? null : (
          <Fact name="Since">
            <Age at={row.since} />
          </Fact>
        )}
        {applies.length < 2 ? null : (
          <Fact name="Time to apply">
            <Durations all={applies} />
          </Fact>
        )}
        {grafanaUrl === undefined ? null : (
          <Fact name="Numbers">
            <a href={`${grafanaUrl}/d/midship-app?${new URLSearchParams({ 'var-app': row.name })}`} rel="noreferrer">
              Open in Grafana
            </a>
          </Fact>
        )}
      </dl>
      <Reason app={row} />
    </div>
  );
}

const maxApplies = 20;

/** Milliseconds that each of the newest applies took, oldest first. */
const appliesOf = ({ history }: AppModel): readonly number[] =>
  history
    .flatMap(({ activity }) => (activity.type === 'applied' ? [activity.durationMs] : []))
    .slice(0, maxApplies)
    .reverse();

const barWidth = 4;
const barHeight = 14;

/** A bar for each duration, the longest one as high as the line. Geometry is in attributes: the page allows no inline style. */
function Durations({ all }: { readonly all: readonly number[] }): VNode {
  const longest = Math.max(1, ...all);
  const text = `${all.length} times, ${durationText(Math.min(...all))} to ${durationText(longest)}`;
  return (
    <span class="durations" title={text}>
      <svg width={all.length * barWidth} height={barHeight} aria-hidden="true">
        {all.map((ms, index) => {
          const height = Math.max(1, Math.round((ms / longest) * barHeight));
          return <rect key={`${index}`} x={index * barWidth} y={barHeight - height} width={barWidth - 1} height={height} />;
        })}
      </svg>{' '}
      {durationText(all.at(-1) ?? 0)}
      <span class="hidden">. {text}</span>
    </span>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: VNode | string }): VNode {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

interface ActionsProps {
  readonly model: AppModel;
  readonly viewer: Viewer;
  readonly path: string;
}

/** A confirmation without a script: the button that acts is inside what one opens first. */
function Actions({ model: { row, isSuspended }, viewer, path }: ActionsProps): VNode {
  const app = `${row.namespace}/${row.name}`;
  const verb = isSuspended ? 'resume' : 'suspend';
  if (!viewer.isUser) {
    return (
      <div class="actions">
        <button type="button" disabled>
          Sync
        </button>
        <button type="button" disabled>
          {isSuspended ? 'Resume' : 'Suspend'}
        </button>
        <p class="quiet">
          {viewer.canLogIn ? (
            <>
              <a href="/login">Log in</a> to act here, or{' '}
            </>
          ) : (
            'This page cannot act. '
          )}
          run <Command text={commandOf('midship', 'sync', app)} /> <Command text={commandOf('midship', verb, app)} />
        </p>
      </div>
    );
  }
  return (
    <div class="actions">
      <button type="submit" form="act" formaction={`${path}/sync`} disabled={isSuspended}>
        Sync now
      </button>
      <details class="confirm" id="confirm">
        <summary>{isSuspended ? 'Resume…' : 'Suspend…'}</summary>
        <p>
          {isSuspended
            ? `The newest commit reaches ${row.name} again, and a pin ends. Changes by hand are put back.`
            : `New commits and drift no longer change ${row.name}. Its pods run on.`}
        </p>
        <button type="submit" form="act" formaction={`${path}/${verb}`}>
          {isSuspended ? 'Resume' : 'Suspend'} {row.name}
        </button>
      </details>
    </div>
  );
}

interface ObjectsProps {
  readonly model: AppModel;
  readonly path: string;
  /** Id of the chosen one; empty for none. */
  readonly chosen: string;
}

/** Objects beyond this are in the table of all objects. */
const maxObjects = 300;

function Objects({ model: { objects, row }, path, chosen }: ObjectsProps): VNode {
  if (objects.length === 0) return <p class="empty">Nothing of this app is in the cluster.</p>;
  return (
    <>
      <ul class="objects">
        {objects.slice(0, maxObjects).map((object) => (
          <li key={object.id}>
            <p class={object.id === chosen ? 'entry chosen' : 'entry'}>
              <Glyph state={object.state} />
              <a href={objectPath(path, object.id)} {...(object.id === chosen ? { 'aria-current': 'true' } : {})}>
                <span class="kind">{object.kind}</span> <b>{object.name}</b>
              </a>
              {object.namespace === '' ? null : <span class="namespace">{object.namespace}</span>}
              <span class={`word ${object.state}`}>{object.word}</span>
            </p>
            {object.reason === '' ? null : <p class="detail">{object.reason}</p>}
            {object.pods.length === 0 ? null : <PodsBelow object={object} path={path} chosen={chosen} />}
          </li>
        ))}
      </ul>
      {objects.length > maxObjects ? (
        <p class="more">
          and {objects.length - maxObjects} more, in <a href={`/objects?${new URLSearchParams({ q: row.name })}`}>all objects</a>
        </p>
      ) : null}
    </>
  );
}

const maxPods = 50;

function PodsBelow({ object, path, chosen }: { readonly object: AppObject; readonly path: string; readonly chosen: string }): VNode {
  return (
    <ul>
      {object.pods.slice(0, maxPods).map((pod) => {
        const { metadata, spec } = pod;
        const { state, word } = podStates[squareState(pod)];
        const problem = problemOf(pod);
        const id = idOfPod(metadata);
        return (
          <li key={metadata.uid ?? metadata.name}>
            <p class={id === chosen ? 'entry chosen' : 'entry'}>
              <Glyph state={state} />
              <a href={objectPath(path, id)} {...(id === chosen ? { 'aria-current': 'true' } : {})}>
                <span class="kind">Pod</span> {metadata.name}
              </a>
              <span class={`word ${state}`}>{word}</span>
              {spec.nodeName === undefined ? null : (
                <span class="quiet">
                  on <a href={`/nodes/${spec.nodeName}`}>{spec.nodeName}</a>
                </span>
              )}
              <a href={logsPath(metadata.namespace ?? '', metadata.name)}>Logs</a>
            </p>
            {problem === undefined ? null : <p class="problem">{problem}</p>}
          </li>
        );
      })}
      {object.pods.length > maxPods ? <li class="more">and {object.pods.length - maxPods} more pods</li> : null}
    </ul>
  );
}

function Pods({ model: { objects } }: { readonly model: AppModel }): VNode {
  const pods = objects.flatMap((object) => object.pods);
  if (pods.length === 0) return <p class="empty">This app has no pods.</p>;
  return (
    <>
      <ul class="objects">
        {pods.slice(0, maxPods).map((pod) => {
          const { metadata, spec } = pod;
          const { state, word } = podStates[squareState(pod)];
          const problem = problemOf(pod);
          const namespace = metadata.namespace ?? '';
          return (
            <li key={metadata.uid ?? metadata.name}>
              <p class="entry">
                <Glyph state={state} /> <b>{metadata.name}</b> <span class="namespace">{namespace}</span>
                <span class={`word ${state}`}>{word}</span>
                {[...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => (
                  <a key={name} href={logsPath(namespace, metadata.name, name)}>
                    Logs of {name}
                  </a>
                ))}
              </p>
              {problem === undefined ? null : <p class="problem">{problem}</p>}
              <p class="detail">
                <Command text={commandOf('kubectl', '-n', namespace, 'logs', metadata.name, '--all-containers')} />
              </p>
            </li>
          );
        })}
      </ul>
      {pods.length > maxPods ? <p class="more">and {pods.length - maxPods} more pods</p> : null}
    </>
  );
}

interface HistoryProps {
  readonly model: AppModel;
  readonly path: string;
  readonly max: number;
  readonly chosen?: string;
}

function History({ model: { history }, path, max, chosen = '' }: HistoryProps): VNode {
  if (history.length === 0) return <p class="empty">Nothing has happened yet.</p>;
  return (
    <>
      <ol class="line">
        {history.slice(0, max).map((entry, index) => (
          <HistoryMark key={`${entry.activity.at}-${index}`} entry={entry} path={path} chosen={chosen} />
        ))}
      </ol>
      {history.length > max ? (
        <p>
          <a href={`${path}?tab=history`}>All of the history</a>
        </p>
      ) : null}
    </>
  );
}

interface HistoryMarkProps {
  readonly entry: HistoryEntry;
  readonly path: string;
  readonly chosen: string;
}

function HistoryMark({ entry: { activity, author, subject }, path, chosen }: HistoryMarkProps): VNode {
  const { state, title, lines } = entryOf(activity);
  const sha = activity.type === 'drift' ? '' : activity.sha;
  return (
    <li class={sha !== '' && sha === chosen ? `${state} chosen` : state}>
      <Glyph state={state} />
      <div>
        <p class="title">{title}</p>
        {subject === '' ? null : <p class="subject">{subject}</p>}
        <p class="meta">
          {sha === '' ? null : (
            <>
              <Sha sha={sha} /> {author === '' ? '' : `${author}, `}
            </>
          )}
          <Age at={activity.at} /> ago
          {activity.type !== 'applied' && activity.type !== 'failed' ? null : (
            <>
              {' '}
              <a href={`${path}?tab=history&commit=${sha}`}>Diff</a>
            </>
          )}
        </p>
        {lines.map((text) => (
          <p class="outcome" key={text}>
            {text}
          </p>
        ))}
        {activity.type === 'applied' || activity.type === 'failed' ? <Revert sha={sha} /> : null}
      </div>
    </li>
  );
}

/** The page never writes to Git: a person runs the command in a clone. */
function Revert({ sha }: { readonly sha: string }): VNode {
  return (
    <details class="confirm" id={`revert-${sha}`}>
      <summary>Revert…</summary>
      <p>Run this in a clone. The new commit takes back what this one changed, and the cluster follows it.</p>
      <Command text={`git revert --no-edit ${shortSha(sha)} && git push`} />
    </details>
  );
}

function entryOf(entry: Exclude<Activity, { type: 'commit' }>): {
  readonly state: State;
  readonly title: string;
  readonly lines: readonly string[];
} {
  switch (entry.type) {
    case 'applied':
      return {
        state: 'ok',
        title: `Applied in ${durationText(entry.durationMs)}${entry.rollback ? ', back to an earlier state' : ''}`,
        lines: entry.changes.map(
          ({ action, object, fields }) =>
            `${object} ${action}${fields.length === 0 ? '' : `: ${fields.map(changeWithoutValues).join(', ')}`}`,
        ),
      };
    case 'healthy':
      return { state: 'ok', title: `Healthy ${entry.summary}`.trim(), lines: [] };
    case 'degraded':
      return { state: 'failed', title: 'Does not work', lines: [entry.reason] };
    case 'recovered':
      return { state: 'ok', title: entry.from === 'failed' ? 'Is what Git says again' : 'Works again', lines: [] };
    case 'failed':
      return { state: 'failed', title: 'Not applied', lines: entry.errors };
    case 'drift':
      return {
        state: 'drift',
        title: entry.healed ? `Drift healed in ${durationText(entry.durationMs)}` : 'Drift',
        lines: [
          `${entry.object} ${changeWithoutValues(entry.change)}${entry.by === '' ? '' : ` by ${entry.by}`}`,
          ...[entry.left, entry.problem].filter((text) => text !== ''),
        ],
      };
    default:
      return entry satisfies never;
  }
}
