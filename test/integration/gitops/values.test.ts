// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of manifests
import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { invalid } from '../../../src/machinery/status-error.ts';
import { home, namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const values = { namespace: home, name: 'values' };

/** An app that takes a variable from a ConfigMap; `during` runs while the engine applies its object, after the variable was read. */
async function start(during: () => Promise<void>) {
  let heard = (): void => undefined;
  const isHeard = new Promise<void>((resolve) => {
    heard = resolve;
  });
  let isFirst = true;
  const { people } = await startMemoryProject({
    files: { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {host: "${domain}"}\n' },
    apps: { web: { interval: '1h', retryInterval: '1h', postBuild: { substituteFrom: [{ kind: 'ConfigMap', name: 'values' }] } } },
    prepare: (client) => client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: values, data: { domain: 'old' } }),
    wrap: (client, others): Client => ({
      ...client,
      async patch(resource, ref, patch, options) {
        if (isFirst && ref.name === 'a' && options?.dryRun !== true) {
          isFirst = false;
          await others.patch(configMaps, values, { type: 'merge', body: { data: { domain: 'new' } } }, { fieldManager: 'kubectl' });
          await isHeard;
          await during();
        }
        return client.patch(resource, ref, patch, options);
      },
      watch: (resource, options) =>
        client.watch(resource, {
          ...options,
          onEvents(events) {
            options.onEvents(events);
            if (events.some(({ type, object }) => type === 'MODIFIED' && object.metadata.name === 'values')) heard();
          },
        }),
    }),
  });
  return async (): Promise<string | undefined> => (await people.get(configMaps, { namespace, name: 'a' })).data?.host;
}

describe('a value that changes while the sync that read the old one is under way', () => {
  it('is in force afterwards', async () => {
    const host = await start(async () => undefined);
    await until(async () => (await host().catch(() => undefined)) === 'new', { timeoutMs: 10_000, what: 'the new value is in force' });
    expect(await host()).toBe('new');
  });

  it('is tried at once when that sync fails', async () => {
    const host = await start(async () => {
      throw invalid({ group: '', kind: 'ConfigMap' }, 'a', [{ field: 'data', message: 'is refused', type: 'FieldValueInvalid' }]);
    });
    await until(async () => (await host().catch(() => undefined)) === 'new', { timeoutMs: 10_000, what: 'the new value is in force' });
    expect(await host()).toBe('new');
  });
});

describe('a variable that is not set', () => {
  it('refuses the revision with its place, until the app says that such variables are empty', async () => {
    const { people, applied } = await startMemoryProject({
      files: { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {host: "a${domain}b", port: "${port:=http}"}\n' },
      apps: { web: { postBuild: { substitute: { other: '1' } } } },
    });
    const ref = { namespace: home, name: 'web' };
    const said = async (): Promise<string> => {
      const ready = conditionOf((await people.get(kustomizations, ref)).status?.conditions, 'Ready');
      return ready?.status === 'False' ? `${ready.reason}: ${ready.message}` : '';
    };
    await until(async () => (await said()).startsWith('BuildFailed'), { what: said });
    expect(await said()).toBe(
      'BuildFailed: web/a.yaml:1 ConfigMap a: variable substitution: variable "domain" is not set and has no default. ' +
        'Set it in spec.postBuild, give it a default as in ${name:=value}, or annotate the app with midship.dev/undefined-variables: empty.',
    );
    const body = { metadata: { annotations: { 'midship.dev/undefined-variables': 'empty' } } };
    await people.patch(kustomizations, ref, { type: 'merge', body }, { fieldManager: 'kubectl' });
    await applied('web');
    expect((await people.get(configMaps, { namespace, name: 'a' })).data).toEqual({ host: 'ab', port: 'http' });
  });
});
