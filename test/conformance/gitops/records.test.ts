import { expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { annotations } from '../../../src/api/well-known.ts';
import { historyOf } from '../../../src/gitops/verbs/history.ts';
import { explainApp } from '../../../src/gitops/verbs/why-app.ts';
import { configMap, describeOnTargets, type Project } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const head = (project: Project): Promise<string> => project.repository.git('rev-parse', 'HEAD');
/** Oldest first. */
const historyOfApp = async (p: Project, name: string) => (await historyOf(p.client, await p.read(name))).toReversed();

describeOnTargets('says what it did', ({ project }) => {
  it('19 why: every step of the commit, the one thing that blocks it, whose it is and when it is tried again', async () => {
    const p = await project({ 'web/a.yaml': configMap('a') });
    await p.app('web');
    await p.applied('web');
    const well = await explainApp(p.client, await p.read('web'));
    expect([well.blocking, well.nextRetryAt]).toEqual(['', undefined]);
    const bad = await p.repository.commit('a slip', { 'web/a.yaml': configMap('a').replace('\ndata:', '\ndatum:') });
    await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
    const why = await explainApp(p.client, await p.read('web'));
    expect(why.commit).toMatchObject({ sha: bad, author: expect.stringMatching(/\S/), subject: 'a slip' });
    expect(why.blocking).toMatch(/web\/a\.yaml:6:\d+ .*datum/);
    expect(Date.parse(why.nextRetryAt ?? '')).toBeGreaterThan(Date.parse(why.commit?.seenAt ?? ''));
    expect(Object.fromEntries(why.phases.map(({ name, result }) => [name, result]))).toMatchObject({
      fetch: 'done',
      render: 'done',
      plan: 'failed',
      apply: 'waiting',
    });
    expect(why.phases.find(({ name }) => name === 'render')?.durationMs).toBeGreaterThanOrEqual(0);
  });

  it('21 history: what each revision created, changed and took away, whose it was and what it took back; also after a restart', async () => {
    const p = await project({ 'web/a.yaml': configMap('a'), 'web/k.yaml': configMap('k') });
    await p.app('web');
    await p.applied('web');
    const second = await p.repository.commit('second', {
      'web/a.yaml': configMap('a', '2'),
      'web/k.yaml': null,
      'web/m.yaml': configMap('m'),
    });
    await p.applied('web');
    const object = (name: string): string => `ConfigMap ${p.namespace}/${name}`;
    const changes = async () =>
      (await historyOfApp(p, 'web')).map((entry) => entry.changes.map((each) => `${each.action} ${each.object}`).sort());
    const both = [
      [`created ${object('a')}`, `created ${object('k')}`],
      [`configured ${object('a')}`, `created ${object('m')}`, `pruned ${object('k')}`],
    ];
    await until(async () => JSON.stringify(await changes()) === JSON.stringify(both), {
      what: async () => `the history has both: ${JSON.stringify(await changes())}`,
    });
    await p.restartEngine();
    await p.repository.git('revert', '--no-edit', 'HEAD');
    await p.applied('web');
    await until(async () => (await historyOfApp(p, 'web')).length === 3, { what: 'the revert is written down' });
    const [first, , third] = await historyOfApp(p, 'web');
    expect(third).toMatchObject({ rollback: true, revertOf: second, digest: first?.digest, author: expect.stringMatching(/\S/) });
  });

  it('22 commit attribution: of two apps only the one that a commit changed is of that commit', async () => {
    const p = await project({ 'one/a.yaml': configMap('a'), 'two/b.yaml': configMap('b') });
    await p.app('one');
    await p.app('two');
    await p.applied('one');
    await p.applied('two');
    const first = await head(p);
    const second = await p.repository.commit('of one', { 'one/a.yaml': configMap('a', '2') });
    await p.applied('one');
    await p.applied('two');
    const shaOf = async (name: string) => (await explainApp(p.client, await p.read(name))).commit?.sha;
    expect([await shaOf('one'), await shaOf('two')]).toEqual([second, first]);
    expect([(await historyOfApp(p, 'one')).length, (await historyOfApp(p, 'two')).length]).toEqual([2, 1]);
  });

  it('23 metrics: times from commit to applied and healthy, syncs, objects and drift of an app', async () => {
    const p = await project({ 'web/a.yaml': configMap('a') });
    await p.app('web');
    await p.applied('web');
    const numberOf = async (name: string, more = ''): Promise<number> => {
      const line = (await p.metrics()).split('\n').find((each) => each.startsWith(`${name}{namespace="${p.home}",app="web"${more}}`));
      return Number(line?.split(' ').at(-1));
    };
    const before = await numberOf('gitops_commit_applied_seconds_count');
    await p.repository.commit('two', { 'web/a.yaml': configMap('a', '2'), 'web/b.yaml': configMap('b') });
    await p.applied('web');
    expect((await numberOf('gitops_commit_applied_seconds_count')) - before).toBe(1);
    await until(async () => (await numberOf('gitops_commit_healthy_seconds_count')) >= 2, { what: 'both were healthy' });
    expect(await numberOf('gitops_apply_objects_total', ',action="created"')).toBe(2);
    expect(await numberOf('gitops_apply_objects_total', ',action="configured"')).toBe(1);
    expect(await numberOf('gitops_sync_total', ',trigger="commit",result="succeeded"')).toBe(2);
    expect(await numberOf('gitops_app_sync_status', ',status="Synced"')).toBe(1);
  });

  it('28 history rewrite: a force-push is followed with a word, or halts until a person agrees', async () => {
    const p = await project({ 'web/a.yaml': configMap('a') });
    await p.app('web');
    await p.applied('web');
    const first = await head(p);
    await p.repository.commit('two', { 'web/a.yaml': configMap('a', '2') });
    await p.applied('web');
    const rewrite = async (value: string): Promise<string> => {
      await p.repository.git('reset', '--quiet', '--hard', first);
      return p.repository.commit(`rewritten ${value}`, { 'web/a.yaml': configMap('a', value) });
    };
    await rewrite('3');
    await p.applied('web');
    await until(
      async () => (await p.client.list(events, { namespace: p.home })).items.some(({ reason }) => reason === 'HistoryRewritten'),
      {
        what: 'an Event says it',
      },
    );
    const ref = { namespace: p.home, name: 'cluster' };
    const annotate = (policy: string): Promise<unknown> =>
      p.client.patch(gitRepositories, ref, {
        type: 'merge',
        body: { metadata: { annotations: { [annotations.historyRewrite]: policy } } },
      });
    await annotate('halt');
    const unwanted = await rewrite('4');
    await until(
      async () => {
        const { status } = await p.client.get(gitRepositories, ref);
        return status?.conditions?.find(({ type }) => type === 'Ready')?.message?.includes(unwanted);
      },
      { what: 'it halts' },
    );
    expect(await p.dataOf('a')).toBe('3');
    await annotate(unwanted);
    await p.applied('web', unwanted);
    expect(await p.dataOf('a')).toBe('4');
  });
});
