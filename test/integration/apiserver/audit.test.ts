import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TokenReview, tokenReviews } from '../../../src/api/authentication/v1/token-review.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { type AuditPolicy, defaultAuditPolicy, parseAuditPolicy } from '../../../src/apiserver/audit/policy.ts';
import { type AuditEntry, createAuditLog } from '../../../src/apiserver/audit.ts';
import type { RequestAttributes } from '../../../src/apiserver/kube-api.ts';
import { createApiServer } from '../../../src/apiserver/server.ts';
import type { UserInfo } from '../../../src/apiserver/user.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createHttpClient, type HttpClient } from '../../../src/client/http-client.ts';
import { startTestApiServer } from '../../support/api-server.ts';
import { createManualClock } from '../../support/manual-clock.ts';

let directory: string;
const log = createLog({ level: 'silent' });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'audit-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const linesOf = async (path: string) =>
  (await readFile(path, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const entry: AuditEntry = {
  auditId: 'a',
  requestUri: '/api/v1/pods',
  attributes: { verb: 'list', group: '', version: 'v1', resource: 'pods' },
  user: { name: 'alice', groups: [] },
  impersonatedUser: undefined,
  sourceIp: '127.0.0.1',
  userAgent: 'test',
  code: 200,
  receivedAtMs: 0,
  stage: 'ResponseComplete',
  decision: defaultAuditPolicy.decide(undefined, { verb: 'list', resource: 'pods' }),
};

describe('the audit log', () => {
  it('says who did what, and never what was written', async () => {
    const cluster = await startTestApiServer();
    const path = join(directory, 'audit.log');
    const audit = createAuditLog({ path, clock: systemClock, log, metrics: createMetrics() });
    const server = createApiServer({ ...cluster.serverOptions, audit, metrics: createMetrics() });
    await server.start({ signal: new AbortController().signal });
    const connection = { server: server.url, caCertificate: cluster.pki.caCertificate, clientCertificate: cluster.adminCertificate };
    const client = createHttpClient({ ...connection, userAgent: 'auditor/1' });
    const stringData = { password: 'correct-horse' };
    await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: 'default' }, stringData });
    await client.get(secrets, { namespace: 'default', name: 's' });
    client.close();
    await server.stop();
    await audit.stop();
    await cluster.stop();
    const lines = await linesOf(path);
    const written = lines.find(({ verb }) => verb === 'create');
    expect(written).toMatchObject({
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: 'Metadata',
      stage: 'ResponseComplete',
      user: { username: 'admin', groups: ['system:masters', 'system:authenticated'] },
      sourceIPs: ['127.0.0.1'],
      userAgent: 'auditor/1',
      objectRef: { resource: 'secrets', namespace: 'default', apiVersion: 'v1' },
      responseStatus: { code: 201 },
      annotations: { 'authorization.k8s.io/decision': 'allow' },
    });
    expect(lines.find(({ verb }) => verb === 'get')).toMatchObject({ objectRef: { name: 's' }, responseStatus: { code: 200 } });
    const text = await readFile(path, 'utf8');
    expect(text).not.toContain('correct-horse');
    expect(text).not.toContain(Buffer.from('correct-horse').toString('base64'));
  });

  it('keeps a bounded number of bounded files', async () => {
    const path = join(directory, 'audit.log');
    const audit = createAuditLog({ path, clock: systemClock, log, metrics: createMetrics(), maxFileBytes: 5_000 });
    for (let round = 0; round < 8; round += 1) {
      for (let index = 0; index < 10; index += 1) audit.record(entry);
      await audit.stop();
    }
    expect((await readdir(directory)).sort()).toEqual(['audit.log', 'audit.log.1', 'audit.log.2', 'audit.log.3']);
    for (const name of await readdir(directory)) expect((await linesOf(join(directory, name))).length).toBeLessThanOrEqual(20);
  });

  it('drops the oldest entries and counts them when the disk does not follow', async () => {
    const clock = createManualClock();
    const metrics = createMetrics();
    const path = join(directory, 'audit.log');
    const audit = createAuditLog({ path, clock, log, metrics });
    for (let index = 0; index < 10_001; index += 1) audit.record(entry);
    expect(await metrics.text()).toContain('apiserver_audit_error_total{plugin="log"} 500');
    await audit.stop();
    expect((await linesOf(path)).length).toBe(9_501);
  });

  it('survives a directory that is not there', async () => {
    const metrics = createMetrics();
    const audit = createAuditLog({ path: join(directory, 'no', 'audit.log'), clock: systemClock, log, metrics });
    audit.record(entry);
    await audit.stop();
    expect(await metrics.text()).toContain('apiserver_audit_error_total{plugin="log"} 1');
  });
});

describe('a policy', () => {
  /** Audit entries that are written while `act` runs. */
  async function noted(policy: AuditPolicy, act: (client: HttpClient) => Promise<void>) {
    const cluster = await startTestApiServer();
    const path = join(directory, 'audit.log');
    const audit = createAuditLog({ path, policy, clock: systemClock, log, metrics: createMetrics() });
    const server = createApiServer({ ...cluster.serverOptions, audit, metrics: createMetrics() });
    await server.start({ signal: new AbortController().signal });
    const client = createHttpClient({
      server: server.url,
      caCertificate: cluster.pki.caCertificate,
      clientCertificate: cluster.adminCertificate,
      userAgent: 'auditor/1',
    });
    await act(client);
    client.close();
    await server.stop();
    await audit.stop();
    await cluster.stop();
    return { lines: await linesOf(path), text: await readFile(path, 'utf8') };
  }

  const rules = (...all: readonly object[]): AuditPolicy =>
    parseAuditPolicy(JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: all }));

  it('has bodies written, each way they come, and leaves out what it does not name', async () => {
    const policy = rules(
      { level: 'None', verbs: ['get'] },
      {
        level: 'RequestResponse',
        resources: [{ group: '', resources: ['configmaps'] }],
        omitStages: ['RequestReceived'],
        omitManagedFields: true,
      },
      { level: 'Request', resources: [{ group: 'batch' }] },
    );
    const { lines } = await noted(policy, async (client) => {
      const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace: 'default' }, data: { a: '1' } };
      await client.create(configMaps, object);
      await client.get(configMaps, { namespace: 'default', name: 'c' });
      await client.patch(configMaps, { namespace: 'default', name: 'c' }, { type: 'merge', body: { data: { a: '2' } } });
      await client.list(namespaces, {});
    });
    expect(lines.map(({ verb, stage, level }) => `${verb} ${stage} ${level}`)).toEqual([
      'create ResponseComplete RequestResponse',
      'patch ResponseComplete RequestResponse',
    ]);
    expect(lines[0]).toMatchObject({
      requestObject: { kind: 'ConfigMap', data: { a: '1' } },
      responseObject: { metadata: { uid: expect.any(String) }, data: { a: '1' } },
    });
    expect(lines[0].responseObject.metadata.managedFields).toBeUndefined();
    expect(lines[1]).toMatchObject({ requestObject: { data: { a: '2' } }, responseObject: { data: { a: '2' } } });
  });

  it('tells the stages of a request, and of one that lasts', async () => {
    const { lines } = await noted(rules({ level: 'Metadata', resources: [{ group: '', resources: ['configmaps'] }] }), async (client) => {
      const abort = new AbortController();
      let seen = (): void => undefined;
      const first = new Promise<void>((resolve) => {
        seen = resolve;
      });
      const watch = client.watch(configMaps, { resourceVersion: '0', signal: abort.signal, onEvents: () => seen() });
      await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace: 'default' } });
      await first;
      abort.abort();
      await watch.catch(() => undefined);
    });
    const stagesOf = (verb: string) => lines.filter((line) => line.verb === verb).map(({ stage }) => stage);
    expect(stagesOf('create')).toEqual(['RequestReceived', 'ResponseComplete']);
    expect(stagesOf('watch')).toEqual(['RequestReceived', 'ResponseStarted', 'ResponseComplete']);
    expect(new Set(lines.filter(({ verb }) => verb === 'watch').map(({ auditID }) => auditID)).size).toBe(1);
    expect(lines[0].responseStatus).toBeUndefined();
  });

  it('never has Secrets and tokens written, whatever it asks for', async () => {
    const { lines, text } = await noted(rules({ level: 'RequestResponse' }), async (client) => {
      const stringData = { password: 'correct-horse' };
      await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: 'default' }, stringData });
      await client.patch(
        secrets,
        { namespace: 'default', name: 's' },
        { type: 'json', body: [{ op: 'add', path: '/stringData', value: { b: 'battery-staple' } }] },
      );
      await client.list(secrets, {});
      await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'robot', namespace: 'default' } });
      const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec: { audiences: [] } };
      const issued = await client.createSubresource(serviceAccounts, { namespace: 'default', name: 'robot' }, 'token', request);
      const { token } = (issued as unknown as { status: { token: string } }).status;
      const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', metadata: {}, spec: { token } };
      await client.create(tokenReviews, review as unknown as TokenReview);
    });
    for (const secret of ['correct-horse', 'battery-staple', 'eyJ']) expect(text).not.toContain(secret);
    expect(text).not.toContain(Buffer.from('correct-horse').toString('base64'));
    expect(lines.filter(({ objectRef }) => objectRef?.resource === 'secrets')).toHaveLength(6);
    for (const { level, annotations, objectRef } of lines) {
      const isHidden = objectRef.resource === 'secrets' || objectRef.resource === 'tokenreviews' || objectRef.subresource === 'token';
      expect([level, annotations['midship.dev/redacted']]).toEqual(isHidden ? ['Metadata', 'true'] : ['RequestResponse', undefined]);
    }
  });

  it.each([
    ['another kind', 'apiVersion: v1\nkind: ConfigMap\n', 'no Policy'],
    ['no rules', 'apiVersion: audit.k8s.io/v1\nkind: Policy\n', 'no rules'],
    ['an unknown level', JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'All' }] }), 'rules[0].level'],
    [
      'a misspelt field',
      JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'None', user: ['a'] }] }),
      'unknown field "user"',
    ],
    [
      'an unknown stage',
      JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'None' }], omitStages: ['End'] }),
      'omitStages',
    ],
    [
      'a list of numbers',
      JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'None', verbs: [1] }] }),
      'rules[0].verbs',
    ],
    [
      'paths and resources in one rule',
      JSON.stringify({
        apiVersion: 'audit.k8s.io/v1',
        kind: 'Policy',
        rules: [{ level: 'None', nonResourceURLs: ['/x'], namespaces: ['a'] }],
      }),
      'both',
    ],
    ['aliases', 'a: &a {}\nb: *a\n', 'aliases'],
  ])('is refused with %s', (_, text, message) => {
    expect(() => parseAuditPolicy(text)).toThrow(message);
  });

  it('fits requests as that of kube-apiserver does', () => {
    const policy = rules(
      { level: 'None', users: ['system:apiserver'] },
      { level: 'Request', userGroups: ['ops'], verbs: ['delete'] },
      { level: 'Metadata', resources: [{ group: '', resources: ['pods/*', '*/status'] }] },
      {
        level: 'RequestResponse',
        resources: [{ group: 'apps', resources: ['deployments'], resourceNames: ['web'] }],
        namespaces: ['shop'],
      },
      { level: 'Metadata', nonResourceURLs: ['/api*'] },
    );
    const level = (attributes: RequestAttributes, user: UserInfo = { name: 'a', groups: [] }) => policy.decide(user, attributes).level;
    expect(level({ verb: 'get', group: '', resource: 'pods' }, { name: 'system:apiserver', groups: ['ops'] })).toBe('None');
    expect(level({ verb: 'delete', group: '', resource: 'pods' }, { name: 'a', groups: ['ops'] })).toBe('Request');
    expect(level({ verb: 'delete', group: '', resource: 'secrets' }, { name: 'a', groups: ['ops'] })).toBe('Metadata');
    expect(level({ verb: 'get', group: '', resource: 'pods', subresource: 'log' })).toBe('Metadata');
    expect(level({ verb: 'get', group: '', resource: 'nodes', subresource: 'status' })).toBe('Metadata');
    expect(level({ verb: 'get', group: '', resource: 'nodes' })).toBe('None');
    const deployment = { verb: 'patch', group: 'apps', resource: 'deployments', namespace: 'shop', name: 'web' };
    expect(level(deployment)).toBe('RequestResponse');
    expect(level({ ...deployment, name: 'other' })).toBe('None');
    expect(level({ ...deployment, namespace: 'other' })).toBe('None');
    expect(level({ ...deployment, subresource: 'scale' })).toBe('None');
    expect(level({ verb: 'get', path: '/apis' })).toBe('Metadata');
    expect(level({ verb: 'get', path: '/version' })).toBe('None');
  });
});
