import type { VNode } from 'preact';
import type { Activity } from '../../base/contracts/activity.ts';
import type { AppOverview, WhyPhase } from '../../base/contracts/overview.ts';
import { podProblem } from '../../lifecycle/reasons.ts';
import { type AppObject, type PodSquare, squareState } from '../app-objects.ts';
import { durationText } from '../commit-line.ts';
import type { AppModel, EventRow, NodeModel, StepRow } from '../page-model.ts';
import type { State } from '../state.ts';
import { Card, Events, Reason } from './home.tsx';
import { Age, Glyph, Sha, type View } from './parts.tsx';

const squareStates: Readonly<Record<PodSquare['state'], { readonly state: State; readonly word: string }>> = {
  ready: { state: 'ok', word: 'Ready' },
  done: { state: 'ok', word: 'Done' },
  starting: { state: 'progressing', word: 'Starting' },
  failed: { state: 'failed', word: 'Failing' },
  missing: { state: 'unknown', word: 'Missing' },
};

export function appView(model: AppModel): View {
  const { row } = model;
  return {
    title: `${row.name}: ${row.word}`,
    regions: [
      { id: 'head', content: <AppHead model={model} /> },
      { id: 'why', content: <Why why={model.overview.why} /> },
      { id: 'objects', content: <Objects objects={model.objects} /> },
      { id: 'history', content: <History entries={model.history} /> },
      { id: 'conditions', content: <Conditions conditions={model.conditions} /> },
    ],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / {row.namespace} / {row.name}
        </p>
        {slot('head')}
        <div class="columns">
          <section aria-labelledby="objects-head">
            <h2 id="objects-head">Objects</h2>
            {slot('objects')}
          </section>
          <section aria-labelledby="history-head" class="side">
            <h2 id="history-head">History</h2>
            {slot('history')}
          </section>
        </div>
        <section aria-labelledby="why-head">
          <h2 id="why-head">From commit to healthy</h2>
          {slot('why')}
        </section>
        <section aria-labelledby="conditions-head">
          <h2 id="conditions-head">Conditions</h2>
          {slot('conditions')}
        </section>
      </main>
    ),
  };
}

function AppHead({ model: { row, overview, path, source } }: { readonly model: AppModel }): VNode {
  return (
    <div class="app-head">
      <h1>
        <Glyph state={row.state} /> {row.name} <span class="word">{row.word}</span>
      </h1>
      <dl class="facts">
        <div>
          <dt>Git</dt>
          <dd>{row.revision === '' ? 'nothing applied yet' : <Sha sha={row.revision} />}</dd>
        </div>
        <div>
          <dt>Sync</dt>
          <dd>{overview.sync}</dd>
        </div>
        <div>
          <dt>Health</dt>
          <dd>{overview.health}</dd>
        </div>
        <div>
          <dt>From</dt>
          <dd>
            <code>
              {source}: {path}
            </code>
          </dd>
        </div>
        {row.since === undefined ? null : (
          <div>
            <dt>Since</dt>
            <dd>
              <Age at={row.since} />
            </dd>
          </div>
        )}
      </dl>
      <Reason app={row} />
    </div>
  );
}

const phaseStates: Readonly<Record<WhyPhase['result'], { readonly state: State | undefined; readonly word: string }>> = {
  done: { state: 'ok', word: 'done' },
  failed: { state: 'failed', word: 'failed' },
  running: { state: 'progressing', word: 'under way' },
  waiting: { state: 'unknown', word: 'waits' },
  skipped: { state: undefined, word: 'nothing to do' },
};

function Result({ result }: { readonly result: WhyPhase['result'] }): VNode {
  const { state, word } = phaseStates[result];
  return (
    <>
      {state === undefined ? null : <Glyph state={state} />} {word}
    </>
  );
}

/** Most steps take milliseconds. */
const stepText = (ms: number): string => (ms < 1_000 ? `${Math.round(ms)} ms` : durationText(ms));

/** Every step from the commit on, with what it took: the answer of `midship why`. */
function Why({ why }: { readonly why: AppOverview['why'] }): VNode {
  const { commit, nextRetryAt } = why;
  return (
    <div>
      <p class="why">
        {why.verdict}
        {commit === undefined ? null : (
          <>
            {' '}
            Changed last in <Sha sha={commit.sha} />
            {commit.author === '' ? '' : ` by ${commit.author}`}
            {commit.subject === '' ? '' : `: ${commit.subject}`}.
          </>
        )}
      </p>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">Result</th>
              <th scope="col">Took</th>
              <th scope="col">Detail</th>
            </tr>
          </thead>
          <tbody>
            {why.phases.map(({ name, result, durationMs, detail }) => (
              <tr key={name}>
                <td>{name}</td>
                <td>
                  <Result result={result} />
                </td>
                <td>{durationMs === undefined ? '' : stepText(durationMs)}</td>
                <td>{detail}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {nextRetryAt === undefined ? null : (
        <p>
          Tried {why.tries === 1 ? 'once' : `${why.tries} times`}, next at{' '}
          <time datetime={nextRetryAt}>{nextRetryAt.slice(11, 19)} UTC</time>.
        </p>
      )}
      {why.fix === '' ? null : <p>Fix: {why.fix}</p>}
    </div>
  );
}

function Objects({ objects }: { readonly objects: readonly AppObject[] }): VNode {
  if (objects.length === 0) return <p class="empty">Nothing of this app is in the cluster.</p>;
  return (
    <ul class="objects">
      {objects.map((object) => (
        <li key={`${object.kind}/${object.namespace}/${object.name}`}>
          <p>
            <span class="kind">{object.kind}</span> <b>{object.name}</b>
            {object.namespace === '' ? null : <span class="namespace"> {object.namespace}</span>}
          </p>
          {object.pods.length === 0 ? null : (
            <ul>
              {object.pods.map((pod) => {
                const { state, word } = squareStates[squareState(pod)];
                const problem = podProblem(pod);
                return (
                  <li key={pod.metadata.uid ?? pod.metadata.name}>
                    <Glyph state={state} /> <span class="kind">Pod</span> {pod.metadata.name} <span class="word">{word}</span>
                    {pod.spec.nodeName === undefined ? null : (
                      <>
                        {' '}
                        on <a href={`/nodes/${pod.spec.nodeName}`}>{pod.spec.nodeName}</a>
                      </>
                    )}
                    {problem === undefined ? null : <p class="problem">{problem}</p>}
                  </li>
                );
              })}
            </ul>
          )}
        </li>
      ))}
    </ul>
  );
}

function History({ entries }: { readonly entries: AppModel['history'] }): VNode {
  if (entries.length === 0) return <p class="empty">Nothing has happened yet.</p>;
  return (
    <ol class="line">
      {entries.map((entry, index) => {
        const { state, title, lines } = entryOf(entry);
        return (
          <li key={`${entry.at}-${index}`} class={state}>
            <Glyph state={state} />
            <div>
              <p class="title">{title}</p>
              <p class="meta">
                {entry.type === 'drift' ? null : (
                  <>
                    <Sha sha={entry.sha} />,{' '}
                  </>
                )}
                <Age at={entry.at} /> ago
              </p>
              {lines.map((text) => (
                <p class="outcome" key={text}>
                  {text}
                </p>
              ))}
            </div>
          </li>
        );
      })}
    </ol>
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
          ({ action, object, fields }) => `${object} ${action}${fields.length === 0 ? '' : `: ${fields.join(', ')}`}`,
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
          `${entry.object} ${entry.change}${entry.by === '' ? '' : ` by ${entry.by}`}`,
          ...[entry.left, entry.problem].filter((text) => text !== ''),
        ],
      };
    default:
      return entry satisfies never;
  }
}

function Conditions({ conditions }: { readonly conditions: AppModel['conditions'] }): VNode {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Condition</th>
            <th scope="col">Status</th>
            <th scope="col">Reason</th>
            <th scope="col">Message</th>
          </tr>
        </thead>
        <tbody>
          {conditions.map(({ type, status, reason, message }) => (
            <tr key={type}>
              <td>{type}</td>
              <td>{status}</td>
              <td>{reason}</td>
              <td>{message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function nodeView({ card, conditions, pods }: NodeModel): View {
  return {
    title: `${card.name}: ${card.ready ? 'Ready' : 'Not ready'}`,
    regions: [
      {
        id: 'head',
        content: (
          <div>
            <h1>{card.name}</h1>
            {card.simulated ? <p class="lead">A simulated node: its pods are pretended, nothing runs, and no usage is measured.</p> : null}
            <ul class="nodes">
              <Card node={card} />
            </ul>
          </div>
        ),
      },
      {
        id: 'pods',
        content:
          pods.length === 0 ? (
            <p class="empty">No pods.</p>
          ) : (
            <ul class="objects">
              {pods.map(({ namespace, name, state, problem }) => (
                <li key={`${namespace}/${name}`}>
                  <Glyph state={squareStates[state].state} /> {name} <span class="namespace">{namespace}</span>{' '}
                  <span class="word">{squareStates[state].word}</span>
                  {problem === '' ? null : <p class="problem">{problem}</p>}
                </li>
              ))}
            </ul>
          ),
      },
      { id: 'conditions', content: <Conditions conditions={conditions} /> },
    ],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / nodes / {card.name}
        </p>
        {slot('head')}
        <section aria-labelledby="pods-head">
          <h2 id="pods-head">Pods</h2>
          {slot('pods')}
        </section>
        <section aria-labelledby="conditions-head">
          <h2 id="conditions-head">Conditions</h2>
          {slot('conditions')}
        </section>
      </main>
    ),
  };
}

export function eventsView(events: readonly EventRow[]): View {
  return {
    title: 'Events',
    regions: [{ id: 'events', content: <Events events={events} /> }],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / events
        </p>
        <h1>Events</h1>
        {slot('events')}
      </main>
    ),
  };
}

/** Transitions of the lifecycle machines, for readers who want to know the way to a state. */
export function stepsView(steps: readonly StepRow[]): View {
  return {
    title: 'Lifecycle steps',
    regions: [{ id: 'steps', content: <Steps steps={steps} /> }],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / lifecycle steps
        </p>
        <h1>Lifecycle steps</h1>
        <p class="lead">The newest steps of the state machines that run pods, rollouts, jobs, nodes and syncs.</p>
        {slot('steps')}
      </main>
    ),
  };
}

function Steps({ steps }: { readonly steps: readonly StepRow[] }): VNode {
  if (steps.length === 0) return <p class="empty">No step yet.</p>;
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Age</th>
            <th scope="col">Machine</th>
            <th scope="col">Object</th>
            <th scope="col">From</th>
            <th scope="col">Event</th>
            <th scope="col">To</th>
          </tr>
        </thead>
        <tbody>
          {steps.map(({ at, machine, key, from, event, to }, index) => (
            <tr key={`${at}-${index}`}>
              <td>
                <Age at={at} />
              </td>
              <td>{machine}</td>
              <td>
                <code>{key}</code>
              </td>
              <td>{from}</td>
              <td>
                <code>{event}</code>
              </td>
              <td>{to}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
