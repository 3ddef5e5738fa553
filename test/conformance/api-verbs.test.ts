import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps as configMapResource } from '../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { parseYamlDocuments } from '../../src/machinery/yaml.ts';
import { startTestApiServer, type TestApiServer } from '../support/api-server.ts';
import { until } from '../support/until.ts';

const configMaps = '/api/v1/namespaces/default/configmaps';
const pods = '/api/v1/namespaces/default/pods';
const table = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';

describe('verbs over HTTP', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await post('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } });
  });
  afterAll(() => cluster.stop());

  const post = (path: string, body: unknown, headers = {}) => cluster.fetch(path, { method: 'POST', body, headers });
  const remove = (path: string, body?: unknown) => cluster.fetch(path, { method: 'DELETE', ...(body === undefined ? {} : { body }) });
  const configMap = async (name: string, fields: object = {}) => {
    const { status, text } = await post(configMaps, { metadata: { name, ...fields } });
    expect({ status, text: status === 201 ? '' : text }).toEqual({ status: 201, text: '' });
  };

  it('creates, reads, replaces and deletes', async () => {
    const created = await post(configMaps, { metadata: { name: 'a', labels: { l: '1' } }, data: { k: 'v' } });
    expect(created.status).toBe(201);
    expect(created.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    expect(created.headers['audit-id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(created.json).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a', namespace: 'default' } });
    const got = await cluster.fetch(`${configMaps}/a`);
    expect(got.json).toEqual(created.json);
    const replaced = await cluster.fetch(`${configMaps}/a`, { method: 'PUT', body: { ...got.json, data: { k: 'w' } } });
    expect(replaced.status).toBe(200);
    const stale = await cluster.fetch(`${configMaps}/a`, { method: 'PUT', body: { ...got.json, data: { k: 'x' } } });
    expect(stale.status).toBe(409);
    const { status, json } = await remove(`${configMaps}/a`);
    expect(status).toBe(200);
    expect(json).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: { name: 'a', kind: 'configmaps', uid: created.json.metadata.uid },
    });
  });

  it('lists without kind in the items, whole or in pages of one snapshot', async () => {
    for (const name of ['l1', 'l2', 'l3']) await configMap(name, { labels: { list: 'yes' } });
    const all = await cluster.fetch(`${configMaps}?labelSelector=list%3Dyes`);
    expect(all.json).toMatchObject({ kind: 'ConfigMapList', apiVersion: 'v1' });
    expect(all.json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual(['l1', 'l2', 'l3']);
    expect(all.json.items[0]).not.toHaveProperty('kind');
    const first = await cluster.fetch(`${configMaps}?labelSelector=list%3Dyes&limit=2`);
    await remove(`${configMaps}/l3`);
    const second = await cluster.fetch(`${configMaps}?labelSelector=list%3Dyes&limit=2&continue=${first.json.metadata.continue}`);
    expect(second.json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual(['l3']);
    expect(second.json.metadata).toEqual({ resourceVersion: first.json.metadata.resourceVersion });
    expect((await cluster.fetch('/api/v1/namespaces/nowhere/configmaps')).json.items).toEqual([]);
  });

  it('applies objects, and a scale only to what is there', async () => {
    const apply = (path: string, body: unknown) =>
      cluster.fetch(`${path}?fieldManager=m`, { method: 'PATCH', headers: { 'content-type': 'application/apply-patch+yaml' }, body });
    const scale = { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { name: 'nope' }, spec: { replicas: 1 } };
    const missing = await apply('/apis/apps/v1/namespaces/default/deployments/nope/scale', scale);
    expect(missing.json).toMatchObject({ code: 404, message: 'deployments.apps "nope" not found' });
    const failed = 'error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal';
    for (const [body, what] of [
      ['[]', 'array'],
      ['"x"', 'string'],
      ['5', 'number'],
    ]) {
      const refused = await apply(`${configMaps}/x`, body);
      expect(refused.json).toMatchObject({ code: 400, message: `${failed} ${what} into Go value of type map[string]interface {}` });
    }
    expect((await apply(`${configMaps}/x`, 'a: [b')).json.message).toMatch(
      /^error decoding YAML: error converting YAML to JSON: yaml: line 1: /,
    );
  });

  it('shows what it refuses as the real server holds it', async () => {
    const spec = { user: 'a', resourceAttributes: { verb: 'get' }, nonResourceAttributes: { path: '/' } };
    const review = await post('/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec });
    expect(review.json.details.causes[0].message).toBe(
      'Invalid value: {"Path":"/","Verb":""}: cannot be specified in combination with resourceAttributes',
    );
    const boundObjectRef = { apiVersion: 'v1', kind: 'Foo', name: 'x' };
    const token = await post('/api/v1/namespaces/default/serviceaccounts/default/token', { spec: { boundObjectRef } });
    expect(token.json).toMatchObject({ code: 400, message: 'cannot bind token to object of type /v1, Kind=Foo' });
  });

  it('says of nobody that it owns what admission puts in', async () => {
    const created = await post(pods, { metadata: { name: 'owned' }, spec: { containers: [{ name: 'c', image: 'i' }] } });
    expect(created.json.spec).toMatchObject({ serviceAccountName: 'default', priority: 0, tolerations: expect.anything() });
    const [{ fieldsV1 }] = created.json.metadata.managedFields;
    expect(Object.keys(fieldsV1['f:spec']).sort()).toEqual([
      'f:containers',
      'f:dnsPolicy',
      'f:enableServiceLinks',
      'f:restartPolicy',
      'f:schedulerName',
      'f:securityContext',
      'f:terminationGracePeriodSeconds',
    ]);
    await remove(`${pods}/owned`);
    const unknown = { metadata: { generateName: 'gen-' }, spec: { serviceAccountName: 'nobody', containers: [{ name: 'c', image: 'i' }] } };
    expect((await post(pods, unknown)).json.message).toBe(
      'pods "gen-" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found',
    );
  });

  it('names the kind in the items of custom resources', async () => {
    const path = '/apis/source.toolkit.fluxcd.io/v1/namespaces/default/gitrepositories';
    const body = { metadata: { name: 'r' }, spec: { interval: '1m', url: 'https://git.example/r.git' } };
    expect((await post(path, body)).status).toBe(400);
    const whole = { apiVersion: 'source.toolkit.fluxcd.io/v1', kind: 'GitRepository', ...body };
    expect((await post(path, whole)).status).toBe(201);
    expect((await cluster.fetch(path)).json.items[0]).toMatchObject({ kind: 'GitRepository', apiVersion: 'source.toolkit.fluxcd.io/v1' });
    const patch = await cluster.fetch(`${path}/r`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/strategic-merge-patch+json' },
      body: {},
    });
    expect(patch.status).toBe(415);
    expect(patch.json.message).toBe(
      'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
    );
  });

  it('answers in YAML, indented JSON and reduced to metadata', async () => {
    await configMap('y', { labels: { one: 'two' } });
    const yaml = await cluster.fetch(`${configMaps}/y`, { headers: { accept: 'application/yaml' } });
    expect(yaml.headers['content-type']).toBe('application/yaml');
    expect(yaml.text).toContain('kind: ConfigMap\n');
    const list = await cluster.fetch(`${configMaps}?labelSelector=one`, { headers: { accept: 'application/yaml' } });
    expect(list.text).toMatch(/^kind: ConfigMapList\napiVersion: v1\nmetadata:\n {2}resourceVersion: '?"?\d+'?"?\nitems:\n- metadata:\n/);
    expect((await cluster.fetch(`${configMaps}/y?pretty=true`)).text).toContain('{\n  "kind": "ConfigMap",\n');
    expect((await cluster.fetch(`${configMaps}/y`, { headers: { 'user-agent': 'curl/8' } })).text).toContain('\n  "kind"');
    const partial = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
    expect(Object.keys((await cluster.fetch(`${configMaps}/y`, { headers: { accept: partial } })).json)).toEqual([
      'kind',
      'apiVersion',
      'metadata',
    ]);
    const partialList = await cluster.fetch(`${configMaps}?labelSelector=one`, {
      headers: { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' },
    });
    expect(partialList.json).toMatchObject({ kind: 'PartialObjectMetadataList', items: [{ kind: 'PartialObjectMetadata' }] });
  });

  it('answers as a table, with as much of the object as is asked for', async () => {
    await post(pods, { metadata: { name: 't' }, spec: { containers: [{ name: 'c', image: 'host/x' }] } });
    const get = (path: string) => cluster.fetch(path, { headers: { accept: table } });
    const one = (await get(`${pods}/t`)).json;
    expect(one).toMatchObject({ kind: 'Table', apiVersion: 'meta.k8s.io/v1' });
    expect(one.columnDefinitions[0]).toMatchObject({ name: 'Name', type: 'string', format: 'name', priority: 0 });
    expect(one.rows[0].cells.slice(0, 3)).toEqual(['t', '0/1', 'Pending']);
    expect(one.rows[0].object).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: 't' } });
    expect((await get(`${pods}?includeObject=None`)).json.rows[0].object).toBeNull();
    expect((await get(`${pods}?includeObject=Object`)).json.rows[0].object).toMatchObject({ kind: 'Pod', spec: {} });
    expect((await get('/api/v1/namespaces/nowhere/pods')).json.rows).toEqual([]);
    expect((await get(`${pods}/nope`)).json).toMatchObject({ kind: 'Status', code: 404 });
    const created = await post(configMaps, { metadata: { name: 'tt' } }, { accept: table });
    expect(created.json).toMatchObject({ kind: 'Table', rows: [{ object: { metadata: { name: 'tt' } } }] });
  });

  it('sends long lists in chunks, in every form', async () => {
    const client = cluster.api.clientFor();
    const count = 2_000;
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'long' } });
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        client.create(configMapResource, {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `n${String(index).padStart(4, '0')}`, namespace: 'long' },
          data: { text: 'line\n'.repeat(20) },
        }),
      ),
    );
    const path = '/api/v1/namespaces/long/configmaps';
    const json = await cluster.fetch(path);
    expect(json.headers['transfer-encoding']).toBe('chunked');
    expect(json.json.items).toHaveLength(count);
    expect((await cluster.fetch(path, { headers: { accept: table } })).json.rows).toHaveLength(count);
    const yaml = await cluster.fetch(path, { headers: { accept: 'application/yaml' } });
    const [list] = parseYamlDocuments(yaml.text, { maxBytes: 10_000_000, maxDepth: 20, maxAliases: 0, maxDocuments: 1 });
    expect(list?.value).toEqual(json.json);
  });

  it('patches by media type', async () => {
    await configMap('p', { labels: { a: '1' } });
    const patch = (type: string, body: unknown, query = '') =>
      cluster.fetch(`${configMaps}/p${query}`, { method: 'PATCH', headers: { 'content-type': `application/${type}` }, body });
    expect((await patch('merge-patch+json', { data: { m: '1' } })).json.data).toEqual({ m: '1' });
    expect((await patch('strategic-merge-patch+json', { metadata: { labels: { a: null, b: '2' } } })).json.metadata.labels).toEqual({
      b: '2',
    });
    expect((await patch('json-patch+json', [{ op: 'add', path: '/data/j', value: '2' }])).json.data).toEqual({ m: '1', j: '2' });
    expect(await patch('json', {})).toMatchObject({ status: 415, json: { message: '415: Unsupported Media Type' } });
    expect((await patch('merge-patch+json', '{')).json.message).toBe('error decoding patch: unexpected end of JSON input');
    expect((await patch('merge-patch+json', {}, '?force=true')).status).toBe(422);
    expect((await patch('apply-patch+yaml', {})).json.message).toContain('fieldManager: Required value: is required for apply patch');
  });

  it('deletes by options of body or query, and answers with what remains', async () => {
    await configMap('d1', { finalizers: ['x.example/f'] });
    const first = await remove(`${configMaps}/d1`);
    expect(first.json.metadata).toMatchObject({ deletionGracePeriodSeconds: 0, finalizers: ['x.example/f'] });
    expect((await remove(`${configMaps}/d1`)).json).toEqual(first.json);
    await configMap('d2');
    const foreground = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Foreground' };
    expect((await remove(`${configMaps}/d2`, foreground)).json.metadata.finalizers).toEqual(['foregroundDeletion']);
    await configMap('d3');
    expect((await remove(`${configMaps}/d3?propagationPolicy=Orphan`)).json.metadata.finalizers).toEqual(['orphan']);
    await configMap('d4');
    expect((await remove(`${configMaps}/d4`, { preconditions: { uid: 'other' } })).status).toBe(409);
    expect((await remove(`${configMaps}/d4`, { dryRun: ['All'] })).json.status).toBe('Success');
    expect((await remove(`${configMaps}/d4`, { gracePeriodSeconds: -5 })).json.status).toBe('Success');
    expect((await remove(`${configMaps}/d4`)).status).toBe(404);
  });

  it('deletes collections and answers with the objects', async () => {
    for (const name of ['c1', 'c2']) await configMap(name, { labels: { c: 'y' } });
    const { json } = await remove(`${configMaps}?labelSelector=c%3Dy`);
    expect(json.kind).toBe('ConfigMapList');
    expect(json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual(['c1', 'c2']);
    expect((await remove(`${configMaps}?labelSelector=c%3Dy`)).json.items).toEqual([]);
  });

  it('binds, scales and evicts', async () => {
    await post(pods, { metadata: { name: 'b' }, spec: { containers: [{ name: 'c', image: 'host/x' }] } });
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name: 'b' }, target: { kind: 'Node', name: 'n1' } };
    expect(await post(`${pods}/b/binding`, binding)).toMatchObject({
      status: 201,
      json: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 },
    });
    const again = await post(`${pods}/b/binding`, binding);
    expect(again.json.message).toBe('Operation cannot be fulfilled on pods/binding "b": pod b is already assigned to node "n1"');
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'b' } };
    expect((await post(`${pods}/b/eviction`, { ...eviction, deleteOptions: { dryRun: ['All'] } })).status).toBe(201);
    expect((await cluster.fetch(`${pods}/b`)).json.metadata).not.toHaveProperty('deletionTimestamp');
    expect((await post(`${pods}/b/eviction`, { ...eviction, apiVersion: 'policy/v1beta1' })).status).toBe(201);
    expect((await cluster.fetch(`${pods}/b`)).json.metadata).toHaveProperty('deletionTimestamp');

    const deployments = '/apis/apps/v1/namespaces/default/deployments';
    const selector = { matchLabels: { app: 'x' } };
    const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'host/x' }] } };
    await post(deployments, { metadata: { name: 's' }, spec: { selector, template } });
    const scale = (await cluster.fetch(`${deployments}/s/scale`)).json;
    expect(scale).toMatchObject({ kind: 'Scale', apiVersion: 'autoscaling/v1', spec: { replicas: 1 }, status: { selector: 'app=x' } });
    const put = await cluster.fetch(`${deployments}/s/scale`, { method: 'PUT', body: { ...scale, spec: { replicas: 4 } } });
    expect(put.json.spec).toEqual({ replicas: 4 });
    expect((await cluster.fetch(`${deployments}/s`)).json.spec.replicas).toBe(4);
  });

  it('tells what it does not know as warnings, or refuses it', async () => {
    const body = { metadata: { name: 'w', foo: 'x' }, datas: {} };
    const warned = await post(`${configMaps}?dryRun=All`, body);
    expect(warned.headers.warning).toBe('299 - "unknown field \\"metadata.foo\\"", 299 - "unknown field \\"datas\\""');
    const strict = await post(`${configMaps}?dryRun=All&fieldValidation=Strict`, body);
    expect(strict.json.message).toBe(
      'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "metadata.foo", unknown field "datas"',
    );
    const twice = '{"metadata":{"name":"w"},"data":{"a":"1","a":"2"}}';
    const duplicate = await post(`${configMaps}?dryRun=All&fieldValidation=Strict`, twice, { 'content-type': 'application/json' });
    expect(duplicate.json.message).toContain('strict decoding error: duplicate field "data.a"');
    expect((await post(`${configMaps}?dryRun=All`, body, {})).status).toBe(201);
    expect((await cluster.fetch(`${configMaps}/w`)).status).toBe(404);
  });

  it('reads YAML bodies', async () => {
    const { status, json } = await post(configMaps, 'metadata: {name: viayaml}\ndata: {a: "1"}\n', { 'content-type': 'application/yaml' });
    expect({ status, data: json.data }).toEqual({ status: 201, data: { a: '1' } });
  });

  it('refuses bodies that are too large, in a form it does not read, or cut short', async () => {
    const large = await post(configMaps, { metadata: { name: 'large' }, data: { a: 'x'.repeat(3 * 1024 * 1024) } });
    expect(large).toMatchObject({
      status: 413,
      json: { reason: 'RequestEntityTooLarge', message: 'Request entity too large: limit is 3145728' },
    });
    const cbor = await post(configMaps, 'x', { 'content-type': 'application/cbor' });
    expect(cbor).toMatchObject({ status: 415, json: { reason: 'UnsupportedMediaType' } });
    const protobuf = await post(configMaps, 'k8s\0', { 'content-type': 'application/vnd.kubernetes.protobuf' });
    expect(protobuf).toMatchObject({ status: 400, json: { reason: 'BadRequest' } });
  });

  it('assigns pods by the older collection of bindings, too', async () => {
    await post(pods, { metadata: { name: 'old-way' }, spec: { containers: [{ name: 'c', image: 'host/sh' }] } });
    const bindings = '/api/v1/namespaces/default/bindings';
    const target = { kind: 'Node', name: 'n1' };
    expect(await post(bindings, { metadata: { name: 'nope' }, target })).toMatchObject({ status: 404 });
    const bound = await post(bindings, { metadata: { name: 'old-way' }, target });
    expect({ status: bound.status, ...bound.json }).toMatchObject({ status: 'Success', code: 201 });
    expect((await cluster.fetch(`${pods}/old-way`)).json.spec.nodeName).toBe('n1');
    expect((await post(bindings, { metadata: { name: 'old-way' }, target })).status).toBe(409);
    expect((await cluster.fetch(bindings)).status).toBe(405);
  });

  it('changes with the status what the real server does of the metadata, kind by kind', async () => {
    const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'host/sh' }] } };
    const workload = { replicas: 0, selector: { matchLabels: { a: 'b' } }, template };
    const widgets = {
      group: 'widgets.example',
      scope: 'Cluster',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
      versions: [
        { name: 'v1', served: true, storage: true, subresources: { status: {} }, schema: { openAPIV3Schema: { type: 'object' } } },
      ],
    };
    const flow = { priorityLevelConfiguration: { name: 'exempt' } };
    const all = { labels: true, annotations: true, finalizers: true, ownerReferences: true };
    const none = { labels: false, annotations: false, finalizers: false, ownerReferences: false };
    const kinds: readonly (readonly [path: string, spec: object, changed: object])[] = [
      ['/api/v1/nodes', {}, all],
      ['/api/v1/namespaces/default/services', { ports: [{ port: 80 }] }, all],
      ['/api/v1/namespaces/default/pods', template.spec, { ...all, ownerReferences: false }],
      ['/apis/apps/v1/namespaces/default/replicasets', workload, all],
      ['/apis/apps/v1/namespaces/default/deployments', workload, { ...all, labels: false }],
      ['/apis/apiextensions.k8s.io/v1/customresourcedefinitions', widgets, all],
      ['/apis/widgets.example/v1/widgets', {}, none],
      ['/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas', flow, none],
      ['/apis/storage.k8s.io/v1/volumeattachments', { attacher: 'a', nodeName: 'n', source: { persistentVolumeName: 'v' } }, none],
    ];
    const seen: Record<string, object> = {};
    for (const [path, spec] of kinds) {
      const name = path.endsWith('definitions') ? 'widgets.widgets.example' : 'with-status';
      const created = await until(
        async () => {
          const answer = await post(path, {
            ...(path === '/apis/widgets.example/v1/widgets' ? { apiVersion: 'widgets.example/v1', kind: 'Widget' } : {}),
            metadata: { name, labels: { l: '1' } },
            spec,
          });
          return answer.status === 201 && answer.json;
        },
        { what: async () => `${path}: ${(await post(path, { metadata: { name }, spec })).text}` },
      );
      const wanted = {
        labels: { a: 'by-status' },
        annotations: { a: 'by-status' },
        finalizers: ['example.com/by-status'],
        ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'by-status', uid: 'u' }],
      };
      const { status, json, text } = await cluster.fetch(`${path}/${name}/status?fieldManager=s`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/merge-patch+json' },
        body: { metadata: wanted },
      });
      expect([path, status, status === 200 ? '' : text]).toEqual([path, 200, '']);
      const { metadata } = json;
      const changed = Object.keys(wanted).map((field) => [field, JSON.stringify(metadata[field] ?? '').includes('by-status')]);
      seen[path] = Object.fromEntries(changed);
      expect(metadata.generation).toBe(created.metadata.generation);
      const owned = metadata.managedFields.find(({ manager }: { manager: string }) => manager === 's')?.fieldsV1['f:metadata'] ?? {};
      expect([path, Object.fromEntries(Object.keys(wanted).map((field) => [field, `f:${field}` in owned]))]).toEqual([path, seen[path]]);
    }
    expect(seen).toEqual(Object.fromEntries(kinds.map(([path, , changed]) => [path, changed])));
    // A server-side apply owns as much.
    const apply = await cluster.fetch('/apis/apps/v1/namespaces/default/deployments/with-status/status?fieldManager=applier', {
      method: 'PATCH',
      headers: { 'content-type': 'application/apply-patch+yaml' },
      body: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'with-status', labels: { applied: '1' }, annotations: { applied: '1' } },
        status: { observedGeneration: 1 },
      },
    });
    const applied = apply.json.metadata.managedFields.find(({ manager }: { manager: string }) => manager === 'applier');
    expect(applied.fieldsV1).toEqual({
      'f:metadata': { 'f:annotations': { 'f:applied': {} } },
      'f:status': { 'f:observedGeneration': {} },
    });
    expect([apply.json.metadata.labels, apply.json.metadata.annotations.applied]).toEqual([{ l: '1' }, '1']);
  });

  it('lets containers join a pod, and no other way than their own', async () => {
    await post(pods, { metadata: { name: 'joined' }, spec: { containers: [{ name: 'c', image: 'host/sh' }] } });
    const patch = (path: string, body: object) =>
      cluster.fetch(path, { method: 'PATCH', body, headers: { 'content-type': 'application/strategic-merge-patch+json' } });
    const body = { spec: { ephemeralContainers: [{ name: 'debug', image: 'host/sh' }] } };
    expect((await patch(`${pods}/joined`, body)).status).toBe(422);
    const joined = await patch(`${pods}/joined/ephemeralcontainers`, body);
    expect(joined).toMatchObject({ status: 200 });
    expect(joined.json.spec.ephemeralContainers).toMatchObject([{ name: 'debug', imagePullPolicy: 'Always' }]);
    expect(joined.json.metadata.generation).toBe(2);
    expect((await cluster.fetch(`${pods}/joined/ephemeralcontainers`)).json).toEqual(joined.json);
    expect((await cluster.fetch(`${pods}/joined/resize`)).json).toEqual(joined.json);
  });

  it('tells how the parts of the control plane are, with the warning that the question is old', async () => {
    const list = await cluster.fetch('/api/v1/componentstatuses');
    expect(list.headers.warning).toBe('299 - "v1 ComponentStatus is deprecated in v1.19+"');
    expect(list.json).toMatchObject({ kind: 'ComponentStatusList', metadata: {} });
    expect(list.json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual([
      'scheduler',
      'controller-manager',
      'etcd-0',
    ]);
    expect((await cluster.fetch('/api/v1/componentstatuses/etcd-0')).json).toMatchObject({
      conditions: [{ type: 'Healthy', status: 'True', message: 'ok' }],
    });
    expect((await cluster.fetch('/api/v1/componentstatuses/constructor')).status).toBe(404);
    const { rows } = (await cluster.fetch('/api/v1/componentstatuses?fieldSelector=metadata.name%3Detcd-0', { headers: { accept: table } }))
      .json;
    expect(rows.map(({ cells }: { cells: unknown[] }) => cells)).toEqual([['etcd-0', 'Healthy', 'ok', '']]);
  });
});
