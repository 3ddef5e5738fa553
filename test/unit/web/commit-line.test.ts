import { describe, expect, it } from 'vitest';
import type { Activity } from '../../../src/base/contracts/activity.ts';
import type { AppOverview } from '../../../src/base/contracts/overview.ts';
import { ageText, commitLine, durationText } from '../../../src/web/commit-line.ts';

const [old, bad, fix] = ['a'.repeat(40), 'b'.repeat(40), 'c'.repeat(40)] as const;
const commit = (sha: string, at: number, subject = 'change'): Activity => ({
  type: 'commit',
  at,
  branch: 'main',
  sha,
  author: 'Mara',
  subject,
});
const applied = (app: string, sha: string, at: number, rollback = false): Activity => ({
  type: 'applied',
  at,
  app,
  sha,
  changes: [{ action: 'configured', object: `Deployment web/${app}`, fields: [] }],
  durationMs: 400,
  rollback,
});
const healthy = (app: string, sha: string, at: number): Activity => ({ type: 'healthy', at, app, sha, summary: '1/1', durationMs: 0 });
const degraded = (app: string, sha: string, at: number): Activity => ({ type: 'degraded', at, app, sha, reason: 'crashes' });
const appAt = (name: string, revision: string, state: AppOverview['state'] = 'Matches'): AppOverview => ({
  name,
  namespace: 'flux-system',
  state,
  sync: 'Synced',
  health: 'Healthy',
  revision,
  targets: [],
  pods: undefined,
  since: '',
  reason: '',
  pinned: '',
  differences: [],
  notes: [],
  cause: undefined,
  why: {
    state: 'Matches',
    verdict: '',
    blocking: '',
    differences: [],
    notes: [],
    commit: undefined,
    cause: undefined,
    phases: [],
    nextRetryAt: undefined,
    tries: 0,
    fix: '',
  },
});

describe('commit line', () => {
  it('names every app that a commit broke, also when each broke in another way', () => {
    const activities: Activity[] = [
      commit(bad, 1_000),
      { type: 'failed', at: 1_100, app: 'shop-staging', sha: bad, errors: ['a.yaml:1 unknown field'] },
      applied('shop', bad, 1_400),
      degraded('shop', bad, 2_000),
    ];
    expect(commitLine(activities, [appAt('shop-staging', old, 'NotApplied'), appAt('shop', bad, 'Broken')])).toMatchObject([
      { state: 'failed', outcome: 'applied in 0.4 s, shop-staging not applied: a.yaml:1 unknown field, shop does not work' },
    ]);
  });

  it('tells what became of a commit, step by step', () => {
    const activities = [commit(old, 1_000), applied('web', old, 1_400)];
    const running = [appAt('web', old, 'OnTheWay')];
    expect(commitLine(activities, running)).toMatchObject([
      { sha: old, state: 'progressing', outcome: 'applied in 0.4 s, waiting for web' },
    ]);
    activities.push(healthy('web', old, 12_000));
    expect(commitLine(activities, running)).toMatchObject([{ state: 'ok', outcome: 'applied in 0.4 s, healthy 11 s after it was seen' }]);
  });

  it('shows a bad commit and the revert that healed it, newest first', () => {
    const marks = commitLine(
      [
        commit(bad, 0),
        applied('web', bad, 10),
        degraded('web', bad, 20),
        commit(fix, 30),
        applied('web', fix, 40, true),
        healthy('web', fix, 50),
      ],
      [appAt('web', fix)],
    );
    expect(marks.map(({ sha, state, outcome }) => [sha, state, outcome])).toEqual([
      [fix, 'ok', 'applied in 0.4 s, back to an earlier state, healthy 20 ms after it was seen'],
      [bad, 'failed', 'applied in 0.4 s, web did not work'],
    ]);
  });

  it('does not call a commit bad when its app is well again without another commit', () => {
    const activities = [commit(old, 0), applied('web', old, 10), healthy('web', old, 20), degraded('web', old, 30)];
    expect(commitLine(activities, [appAt('web', old, 'Broken')])[0]?.state).toBe('failed');
    expect(commitLine(activities, [appAt('web', old)])[0]?.state).toBe('ok');
  });

  it('believes an app that lists others, of which the feed never says that it is healthy', () => {
    const activities = [commit(old, 0), applied('cluster', old, 10)];
    expect(commitLine(activities, [appAt('cluster', bad)])[0]?.state).toBe('progressing');
    expect(commitLine(activities, [appAt('cluster', old)])[0]).toMatchObject({ state: 'ok', outcome: 'applied in 0.4 s, healthy' });
    // A later commit that changed nothing in it does not make the earlier one wait.
    activities.push(commit(fix, 20));
    expect(commitLine(activities, [appAt('cluster', fix)])[1]).toMatchObject({ state: 'ok', outcome: 'applied in 0.4 s, healthy' });
  });

  it('names the first error of a commit that was not applied, though other apps were', () => {
    const failed: Activity = { type: 'failed', at: 20, app: 'web', sha: bad, errors: ['a.yaml:3:1 no', 'b.yaml:4:1 no'] };
    const [mark] = commitLine([commit(bad, 0), applied('cache', bad, 10), healthy('cache', bad, 15), failed], [appAt('cache', bad)]);
    expect(mark).toMatchObject({ state: 'failed', outcome: 'applied in 0.4 s, web not applied: a.yaml:3:1 no and 1 more' });
  });

  it('names each app that one commit broke', () => {
    const failed = (app: string): Activity => ({ type: 'failed', at: 20, app, sha: bad, errors: ['a.yaml:3:1 no'] });
    const [mark] = commitLine(
      [commit(bad, 0), failed('web'), failed('cache')],
      [appAt('web', old, 'NotApplied'), appAt('cache', old, 'NotApplied')],
    );
    expect(mark).toMatchObject({ state: 'failed', outcome: 'web, cache not applied: a.yaml:3:1 no' });
  });

  it('does not paint a held prune green', () => {
    const held: Activity = { type: 'failed', at: 15, app: 'web', sha: old, errors: ['prune blocked: 25 of 26 objects would be deleted'] };
    const activities = [commit(old, 0), applied('web', old, 10), held, healthy('web', old, 20)];
    expect(commitLine(activities, [appAt('web', old, 'Differs')])[0]).toMatchObject({
      state: 'drift',
      outcome: 'applied in 0.4 s, the prune in web is held',
    });
    expect(commitLine(activities, [appAt('web', old)])[0]?.state).toBe('ok');
  });

  it('does not paint the revert of a refused commit with its error', () => {
    const failed: Activity = { type: 'failed', at: 20, app: 'web', sha: bad, errors: ['a.yaml:3:1 no'] };
    const recovered: Activity = { type: 'recovered', at: 40, app: 'web', sha: fix, from: 'failed' };
    const marks = commitLine([commit(bad, 0), failed, commit(fix, 30), recovered], [appAt('web', fix)]);
    expect(marks.map(({ state, outcome }) => [state, outcome])).toEqual([
      ['ok', 'web is what Git says again'],
      ['failed', 'web not applied: a.yaml:3:1 no'],
    ]);
  });

  it('does not leave a commit waiting that the next one overtook', () => {
    const marks = commitLine(
      [commit(old, 0), applied('web', old, 10), commit(fix, 20), applied('web', fix, 30)],
      [appAt('web', fix, 'OnTheWay')],
    );
    expect(marks.map(({ state }) => state)).toEqual(['progressing', 'unknown']);
  });

  it('asks the apps about a commit from before the start', () => {
    expect(commitLine([commit(old, 0)], [appAt('web', old)])).toMatchObject([{ state: 'ok', outcome: 'in force' }]);
    expect(commitLine([commit(old, 0)], [appAt('web', old, 'Broken')])).toMatchObject([{ state: 'failed' }]);
    expect(commitLine([commit(old, 0)], [])).toMatchObject([{ state: 'unknown' }]);
  });

  it('has drift as marks of its own', () => {
    const drift: Activity = {
      type: 'drift',
      at: 5,
      app: 'web',
      object: 'Deployment web/web',
      change: 'spec.replicas 5 → 9',
      by: 'kubectl',
      healed: true,
      left: '',
      problem: '',
      durationMs: 80,
    };
    expect(commitLine([commit(old, 0), drift], [])[0]).toMatchObject({
      state: 'drift',
      title: 'Drift healed in web',
      outcome: 'Deployment web/web spec.replicas by kubectl, healed in 80 ms',
    });
  });

  it('is bounded', () => {
    const many = Array.from({ length: 100 }, (_, index) => commit(String(index).padStart(40, '0'), index));
    expect(commitLine(many, [])).toHaveLength(30);
  });
});

describe('times', () => {
  it('are short', () => {
    expect([400, 12_000, 200_000].map(durationText)).toEqual(['0.4 s', '12 s', '3 m']);
    expect([-5, 59_000, 60_000, 7_200_000, 200_000_000].map(ageText)).toEqual(['0 s', '59 s', '1 m', '2 h', '2 d']);
  });
});
