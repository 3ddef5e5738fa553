import { expect, it } from 'vitest';
import { type Activity, createActivityFeed } from '../../../../src/base/contracts/activity.ts';

const commit = (sha: string, at: number): Activity => ({ type: 'commit', at, branch: 'main', sha, author: 'Mara', subject: sha });

it('takes back what happened before the start in the order of time, each commit once, and tells nobody of it', () => {
  const feed = createActivityFeed(3);
  const heard: Activity[] = [];
  feed.onAdded((activity) => heard.push(activity));
  feed.add(commit('b', 100));
  feed.recall([commit('a', 10), commit('b', 20)]);
  feed.recall([commit('b', 25), commit('c', 30), commit('d', 40)]);
  expect(feed.recent().map((each) => [each.type === 'commit' && each.sha, each.at])).toEqual([
    ['b', 20],
    ['c', 30],
    ['d', 40],
  ]);
  expect(heard).toHaveLength(1);
});
