import type { VNode } from 'preact';
import { podStates } from '../app-objects.ts';
import { type EventRow, logsPath, type NodeModel, type Paged, type StepRow } from '../page-model.ts';
import { Card, Events } from './home.tsx';
import { Age, Conditions, Glyph, Pager, type View } from './parts.tsx';

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
                  <p class="entry">
                    <Glyph state={podStates[state].state} /> {name} <span class="namespace">{namespace}</span>
                    <span class={`word ${podStates[state].state}`}>{podStates[state].word}</span>
                    <a href={logsPath(namespace, name)}>Logs</a>
                  </p>
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

export function eventsView(list: Paged<EventRow>): View {
  return {
    title: 'Events',
    regions: [
      {
        id: 'events',
        content: (
          <>
            <Events events={list.rows} />
            <Pager list={list} href={(page) => `/events?page=${page}`} />
          </>
        ),
      },
    ],
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
export function stepsView(list: Paged<StepRow>): View {
  return {
    title: 'Lifecycle steps',
    regions: [
      {
        id: 'steps',
        content: (
          <>
            <StepTable steps={list.rows} />
            <Pager list={list} href={(page) => `/steps?page=${page}`} />
          </>
        ),
      },
    ],
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

function StepTable({ steps }: { readonly steps: readonly StepRow[] }): VNode {
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
