import type { Activity } from '../base/contracts/activity.ts';
import { isMatch } from '../base/contracts/app-states.ts';
import type { AppOverview } from '../base/contracts/overview.ts';
import type { State } from './state.ts';
import { changeWithoutValues } from './without-values.ts';

/** A mark of the line: a commit with what became of it, or a change by hand that was put back. */
export interface LineMark {
  readonly id: string;
  readonly at: number;
  readonly state: State;
  readonly title: string;
  /** SHA of a commit; absent for drift. */
  readonly sha?: string;
  readonly author?: string;
  readonly branch?: string;
  /** Results of it, newest last. */
  readonly outcome: string;
}

type Commit = Extract<Activity, { type: 'commit' }>;

/**
 * The git log and the history of deployments in one, newest first.
 *
 * An app speaks for a commit as long as it runs that commit, and its last word counts. A commit that broke an app and was then healed is
 * well. Errors of one app do not hide what another one says.
 */
export function commitLine(activities: readonly Activity[], apps: readonly AppOverview[], maxMarks = 30): readonly LineMark[] {
  const now = new Map(apps.map((app) => [app.name, app]));
  const marks: LineMark[] = [];
  const outcomes = new Map<string, CommitOutcome>();
  const newest = new Map<string, string>();
  const order = new Map<string, number>();
  for (const [index, activity] of activities.entries()) {
    if (activity.type === 'commit') order.set(activity.sha, index);
    if (activity.type === 'commit' || activity.type === 'drift') continue;
    const outcome = outcomes.get(activity.sha) ?? { apps: new Map(), held: new Set(), appliedMs: 0, applied: false, rollback: false };
    outcomes.set(activity.sha, outcome);
    newest.set(activity.app, activity.sha);
    if (activity.type === 'applied') {
      outcome.applied = true;
      outcome.rollback ||= activity.rollback;
      outcome.appliedMs = Math.max(outcome.appliedMs, activity.durationMs);
      if (activity.changes.length > 0) outcome.apps.set(activity.app, activity);
    } else if (isHeldPrune(activity)) outcome.held.add(activity.app);
    else outcome.apps.set(activity.app, activity);
  }
  const seen = new Set<string>();
  for (let index = activities.length - 1; index >= 0 && marks.length < maxMarks; index -= 1) {
    const activity = activities[index];
    if (activity?.type === 'drift') marks.push(driftMark(activity, index));
    else if (activity?.type === 'commit' && !seen.has(activity.sha)) {
      seen.add(activity.sha);
      marks.push(commitMark(activity, outcomes.get(activity.sha), { now, newest, order }));
    }
  }
  return marks;
}

/** All of the commit is in force but its deletions. */
const isHeldPrune = (activity: Activity): boolean =>
  activity.type === 'failed' && (activity.errors[0]?.startsWith('prune blocked') ?? false);

type AppWord = Exclude<Activity, { type: 'commit' | 'drift' }>;

interface CommitOutcome {
  /** Last word of each app that the commit touched. */
  readonly apps: Map<string, AppWord>;
  /** Apps in which its prune was held. */
  readonly held: Set<string>;
  appliedMs: number;
  applied: boolean;
  rollback: boolean;
}

interface Apps {
  readonly now: ReadonlyMap<string, AppOverview>;
  /** Commit that the feed last spoke of, by app. The status of the app follows a moment later. */
  readonly newest: ReadonlyMap<string, string>;
  /** Place of each commit in the feed. */
  readonly order: ReadonlyMap<string, number>;
}

function commitMark(commit: Commit, outcome: CommitOutcome | undefined, apps: Apps): LineMark {
  const { sha, at, author, branch, subject } = commit;
  return { id: `commit-${sha}`, at, title: subject, sha, author, branch, ...judge(commit, outcome, apps) };
}

function judge(commit: Commit, outcome: CommitOutcome | undefined, { now, newest, order }: Apps): Pick<LineMark, 'state' | 'outcome'> {
  if (outcome === undefined) return judgeByApps(commit, now);
  const words = [...outcome.apps.values()];
  const applied = outcome.applied ? `applied in ${durationText(outcome.appliedMs)}` : '';
  const rollback = outcome.rollback ? 'back to an earlier state' : '';
  const join = (...parts: string[]): string => parts.filter((part) => part !== '').join(', ');
  // The feed says at most once that an app became healthy after a commit, and never of one that lists others. So the app is asked, too.
  const isWell = (word: { readonly app: string }): boolean => {
    const app = now.get(word.app);
    if (app === undefined || !isMatch(app.state) || newest.get(word.app) !== commit.sha) return false;
    // Its status may still be the one of the commit before; later ones have changed nothing in it.
    return (order.get(app.revision) ?? -1) >= (order.get(commit.sha) ?? 0);
  };
  const failed = words.filter((word) => word.type === 'failed' && !isWell(word));
  const isBroken = ({ app }: { readonly app: string }): boolean => newest.get(app) === commit.sha && now.get(app)?.state === 'Broken';
  const degraded = words.filter((word) => (word.type === 'degraded' && !isWell(word)) || (word.type === 'applied' && isBroken(word)));
  if (failed.length + degraded.length > 0) return { state: 'failed', outcome: join(applied, refusalText(failed), troubleText(degraded)) };
  const held = [...outcome.held].filter((app) => newest.get(app) === commit.sha && now.get(app)?.state === 'Differs');
  if (held.length > 0) return { state: 'drift', outcome: join(applied, `the prune in ${held.join(', ')} is held`) };
  if (words.length === 0) return { state: 'ok', outcome: join(rollback, 'nothing to change') };
  const waiting = words.filter((word) => word.type === 'applied' && !isWell(word));
  if (waiting.some(({ app }) => newest.get(app) === commit.sha))
    return { state: 'progressing', outcome: join(applied, rollback, `waiting for ${namesOf(waiting)}`) };
  if (waiting.length > 0)
    return { state: 'unknown', outcome: join(applied, rollback, 'followed by the next commit before all was healthy') };
  const healthyAt = words.flatMap((word) => (word.type === 'healthy' ? [word.at] : []));
  if (words.every(({ type }) => type === 'recovered'))
    return { state: 'ok', outcome: join(applied, rollback, `${namesOf(words)} ${words.length === 1 ? 'is' : 'are'} what Git says again`) };
  const healthy = healthyAt.length === 0 ? 'healthy' : `healthy ${durationText(Math.max(...healthyAt) - commit.at)} after it was seen`;
  return { state: 'ok', outcome: join(applied, rollback, healthy) };

  function refusalText(all: readonly AppWord[]): string {
    const [first] = all;
    if (first?.type !== 'failed') return '';
    const more = first.errors.length > 1 ? ` and ${first.errors.length - 1} more` : '';
    return `${namesOf(all)} not applied${first.errors[0] === undefined ? '' : `: ${first.errors[0]}${more}`}`;
  }

  function troubleText(all: readonly AppWord[]): string {
    if (all.length === 0) return '';
    const isNow = all.some(({ app }) => newest.get(app) === commit.sha);
    return `${namesOf(all)} ${isNow ? (all.length === 1 ? 'does' : 'do') : 'did'} not work`;
  }
}

/** The commit has no report: it changed nothing, or it was applied before this process started. */
function judgeByApps({ sha }: Commit, now: Apps['now']): Pick<LineMark, 'state' | 'outcome'> {
  const running = [...now.values()].filter(({ revision }) => revision === sha);
  if (running.length === 0) return { state: 'unknown', outcome: 'not applied yet, or nothing to change' };
  const broken = running.filter(({ state }) => state === 'Broken').map(({ name }) => ({ app: name }));
  if (broken.length > 0)
    return { state: 'failed', outcome: `in force, ${namesOf(broken)} ${broken.length === 1 ? 'does' : 'do'} not work` };
  return { state: 'ok', outcome: 'in force' };
}

function driftMark(drift: Extract<Activity, { type: 'drift' }>, index: number): LineMark {
  const healed = drift.healed
    ? `healed in ${durationText(drift.durationMs)}`
    : drift.left === ''
      ? 'not put back yet'
      : `left as it is: ${drift.left}`;
  return {
    id: `drift-${drift.at}-${index}`,
    at: drift.at,
    state: 'drift',
    title: drift.healed ? `Drift healed in ${drift.app}` : `Drift in ${drift.app}`,
    outcome: `${drift.object} ${changeWithoutValues(drift.change)}${drift.by === '' ? '' : ` by ${drift.by}`}, ${healed}`,
  };
}

const namesOf = (words: readonly { readonly app: string }[]): string =>
  words.length > 3 ? `${words.length} apps` : words.map(({ app }) => app).join(', ');

/** `40 ms`, `0.4 s`, `12 s`, `3 m` */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 0.1) return `${Math.max(1, Math.round(ms))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return ageText(ms);
}

/** `12 s`, `3 m`, `5 h`, `6 d` */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
