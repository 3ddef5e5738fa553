import type { VNode } from 'preact';
import { appStates } from '../../base/contracts/app-states.ts';
import type { GitOpsOverview } from '../../base/contracts/overview.ts';
import type { LineMark } from '../commit-line.ts';
import { type AppRow, appPath, type EventRow, type HomeModel, logsPath, type NodeCard } from '../page-model.ts';
import type { State } from '../state.ts';
import { Age, Command, Glyph, Sha, Squares, shortSha, type View } from './parts.tsx';

const maxApps = 200;
const maxNodes = 24;

/** @param filter  shows only apps with this in their name, state or place */
export function homeView(model: HomeModel, filter: string): View {
  const { overview } = model;
  const shown = filter === '' ? model.apps : model.apps.filter((app) => matches(app, filter.toLowerCase()));
  return {
    title: overview.verdict,
    regions: [
      { id: 'verdict', content: <Verdict model={model} /> },
      { id: 'apps', content: <Apps apps={shown} total={model.apps.length} /> },
      { id: 'line', content: <Line marks={model.line} gitops={overview.gitops} /> },
      { id: 'nodes', content: <Nodes nodes={model.nodes} /> },
      { id: 'events', content: <Events events={model.events} /> },
    ],
    layout: (slot) => (
      <main>
        {slot('verdict')}
        <div class="columns home">
          <section aria-labelledby="apps-head" class="apps-part">
            <div class="head">
              <h2 id="apps-head">Apps</h2>
              <form method="get" action="/">
                <input id="filter" type="search" name="q" value={filter} maxlength={100} placeholder="Filter" aria-label="Filter apps" />
              </form>
            </div>
            {slot('apps')}
          </section>
          <section aria-labelledby="line-head" class="side">
            <h2 id="line-head">Commits</h2>
            {slot('line')}
          </section>
          <section aria-labelledby="nodes-head" class="nodes-part">
            <h2 id="nodes-head">Nodes</h2>
            {slot('nodes')}
          </section>
        </div>
        <section aria-labelledby="events-head">
          <h2 id="events-head">
            <a href="/events">Events</a>
          </h2>
          {slot('events')}
        </section>
      </main>
    ),
  };
}

function Verdict({ model: { overview, lead, tally, segments } }: { readonly model: HomeModel }): VNode {
  return (
    <div class="verdict">
      <div>
        <h1>{overview.verdict}</h1>
        {lead === '' ? null : <p class="lead">{lead}</p>}
      </div>
      <dl class="tally">
        <Tally
          value={tally.podsWanted === tally.podsReady ? `${tally.podsReady}` : `${tally.podsReady}/${tally.podsWanted}`}
          label="pods ready"
        />
        <Tally
          value={tally.nodes === tally.nodesReady ? `${tally.nodes}` : `${tally.nodesReady}/${tally.nodes}`}
          label="nodes ready"
          isBad={tally.nodesReady < tally.nodes}
        />
        <Tally value={`${tally.drifts}`} label={tally.drifts === 1 ? 'drift this hour' : 'drifts this hour'} />
      </dl>
      <Segments segments={segments} />
    </div>
  );
}

function Tally({ value, label, isBad = false }: { readonly value: string; readonly label: string; readonly isBad?: boolean }): VNode {
  return (
    <div>
      <dt>{label}</dt>
      <dd class={isBad ? 'failed' : ''}>{value}</dd>
    </div>
  );
}

/** One stripe a state, as wide as its share of the apps. Geometry is in attributes: the page allows no inline style. */
function Segments({ segments }: { readonly segments: HomeModel['segments'] }): VNode | null {
  const total = segments.reduce((sum, { count }) => sum + count, 0);
  if (total === 0) return null;
  let x = 0;
  return (
    <div class="segments">
      <svg viewBox="0 0 1000 6" preserveAspectRatio="none" aria-hidden="true">
        {segments.map(({ name, state, count }, index) => {
          const width = (count / total) * 1_000;
          const gap = index === segments.length - 1 ? 0 : 4;
          const rect = <rect key={name} class={state} x={x} y="0" width={Math.max(0, width - gap)} height="6" />;
          x += width;
          return rect;
        })}
      </svg>
      <ul>
        {segments.map(({ name, state, word, count }) => (
          <li key={name}>
            <Glyph state={state} /> {count}{' '}
            {count === 1 ? word.toLowerCase().replace('git', 'Git') : appStates[name].many.replace('are ', '')}
          </li>
        ))}
      </ul>
    </div>
  );
}

const matches = ({ name, namespace, word, places }: AppRow, text: string): boolean =>
  [name, namespace, word, ...places].some((part) => part.toLowerCase().includes(text));

function Apps({ apps, total }: { readonly apps: readonly AppRow[]; readonly total: number }): VNode {
  if (apps.length === 0 && total > 0) return <p class="empty">None of {total} apps has that in its name, state or namespace.</p>;
  if (apps.length === 0) {
    return <p class="empty">No app yet. An app is a Kustomization: push one to the repository and it appears here.</p>;
  }
  return (
    <ol class="apps">
      {apps.slice(0, maxApps).map((app) => (
        <li key={`${app.namespace}/${app.name}`} id={`app-${app.namespace}-${app.name}`} class={`app ${app.state}`} data-state={app.state}>
          <a class="name" href={appPath(app.namespace, app.name)}>
            <Glyph state={app.state} />
            <b>{app.name}</b>
          </a>
          <span class="namespace">{placesText(app.places)}</span>
          <span class="word">{app.word}</span>
          <span class="squares">
            <Squares squares={app.squares} />
          </span>
          <span class="age">{app.since === undefined ? null : <Age at={app.since} />}</span>
          <Reason app={app} />
        </li>
      ))}
      {apps.length > maxApps ? <li class="more">and {apps.length - maxApps} more</li> : null}
    </ol>
  );
}

const placesText = (places: readonly string[]): string => (places.length > 2 ? `${places.length} namespaces` : places.join(', '));

export function Reason({ app }: { readonly app: AppRow }): VNode | null {
  if (app.reason === '' && app.notes.length === 0) return null;
  const [first = '', ...lines] = app.reason.split('\n');
  const rest = [...lines, ...app.notes];
  const failing = app.squares.find(({ state }) => state === 'failed');
  return (
    <div class="reason">
      <p>
        {first}
        {app.cause === undefined ? null : (
          <span class="cause">
            Changed in <Sha sha={app.cause.sha} />
            {app.cause.author === '' ? '' : ` by ${app.cause.author}`}
            {app.cause.subject === '' ? '' : `: ${app.cause.subject}`}
          </span>
        )}
      </p>
      {rest.length === 0 ? null : (
        <ul>
          {rest.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
      {failing === undefined ? null : (
        <p class="links">
          <a href={logsPath(failing.namespace, failing.name)}>Logs of {failing.name}</a>
        </p>
      )}
      {app.cause === undefined ? null : (
        <p class="undo">
          Undo: <Command text={`git revert --no-edit ${shortSha(app.cause.sha)} && git push`} />
        </p>
      )}
    </div>
  );
}

/** A server that led GitOps earlier has old commits: they are not shown as the newest. */
function Line({ marks, gitops }: { readonly marks: readonly LineMark[]; readonly gitops: GitOpsOverview | undefined }): VNode {
  if (gitops !== undefined && !gitops.here) return <Elsewhere gitops={gitops} />;
  if (marks.length === 0) return <p class="empty">No commit seen yet.</p>;
  return (
    <ol class="line">
      {marks.map((mark) => (
        <li key={mark.id} id={mark.id} class={mark.state} data-state={mark.state}>
          <Glyph state={mark.state} />
          <div>
            <p class="title">{mark.title}</p>
            <p class="meta">
              {mark.sha === undefined ? null : (
                <>
                  <Sha sha={mark.sha} /> {mark.author},{' '}
                </>
              )}
              <Age at={mark.at} /> ago
            </p>
            <p class="outcome">{mark.outcome}</p>
          </div>
        </li>
      ))}
    </ol>
  );
}

/** Says which server has the commits. */
function Elsewhere({ gitops: { leader, page } }: { readonly gitops: GitOpsOverview }): VNode {
  if (leader === '') return <p class="empty">No server leads GitOps now: commits are not applied until one does.</p>;
  return (
    <p class="empty">
      GitOps runs on the server {leader}.{' '}
      {page === '' ? (
        'The commits are on its page, for which this server knows no address that other machines reach.'
      ) : (
        <>
          Its page has the commits: <a href={page}>{page}</a>
        </>
      )}
    </p>
  );
}

function Nodes({ nodes }: { readonly nodes: readonly NodeCard[] }): VNode {
  if (nodes.length === 0) return <p class="empty">No node has joined.</p>;
  const hidden = nodes.slice(maxNodes);
  return (
    <ul class="nodes">
      {nodes.slice(0, maxNodes).map((node) => (
        <Card key={node.name} node={node} />
      ))}
      {hidden.length === 0 ? null : (
        <li class="more">
          and {hidden.length} more, {hidden.filter(({ ready }) => ready).length} ready
        </li>
      )}
    </ul>
  );
}

export function Card({ node }: { readonly node: NodeCard }): VNode {
  const state: State = node.ready ? (node.cordoned ? 'paused' : 'ok') : 'failed';
  return (
    <li id={`node-${node.name}`} class={`node ${state}`} data-state={state}>
      <p class="name">
        <Glyph state={state} />
        <a href={`/nodes/${node.name}`}>{node.name}</a>
        <span class="word">
          {node.ready ? 'Ready' : 'Not ready'}
          {node.cordoned ? ', cordoned' : ''}
        </span>
        {node.simulated ? <span class="chip">simulated</span> : null}
      </p>
      <Share label="CPU requested" value={node.cpu} />
      <Share label="Memory requested" value={node.memory} />
      <p class="on-node">{node.squares.length === 0 ? <span class="quiet">no pods</span> : <Squares squares={node.squares} />}</p>
    </li>
  );
}

function Share({ label, value }: { readonly label: string; readonly value: number | undefined }): VNode | null {
  if (value === undefined) return null;
  const percent = Math.round(value * 100);
  return (
    <p class="share">
      <span>{label}</span>
      <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" width="100" height="4" />
        <rect class={percent > 90 ? 'high' : 'used'} width={Math.min(100, percent)} height="4" />
      </svg>
      <span class="number">{percent} %</span>
    </p>
  );
}

export function Events({ events }: { readonly events: readonly EventRow[] }): VNode {
  if (events.length === 0) return <p class="empty">Nothing has happened yet.</p>;
  return (
    <div class="scroll">
      <table class="events">
        <thead>
          <tr>
            <th scope="col">Age</th>
            <th scope="col">Type</th>
            <th scope="col">Reason</th>
            <th scope="col">Object</th>
            <th scope="col">Message</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event) => (
            <tr key={event.id} id={`event-${event.id}`} class={event.warning ? 'warning' : ''}>
              <td class="age">
                <Age at={event.at} />
              </td>
              <td>{event.warning ? 'Warning' : 'Normal'}</td>
              <td>
                {event.reason}
                {event.count > 1 ? <span class="quiet"> ×{event.count}</span> : null}
              </td>
              <td>
                <code>{event.object}</code>
              </td>
              <td>{event.message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
