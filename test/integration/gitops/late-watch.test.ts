import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import type { Client } from '../../../src/client/client.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';

const manifest = (name: string, value: string, annotation = 'note: none'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  annotations: {${annotation}}\ndata: {a: "${value}"}\n`;
const once = 'kustomize.toolkit.fluxcd.io/ssa: IfNotPresent';
const idle = 'kustomize.toolkit.fluxcd.io/reconcile: disabled';
const files = (value: string): Readonly<Record<string, string>> => ({
  'web/once.yaml': manifest('once', value, once),
  'web/idle.yaml': manifest('idle', value, idle),
  'web/live.yaml': manifest('live', value),
  'web/ignored.yaml': manifest('ignored', value),
  'web/plain.yaml': manifest('plain', value),
});

/** Its watches of these resources never tell anything. */
const deafTo =
  (...resources: readonly Resource[]) =>
  (client: Client): Client => ({
    ...client,
    watch: (resource, options) =>
      client.watch(
        resource,
        resources.some((deaf) => deaf.resource === resource.resource) ? { ...options, onEvents: () => undefined } : options,
      ),
  });

describe('an engine that hears of changes late', () => {
  it('leaves alone what someone said to leave alone, and fields that are not its own, all the same', async () => {
    const { people, commit, applied } = await startMemoryProject({
      files: files('1'),
      apps: { web: { driftIgnoreRules: [{ paths: ['/data/a'], target: { name: 'ignored' } }] } },
      wrap: deafTo(configMaps),
    });
    await applied('web');
    // What Git says to leave alone is not made.
    await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'idle', namespace } });
    const all = ['once', 'idle', 'live', 'ignored', 'plain'];
    for (const name of all) {
      const metadata = name === 'live' ? { annotations: { 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled' } } : {};
      const body = { metadata, data: { a: 'theirs' } };
      await people.patch(configMaps, { namespace, name }, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
    }
    commit(files('2'));
    await applied('web');
    const values = await Promise.all(all.map(async (name) => (await people.get(configMaps, { namespace, name })).data?.a));
    expect(values).toEqual(['theirs', 'theirs', 'theirs', 'theirs', '2']);
  });
});
