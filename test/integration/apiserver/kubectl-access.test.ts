import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl } from '../../support/kubectl.ts';

describe.skipIf(!hasKubectl)('kubectl and access (needs kubectl)', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await ok('create', 'namespace', 'shop');
    await ok('-n', 'shop', 'create', 'serviceaccount', 'robot');
  }, 30_000);

  afterAll(() => cluster.stop());

  async function ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.kubectl(...args);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
    return stdout;
  }

  it('knows who it is', async () => {
    expect(await ok('auth', 'whoami')).toMatch(/^ATTRIBUTE +VALUE\nUsername +admin\nGroups +\[system:masters system:authenticated\]\n$/);
    expect(await ok('auth', 'whoami', '--as', 'alice', '--as-group', 'devs')).toContain('[devs system:authenticated]');
  });

  it('makes roles and bindings, which count at once', async () => {
    const list = ['-n', 'shop', '--as', 'alice', 'get', 'pods'];
    const refused = await cluster.kubectl(...list);
    expect(refused.stderr).toBe(
      'Error from server (Forbidden): pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "shop"\n',
    );
    await ok('-n', 'shop', 'create', 'role', 'reader', '--verb=get,list,watch', '--resource=pods,pods/log');
    await ok('-n', 'shop', 'create', 'rolebinding', 'alice-reads', '--role=reader', '--user=alice', '--serviceaccount=shop:robot');
    await ok('create', 'clusterrole', 'metrics', '--verb=get', '--non-resource-url=/metrics');
    await ok('create', 'clusterrolebinding', 'metrics', '--clusterrole=metrics', '--group=devs');
    expect((await cluster.kubectl(...list)).stderr).toBe('No resources found in shop namespace.\n');
    expect(await ok('-n', 'shop', 'get', 'rolebinding', '-o', 'wide')).toMatch(/alice-reads +Role\/reader +\d+s +alice +shop\/robot/);
    expect(await ok('-n', 'shop', 'get', 'role', 'reader')).toMatch(/reader +\d{4}-\d\d-\d\dT/);
    expect((await cluster.kubectl('get', '--raw', '/metrics', '--as', 'alice')).stderr).toContain('cannot get path "/metrics"');
    await ok('get', '--raw', '/metrics', '--as', 'alice', '--as-group', 'devs');
  });

  it('asks what may be done', async () => {
    expect(await ok('-n', 'shop', 'auth', 'can-i', 'get', 'pods/log', '--as', 'alice')).toBe('yes\n');
    expect(await ok('-n', 'shop', 'auth', 'can-i', 'create', 'pods')).toBe('yes\n');
    expect(await cluster.kubectl('-n', 'shop', 'auth', 'can-i', 'create', 'pods', '--as', 'alice')).toMatchObject({
      code: 1,
      stdout: 'no\n',
    });
    const all = await ok('-n', 'shop', 'auth', 'can-i', '--list', '--as', 'alice');
    expect(all).toMatch(/pods\/log +\[\] +\[\] +\[get list watch\]/);
    expect(all).toMatch(/\[\/apis\/\*\] +\[\] +\[get\]/);
  });

  it('makes tokens that work, and reconciles roles', async () => {
    const token = (await ok('-n', 'shop', 'create', 'token', 'robot', '--duration', '10m')).trim();
    const base = [
      '--kubeconfig',
      '/dev/null',
      '--server',
      cluster.server.url,
      '--insecure-skip-tls-verify',
      '--token',
      token,
      '-n',
      'shop',
    ];
    expect(await ok(...base, 'auth', 'whoami')).toContain('system:serviceaccount:shop:robot');
    expect((await cluster.kubectl(...base, 'get', 'pods')).stderr).toBe('No resources found in shop namespace.\n');
    expect((await cluster.kubectl(...base, 'get', 'secrets')).stderr).toContain('User "system:serviceaccount:shop:robot" cannot list');
    const manifest = join(cluster.directory, 'role.json');
    const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }];
    const metadata = { name: 'reader', namespace: 'shop' };
    await writeFile(manifest, JSON.stringify({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules }));
    expect((await cluster.kubectl('auth', 'reconcile', '-f', manifest)).stdout).toContain('reconciled');
    expect(await ok('-n', 'shop', 'auth', 'can-i', 'get', 'configmaps', '--as', 'alice')).toBe('yes\n');
  });
});
