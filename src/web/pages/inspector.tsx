import type { VNode } from 'preact';
import { type EventRow, logsPath, type ObjectModel, objectPath } from '../page-model.ts';
import { Age, type Answer, Command, type ConditionRow, commandOf, Glyph, LoginHint, type Viewer } from './parts.tsx';

/** The public part of an object: state, owner, differences, events. */
export function Inspector({ object, path }: { readonly object: ObjectModel | undefined; readonly path: string }): VNode {
  if (object === undefined) return <p class="empty">The app does not have this object any more.</p>;
  const { name, state, word, reason, owner, differences, events, pod } = object;
  return (
    <div>
      <h2 class="object-name">
        <Glyph state={state} /> <span class="kind">{name.kind}</span> {name.name} <span class={`word ${state}`}>{word}</span>
      </h2>
      <dl class="facts">
        <div>
          <dt>Namespace</dt>
          <dd>{name.namespace === '' ? 'none: it is of the cluster' : name.namespace}</dd>
        </div>
        <div>
          <dt>Owner</dt>
          <dd>{owner === undefined ? 'the app' : <a href={objectPath(path, owner.id)}>{owner.text}</a>}</dd>
        </div>
        {pod === undefined || pod.node === '' ? null : (
          <div>
            <dt>Node</dt>
            <dd>
              <a href={`/nodes/${pod.node}`}>{pod.node}</a>
            </dd>
          </div>
        )}
      </dl>
      {reason === '' ? null : <p class={state === 'failed' ? 'problem' : 'reason'}>{reason}</p>}
      <Differences title="Differs from Git" lines={differences} />
      {pod === undefined ? null : (
        <p class="links">
          {pod.containers.map((container) => (
            <a key={container.name} href={logsPath(pod.namespace, pod.name, container.name)}>
              Logs of {container.name}
              {container.restarts === 0 ? '' : `, ${container.restarts} restarts`}
            </a>
          ))}
        </p>
      )}
      <p class="links">
        <Command text={getCommand(object)} />
      </p>
      <h3>Events</h3>
      <EventLines events={events} />
    </div>
  );
}

function Differences({ title, lines }: { readonly title: string; readonly lines: readonly string[] }): VNode | null {
  if (lines.length === 0) return null;
  return (
    <div class="differs">
      <h3>{title}</h3>
      <ul>
        {lines.map((text) => (
          <li key={text}>
            <code>{text}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** A table has no room beside the outline. */
function EventLines({ events }: { readonly events: readonly EventRow[] }): VNode {
  if (events.length === 0) return <p class="quiet">None in the last hour.</p>;
  return (
    <ul class="notes">
      {events.map(({ id, at, warning, reason, count, message }) => (
        <li key={id} class={warning ? 'warning' : ''}>
          <b>{reason}</b>
          {count > 1 ? ` ×${count}` : ''}{' '}
          <span class="quiet">
            <Age at={at} /> ago
          </span>{' '}
          <span class="text">{message}</span>
        </li>
      ))}
    </ul>
  );
}

function ConditionLines({ conditions }: { readonly conditions: readonly ConditionRow[] }): VNode {
  if (conditions.length === 0) return <p class="quiet">None.</p>;
  return (
    <ul class="notes">
      {conditions.map(({ type, status, reason, message }) => (
        <li key={type}>
          <b>{type}</b> {status} <span class="quiet">{reason}</span> <span class="text">{message}</span>
        </li>
      ))}
    </ul>
  );
}

/** `deployment.apps`: the name of a kind that no other kind takes. */
function getCommand({ name: { kind, group, namespace, name } }: ObjectModel): string {
  const type = `${kind.toLowerCase()}${group === '' ? '' : `.${group}`}`;
  return commandOf('kubectl', ...(namespace === '' ? [] : ['-n', namespace]), 'get', type, name, '-o', 'yaml');
}

export interface ObjectFieldsProps {
  readonly object: ObjectModel;
  readonly viewer: Viewer;
  readonly answer: Answer | undefined;
}

/** The fields of an object, for the user who may read them. */
export function ObjectFields({ viewer, answer }: ObjectFieldsProps): VNode {
  if (answer?.type === 'refused') return <p class="hint problem">{answer.text}</p>;
  if (answer?.type !== 'object') return <LoginHint viewer={viewer} what="show its fields" />;
  return (
    <>
      <Differences title="Values that differ" lines={answer.differences} />
      <h3>Conditions</h3>
      <ConditionLines conditions={answer.conditions} />
      <h3>
        Manifest <span class="quiet">as of {timeText(answer.at)}, values of Secrets masked</span>
      </h3>
      <pre class="manifest" tabindex={0}>
        {answer.text}
      </pre>
    </>
  );
}

/** `14:02:11 UTC` */
export const timeText = (at: number): string => `${new Date(at).toISOString().slice(11, 19)} UTC`;
