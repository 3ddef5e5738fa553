import { describe, expect, it } from 'vitest';
import { horizontalPodAutoscalers } from '../../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { home, namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const service = (name: string, fields: string, annotations = ''): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, annotations: {${annotations}}}\nspec: {${fields}selector: {app: db}, ports: [{port: 80, protocol: TCP}]}\n`;

const leftOver = async (people: Client): Promise<string> =>
  conditionOf((await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions, 'LeftOver')?.message ?? '';

const warnings = async (people: Client): Promise<readonly string[]> =>
  (await people.list(events, { namespace: home })).items.filter(({ reason }) => reason === 'LeftOver').map(({ message = '' }) => message);

describe('a field that left Git and that the server keeps', () => {
  it('is reported, but not one that is a default, until Git names it again, also over a restart', async () => {
    const headless = service('db', 'clusterIP: None, sessionAffinity: None, ');
    const { people, applied, commit, restart } = await startMemoryProject({ files: { 'web/db.yaml': headless } });
    await applied('web');
    commit({ 'web/db.yaml': service('db', 'clusterIP: None, ') });
    await applied('web');
    expect([await leftOver(people), await warnings(people)]).toEqual(['', []]);
    commit({ 'web/db.yaml': service('db', '') });
    await applied('web');
    expect((await people.get(services, { namespace, name: 'db' })).spec?.clusterIP).toBe('None');
    await until(async () => (await leftOver(people)) === 'Service web/db: spec.clusterIP None', { what: () => leftOver(people) });
    await restart();
    commit({ 'web/db.yaml': service('db', ''), 'web/other.yaml': service('other', '') });
    await applied('web');
    expect(await leftOver(people)).toBe('Service web/db: spec.clusterIP None');
    const said = await until(
      async () => {
        const all = await warnings(people);
        return all.length > 0 && all;
      },
      { what: 'an Event' },
    );
    expect(said).toEqual([expect.stringMatching(/^Service web\/db: spec\.clusterIP None.* left Git, and the server keeps it\. Annotate /)]);
    commit({ 'web/db.yaml': headless, 'web/other.yaml': service('other', '') });
    await applied('web');
    await until(async () => (await leftOver(people)) === '', { what: () => leftOver(people) });
  });

  it('goes with the object, which is made again, where that is allowed', async () => {
    const force = 'kustomize.toolkit.fluxcd.io/force: enabled';
    const { people, applied, commit } = await startMemoryProject({ files: { 'web/db.yaml': service('db', 'clusterIP: None, ', force) } });
    await applied('web');
    const { uid } = (await people.get(services, { namespace, name: 'db' })).metadata;
    commit({ 'web/db.yaml': service('db', '', force) });
    await applied('web');
    const { metadata, spec } = await people.get(services, { namespace, name: 'db' });
    expect(metadata.uid).not.toBe(uid);
    expect(spec?.clusterIP).toMatch(/^\d/);
    expect(await leftOver(people)).toBe('');
  });

  it('is reported also when Git changes the version in which it is written', async () => {
    const target = 'maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}';
    const scaler = (version: string, fields: string): string =>
      `apiVersion: autoscaling/${version}\nkind: HorizontalPodAutoscaler\nmetadata: {name: shop}\nspec: {${target}, ${fields}}\n`;
    const metric = (name: string): string =>
      `{type: Resource, resource: {name: ${name}, target: {type: Utilization, averageUtilization: 50}}}`;
    const { people, applied, commit } = await startMemoryProject({
      files: { 'web/hpa.yaml': scaler('v2', `metrics: [${metric('cpu')}, ${metric('memory')}]`) },
    });
    await applied('web');
    commit({ 'web/hpa.yaml': scaler('v1', 'targetCPUUtilizationPercentage: 50') });
    await applied('web');
    const live = await people.get(horizontalPodAutoscalers, { namespace, name: 'shop' });
    expect(live.spec.metrics?.map(({ resource }) => resource?.name)).toEqual(['cpu', 'memory']);
    const note = 'HorizontalPodAutoscaler web/shop: metadata.annotations[autoscaling.alpha.kubernetes.io/metrics] ';
    await until(async () => (await leftOver(people)).startsWith(note), { what: () => leftOver(people) });
  });
});
