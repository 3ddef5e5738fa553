import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

const v1 = '/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers';
const v2 = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers';
const scaleTargetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' };

describe('versions of one stored kind', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
  });
  afterAll(() => cluster.stop());

  const post = (path: string, body: unknown) => cluster.fetch(path, { method: 'POST', body });
  const patch = (path: string, type: string, body: unknown) =>
    cluster.fetch(path, { method: 'PATCH', headers: { 'content-type': `application/${type}` }, body: JSON.stringify(body) });

  it('an autoscaler written in v1 is read in both', async () => {
    const created = await post(v1, {
      metadata: { name: 'one' },
      spec: { scaleTargetRef, maxReplicas: 3, targetCPUUtilizationPercentage: 50 },
    });
    expect(created.status).toBe(201);
    expect(created.json).toMatchObject({
      apiVersion: 'autoscaling/v1',
      spec: { minReplicas: 1, targetCPUUtilizationPercentage: 50 },
      status: { currentReplicas: 0, desiredReplicas: 0 },
    });
    const read = await cluster.fetch(`${v2}/one`);
    expect(read.json).toMatchObject({
      apiVersion: 'autoscaling/v2',
      spec: { metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } }] },
    });
    expect(read.json.metadata.annotations).toBeUndefined();
  });

  it('fields that v1 lacks survive a change through it', async () => {
    const metrics = [
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } },
      { type: 'Pods', pods: { metric: { name: 'rps' }, target: { type: 'AverageValue', averageValue: '100' } } },
    ];
    await post(v2, { metadata: { name: 'two' }, spec: { scaleTargetRef, maxReplicas: 3, metrics } });
    for (const [type, body] of [
      ['merge-patch+json', { spec: { maxReplicas: 4 } }],
      ['strategic-merge-patch+json', { spec: { maxReplicas: 5 } }],
      ['json-patch+json', [{ op: 'replace', path: '/spec/maxReplicas', value: 6 }]],
    ] as const) {
      expect((await patch(`${v1}/two`, type, body)).status).toBe(200);
    }
    const read = await cluster.fetch(`${v2}/two`);
    expect(read.json.spec).toMatchObject({ maxReplicas: 6, metrics });
    expect(read.json.metadata.annotations).toBeUndefined();
    const strict = await patch(`${v1}/two?fieldValidation=Strict`, 'merge-patch+json', { spec: { metrics: [] } });
    expect([strict.status, strict.json.message]).toEqual([422, expect.stringContaining('unknown field "spec.metrics"')]);
  });

  it('apply, lists, tables, deletion and refusals speak the version that was asked for', async () => {
    const applied = await patch(`${v1}/three?fieldManager=m`, 'apply-patch+yaml', {
      apiVersion: 'autoscaling/v1',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'three' },
      spec: { scaleTargetRef, maxReplicas: 2, targetCPUUtilizationPercentage: 70 },
    });
    expect([applied.status, applied.json.apiVersion, applied.json.spec.targetCPUUtilizationPercentage]).toEqual([
      201,
      'autoscaling/v1',
      70,
    ]);
    const list = await cluster.fetch(v1);
    expect(list.json).toMatchObject({ apiVersion: 'autoscaling/v1', kind: 'HorizontalPodAutoscalerList' });
    expect(list.json.items.map((item: { spec: object }) => Object.hasOwn(item.spec, 'metrics'))).not.toContain(true);
    const table = await cluster.fetch(v1, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } });
    const cells = table.json.rows.map((row: { cells: unknown[] }) => row.cells.slice(0, 6));
    expect(cells).toContainEqual(['three', 'Deployment/web', 'cpu: <unknown>/70%', '1', 2, 0]);
    expect(cells).toContainEqual(['two', 'Deployment/web', 'cpu: <unknown>/80%, <unknown>/100', '1', 6, 0]);
    const refused = await post(v1, { metadata: { name: 'bad' }, spec: { scaleTargetRef, maxReplicas: 0 } });
    expect(refused.json.message).toContain('spec.maxReplicas: Required value: must be set and greater than 0');
    const deleted = await cluster.fetch(`${v1}/three`, { method: 'DELETE' });
    expect([deleted.status, deleted.json.kind]).toEqual([200, 'Status']);
    expect((await cluster.fetch(`${v2}/three`)).status).toBe(404);
  });

  it('events are the same in both groups', async () => {
    const core = '/api/v1/namespaces/default/events';
    const newer = '/apis/events.k8s.io/v1/namespaces/default/events';
    const about = { kind: 'Pod', name: 'p', namespace: 'default' };
    const created = await post(newer, {
      metadata: { name: 'ev' },
      eventTime: '2026-01-01T00:00:00.000000Z',
      reportingController: 'example.com/x',
      reportingInstance: 'x-1',
      action: 'Act',
      reason: 'Because',
      type: 'Normal',
      regarding: about,
      note: 'said',
    });
    expect(created.status).toBe(201);
    expect(created.json).toMatchObject({ apiVersion: 'events.k8s.io/v1', regarding: about, note: 'said', deprecatedSource: {} });
    expect((await cluster.fetch(`${core}/ev`)).json).toMatchObject({
      apiVersion: 'v1',
      involvedObject: about,
      message: 'said',
      reportingComponent: 'example.com/x',
    });
    const found = await cluster.fetch(`${newer}?fieldSelector=regarding.name%3Dp,reportingController%3Dexample.com/x`);
    expect(found.json.items).toHaveLength(1);
    expect((await cluster.fetch(`${newer}?fieldSelector=involvedObject.name%3Dp`)).status).toBe(400);
    const refused = await post(newer, { metadata: { name: 'ev2' }, regarding: about, reason: 'R', type: 'Normal' });
    expect([refused.status, refused.json.message]).toEqual([422, 'Event.events.k8s.io "ev2" is invalid: eventTime: Required value']);
    const watched = await cluster.fetch(`${newer}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true`);
    const records = watched.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(records.map(({ object }) => object.apiVersion)).not.toContain('v1');
    expect(records[0]).toMatchObject({ type: 'ADDED', object: { note: 'said', apiVersion: 'events.k8s.io/v1' } });
  });
});
