import { describe, expect, it } from 'vitest';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client, WatchEvent } from '../../../src/client/client.ts';
import { judgeApp } from '../../../src/lifecycle/verdict.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { deepEqual } from '../../../src/machinery/object.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import { home, namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: site}
spec:
  replicas: 1
  selector: {matchLabels: {app: site}}
  template: {metadata: {labels: {app: site}}, spec: {containers: [{name: c, image: x}]}}
`;

describe('the status of an app', () => {
  it('names the files that look like a part of the app and are not read, also after a restart', async () => {
    const map = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\n`;
    const json = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'j' } });
    const files = { 'web/a.yaml': map('a'), 'web/deep/j.json': json, 'web/package.json': '{"name": "web"}', 'web/broken.json': '{' };
    const { people, commit, applied, restart } = await startMemoryProject({ files });
    const message = 'web/deep/j.json is a manifest in JSON, which is not read';
    const notesAre = (notes: readonly string[]) =>
      until(async () => deepEqual(judgeApp(await people.get(kustomizations, { namespace: home, name: 'web' }), undefined).notes, notes), {
        what: `the notes ${JSON.stringify(notes)}`,
      });
    await applied('web');
    await notesAre([message]);
    await restart();
    await notesAre([message]);
    commit({ 'web/a.yaml': map('a') });
    await notesAre([]);
    commit(files);
    await notesAre([message]);
    // A kustomization says itself what is read.
    commit({ ...files, 'web/kustomization.yaml': 'resources: [a.yaml]\n' });
    await notesAre([]);
  });

  it('is correct also when the write before was done and not answered, and the watch has not shown it yet', async () => {
    let onProgressing: (() => Promise<void>) | undefined;
    let heard: (healthy: boolean) => void = () => undefined;
    const held: (() => void)[] = [];
    let isBehind = false;
    const unreliable = (client: Client): Client => ({
      ...client,
      async patch<T>(...args: Parameters<Client['patch']>): Promise<T> {
        const result = (await client.patch(...args)) as Kustomization;
        if (args[0].resource !== kustomizations.resource || healthOf(result) !== 'Unknown' || onProgressing === undefined)
          return result as T;
        const intervene = onProgressing;
        onProgressing = undefined;
        await intervene();
        throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'connection lost' });
      },
      watch: (resource, options) =>
        client.watch(resource, {
          ...options,
          onEvents(events) {
            if (resource.resource === kustomizations.resource && isBehind) {
              held.push(() => options.onEvents(events));
              return;
            }
            options.onEvents(events);
            if (resource.resource === deployments.resource)
              for (const { object } of events as readonly WatchEvent[]) heard((object as Deployment).status?.availableReplicas === 1);
          },
        }),
    });
    const { people } = await startMemoryProject({ files: { 'web/site.yaml': deployment }, wrap: unreliable });

    const ref = { namespace, name: 'site' };
    const setAvailable = async (availableReplicas: number): Promise<void> => {
      const body = {
        status: { observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: availableReplicas, availableReplicas },
      };
      await people.patch(deployments, ref, { type: 'merge', body }, { subresource: 'status' });
    };
    const appHealth = async (): Promise<string | undefined> => healthOf(await people.get(kustomizations, { namespace: home, name: 'web' }));
    const healthIs = (status: string): Promise<unknown> =>
      until(async () => (await appHealth()) === status, { what: async () => `Healthy ${status}, not ${await appHealth()}` });

    await until(async () => people.get(deployments, ref).then(Boolean, () => false), { what: 'the Deployment is there' });
    await setAvailable(1);
    await healthIs('True');
    onProgressing = async () => {
      const isWell = new Promise<void>((resolve) => {
        heard = (isAvailable) => isAvailable && resolve();
      });
      await setAvailable(1);
      await isWell;
    };
    isBehind = true;
    await setAvailable(0);
    await until(() => onProgressing === undefined, { what: 'the status write is lost' });
    expect(held.length).toBeGreaterThan(0);
    await healthIs('True');
    isBehind = false;
    for (const tell of held) tell();
    await healthIs('True');
  });
});

const healthOf = ({ status }: Kustomization): string | undefined => conditionOf(status?.conditions, 'Healthy')?.status;
