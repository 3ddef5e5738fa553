import type { VNode } from 'preact';
import { type Answer, Command, commandOf, LoginHint, shortSha, type Viewer } from './parts.tsx';

interface CommitDiffProps {
  readonly sha: string;
  /** The app's path in the repository. */
  readonly path: string;
  readonly viewer: Viewer;
  readonly answer: Answer | undefined;
}

const actions = { create: 'created', change: 'changed', replace: 'replaced', prune: 'pruned' } as const;

/** The changes of a commit to the objects of an app, for the user who may read them. */
export function CommitDiff({ sha, path, viewer, answer }: CommitDiffProps): VNode {
  return (
    <div>
      <p class="links">
        <Command text={commandOf('git', 'show', shortSha(sha), '--', path)} />
        <Command text={`git revert --no-edit ${shortSha(sha)} && git push`} />
      </p>
      {answer?.type === 'refused' ? <p class="hint problem">{answer.text}</p> : null}
      {answer === undefined ? <LoginHint viewer={viewer} what="show the changed fields" /> : null}
      {answer?.type === 'diff' ? <Changes answer={answer} /> : null}
    </div>
  );
}

function Changes({ answer: { objects, more } }: { readonly answer: Extract<Answer, { type: 'diff' }> }): VNode {
  if (objects.length === 0) return <p class="empty">The commit changes nothing in this app.</p>;
  return (
    <>
      {objects.map(({ action, kind, namespace, name, file, diff, isHidden }) => (
        <div class="change" key={`${kind}/${namespace}/${name}`}>
          <h3>
            <span class="kind">{kind}</span> {namespace === '' ? '' : `${namespace}/`}
            {name} <span class="word">{actions[action]}</span>
          </h3>
          {file === '' ? null : <p class="quiet">{file}</p>}
          {isHidden ? <p class="hint">You may not read this object, so its fields are not shown.</p> : <Lines diff={diff} />}
        </div>
      ))}
      {more === 0 ? null : <p class="more">and {more} more objects</p>}
    </>
  );
}

/** Each line says by its first character what it is; the colour repeats it. */
function Lines({ diff }: { readonly diff: string }): VNode {
  return (
    <pre class="diff" tabindex={0}>
      {diff
        .trimEnd()
        .split('\n')
        .map((line, index) => (
          <span
            key={`${index}`}
            class={line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : line.startsWith('@@') ? 'range' : ''}
          >
            {`${line}\n`}
          </span>
        ))}
    </pre>
  );
}
