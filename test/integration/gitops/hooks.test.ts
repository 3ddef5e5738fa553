import { afterEach, describe, expect, it } from 'vitest';
import { jobs } from '../../../src/api/batch/v1/job.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { startTestApi } from '../../support/api.ts';
import { createApps, startEngine } from '../../support/engine.ts';
import { createFaults, createLife, withFaults, withGitFaults } from '../../support/faults.ts';
import { createMemoryRepository } from '../../support/memory-repository.ts';
import { until } from '../../support/until.ts';

const namespace = 'web';
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const hook = `apiVersion: batch/v1
kind: Job
metadata: {generateName: migrate-, annotations: {argocd.argoproj.io/hook: PreSync}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: busybox}]}}}
`;
const map = (value: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "${value}"}\n`;

describe('a hook with a name of its revision', () => {
  it('is not left behind by an engine that dies before it hears that the hook was made', async () => {
    const api = await startTestApi();
    stops.push(() => api.stop());
    const people = api.clientFor(undefined, 'kubectl/test');
    const own = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
    const repository = createMemoryRepository('https://example.com/hooks.git');
    repository.commit('one', new Map(Object.entries({ 'web/hook.yaml': hook, 'web/a.yaml': map('1') })));

    const life = createLife();
    const faults = createFaults(() => 0.5, new Map());
    const dies: Client = {
      ...own,
      async patch(resource, ref, patch, options) {
        const made = await own.patch(resource, ref, patch, options);
        if (resource.resource === 'jobs' && options?.dryRun !== true) life.endAfter(0);
        return made;
      },
    };
    await startEngine({ client: withFaults(dies, faults, life), openSource: async () => withGitFaults(repository.source, faults, life) });
    await createApps(people, 'https://example.com/hooks.git');
    await until(() => life.isOver, { what: 'the hook is made, and the engine dead' });
    const names = async () => (await people.list(jobs, { namespace })).items.map(({ metadata }) => metadata.name);
    expect(await names()).toHaveLength(1);

    // The commit that the next engine finds knows nothing of the hook.
    const sha = repository.commit('two', new Map([['web/a.yaml', map('2')]]));
    const engine = await startEngine({ client: own, openSource: async () => repository.source });
    stops.push(() => engine.stop());
    await until(
      async () =>
        (await people.get(kustomizations, { namespace: 'flux-system', name: 'web' })).status?.lastAppliedRevision === `main@sha1:${sha}` &&
        (await names()).length === 0,
      { what: async () => `the hook is gone, not ${await names()}` },
    );
  });
});
