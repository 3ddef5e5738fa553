import { execFileSync } from 'node:child_process';
import { chmod, mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { json, text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { validatingWebhookConfigurations } from '../../../src/api/admissionregistration/v1/webhook-configuration.ts';
import { type Lease, leases } from '../../../src/api/coordination/v1/lease.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { receivers } from '../../../src/api/notification/v1/receiver.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { annotations } from '../../../src/api/well-known.ts';
import { type Clock, systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openPki } from '../../../src/base/pki.ts';
import { sendAdminRequest } from '../../../src/cli/admin-request.ts';
import { checkMachine } from '../../../src/cli/compose/machine.ts';
import { openStoppedStore } from '../../../src/cli/compose/stopped-cluster.ts';
import { authoritiesOf } from '../../../src/cli/configuration.ts';
import { type DoctorOptions, doctor, type Finding } from '../../../src/cli/doctor.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { createEtcdClient } from '../../../src/storage/etcd/client.ts';
import { watchHealth } from '../../../src/storage/etcd/health.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { findingsAnywhere, findingsOfEtcd, findingsOfMachine } from '../../support/doctor-findings.ts';
import { hasEtcd, startEtcd } from '../../support/etcd.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const seen = new Set<unknown>();

const fits = (text: string | undefined, wanted: string | RegExp | undefined): boolean =>
  wanted instanceof RegExp ? wanted.exec(text ?? '')?.[0] === text : wanted === text;

/** Holds each finding to a row of the tables. */
function checkWords(findings: readonly Finding[]): void {
  for (const finding of findings) {
    if (finding.result === 'ok') continue;
    const { result, what, why, fix } = finding;
    const row = [...findingsAnywhere, ...findingsOfEtcd, ...findingsOfMachine].find(
      ([ofResult, ...texts]) => ofResult === result && [what, why, fix].every((text, at) => fits(text, texts[at])),
    );
    expect(row, `no row has ${JSON.stringify(finding)}`).toBeDefined();
    seen.add(row);
  }
}

let dataDirectory: string;

beforeEach(async () => {
  dataDirectory = await temporaryDirectory('doctor');
});

async function examine(more: Partial<DoctorOptions> = {}): Promise<{ readonly code: number; readonly of: (check: string) => Finding[] }> {
  const output = new PassThrough();
  const code = await doctor({
    dataDirectory,
    kubeconfig: undefined,
    environment: { PATH: process.env.PATH, MIDSHIP_API_PORT: '0', MIDSHIP_HTTP_PORT: '0' },
    format: 'json',
    version: 'test',
    output,
    now: Date.now,
    openStore: openStoppedStore,
    checkMachine: async () => [],
    ...more,
  });
  output.end();
  const { findings } = (await json(output)) as { readonly findings: readonly Finding[] };
  checkWords(findings);
  return { code, of: (check) => findings.filter((finding) => finding.check === check) };
}

describe('midship doctor on a data directory', () => {
  beforeEach(async () => {
    const store = await openSqliteStorage({ path: join(dataDirectory, 'state.db') });
    await store.create('core/pods/web/a', { text: JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } }) });
    await store.close();
    await mkdir(join(dataDirectory, 'git', 'cluster.git'), { recursive: true });
    const { cluster, frontProxy } = authoritiesOf(dataDirectory);
    for (const authority of [cluster, frontProxy]) await openPki({ ...authority, clock: systemClock });
    await chmod(dataDirectory, 0o700);
  });

  it('finds nothing wrong with one that was just made, but for a repository that is none', async () => {
    const { code, of } = await examine();
    for (const check of ['git', 'disk', 'clock', 'permissions', 'certificates']) expect(of(check)[0]).toMatchObject({ result: 'ok' });
    expect([code, of('store')[0]]).toEqual([
      1,
      expect.objectContaining({ result: 'problem', fix: expect.stringContaining('repair check') }),
    ]);
  });

  it('names a secret that others may read', async () => {
    await writeFile(join(dataDirectory, 'git-token'), 'x', { mode: 0o644 });
    await chmod(join(dataDirectory, 'git-token'), 0o644);
    const { code, of } = await examine();
    expect([code, of('permissions')]).toEqual([
      1,
      [expect.objectContaining({ what: `${join(dataDirectory, 'git-token')} has mode 0644`, fix: expect.stringMatching(/^chmod go= /) })],
    ]);
  });

  it('names a clock that was set back, and certificates that have ended', async () => {
    const later = new Date(Date.now() + 3_600_000);
    await utimes(join(dataDirectory, 'state.db'), later, later);
    expect((await examine()).of('clock')[0]).toMatchObject({
      result: 'problem',
      what: expect.stringMatching(/^the clock is 3[56]\d\d s behind/),
    });
    const { of } = await examine({ now: () => Date.now() + 20 * 365 * 86_400_000 });
    expect(of('certificates')[0]).toMatchObject({ result: 'problem', fix: expect.stringContaining('certs rotate --ca') });
  });

  it('names the holder of a port that a start would take', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
    const { port } = server.address() as AddressInfo;
    const { code, of } = await examine({ environment: { PATH: process.env.PATH, MIDSHIP_API_PORT: String(port), MIDSHIP_HTTP_PORT: '0' } });
    expect([code, of('port')[0]]).toEqual([
      1,
      expect.objectContaining({ what: `port ${port} (--api-port) is taken`, why: expect.stringMatching(/: .+ \(\d+\)\.$/) }),
    ]);
  });
});

describe('midship doctor on the directory of a server whose store is in etcd', () => {
  it('looks at its clock, permissions and certificates, and says who knows about the store', async () => {
    const { cluster, frontProxy } = authoritiesOf(dataDirectory);
    for (const authority of [cluster, frontProxy]) await openPki({ ...authority, clock: systemClock });
    await chmod(dataDirectory, 0o700);
    const { code, of } = await examine();
    for (const check of ['clock', 'permissions', 'certificates']) expect(of(check)[0]).toMatchObject({ result: 'ok' });
    expect([code, of('store')[0]]).toEqual([
      0,
      expect.objectContaining({ result: 'note', what: expect.stringContaining('it is in etcd') }),
    ]);
    expect(of('data')).toEqual([]);
  });
});

describe('midship doctor', () => {
  it('has no problem with a machine on which nothing was started', async () => {
    dataDirectory = join(dataDirectory, 'none');
    const { code, of } = await examine();
    expect([code, of('data'), of('cluster')]).toEqual([
      0,
      [expect.objectContaining({ result: 'note' })],
      [expect.objectContaining({ result: 'note' })],
    ]);
  });

  it('says for people what, why and fix', async () => {
    const output = new PassThrough();
    const problem: Finding = { check: 'x', result: 'problem', what: 'it is so', why: 'for this reason', fix: 'do that' };
    const environment = { PATH: process.env.PATH, MIDSHIP_API_PORT: '0', MIDSHIP_HTTP_PORT: '0' };
    const options = {
      dataDirectory: '/nowhere',
      kubeconfig: undefined,
      environment,
      version: 'test',
      now: Date.now,
      openStore: openStoppedStore,
    };
    expect(await doctor({ ...options, format: 'text', output, checkMachine: async () => [problem] })).toBe(1);
    output.end();
    expect(await text(output)).toMatch(/^✗ x +it is so\n {16}for this reason\n {16}do that\n[\s\S]*\n1 problem found\n$/);
  });

  it('looks at this machine without changing it, and says what it lacks', async () => {
    for (const path of [process.env.PATH ?? '', '/nonexistent']) {
      const findings = await checkMachine(path);
      expect(findings.map(({ check }) => check)).toEqual(['namespaces', 'cgroups', 'containerd']);
      checkWords(findings);
      if (path === '/nonexistent') expect(findings[2]).toMatchObject({ result: 'note' });
    }
  });

  it('names a git that is missing or too old', async () => {
    const bin = await temporaryDirectory('bin');
    onTestFinished(() => void vi.unstubAllEnvs());
    vi.stubEnv('PATH', bin);
    expect((await examine()).of('git')).toMatchObject([{ what: 'git was not found on PATH' }]);
    await writeFile(join(bin, 'git'), '#!/bin/sh\necho git version 2.20.1\n', { mode: 0o755 });
    expect((await examine()).of('git')).toMatchObject([{ what: 'git version 2.20.1 is too old' }]);
  });

  it.skipIf(process.getuid?.() !== 0)('names a disk for which the node reports DiskPressure (needs root)', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=20m,nr_inodes=40', 'tmpfs', dataDirectory]);
    onTestFinished(() => void execFileSync('umount', [dataDirectory]));
    const disk = async () => (await examine()).of('disk');
    const fill = (mebibytes: number) => writeFile(join(dataDirectory, 'others'), Buffer.alloc(mebibytes * 1024 * 1024));
    const short = (least: number) => [{ result: 'problem', why: expect.stringMatching(`^Below ${least} MiB the node takes no new pods`) }];
    // 2.4 MiB are free, a few blocks less: more than a tenth, and less than the 15 % that a node of containers keeps.
    await writeFile(join(dataDirectory, 'settings.json'), '[]');
    await fill(17);
    await writeFile(join(dataDirectory, 'more'), Buffer.alloc(600 * 1024));
    expect(await disk()).toMatchObject([{ result: 'ok' }]);
    await mkdir(join(dataDirectory, 'containerd'));
    expect(await disk()).toMatchObject(short(3));
    // As a start with other thresholds leaves it.
    const given = { name: '--kubelet-arg', value: 'eviction-hard=nodefs.available<5%, eviction-soft=pid.available<9', from: 'flag' };
    const grace = ', eviction-soft-grace-period=pid.available=1m';
    await writeFile(join(dataDirectory, 'settings.json'), JSON.stringify([{ ...given, value: given.value + grace }]));
    expect(await disk()).toMatchObject([{ result: 'ok' }]);
    await fill(19);
    expect(await disk()).toMatchObject(short(1));
    await rm(join(dataDirectory, 'settings.json'));
    await rm(join(dataDirectory, 'others'));
    for (let n = 0; n < 36; n += 1) await writeFile(join(dataDirectory, `f${n}`), '');
    expect(await disk()).toMatchObject([{ what: '1 of 40 inodes are free' }]);
  });
});

describe('midship doctor on a cluster', () => {
  let server: TestApiServer;
  beforeAll(async () => {
    server = await startTestApiServer();
  });
  afterAll(() => server.stop());

  it('names nodes that do not report, sources that fail, and webhooks that nothing answers for', async () => {
    const { client, kubeconfig } = server;
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'lost' } });
    const source = await client.create(gitRepositories, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'infra', namespace: 'flux-system' },
      spec: { url: 'https://example.com/infra.git', interval: '1m' },
    });
    const failed = {
      type: 'Ready',
      status: 'False',
      reason: 'AuthenticationFailed',
      message: 'the token was refused',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    await client.patch(
      gitRepositories,
      source.metadata,
      { type: 'merge', body: { status: { conditions: [failed] } } },
      { subresource: 'status' },
    );
    await client.create(validatingWebhookConfigurations, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: 'policy' },
      webhooks: ['Fail', 'Ignore'].map((failurePolicy) => ({
        name: `${failurePolicy.toLowerCase()}.example.com`,
        failurePolicy,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        clientConfig: { service: { namespace: 'default', name: 'gone' } },
        rules: [{ apiGroups: ['example.com'], apiVersions: ['v1'], resources: ['widgets'], operations: ['CREATE'] }],
      })),
    });
    const pressed = await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'pressed' } });
    const conditions = ['Ready', 'MemoryPressure'].map((type) => ({
      ...failed,
      type,
      status: 'True',
      reason: 'Known',
      message: undefined,
    }));
    const limits = { ...failed, type: 'midship.dev/PodLimits', reason: 'ProcessLimits', message: 'no control group is ours (EACCES)' };
    const body = { status: { conditions: [...conditions, limits] } };
    await client.patch(nodes, pressed.metadata, { type: 'merge', body }, { subresource: 'status' });
    const hook = await client.create(receivers, {
      apiVersion: 'notification.toolkit.fluxcd.io/v1',
      kind: 'Receiver',
      metadata: { name: 'hook', namespace: 'flux-system' },
      spec: { type: 'github', secretRef: { name: 'none' }, resources: [{ kind: 'GitRepository', name: 'infra' }] },
    });
    await client.patch(receivers, hook.metadata, { type: 'merge', body: { status: { conditions: [failed] } } }, { subresource: 'status' });
    const { code, of } = await examine({ kubeconfig });
    expect(code).toBe(1);
    expect(of('nodes')).toEqual([
      expect.objectContaining({ what: 'node lost is not ready' }),
      expect.objectContaining({ what: 'node pressed reports MemoryPressure' }),
    ]);
    expect(of('limits')).toMatchObject([{ what: 'node pressed has no control groups for the limits of pods' }]);
    expect(of('receivers')).toHaveLength(1);
    for (let n = 0; n < 11; n += 1) await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: `more-${n}` } });
    expect((await examine({ kubeconfig })).of('nodes').at(-1)).toMatchObject({ what: 'and 3 more' });
    expect(of('sources')).toEqual([
      expect.objectContaining({ what: 'source flux-system/infra cannot be read', why: 'the token was refused' }),
    ]);
    expect(of('admission')).toEqual([
      expect.objectContaining({ what: 'webhook fail.example.com of ValidatingWebhookConfiguration policy cannot be reached' }),
    ]);
  });

  it('names servers that are gone, clocks that differ, and work that nobody does', async () => {
    const { client, kubeconfig } = server;
    const now = Date.now();
    const renewedAt = (at: number) => ({
      spec: { holderIdentity: 'holder-b', renewTime: new Date(at).toISOString().replace('Z', '000Z') },
    });
    const lease = (namespace: string, name: string, agoMs: number, version?: string): Lease => ({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name,
        namespace,
        labels: { 'kubernetes.io/hostname': `host-${name}` },
        ...(version === undefined ? {} : { annotations: { [annotations.serverId]: name, [annotations.serverVersion]: version } }),
      },
      spec: { holderIdentity: `holder-${name}`, renewTime: new Date(now - agoMs).toISOString().replace('Z', '000Z') },
    });
    await client.create(leases, lease('kube-system', 'a', 0, '0.1.0'));
    await client.create(leases, lease('kube-system', 'b', 0, '0.2.0'));
    await client.create(leases, lease('kube-system', 'kube-scheduler', 1_000));
    expect((await examine({ kubeconfig, now: () => now })).of('servers')).toEqual([
      expect.objectContaining({ result: 'note', what: expect.stringContaining('0.1.0 and 0.2.0') }),
    ]);
    // A renewal during slow checks is no clock that is ahead.
    let slow = now;
    const checkMachine = async (): Promise<Finding[]> => {
      slow += 10_000;
      await client.update(leases, { ...(await client.get(leases, { namespace: 'kube-system', name: 'b' })), ...renewedAt(slow) });
      return [];
    };
    expect((await examine({ kubeconfig, now: () => slow, checkMachine })).of('servers')).toEqual([
      expect.objectContaining({ result: 'note' }),
    ]);
    await client.create(leases, lease('kube-system', 'c', 90_000, '0.2.0'));
    await client.create(leases, lease('kube-system', 'd', -30_000, '0.2.0'));
    await client.create(leases, lease('kube-system', 'midship-housekeeping', 60_000));
    await client.create(leases, { ...lease('flux-system', 'midship-gitops', 0), spec: { holderIdentity: '' } });
    const { code, of } = await examine({ kubeconfig, now: () => slow });
    expect(code).toBe(1);
    expect(of('servers').map(({ what }) => what)).toEqual([
      'server host-c has not renewed its Lease for 100 s',
      'the clock of server host-d is 20 s ahead of this one',
      'nobody holds the Lease flux-system/midship-gitops',
      'holder-midship-housekeeping has not renewed kube-system/midship-housekeeping in time',
    ]);
  });

  it('names a corrupt etcd of which no member answers, from the metrics of its server', async () => {
    const metricsText = async (): Promise<string> =>
      'etcd_endpoint_up{endpoint="a:2379"} 0\netcd_alarm{type="CORRUPT"} 1\netcd_server_version{server_version="3.6.1"} 1\n' +
      'etcd_server_quota_backend_bytes 4194304\netcd_mvcc_db_total_size_in_bytes 4000000\netcd_mvcc_db_total_size_in_use_in_bytes 3900000\n';
    const own = await startTestApiServer({}, { metricsText });
    onTestFinished(() => own.stop());
    expect((await examine({ kubeconfig: own.kubeconfig })).of('etcd').map(({ what }) => what)).toEqual([
      'no member answers',
      'a:2379 does not answer the server',
      'the alarm CORRUPT is raised',
      'the database has 95 % of its quota of 4 MiB; 93 % is in use',
      'a member has version 3.6.1, and 3.6.9 repairs faults of it',
    ]);
  });

  it('has the rights of the token in a kubeconfig, and says whose it needs where a user may list nothing', async () => {
    const kubeconfig = join(dataDirectory, 'kubeconfig');
    const { server: url } = await loadKubeconfig(server.kubeconfig);
    await writeFile(join(dataDirectory, 'token'), `${adminToken}\n`);
    const writeConfig = (user: object, cluster: object = {}): Promise<void> =>
      writeFile(
        kubeconfig,
        JSON.stringify({
          'current-context': 'a',
          contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
          clusters: [
            {
              name: 'a',
              cluster: { server: url, 'certificate-authority-data': Buffer.from(server.pki.caCertificate).toString('base64'), ...cluster },
            },
          ],
          users: [{ name: 'a', user }],
        }),
      );
    await writeConfig({ token: server.aliceToken });
    const { code, of } = await examine({ kubeconfig });
    expect([code, of('etcd')]).toEqual([0, [expect.objectContaining({ result: 'note' })]]);
    for (const check of ['servers', 'nodes', 'sources', 'receivers', 'admission'])
      expect(of(check)).toMatchObject([{ result: 'note', what: expect.stringMatching(/^this user may not list /) }]);

    // The metrics are no resource, so they are asked for apart.
    for (const user of [{ token: adminToken }, { tokenFile: 'token' }]) {
      await writeConfig(user);
      expect((await examine({ kubeconfig })).of('etcd')).toEqual([]);
    }
    const request = { method: 'GET', path: '/metrics', silenceMs: 5_000, refusal: 'shows no metrics' } as const;
    await writeConfig({ token: adminToken }, { 'tls-server-name': 'elsewhere.example' });
    await expect(sendAdminRequest(await loadKubeconfig(kubeconfig), request)).rejects.toMatchObject({
      why: expect.stringContaining('certificate'),
    });
    await writeConfig({ token: adminToken }, { server: `${url}/clusters/a/` });
    await expect(sendAdminRequest(await loadKubeconfig(kubeconfig), request)).rejects.toMatchObject({
      message: `${url}/clusters/a/ shows no metrics`,
      why: 'It answered 404.',
    });
  });

  it('makes a finding of a cluster that does not answer', async () => {
    const kubeconfig = join(dataDirectory, 'kubeconfig');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'a',
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      clusters: [{ name: 'a', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'a', user: { token: 'x' } }],
    };
    await writeFile(kubeconfig, JSON.stringify(config));
    const { code, of } = await examine({ kubeconfig });
    expect([code, of('cluster')]).toEqual([
      1,
      [expect.objectContaining({ result: 'problem', what: 'https://127.0.0.1:1 does not answer' })],
    ]);
  });
});

describe.skipIf(!hasEtcd)('midship doctor on a cluster whose store is in etcd (needs etcd)', () => {
  it('names an old version, a full database, a member that does not answer and the lost quorum', async () => {
    const quick = ['--heartbeat-interval', '50', '--election-timeout', '500'];
    const etcd = await startEtcd({ members: 2, flags: [...quick, '--quota-backend-bytes', String(4 * 1024 * 1024)] });
    onTestFinished(() => etcd.stop());
    const common = { endpoints: etcd.endpoints, tls: undefined };
    const client = createEtcdClient({ ...common, login: undefined, clock: systemClock });
    onTestFinished(() => client.close());
    const metrics = createMetrics();
    const clock: Clock = { ...systemClock, after: (ms, action) => systemClock.after(ms / 20, action) };
    const callbacks = { onLook: () => undefined, onMoved: () => undefined };
    const health = watchHealth({ ...common, ...callbacks, client, clock, metrics, log: createLog({ level: 'silent' }) });
    onTestFinished(() => health.stop());
    const shows = (line: string) => until(async () => (await metrics.text()).includes(line), { what: `the metrics have ${line}` });
    let lagSeconds = 0;
    const lag = () => `store_lag_seconds ${lagSeconds}\n`;
    const server = await startTestApiServer({}, { metricsText: async () => (await metrics.text()) + lag() });
    onTestFinished(() => server.stop());
    const { kubeconfig } = server;
    const dead = etcd.endpoints[1];
    // The server keeps its page of metrics for a second.
    const foundWith = (what: string) =>
      until(
        async () => {
          const result = await examine({ kubeconfig });
          return result.of('etcd').some((finding) => finding.what === what) && result;
        },
        { what: `doctor says "${what}"` },
      );

    await shows('etcd_server_quota_backend_bytes 4194304');
    await shows('etcd_server_has_leader 1');
    const first = await examine({ kubeconfig });
    expect(first.of('etcd').filter(({ result }) => result === 'problem')).toEqual([]);
    expect(first.of('etcd')[0]).toMatchObject({ result: 'ok', what: '2 members answer, with a leader' });
    const version = /version: (\S+)/.exec(await etcd.ctl(0, 'version'))?.[1] ?? '';
    if (version === '3.5.16')
      expect(first.of('etcd')[1]).toMatchObject({ result: 'note', fix: 'Upgrade etcd to 3.5.28 or later, one member after the other.' });

    const text = 'x'.repeat(400_000);
    const put = (n: number) => client.txn({ compare: [], success: { put: { key: `/k${n}`, text } }, read: '/none' });
    await expect(
      (async () => {
        for (let n = 0; n < 40; n += 1) await put(n);
      })(),
    ).rejects.toThrow('database space exceeded');
    await shows('etcd_alarm{type="NOSPACE"} 1');
    lagSeconds = 7;
    const full = await foundWith('the server has not caught up with the store for 7 s');
    expect(full.of('etcd').filter(({ result }) => result === 'problem')).toEqual([
      expect.objectContaining({ what: 'the alarm NOSPACE is raised', fix: expect.stringContaining('etcdctl alarm disarm') }),
      expect.objectContaining({ what: expect.stringMatching(/^the database has \d+ % of its quota of 4 MiB/) }),
      expect.objectContaining({ what: 'the server has not caught up with the store for 7 s' }),
    ]);

    await etcd.signal(1, 'SIGKILL');
    await shows(`etcd_endpoint_up{endpoint="${dead?.host}:${dead?.port}"} 0`);
    await shows('etcd_server_has_leader 0');
    const { code, of } = await foundWith('it has no leader');
    expect([code, of('etcd').slice(0, 2)]).toEqual([
      1,
      [
        expect.objectContaining({ what: 'it has no leader', fix: expect.stringContaining('etcdctl endpoint status') }),
        expect.objectContaining({ what: `${dead?.host}:${dead?.port} does not answer the server` }),
      ],
    ]);
  });
});

describe('the table of findings', () => {
  it('has no row that nothing above has shown', () => {
    const rows = [...findingsAnywhere, ...(hasEtcd ? findingsOfEtcd : [])];
    // As root a disk is mounted; the others of the machine depend on it.
    const unseen = rows.filter((row) => !seen.has(row) && !(process.getuid?.() !== 0 && /are free/.test(String(row[1]))));
    expect(unseen.map(([, what]) => String(what))).toEqual([]);
  });
});
