import { writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { get as httpsGet } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { createApiServer } from '../../../src/apiserver/server.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openPki } from '../../../src/base/pki.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { isForbidden, isStatusError } from '../../../src/machinery/status-error.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const cm = '/api/v1/namespaces/default/configmaps';

describe('the API server on the wire', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
  });
  afterAll(() => cluster.stop());

  const clientWith = (credentials: object) =>
    createHttpClient({ server: cluster.server.url, caCertificate: cluster.pki.caCertificate, userAgent: 'test', ...credentials });

  const statusOf = async (credentials: object): Promise<number> => {
    const client = clientWith(credentials);
    try {
      await client.list(configMaps);
      return 200;
    } catch (err) {
      if (isStatusError(err)) return err.code;
      throw err;
    } finally {
      client.close();
    }
  };

  it('loads no compiler of schemas, since no route has one', () => {
    const loaded = Object.keys(createRequire(import.meta.url).cache);
    expect(loaded.filter((path) => path.includes('/node_modules/fastify/'))).not.toEqual([]);
    expect(loaded.filter((path) => /node_modules.(ajv|fast-uri|light-my-request)\b|fast-json-stringify.index/.test(path))).toEqual([]);
  });

  it.each(['content-length', 'transfer-encoding'])(
    'answers a body that is too large to a client that sends all of it first (%s)',
    async (head) => {
      const { hostname, port } = new URL(cluster.server.url);
      const socket = tlsConnect({ host: hostname, port: Number(port), ca: cluster.pki.caCertificate });
      let answer = '';
      let failure: Error | undefined;
      socket.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
      socket.on('error', (err) => (failure = err));
      const piece = 'x'.repeat(1024 * 1024);
      const pieces = 48;
      const isChunked = head === 'transfer-encoding';
      const send = (text: string) => new Promise<void>((resolve) => socket.write(text, () => resolve()));
      const size = isChunked ? 'transfer-encoding: chunked' : `content-length: ${pieces * piece.length}`;
      const headers = `host: test\r\nauthorization: Bearer ${adminToken}\r\ncontent-type: application/json\r\n${size}`;
      await send(`POST ${cm} HTTP/1.1\r\n${headers}\r\n\r\n`);
      for (let sent = 0; sent < pieces && failure === undefined; sent += 1) {
        await send(isChunked ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece);
      }
      if (isChunked) await send('0\r\n\r\n');
      expect(failure).toBeUndefined();
      await until(() => answer.includes('limit is 3145728'), { what: () => `the refusal: ${answer}` });
      // The connection is good for the next request.
      await send(`GET ${cm}/none HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ${adminToken}\r\n\r\n`);
      await until(() => answer.includes('HTTP/1.1 404'), { what: () => `the next answer: ${answer}` });
      socket.destroy();
    },
  );

  it('packs a large answer for a client that takes it packed', async () => {
    const value = 'x'.repeat(200_000);
    await cluster.fetch(cm, { method: 'POST', body: { metadata: { name: 'large', labels: { size: 'large' } }, data: { value } } });
    const read = (path: string, accepted: string): Promise<{ readonly headers: IncomingHttpHeaders; readonly body: Buffer }> =>
      new Promise((resolve, reject) => {
        const { hostname, port } = new URL(cluster.server.url);
        const headers = { authorization: `Bearer ${adminToken}`, 'accept-encoding': accepted };
        httpsGet({ hostname, port, path, ca: cluster.pki.caCertificate, agent: false, headers }, (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.once('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
        }).once('error', reject);
      });
    for (const path of [`${cm}/large`, `${cm}?labelSelector=size%3Dlarge`]) {
      const packed = await read(path, 'deflate, gzip;q=1.0');
      expect(packed.headers).toMatchObject({ 'content-encoding': 'gzip', vary: 'Accept-Encoding' });
      expect(packed.body.length).toBeLessThan(20_000);
      const plain = await read(path, 'gzip;q=0');
      expect(plain.headers['content-encoding']).toBeUndefined();
      expect(gunzipSync(packed.body).toString()).toBe(plain.body.toString());
    }
    const small = await read(`${cm}?labelSelector=size%3Dsmall`, 'gzip');
    expect(small.headers['content-encoding']).toBeUndefined();
    await cluster.fetch(`${cm}/large`, { method: 'DELETE' });
  });

  it('makes an object by PUT, of the kinds that are made so', async () => {
    const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    const put = (path: string, name: string, metadata: object = {}) =>
      cluster.fetch(`${path}/${name}`, { method: 'PUT', body: { metadata: { name, ...metadata } } });
    expect((await put(leases, 'made')).status).toBe(201);
    expect((await put(leases, 'made')).status).toBe(200);
    expect((await put(leases, 'gone', { uid: '11111111-1111-4111-8111-111111111111' })).json.reason).toBe('Conflict');
    expect((await put('/api/v1/namespaces/default/limitranges', 'made')).status).toBe(201);
    expect((await put(cm, 'made')).status).toBe(404);
  });

  it('answers a read not from before the version that was named', async () => {
    await cluster.fetch(cm, { method: 'POST', body: { metadata: { name: 'read' } } });
    const { json } = await cluster.fetch(`${cm}/read`);
    expect((await cluster.fetch(`${cm}/read?resourceVersion=${json.metadata.resourceVersion}`)).status).toBe(200);
    const early = await cluster.fetch(`${cm}/read?resourceVersion=999999999`);
    expect([early.status, early.json.details.causes]).toEqual([
      504,
      [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    ]);
    const unread = await cluster.fetch(`${cm}/read?resourceVersion=abc`);
    expect([unread.status, unread.json.message]).toEqual([
      400,
      'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    ]);
  });

  it('gives tables and metadata in the version of them that is asked for', async () => {
    const forms = { Table: 'Table', PartialObjectMetadataList: 'PartialObjectMetadataList' };
    for (const [as, kind] of Object.entries(forms)) {
      for (const version of ['v1', 'v1beta1']) {
        const accept = `application/json;as=${as};g=meta.k8s.io;v=${version}`;
        const { json } = await cluster.fetch(cm, { headers: { accept } });
        expect([json.kind, json.apiVersion]).toEqual([kind, `meta.k8s.io/${version}`]);
      }
    }
  });

  it('knows users by certificate and by token, and nobody without either', async () => {
    expect(await statusOf({ clientCertificate: cluster.adminCertificate })).toBe(200);
    expect(await statusOf({ token: cluster.aliceToken })).toBe(403);
    expect(await statusOf({ token: 'wrong' })).toBe(401);
    expect(await statusOf({})).toBe(403);
    const { json } = await cluster.fetch('/api/v1/nodes', { anonymous: true });
    expect(json.message).toBe(
      'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope',
    );
  });

  it('takes the groups of a certificate from its organizations', async () => {
    const developer = await cluster.pki.clientCertificate({ name: 'dev', commonName: 'dave', organizations: ['devs'] });
    const client = clientWith({ clientCertificate: developer });
    const err = await client.list(configMaps, { namespace: 'default' }).catch((reason: unknown) => reason);
    client.close();
    expect(isForbidden(err) && err.message).toContain('User "dave" cannot list resource "configmaps"');
  });

  it('refuses certificates of another authority, and server certificates as clients', async () => {
    const foreign = await openPki({ directory: join(cluster.directory, 'foreign'), clock: systemClock });
    const stranger = await foreign.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    expect(await statusOf({ clientCertificate: stranger })).toBe(401);
    const server = await cluster.pki.serverCertificate({ name: 'someserver', commonName: 'system:apiserver', hosts: ['127.0.0.1'] });
    expect(await statusOf({ clientCertificate: server })).toBe(401);
    // A good token makes up for a bad certificate, as on the real server.
    expect(await statusOf({ clientCertificate: stranger, token: cluster.aliceToken })).toBe(403);
  });

  it('is not trusted by a client that knows another authority', async () => {
    const foreign = await openPki({ directory: join(cluster.directory, 'foreign'), clock: systemClock });
    const client = createHttpClient({ server: cluster.server.url, caCertificate: foreign.caCertificate, userAgent: 'test' });
    await expect(client.list(configMaps)).rejects.toMatchObject({ code: 503, message: expect.stringContaining('certificate') });
    client.close();
  });

  it('answers health, version, discovery and metrics by the rights of the user', async () => {
    const get = (path: string, anonymous = false) => cluster.fetch(path, { anonymous });
    for (const path of ['/healthz', '/livez', '/readyz']) expect(await get(path, true)).toMatchObject({ status: 200, text: 'ok' });
    expect(await get('/livez/ping')).toMatchObject({ status: 200, text: 'ok' });
    expect((await get('/readyz/nope')).status).toBe(404);
    expect((await get('/version', true)).json).toMatchObject({ major: '1', minor: '36', gitVersion: 'v1.36.0+midship.0.1.0' });
    expect((await get('/api', true)).status).toBe(403);
    expect((await get('/metrics', true)).json.message).toBe('forbidden: User "system:anonymous" cannot get path "/metrics"');
    expect((await get('/api')).json).toMatchObject({ kind: 'APIVersions', versions: ['v1'] });
    expect((await get('/apis/apps')).json).toMatchObject({ kind: 'APIGroup', name: 'apps' });
    expect((await get('/apis/apps/v1')).json.kind).toBe('APIResourceList');
    expect((await get('/')).json.paths).toContain('/apis/apps/v1');
    expect(await get('/nope')).toMatchObject({ status: 404, text: '404 page not found\n' });
  });

  it('reports its health check by check, in the words of the real server', async () => {
    const starts = [
      'start-system-namespaces-controller',
      'rbac/bootstrap-roles',
      'scheduling/bootstrap-system-priority-classes',
      'priority-and-fairness-config-producer',
      'bootstrap-controller',
      'start-kubernetes-service-cidr-controller',
    ].map((hook) => `[+]poststarthook/${hook} ok\n`);
    const checks = `[+]ping ok\n[+]etcd ok\n${starts.join('')}[+]autoregister-completion ok\n`;
    const text = async (path: string): Promise<string> => (await cluster.fetch(path)).text;
    expect(await text('/livez?verbose')).toBe(`${checks}livez check passed\n`);
    expect(await text('/readyz?verbose=false')).toBe(`${checks}[+]shutdown ok\nreadyz check passed\n`);
    expect(await text('/livez?verbose&exclude=etcd&exclude=b&exclude=a')).toBe(
      `${checks.replace('etcd ok', 'etcd excluded: ok')}warn: some health checks cannot be excluded: no matches for "a", "b"\nlivez check passed\n`,
    );
    expect(await cluster.fetch('/livez/poststarthook/rbac/bootstrap-roles')).toMatchObject({ status: 200, text: 'ok' });
    expect(await cluster.fetch('/livez', { method: 'POST', body: {} })).toMatchObject({ status: 200, text: 'ok' });
    for (const path of ['/healthz/', '/livez/shutdown', '/readyz/nope']) expect((await cluster.fetch(path)).status, path).toBe(404);
  });

  it('finds no page by any method where there is none', async () => {
    expect(await cluster.fetch('/nope', { method: 'POST', body: {} })).toMatchObject({ status: 404, text: '404 page not found\n' });
    expect((await cluster.fetch('/version', { method: 'POST', body: {} })).status).toBe(405);
    expect(await cluster.fetch('/nope', { method: 'LOCK' })).toMatchObject({ status: 404, text: '404 page not found\n' });
    for (const path of ['/version', cm, `${cm}/a`]) {
      for (const method of ['PROPFIND', 'M-SEARCH']) {
        expect(await cluster.fetch(path, { method }), path).toMatchObject({ status: 405, json: { reason: 'MethodNotAllowed' } });
        expect(await cluster.fetch(path, { method, headers: { authorization: 'Bearer nobody' } }), path).toMatchObject({
          status: 401,
          json: { reason: 'Unauthorized' },
        });
      }
    }
  });

  it('takes a selector of 34 KB in the URL', async () => {
    const values = Array.from({ length: 3_400 }, (_, index) => `value${String(index).padStart(4, '0')}`);
    const selector = encodeURIComponent(`a in (${values.join(',')})`);
    expect(selector.length).toBeGreaterThan(34 * 1_024);
    expect((await cluster.fetch(`${cm}?labelSelector=${selector}`)).status).toBe(200);
  });

  it('answers 504 when the time that a client gives its request is over', async () => {
    const message = 'Timeout: request did not complete within the allotted timeout';
    // With kind and apiVersion, which the real server leaves out here: without them no client reads it as a Status.
    const timedOut = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason: 'Timeout',
      details: {},
      code: 504,
    };
    expect((await cluster.fetch(`${cm}?timeout=1ns`)).json).toEqual(timedOut);
    expect((await cluster.fetch(`${cm}?timeout=30s`)).status).toBe(200);
    expect((await cluster.fetch(`${cm}?timeout=0s`)).status).toBe(200);
    expect((await cluster.fetch(`${cm}?timeout=x`)).json.message).toBe(
      'invalid timeout specified in the request URL - time: invalid duration "x"',
    );
    // A read not from before a version that does not come waits for some seconds.
    const startedAt = Date.now();
    const late = await cluster.fetch(`${cm}/read?resourceVersion=999999999&timeout=100ms`);
    expect(late.json).toEqual(timedOut);
    expect(Date.now() - startedAt).toBeLessThan(2_500);
    expect((await cluster.fetch(cm)).status).toBe(200);
  });

  it('warns of fields that go, and of formats that nobody checks', async () => {
    const service = { metadata: { name: 'warned' }, spec: { ports: [{ port: 80 }], externalIPs: ['192.0.2.1'] } };
    const made = await cluster.fetch('/api/v1/namespaces/default/services?dryRun=All', { method: 'POST', body: service });
    expect([made.status, made.headers.warning]).toEqual([201, '299 - "spec.externalIPs is deprecated"']);
    const size = { type: 'integer', format: 'int64' };
    const properties = {
      size,
      again: { type: 'array', items: size },
      at: { type: 'string', format: 'date-time' },
      odd: { type: 'string', format: 'x' },
    };
    const definition = {
      metadata: { name: 'tanks.example.com' },
      spec: {
        group: 'example.com',
        names: { plural: 'tanks', kind: 'Tank' },
        scope: 'Namespaced',
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties } } }],
      },
    };
    const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All';
    const defined = await cluster.fetch(path, { method: 'POST', body: definition });
    expect([defined.status, defined.headers.warning]).toEqual([
      201,
      '299 - "unrecognized format \\"int64\\"", 299 - "unrecognized format \\"x\\""',
    ]);
  });

  it('refuses a time of deletion that a client sets', async () => {
    await cluster.fetch(cm, { method: 'POST', body: { metadata: { name: 'kept' } } });
    const patched = await cluster.fetch(`${cm}/kept`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/merge-patch+json' },
      body: { metadata: { deletionTimestamp: '2020-01-01T00:00:00Z' } },
    });
    expect([patched.status, patched.json.message]).toEqual([
      422,
      'ConfigMap "kept" is invalid: metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is immutable',
    ]);
    expect((await cluster.fetch(`${cm}/kept`)).json.metadata).not.toHaveProperty('deletionTimestamp');
  });

  it('gives aggregated discovery with an ETag', async () => {
    const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';
    const first = await cluster.fetch('/apis', { headers: { accept } });
    expect(first.headers).toMatchObject({
      'content-type': 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
      vary: 'Accept',
    });
    const again = await cluster.fetch('/apis', { headers: { accept, 'if-none-match': String(first.headers.etag) } });
    expect(again).toMatchObject({ status: 304, text: '' });
    const old = 'application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';
    expect((await cluster.fetch('/apis', { headers: { accept: old } })).json.kind).toBe('APIGroupList');
  });

  it('serves OpenAPI documents under their hash forever, and redirects from an old one', async () => {
    const index = (await cluster.fetch('/openapi/v3')).json;
    const url = index.paths['apis/apps/v1'].serverRelativeURL;
    const document = await cluster.fetch(url);
    expect(document.json.components.schemas).toHaveProperty(['io.k8s.api.apps.v1.Deployment']);
    expect(Date.parse(String(document.headers.expires))).toBeGreaterThan(Date.now() + 300 * 86_400_000);
    expect(await cluster.fetch('/openapi/v3/apis/apps/v1?hash=BAD')).toMatchObject({ status: 301, headers: { location: url } });
    expect((await cluster.fetch('/openapi/v3/apis/nope/v1')).status).toBe(404);
    const protobuf = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
    expect(await cluster.fetch('/openapi/v2', { headers: { accept: protobuf } })).toMatchObject({
      status: 200,
      headers: { 'content-type': 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf', vary: 'Accept-Encoding, Accept' },
    });
    expect(await cluster.fetch('/openapi/v2', { headers: { accept: 'text/html' } })).toMatchObject({ status: 406, text: '' });
    expect((await cluster.fetch('/openapi/v2')).json.swagger).toBe('2.0');
  });

  it('counts requests by what they ask for, and nothing else', async () => {
    await cluster.fetch(`${cm}/nope`);
    await cluster.fetch('/apis/made-up.example/v1/anything/name');
    const { text, headers } = await cluster.fetch('/metrics');
    expect(headers['content-type']).toContain('version=0.0.4');
    expect(text).toContain(
      'apiserver_request_total{verb="GET",group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver",dry_run="",code="404"} ',
    );
    expect(text).toMatch(/apiserver_request_sli_duration_seconds_bucket\{le="30",verb="GET"/);
    expect(text).toContain('apiserver_current_inflight_requests{request_kind="mutating"} 0');
    expect(text).not.toContain('made-up');
    expect((await cluster.fetch('/metrics/apiserver')).text.split('\n')[0]).toBe(text.split('\n')[0]);
    const zipped = await cluster.fetch('/metrics', { headers: { 'accept-encoding': 'gzip' } });
    expect(zipped.headers['content-encoding']).toBe('gzip');
  });

  it('counts logins, deprecated requests and its own health, by the names that dashboards know', async () => {
    await cluster.fetch('/api/v1/namespaces/default/endpoints');
    await cluster.fetch('/api/v1/namespaces', { anonymous: true, headers: { authorization: 'Bearer nobody' } });
    // A text is kept for a moment.
    const endpoints = 'apiserver_requested_deprecated_apis{group="",version="v1",resource="endpoints",subresource="",removed_release=""} 1';
    const text = await until(
      async () => {
        const scraped = (await cluster.fetch('/metrics')).text;
        return scraped.includes(endpoints) && scraped;
      },
      { what: 'a fresh text' },
    );
    expect(text).toMatch(/authentication_attempts\{result="success"\} [1-9]/);
    expect(text).toMatch(/authentication_attempts\{result="failure"\} [1-9]/);
    const slis = await cluster.fetch('/metrics/slis');
    expect(slis).toMatchObject({ status: 200, headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' } });
    expect(slis.text).toContain('kubernetes_healthcheck{name="etcd",type="livez"} 1');
    expect(slis.text).toMatch(/kubernetes_healthchecks_total\{status="success",name="ping",type="readyz"\} [1-9]/);
    expect((await cluster.fetch('/')).json.paths).toContain('/metrics/slis');
  });

  it('has the range of Service addresses ready', async () => {
    const { json } = await cluster.fetch('/apis/networking.k8s.io/v1/servicecidrs/kubernetes');
    expect(json.status.conditions).toMatchObject([{ type: 'Ready', status: 'True' }]);
  });

  it('says which port is taken', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    const second = createApiServer({ ...cluster.serverOptions, metrics: createMetrics(), port: Number(port) });
    await expect(second.start({ signal: new AbortController().signal })).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: expect.stringContaining(`${hostname}:${port}`),
    });
    await second.stop();
  });

  it('keeps the id that a client gives a request', async () => {
    expect((await cluster.fetch('/healthz', { headers: { 'audit-id': 'mine-1' } })).headers['audit-id']).toBe('mine-1');
    expect((await cluster.fetch('/healthz', { headers: { 'audit-id': 'a b' } })).headers['audit-id']).not.toBe('a b');
  });

  it('answers what is not HTTP with a Status, and cuts the connection', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    const text = await new Promise<string>((resolve, reject) => {
      const socket = tlsConnect({ host: hostname, port: Number(port), ca: cluster.pki.caCertificate }, () =>
        socket.write('nonsense\r\n\r\n'),
      );
      let received = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        received += chunk;
      });
      socket.once('close', () => resolve(received));
      socket.once('error', reject);
    });
    expect(text).toMatch(/^HTTP\/1\.1 40[05] .*"kind":"Status"/s);
  });

  it('names Unicode in warnings so that clients read it again', async () => {
    const warnings: string[] = [];
    await cluster.client.create(
      configMaps,
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'u', namespace: 'default' }, größe: 1 } as never,
      { dryRun: true, onWarning: (text) => warnings.push(text) },
    );
    expect(warnings).toEqual(['unknown field "größe"']);
  });

  it('is reached by a kubeconfig with its certificates in it or beside it', async () => {
    const connection = await loadKubeconfig(cluster.kubeconfig);
    expect(connection.namespace).toBe('default');
    expect(await statusOf(connection)).toBe(200);
    await writeFile(join(cluster.directory, 'ca.pem'), cluster.pki.caCertificate);
    await writeFile(join(cluster.directory, 'token'), `${cluster.aliceToken}\n`);
    const path = join(cluster.directory, 'files.yaml');
    await writeFile(
      path,
      `clusters: [{name: c, cluster: {server: ${cluster.server.url}, certificate-authority: ca.pem}}]
users: [{name: u, user: {tokenFile: token}}, {name: e, user: {exec: {command: x}}}]
contexts: [{name: a, context: {cluster: c, user: u, namespace: team}}, {name: b, context: {cluster: c, user: e}}]
current-context: a
`,
    );
    const clock = createManualClock();
    const files = await loadKubeconfig(path, undefined, clock);
    expect(files.namespace).toBe('team');
    expect(await statusOf(files)).toBe(403);
    // A token that is renewed beside it is taken within a minute; one that is just being written is none.
    for (const [text, code] of [
      ['nobody', 401],
      ['', 401],
      [cluster.aliceToken, 403],
    ] as const) {
      await writeFile(join(cluster.directory, 'token'), text);
      clock.advance(60_000);
      expect(await statusOf(files)).toBe(code);
    }
    await expect(loadKubeconfig(path, 'b')).rejects.toThrow('exec of a user of');
    await expect(loadKubeconfig(path, 'nope')).rejects.toThrow('has no context "nope"');
    await expect(loadKubeconfig(join(cluster.directory, 'none'))).rejects.toThrow('read kubeconfig');
  });

  it('keeps no timer for a watch whose client went away, since the process ends with the last one', async () => {
    const clock = createManualClock();
    const other = await startTestApiServer({}, { clock });
    try {
      const before = clock.pending;
      const headers = { authorization: `Bearer ${adminToken}` };
      const request = httpsGet(`${other.server.url}${cm}?watch=1`, { ca: other.pki.caCertificate, agent: false, headers });
      request.on('error', () => undefined);
      await new Promise((resolve) => request.once('response', resolve));
      expect(clock.pending).toBeGreaterThan(before);
      request.destroy();
      await until(() => clock.pending <= before, { timeoutMs: 5_000, what: () => `${before} timers, not ${clock.pending}` });
    } finally {
      await other.stop();
    }
  });

  it('ends watches, answers what is under way and then stops', async () => {
    const other = await startTestApiServer();
    const seen: string[] = [];
    const watch = other.client.watch(configMaps, {
      namespace: 'default',
      resourceVersion: '0',
      signal: new AbortController().signal,
      onEvents: (events) => seen.push(...events.map(({ type }) => type)),
    });
    await other.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'default' } });
    await until(() => seen.length === 1, { what: 'the watch is open' });
    const startedAt = performance.now();
    await other.server.stop();
    await watch;
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await expect(other.client.list(configMaps)).rejects.toMatchObject({ code: 503 });
    await other.stop();
  });
});
