import { createContext, type VNode } from 'preact';
import { useContext } from 'preact/hooks';
import type { ObjectChangeDiff } from '../../base/contracts/app-inspection.ts';
import { shellWord } from '../../base/shell-word.ts';
import type { PodSquare } from '../app-objects.ts';
import { ageText } from '../commit-line.ts';
import type { Paged } from '../page-model.ts';
import type { State } from '../state.ts';

/** A part of a page that can be sent again while the page is open. */
interface Region {
  readonly id: string;
  readonly content: VNode;
}

export interface View {
  readonly title: string;
  readonly regions: readonly Region[];
  /** Puts the regions where they belong; `slot` gives the place of one. */
  layout(slot: (id: string) => VNode): VNode;
}

/** The person who looks at a page, as far as it makes a difference. */
export interface Viewer {
  /** Logged in as a user of the API: reads objects and logs and acts, as far as the API lets the user. */
  readonly isUser: boolean;
  /** Empty unless `isUser`. */
  readonly name: string;
  /** The secret of the session's forms; never in a region, which viewers share. */
  readonly formToken: string;
  /** Users of the API can log in here. */
  readonly canLogIn: boolean;
}

export const anyone: Viewer = { isUser: false, name: '', formToken: '', canLogIn: false };

/** The answer of the API to a user who reads: for that user alone, so never in a region. */
export type Answer =
  | {
      readonly type: 'object';
      readonly at: number;
      readonly text: string;
      /** With values, a line each. */
      readonly differences: readonly string[];
      readonly conditions: readonly ConditionRow[];
    }
  | { readonly type: 'diff'; readonly objects: readonly (ObjectChangeDiff & { readonly isHidden: boolean })[]; readonly more: number }
  | { readonly type: 'log'; readonly at: number; readonly text: string }
  | { readonly type: 'refused'; readonly text: string };

export interface ConditionRow {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface ViewOptions {
  readonly viewer: Viewer;
  /** Absent when the page needs none, or nobody is logged in. */
  readonly answer?: Answer | undefined;
  /** Address of Grafana, for links to its dashboards. */
  readonly grafanaUrl?: string | undefined;
}

/**
 * The time that ages are counted from. Undefined for regions that are sent to an open page. Its script counts there, and a region does not
 * differ from the one before only because time has passed.
 */
export const Now = createContext<number | undefined>(undefined);

/** Age of a time; the full time is in the title, and the text itself where no script runs. */
export function Age({ at }: { readonly at: number }): VNode {
  const now = useContext(Now);
  const time = new Date(at).toISOString();
  return (
    <time datetime={time} title={time} data-age>
      {now === undefined ? '' : ageText(now - at)}
    </time>
  );
}

/** The shape of a state; always beside its word. */
export function Glyph({ state }: { readonly state: State }): VNode {
  return (
    <svg class={`glyph ${state}`} viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">
      {shapes[state]}
    </svg>
  );
}

const line = { fill: 'none', 'stroke-width': 1.6, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' } as const;

const shapes: Readonly<Record<State, VNode>> = {
  ok: (
    <>
      <circle cx="7" cy="7" r="7" fill="currentColor" />
      <path d="M4 7.2l2.1 2.1L10 5.2" class="on" {...line} />
    </>
  ),
  failed: (
    <>
      <path d="M7 .6l6.6 12.2H.4z" fill="currentColor" />
      <path d="M7 5v3.4M7 10.7v.1" class="on" {...line} />
    </>
  ),
  drift: (
    <>
      <path d="M7 0l7 7-7 7-7-7z" fill="currentColor" />
      <path d="M4 7.6c1-1.4 2-1.4 3-.6s2 .8 3-.6" class="on" {...line} />
    </>
  ),
  paused: (
    <>
      <rect width="14" height="14" rx="3" fill="currentColor" />
      <path d="M5 4.5v5M9 4.5v5" class="on" {...line} />
    </>
  ),
  progressing: (
    <>
      <circle cx="7" cy="7" r="6" stroke="currentColor" opacity=".3" {...line} stroke-width="2" />
      <path class="turn" d="M7 1a6 6 0 0 1 6 6" stroke="currentColor" {...line} stroke-width="2" />
    </>
  ),
  unknown: <circle cx="7" cy="7" r="6" stroke="currentColor" stroke-dasharray="2.6 2.2" {...line} stroke-width="1.5" />,
};

const maxSquares = 30;
const squareWords: Readonly<Record<PodSquare['state'], string>> = {
  ready: 'ready',
  done: 'done',
  starting: 'starting',
  failed: 'failing',
  missing: 'missing',
};

/** Pods as squares, with the same as text for readers who do not see them. */
export function Squares({ squares }: { readonly squares: readonly PodSquare[] }): VNode | null {
  if (squares.length === 0) return null;
  const counts = (Object.keys(squareWords) as PodSquare['state'][]).flatMap((state) => {
    const count = squares.filter((square) => square.state === state).length;
    return count === 0 ? [] : [`${count} ${squareWords[state]}`];
  });
  const ready = squares.filter(({ state }) => state === 'ready').length;
  return (
    <span class="pods" title={counts.join(', ')}>
      {squares.slice(0, maxSquares).map(({ state, name }, index) => (
        <i key={`${name}${index}`} class={state} aria-hidden="true" />
      ))}
      <span class="count" aria-hidden="true">
        {ready}/{squares.length}
      </span>
      <span class="hidden">Pods: {counts.join(', ')}</span>
    </span>
  );
}

export const shortSha = (sha: string): string => sha.slice(0, 7);

export function Sha({ sha }: { readonly sha: string }): VNode {
  return (
    <code class="sha" title={sha}>
      {shortSha(sha)}
    </code>
  );
}

/** A command to type, which a script lets one copy. */
export function Command({ text }: { readonly text: string }): VNode {
  return (
    <span class="command">
      <code>{text}</code>
      <button type="button" data-copy={text} class="script-only">
        Copy
      </button>
    </span>
  );
}

/** A command of kubectl or of this program, with its words quoted for a shell. */
export const commandOf = (...words: readonly string[]): string => words.map(shellWord).join(' ');

/** Says how to get what only users of the API get. */
export function LoginHint({ viewer, what }: { readonly viewer: Viewer; readonly what: string }): VNode {
  return viewer.canLogIn ? (
    <p class="hint">
      <a href="/login">Log in</a> to {what}: the API decides by the rights of the user.
    </p>
  ) : (
    <p class="hint">This page has no users, so it does not {what}. Use a command.</p>
  );
}

/** Links to the parts of a long list; nothing when it has one part. */
export function Pager({ list, href }: { readonly list: Paged<unknown>; readonly href: (page: number) => string }): VNode | null {
  const { page, pages, total } = list;
  if (pages === 1) return null;
  return (
    <nav class="pager" aria-label="Pages">
      {page > 1 ? <a href={href(page - 1)}>Before</a> : <span class="quiet">Before</span>}
      <span>
        Page {page} of {pages}, {total} in all
      </span>
      {page < pages ? <a href={href(page + 1)}>Next</a> : <span class="quiet">Next</span>}
    </nav>
  );
}

export function Conditions({ conditions }: { readonly conditions: readonly ConditionRow[] }): VNode {
  if (conditions.length === 0) return <p class="empty">No conditions.</p>;
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
