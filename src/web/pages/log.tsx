import type { VNode } from 'preact';
import { podStates } from '../app-objects.ts';
import type { PodModel } from '../page-model.ts';
import { timeText } from './inspector.tsx';
import { Command, commandOf, Glyph, LoginHint, type View, type ViewOptions } from './parts.tsx';

export interface LogViewOptions extends ViewOptions {
  /** Empty: the first one. */
  readonly container: string;
  readonly previous: boolean;
  readonly tailLines: number;
}

const tails = [100, 200, 500, 2_000];

/** The log of one container; the lines are the answer to one user, so no region has them. */
export function logView(pod: PodModel, options: LogViewOptions): View {
  const { state, word } = podStates[pod.state];
  const container = options.container === '' ? (pod.containers[0]?.name ?? '') : options.container;
  return {
    title: `Log of ${pod.name}`,
    regions: [
      {
        id: 'head',
        content: (
          <div>
            <h1 class="object-name">
              <Glyph state={state} /> {pod.name} <span class="word">{word}</span>
            </h1>
            {pod.problem === '' ? null : <p class="problem">{pod.problem}</p>}
          </div>
        ),
      },
    ],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / {pod.namespace} / {pod.name} / log
        </p>
        {slot('head')}
        <Choice pod={pod} options={{ ...options, container }} />
        <Lines pod={pod} options={{ ...options, container }} />
        <p class="links">
          <Command text={kubectlLogs(pod, { ...options, container })} />
        </p>
      </main>
    ),
  };
}

interface LogProps {
  readonly pod: PodModel;
  readonly options: LogViewOptions;
}

function kubectlLogs({ namespace, name }: PodModel, { container, previous, tailLines }: LogViewOptions): string {
  return commandOf('kubectl', '-n', namespace, 'logs', name, '-c', container, `--tail=${tailLines}`, ...(previous ? ['--previous'] : []));
}

function Choice({ pod, options: { container, previous, tailLines } }: LogProps): VNode {
  return (
    <form method="get" class="choice">
      <label>
        Container{' '}
        <select name="container">
          {pod.containers.map(({ name, restarts }) => (
            <option key={name} value={name} selected={name === container}>
              {name}
              {restarts === 0 ? '' : `, ${restarts} restarts`}
            </option>
          ))}
        </select>
      </label>
      <label>
        Lines{' '}
        <select name="tail">
          {[...new Set([...tails, tailLines])]
            .sort((a, b) => a - b)
            .map((count) => (
              <option key={count} value={count} selected={count === tailLines}>
                {count}
              </option>
            ))}
        </select>
      </label>
      <label>
        <input type="checkbox" name="previous" value="1" checked={previous} /> the run before
      </label>
      <button type="submit">Show</button>
    </form>
  );
}

function Lines({ pod, options: { viewer, answer, container, previous, tailLines } }: LogProps): VNode {
  if (answer?.type === 'refused') return <p class="hint problem">{answer.text}</p>;
  if (answer?.type !== 'log') return <LoginHint viewer={viewer} what="show the log" />;
  const query = new URLSearchParams({ container, tail: String(tailLines) });
  const stream = `/logs/${encodeURIComponent(pod.namespace)}/${encodeURIComponent(pod.name)}/stream?${query}`;
  return (
    <>
      <p class="log-head">
        <span class="quiet">As of {timeText(answer.at)}</span>
        <input
          type="search"
          id="log-search"
          class="script-only"
          placeholder="Search the lines"
          aria-label="Search the lines"
          maxlength={100}
        />
        {previous ? null : (
          <button type="button" id="follow" class="script-only" data-stream={stream} aria-pressed="false">
            Follow
          </button>
        )}
      </p>
      <pre id="log" class="log" tabindex={0}>
        {answer.text === '' ? <span class="quiet">The container wrote nothing.</span> : answer.text}
      </pre>
    </>
  );
}
