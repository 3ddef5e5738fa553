import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningCluster, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { until } from '../support/until.ts';

describe.skipIf(!hasNamespaces)('the commands about apps (needs user namespaces)', () => {
  let cluster: RunningCluster;
  let clone: WorkTree;

  beforeAll(async () => {
    cluster = await startCluster();
    clone = await cloneRepository(cluster.endpoints.git, 'apps');
  });
  afterAll(() => cluster?.stop());

  const title = async (text: string): Promise<string> => {
    const path = join(clone.directory, 'apps/storefront/config.yaml');
    await writeFile(path, (await readFile(path, 'utf8')).replace(/title: .*/, `title: ${text}`));
    const sha = await clone.commit(text, {});
    await clone.git('push', '--quiet');
    return sha;
  };

  it('wait for a revision, and list apps and sources with it', async () => {
    const sha = await title('One');
    const waited = await cluster.midship('wait', 'storefront', '--revision', sha, '--timeout', '60s');
    expect(waited.code, waited.stdout + waited.stderr).toBe(0);
    expect(waited.stdout).toContain(sha);
    const apps = await cluster.midship('get', 'apps');
    expect(apps.stdout).toMatch(new RegExp(`flux-system +storefront +True +Healthy +${sha.slice(0, 7)} `));
    const sources = await cluster.midship('get', 'sources');
    expect(sources.stdout).toMatch(new RegExp(`flux-system +flux-system +True +${sha.slice(0, 7)} `));
    expect(sources.stdout).not.toContain('midship:');
  });

  it('wait says an honest no in time', async () => {
    const waited = await cluster.midship('wait', 'storefront', '--revision', 'ffffffff', '--timeout', '300ms');
    expect(waited.code).toBe(1);
  });

  it('sync does a pass now', async () => {
    const synced = await cluster.midship('sync', 'storefront', '--wait', '--timeout', '60s');
    expect(synced.code, synced.stdout + synced.stderr).toBe(0);
    expect(synced.stdout).toMatch(/● storefront +Applied revision/);
  });

  it('suspend holds an app where it is, resume lets it catch up', async () => {
    expect((await cluster.midship('suspend', 'flux-system/storefront', '--reason', 'fair')).code).toBe(0);
    const sha = await title('Two');
    await cluster.midship('wait', 'cache', '--revision', sha, '--timeout', '60s');
    await until(
      async () =>
        /◆ storefront .*Differs .*Suspended by .*: fair; \w{7} changes the app and waits/.test((await cluster.midship('status')).stdout),
      { what: 'status says that the app waits' },
    );
    expect((await cluster.midship('get', 'apps')).stdout).not.toMatch(new RegExp(`storefront .*${sha.slice(0, 7)}`));
    expect((await cluster.midship('resume', 'storefront')).code).toBe(0);
    expect((await cluster.midship('wait', 'storefront', '--revision', sha, '--timeout', '60s')).code).toBe(0);
  });

  it('name the apps there are when one does not exist', async () => {
    const wrong = await cluster.midship('wait', 'shopfront');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toMatch(/no app shopfront.*\n.*storefront.*\n.*midship get apps/);
  });
});
