import type { VNode } from 'preact';
import type { AppOverview, WhyPhase } from '../../base/contracts/overview.ts';
import { durationText } from '../commit-line.ts';
import type { State } from '../state.ts';
import { Glyph, Sha } from './parts.tsx';

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
export function Steps({ why }: { readonly why: AppOverview['why'] }): VNode {
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
