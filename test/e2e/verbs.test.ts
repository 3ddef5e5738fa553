import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { pods } from '../../src/api/core/v1/pod.ts';
import { type CommandResult, clientOf, program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { until } from '../support/until.ts';

describe.skipIf(!hasNamespaces)('the commands of a day with a bad commit (needs user namespaces)', () => {
  let cluster: RunningCluster;
  let work: WorkTree;

  beforeAll(async () => {
    cluster = await startCluster();
    work = await cloneRepository(cluster.endpoints.git, 'verbs');
    for (const [name, value] of [
      ['user.name', 'Jonas'],
      ['user.email', 'jonas@example.com'],
    ] as const) {
      await work.git('config', name, value);
    }
  });
  afterAll(() => cluster?.stop());

  const midship = (...args: string[]): Promise<CommandResult> => cluster.midship(...args, '--repo', work.directory);

  it('check it before the push, say why it is not in force, take it back, and remember it', async () => {
    const file = join(work.directory, 'apps/storefront/deployment.yaml');
    const good = await readFile(file, 'utf8');
    expect(await midship('diff', 'storefront')).toMatchObject({ code: 0, stdout: 'no differences\n' });
    await writeFile(file, good.replace('replicas: 3', 'replicas: 4'));
    const diff = await midship('diff', 'storefront');
    expect([diff.code, diff.stdout]).toEqual([1, expect.stringMatching(/- {2}replicas: 3\n +\+ {2}replicas: 4\n/)]);

    await writeFile(file, await readFile(join(work.directory, 'broken/typo.yaml'), 'utf8'));
    const validation = await run(process.execPath, [program, 'validate', join(work.directory, 'clusters/demo')], {
      ...process.env,
      NO_COLOR: '1',
    });
    expect([validation.code, validation.stdout]).toEqual([1, expect.stringMatching(/✗ .*apps\/storefront\/deployment\.yaml:31:11 /)]);

    await work.git('commit', '--quiet', '-a', '-m', 'storefront: a typo');
    await work.git('push', '--quiet');
    const why = await until(
      async () => {
        const result = await cluster.midship('why', 'storefront');
        return result.code === 1 && result;
      },
      { what: 'the commit is refused' },
    );
    expect(why.stdout).toMatch(/✗ plan .*apps\/storefront\/deployment\.yaml:31:11 .*unknown field/);
    expect(why.stdout).toMatch(/since +commit [0-9a-f]{7} by Mara: storefront: a typo/);
    const status = JSON.parse((await cluster.midship('status', '-o', 'json')).stdout);
    const app = status.apps.find(({ name }: { readonly name: string }) => name === 'storefront');
    expect(app.why.blocking).toContain('deployment.yaml:31:11');

    const revert = await midship('revert', 'storefront', '--push');
    expect([revert.code, revert.stdout]).toEqual([0, expect.stringContaining('Revert "storefront: a typo"')]);
    expect((await cluster.midship('wait', 'storefront', '--revision', await work.git('rev-parse', 'HEAD'))).code).toBe(0);
    expect(await readFile(file, 'utf8')).toBe(good);
    const history = JSON.parse((await cluster.midship('history', 'storefront', '-o', 'json')).stdout);
    expect(history.revisions.map(({ result }: { readonly result: string }) => result)).toEqual(['applied', 'failed', 'applied']);
    expect(await cluster.midship('why', 'storefront')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('storefront is what Git says, and works.'),
    });
    expect((await cluster.midship('tree', 'storefront')).stdout).toMatch(/● Deployment web\/storefront\n.*● ReplicaSet .*\n.*● Pod /);
  });

  it('say why a pod waits for a node, and what would make it fit', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'picky', namespace: 'web' } };
    const client = await clientOf(cluster.endpoints);
    onTestFinished(() => client.close());
    await client.create(pods, { ...pod, spec: { nodeSelector: { disk: 'ssd' }, containers: [{ name: 'a', image: 'host/true' }] } });
    expect(await cluster.midship('why', 'pod/picky', '-n', 'web')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/node \S+ +node\(s\) didn't match Pod's node affinity\/selector\. It would fit: .*disk=ssd/),
    });
    await client.delete(pods, pod.metadata);
  });

  it('print what pods write, and follow it until Ctrl-C', async () => {
    const line = /^\[pod\/(storefront-\S+)\/web\] storefront listens on/;
    const all = await cluster.midship('logs', 'storefront');
    // The app has a DaemonSet, too, whose pods write other lines.
    const writers = new Set(all.stdout.split('\n').flatMap((text) => line.exec(text)?.[1] ?? []));
    expect([all.code, writers.size]).toEqual([0, 3]);
    const [pod = ''] = writers;
    expect(await cluster.midship('logs', `pod/${pod}`, '-n', 'web', '--tail', '1')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^storefront listens on .*\n$/),
    });
    expect(await cluster.midship('logs', 'deployment/storefront', '-c', 'nope')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no container nope[\s\S]*Containers there: web/),
    });
    expect((await cluster.midship('logs', `pod/${pod}`, '-n', 'web', '--previous')).stderr).toMatch(/previous terminated container/);
    expect(await cluster.midship('logs', 'namespaces')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('app namespaces has no pods'),
    });
    const following = spawn(process.execPath, [program, 'logs', 'storefront', '-f', '--data-dir', cluster.dataDirectory]);
    const ended = once(following, 'exit');
    await once(following.stdout, 'data');
    following.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
  });
});
