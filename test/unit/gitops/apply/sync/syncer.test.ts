import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { annotations } from '../../../../../src/api/well-known.ts';
import { Superseded, SyncFailure } from '../../../../../src/gitops/apply/plan/sync-failure.ts';
import { forbidden, isNotFound } from '../../../../../src/machinery/status-error.ts';
import { type ApplyTarget, namespace, objectOf, startApplyTarget } from '../../../../support/apply-target.ts';

const waveOf = (wave: number) => ({ 'argocd.argoproj.io/sync-wave': String(wave) });
const configMap = (name: string, notes: Readonly<Record<string, string>> = {}) => objectOf('ConfigMap', name, { data: { a: '1' } }, notes);
const claim = (name: string, notes: Readonly<Record<string, string>> = {}) =>
  objectOf('PersistentVolumeClaim', name, { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } }, notes);
const service = (name: string) => objectOf('Service', name, { spec: { selector: { app: name }, ports: [{ port: 80 }] } });
const container = { name: 'c', image: 'busybox', command: ['true'] };
const job = (name: string, phase: string) =>
  objectOf(
    'Job',
    name,
    { spec: { template: { spec: { restartPolicy: 'Never', containers: [container] } } } },
    { 'argocd.argoproj.io/hook': phase },
  );
const ids = (names: Iterable<string>): readonly string[] => [...names].map((id) => id.split('_')[1] ?? '').sort();

/** Gives the error of a sync that has to fail. */
const failureOf = async (sync: Promise<unknown>): Promise<SyncFailure> => {
  const err: unknown = await sync.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(err).toBeInstanceOf(SyncFailure);
  return err as SyncFailure;
};
const isThere = ({ people }: ApplyTarget, name: string): Promise<boolean> =>
  people.get(configMaps, { namespace, name }).then(
    () => true,
    (err: unknown) => {
      if (!isNotFound(err)) throw err;
      return false;
    },
  );

describe('the waves of a revision', () => {
  it('go out by number, and kinds that others need go first within one', async () => {
    const cluster = await startApplyTarget();
    const outcome = await cluster.sync([
      service('late'),
      configMap('second', waveOf(1)),
      configMap('first'),
      objectOf('ServiceAccount', 'robot'),
    ]);
    expect(cluster.writes[0]).toBe('apply ServiceAccount robot');
    expect(cluster.writes.slice(1, 3).sort()).toEqual(['apply ConfigMap first', 'apply Service late']);
    expect(cluster.writes[3]).toBe('apply ConfigMap second');
    expect(outcome).toMatchObject({ waitsFor: [], rollout: undefined, unchanged: 0 });
  });

  it('stop after one that is not healthy, and go on from there when it is', async () => {
    const cluster = await startApplyTarget();
    const objects = [objectOf('Deployment', 'slow', deploymentOf()), configMap('after', waveOf(1))];
    const outcome = await cluster.sync(objects);
    expect(outcome.waitsFor).toEqual([expect.stringContaining('slow')]);
    expect(cluster.writes).toEqual(['apply Deployment slow']);

    const { rollout } = outcome;
    const again = await cluster.sync(objects, { attempt: { rollout, failed: undefined } });
    expect(again.waitsFor).toEqual(outcome.waitsFor);
    expect(cluster.writes).toHaveLength(1);

    cluster.clock.advance(11 * 60_000);
    const late = await failureOf(cluster.sync(objects, { attempt: { rollout, failed: undefined } }));
    expect(late).toMatchObject({ reason: 'HealthCheckFailed', message: expect.stringContaining('timeout waiting for') });
  });

  it('wait for a hook that comes before them, and apply nothing meanwhile', async () => {
    const cluster = await startApplyTarget();
    const outcome = await cluster.sync([job('migrate', 'PreSync'), configMap('a')]);
    expect(outcome.waitsFor).toEqual([`Job ${namespace}/migrate runs`]);
    expect(await isThere(cluster, 'a')).toBe(false);
    expect(ids(cluster.state.ownership.pending.keys())).toEqual(['a']);
  });
});

describe('a revision that is wrong', () => {
  it('is refused as a whole before the first write, with the error of each object', async () => {
    const cluster = await startApplyTarget();
    const bad = (name: string) => objectOf('ConfigMap', name, { dta: { a: '1' } });
    const failure = await failureOf(cluster.sync([configMap('good'), bad('bad'), bad('worse')]));
    expect(failure.errors.map(({ file }) => file).sort()).toEqual(['bad.yaml', 'worse.yaml']);
    expect(failure.message).toContain('unknown field');
    expect(cluster.writes).toEqual([]);
    expect(cluster.state.ownership.pending.size).toBe(0);
  });

  it('is not built when a file is wrong, and waits for a commit unless the error is temporary', async () => {
    const cluster = await startApplyTarget();
    const error = { file: 'a.yaml', message: 'no YAML' };
    expect(await failureOf(cluster.sync([], { errors: [error] }))).toMatchObject({ reason: 'BuildFailed', nextTry: 'commit' });
    const errors = [error, { ...error, temporary: true as const }];
    expect(await failureOf(cluster.sync([], { errors }))).toMatchObject({ reason: 'BuildFailed', nextTry: 'soon' });
  });

  it('does not take all objects of an app away by an empty directory', async () => {
    const cluster = await startApplyTarget();
    await cluster.sync([configMap('a')]);
    const failure = await failureOf(cluster.sync([]));
    expect(failure.errors).toMatchObject([{ hint: 'To remove an app, delete its Kustomization.' }]);
    expect(await isThere(cluster, 'a')).toBe(true);
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('names the app that has an object already', async () => {
    const cluster = await startApplyTarget({ claimantOf: (name) => (name === 'taken' ? `${namespace}/other` : undefined) });
    const failure = await failureOf(cluster.sync([configMap('taken'), configMap('free')]));
    expect(failure.message).toContain(`app ${namespace}/other defines in other.yaml`);
    expect(ids(failure.objects)).toEqual(['taken']);
    expect(cluster.writes).toEqual([]);
  });

  it('goes on without the objects that are wrong when the app asks for that, and still fails', async () => {
    const cluster = await startApplyTarget({ annotations: { [annotations.planMode]: 'continue' } });
    const failure = await failureOf(cluster.sync([configMap('good'), objectOf('ConfigMap', 'bad', { dta: {} })]));
    expect(ids(failure.objects)).toEqual(['bad']);
    expect(cluster.writes).toEqual(['apply ConfigMap good']);
  });
});

describe('a revision that comes half way', () => {
  it('keeps what was written, and every other object as one that may be there', async () => {
    const cluster = await startApplyTarget({
      onWrite({ text, isDryRun }) {
        if (!isDryRun && text === 'apply ConfigMap refused') throw forbidden(configMaps, 'refused', 'a webhook says no');
      },
    });
    const objects = [objectOf('ServiceAccount', 'robot'), configMap('refused'), configMap('later', waveOf(1))];
    const failure = await failureOf(cluster.sync(objects));
    expect(failure.message).toContain('a webhook says no');
    expect(ids(failure.objects)).toEqual(['refused']);
    expect(ids(cluster.state.ownership.applied.keys())).toEqual(['robot']);
    expect(ids(cluster.state.ownership.pending.keys())).toEqual(['later', 'refused']);
  });

  it('is given up between two waves when a newer one is there, with all its objects in the inventory', async () => {
    const abort = new AbortController();
    const cluster = await startApplyTarget({
      onWrite({ text, isDryRun }) {
        if (!isDryRun && text === 'apply ConfigMap first') abort.abort(new Superseded());
      },
    });
    const sync = cluster.sync([configMap('first'), configMap('second', waveOf(1))], { signal: abort.signal });
    await expect(sync).rejects.toBeInstanceOf(Superseded);
    // The write that was under way was finished, so its outcome is known.
    expect(ids(cluster.state.ownership.applied.keys())).toEqual(['first']);
    expect(ids(cluster.state.ownership.pending.keys())).toEqual(['second']);
    expect(await isThere(cluster, 'second')).toBe(false);
  });

  it('writes the inventory before the first object', async () => {
    const order: string[] = [];
    const cluster = await startApplyTarget({ onWrite: ({ text, isDryRun }) => void (isDryRun || order.push(text)) });
    await cluster.sync([configMap('a')]);
    expect(order.slice(0, 2)).toEqual(['apply Secret midship-inventory-shop', 'apply ConfigMap a']);
  });
});

describe('a revision that is in force', () => {
  it('costs no write when it is looked at again, and dooms what the next one leaves out', async () => {
    const cluster = await startApplyTarget();
    const [a, b] = [configMap('a'), configMap('b')];
    await cluster.sync([a, b]);
    const before = cluster.writes.length;
    expect(await cluster.sync([a, b])).toMatchObject({ changes: [], unchanged: 2 });
    expect(cluster.writes).toHaveLength(before);
    expect(await cluster.sync([a])).toMatchObject({ changes: [], unchanged: 1 });
    expect(ids(cluster.state.ownership.doomed.keys())).toEqual(['b']);
    expect(ids(cluster.state.ownership.applied.keys())).toEqual(['a']);
  });

  it('makes room first: an object that is to go before others does so in the same sync', async () => {
    const cluster = await startApplyTarget();
    await cluster.sync([claim('keep'), configMap('old', { [annotations.prune]: 'before' })]);
    const outcome = await cluster.sync([claim('keep'), configMap('new')]);
    expect(outcome.changes.map(({ action, object }) => `${action} ${object}`)).toEqual([
      `pruned ConfigMap ${namespace}/old`,
      `created ConfigMap ${namespace}/new`,
    ]);
  });
});

function deploymentOf(): object {
  const labels = { app: 'slow' };
  return { spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container] } } } };
}
