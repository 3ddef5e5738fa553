import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { type AuditEntry, createAuditLog } from '../../../src/apiserver/audit.ts';
import { createApiServer } from '../../../src/apiserver/server.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
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
