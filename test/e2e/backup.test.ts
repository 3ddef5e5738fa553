import { spawn } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { copyFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { packBackup } from '../../src/cli/backup-lines.ts';
import { clientOf, program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

const midship = (...args: string[]) => run(process.execPath, [program, ...args], { ...process.env, NO_COLOR: '1' });

describe('backup and restore of the built program', () => {
  let cluster: RunningCluster | undefined;

  afterEach(async () => {
    await cluster?.stop();
    cluster = undefined;
  });

  it.skipIf(!hasKubectl)(
    'copy a cluster that is written to; the restored one has its objects, keys, history and kubeconfig (needs kubectl)',
    async () => {
      const original = await startCluster();
      cluster = original;
      const { dataDirectory, endpoints } = original;
      const directory = await temporaryDirectory('backup');
      const client = await clientOf(endpoints);
      const tree = await cloneRepository(endpoints.git, 'backup');

      // Writes to the API and pushes go on while three backups are made.
      let acknowledged = 0;
      let isDone = false;
      const writing = (async () => {
        for (; !isDone; acknowledged += 1) {
          const metadata = { name: `written-${acknowledged}`, namespace: 'default' };
          await client.create(configMaps, {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata,
            data: { n: String(acknowledged), pad: 'x'.repeat(2_000) },
          });
        }
      })();
      let pushed = 0;
      const pushing = (async () => {
        for (; !isDone; pushed += 1) {
          await writeFile(join(tree.directory, 'letter.txt'), `letter ${pushed}\n`);
          await tree.git('add', '.');
          await tree.git('commit', '-m', `letter ${pushed}`);
          await tree.git('push', '--quiet');
        }
      })();
      const before: { readonly written: number; readonly pushed: number }[] = [];
      for (const name of ['first.gz', 'second.gz', 'third.gz']) {
        await until(() => acknowledged > (before.at(-1)?.written ?? 0) + 20 && pushed > (before.at(-1)?.pushed ?? 0), { what: 'writes' });
        before.push({ written: acknowledged, pushed });
        const made = await original.midship('backup', join(directory, name));
        expect(made).toMatchObject({ code: 0, stderr: '' });
        expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
      }
      isDone = true;
      await Promise.all([writing, pushing]);
      expect(await readdir(join(dataDirectory, 'backup'))).toEqual([]);
      const again = await original.midship('backup', join(directory, 'third.gz'));
      expect(again.code).toBe(2);
      expect(again.stderr).toContain('third.gz exists');

      // The backup that is compared object by object is of a cluster in which nothing changes.
      const kinds =
        'namespaces,configmaps,secrets,serviceaccounts,deployments,kustomizations,gitrepositories,clusterroles,customresourcedefinitions';
      const objectsOf = async ({ kubectl }: Pick<RunningCluster, 'kubectl'>): Promise<readonly string[]> => {
        const { code, stdout, stderr } = await kubectl('get', kinds, '-A', '-o', 'json');
        if (code !== 0) throw new Error(stderr);
        const { items } = JSON.parse(stdout) as {
          readonly items: readonly Readonly<Record<string, { readonly [field: string]: unknown }>>[];
        };
        return (
          items
            // The engine writes these at each start or pass.
            .filter(({ metadata }) => !/^midship-(history|inventory)-/.test(String(metadata?.name)))
            .map(({ kind, metadata, data, rules }) =>
              JSON.stringify([kind, metadata?.namespace, metadata?.name, metadata?.uid, data ?? '', rules ?? '']),
            )
            .sort()
        );
      };
      const refsOf = async (gitdir: string): Promise<string> => {
        expect((await run('git', ['--git-dir', gitdir, 'fsck', '--full', '--strict'])).code).toBe(0);
        return (await run('git', ['--git-dir', gitdir, 'log', '--all', '--format=%H %s'])).stdout;
      };
      await until(async () => (await original.midship('status', '--exit-code')).code === 0, {
        timeoutMs: 30_000,
        what: 'the apps are settled',
      });
      const objects = await objectsOf(original);
      expect(objects.length).toBeGreaterThan(acknowledged);
      const history = await refsOf(join(dataDirectory, 'git', 'cluster.git'));
      const whole = join(directory, 'whole.gz');
      const made = await original.midship('backup', whole);
      const revision = Number(/revision (\d+)/.exec(made.stdout)?.[1]);
      const oldKubeconfig = join(directory, 'kubeconfig');
      await copyFile(endpoints.kubeconfig, oldKubeconfig);
      client.close();
      await original.stop();
      cluster = undefined;

      // Backups under writes: everything that was acknowledged before they began is in them, and nothing has a gap.
      for (const [index, name] of ['first.gz', 'third.gz'].entries()) {
        const target = join(directory, `data-${name}`);
        expect(await midship('restore', join(directory, name), '--data-dir', target)).toMatchObject({ code: 0 });
        const { written, pushed: commits } = before[index === 0 ? 0 : 2] ?? { written: Number.NaN, pushed: Number.NaN };
        const log = await refsOf(join(target, 'git', 'cluster.git'));
        expect(log).toContain(`letter ${commits - 1}\n`);
        const restored = await startCluster({
          command: 'up',
          dataDirectory: target,
        });
        cluster = restored;
        const { stdout } = await restored.kubectl('get', 'configmaps', '-o', 'name');
        const found = new Set([...stdout.matchAll(/written-(\d+)/g)].map(([, n]) => Number(n)));
        expect(found.size).toBeGreaterThanOrEqual(written);
        for (let n = 0; n < found.size; n += 1) expect(found.has(n), `written-${n} of ${found.size}`).toBe(true);
        await restored.stop();
        cluster = undefined;
      }

      const target = join(directory, 'data');
      expect(await midship('restore', whole, '--data-dir', target)).toMatchObject({ code: 0 });
      expect(await refsOf(join(target, 'git', 'cluster.git'))).toBe(history);
      const { port } = new URL(endpoints.api);
      const restored = await startCluster({
        command: 'up',
        dataDirectory: target,
        args: ['--api-port', port],
      });
      cluster = restored;
      // The kubeconfig of the original.
      const old = (...args: string[]) => restored.kubectl(...args, '--kubeconfig', oldKubeconfig);
      const list = await old('get', '--raw', '/api/v1/namespaces?limit=1');
      expect(list.code).toBe(0);
      expect(Number(/"resourceVersion":"(\d+)"/.exec(list.stdout)?.[1])).toBeGreaterThanOrEqual(revision);
      expect(await objectsOf({ kubectl: old })).toEqual(objects);
      const clone = await cloneRepository(restored.endpoints.git, 'restored');
      expect((await clone.git('log', '-1', '--format=%s')).trim()).toBe(`letter ${pushed - 1}`);
    },
    240_000,
  );

  it('copy a cluster that does not run, and refuse a directory without one', async () => {
    const original = await startCluster({ command: 'up', args: ['--runtime', 'simulated'] });
    await original.stop();
    const directory = await temporaryDirectory('backup');
    const file = join(directory, 'stopped.gz');
    const { dataDirectory } = original;
    await writeFile(join(dataDirectory, 'pki', 'my notes~'), 'of somebody else');
    expect(await midship('backup', file, '--data-dir', dataDirectory)).toMatchObject({ code: 0, stderr: '' });
    expect(await midship('restore', file, '--data-dir', join(directory, 'data'))).toMatchObject({ code: 0 });
    const refused = await midship('restore', file, '--data-dir', dataDirectory);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.stderr).toContain('is not empty');
    // Nothing was pushed, so there is no history; the restored one begins with the same keys.
    const restored = await startCluster({ command: 'up', dataDirectory: join(directory, 'data'), args: ['--runtime', 'simulated'] });
    await restored.stop();
    const empty = await midship('backup', join(directory, 'none.gz'), '--data-dir', directory);
    expect(empty.code).toBe(2);
    expect(empty.stderr).toContain('is not a data directory of Midship');
    expect(existsSync(join(directory, 'none.gz'))).toBe(false);
  }, 120_000);

  it('leave no directory by half when a restore is killed, and clean up after it', async () => {
    const directory = await temporaryDirectory('backup');
    const file = join(directory, 'large.gz');
    async function* files() {
      for (const path of ['network.json', 'pki/ca.crt', 'pki/ca.key']) yield { path, content: Buffer.from(path) };
    }
    async function* pages() {
      const text = JSON.stringify({ metadata: { name: 'x' }, data: 'x'.repeat(1_000_000) });
      for (let revision = 1; revision <= 100; revision += 1) yield [{ key: `core/configmaps/default/x${revision}`, revision, text }];
    }
    const about = { version: '0.1.0', revision: 100, createdAt: '2026-01-01T00:00:00Z' };
    await pipeline(packBackup(about, { files: files(), pages: pages() }), createWriteStream(file));
    const target = join(directory, 'data');
    const aside = async (): Promise<readonly string[]> => (await readdir(directory)).filter((name) => name.startsWith('data.restore-'));

    const child = spawn(process.execPath, [program, 'restore', file, '--data-dir', target], { stdio: 'ignore' });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await until(async () => (await aside()).length === 1, { what: 'the restore writes' });
    child.kill('SIGKILL');
    await exited;
    expect(existsSync(target)).toBe(false);
    expect(await aside()).toHaveLength(1);
    expect(await midship('restore', file, '--data-dir', target)).toMatchObject({ code: 0 });
    expect(await aside()).toEqual([]);
    expect((await readdir(target)).sort()).toEqual(['network.json', 'pki', 'state.db']);
  }, 60_000);
});
