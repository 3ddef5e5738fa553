import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { pods } from '../../src/api/core/v1/pod.ts';
import type { Client } from '../../src/client/client.ts';
import { openSqliteStorage } from '../../src/storage/sqlite/storage.ts';
import { clientOf, type RunningCluster, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { createRandom } from '../support/random.ts';
import { until } from '../support/until.ts';

/** `npm run fault -- --kills N --seed S` sets both. */
const kills = Number(process.env.MIDSHIP_KILLS ?? 2);
/** The others came when the rollout was over, as seen by what is on disk. */
const minMidRollout = Math.floor(kills * 0.75);
const seed = Number(process.env.MIDSHIP_SEED ?? Math.floor(Math.random() * 2 ** 31));

describe.skipIf(!hasNamespaces)('kill -9 in the middle of a rollout (needs user namespaces)', () => {
  let cluster: RunningCluster;
  let clone: WorkTree;
  const random = createRandom(seed);

  beforeAll(async () => {
    cluster = await startCluster();
    clone = await cloneRepository(cluster.endpoints.git, 'kill');
  });
  afterAll(() => cluster?.stop());

  it('finishes the rollout after the next start, with no pod doubled or orphaned and no acknowledged write lost', {
    timeout: 60_000 + kills * 60_000,
  }, async () => {
    process.stdout.write(`MIDSHIP_SEED=${seed}\n`);
    const file = join(clone.directory, 'apps/storefront/deployment.yaml');
    const ref = { namespace: 'web', name: 'storefront' };
    let midRollout = 0;
    const moments: string[] = [];
    for (let round = 0; round < kills; round += 1) {
      const client = await clientOf(cluster.endpoints);
      const text = await readFile(file, 'utf8');
      const replicas = 5;
      await writeFile(file, text.replace(/replicas: \d+/, `replicas: ${replicas}`).replace(/value: "[^"]*"/, `value: "2.0.${round}"`));
      await clone.commit(`version 2.0.${round}`, {});
      await clone.git('remote', 'set-url', 'origin', cluster.endpoints.git);
      await clone.git('push', '--quiet');

      // A write that is acknowledged just before the end.
      const acknowledged = `acknowledged-${round}`;
      // The rollout begins within the first updated pod; the moment is somewhere in what is left of it.
      const wanted = 1 + Math.floor(random() * (replicas - 1));
      await until(
        async () => {
          const { status, spec, metadata } = await client.get(deployments, ref);
          const isNew =
            spec.template.spec?.containers[0]?.env?.[0]?.value === `2.0.${round}` && status?.observedGeneration === metadata.generation;
          return isNew && (status?.updatedReplicas ?? 0) >= wanted;
        },
        { timeoutMs: 60_000, intervalMs: 5, what: () => `round ${round}: ${wanted} updated; ${cluster.output()}` },
      );
      await client.create(configMaps, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: acknowledged, namespace: 'default' },
        data: {},
      });
      await cluster.kill();
      const { updated, desired } = await stored(cluster.dataDirectory);
      if (updated > 0 && updated < desired) midRollout += 1;
      moments.push(`${updated}/${desired}`);

      cluster = await startCluster({ dataDirectory: cluster.dataDirectory });
      const after = await clientOf(cluster.endpoints);
      await after.get(configMaps, { namespace: 'default', name: acknowledged });
      await until(
        async () => {
          const { status, spec, metadata } = await after.get(deployments, ref);
          return (
            status?.observedGeneration === metadata.generation &&
            status?.updatedReplicas === spec.replicas &&
            status?.replicas === spec.replicas &&
            status?.availableReplicas === spec.replicas
          );
        },
        { timeoutMs: 60_000, what: () => `round ${round}: the rollout is finished; ${cluster.output()}` },
      );
      await settled(after, round);
    }
    process.stdout.write(`kills at updated/desired: ${moments.join(' ')}; ${midRollout} of ${kills} in mid-rollout\n`);
    expect(midRollout).toBeGreaterThanOrEqual(minMidRollout);
  });

  /** Progress of the rollout when the process died, read from the disk before a restart. */
  async function stored(dataDirectory: string): Promise<{ readonly updated: number; readonly desired: number }> {
    const storage = await openSqliteStorage({ path: join(dataDirectory, 'state.db') });
    const entry = await storage.get('apps/deployments/web/storefront');
    await storage.close();
    const { spec, status, metadata } = JSON.parse(entry?.text ?? '{}') as Deployment;
    return {
      updated: status?.observedGeneration === metadata.generation ? (status?.updatedReplicas ?? 0) : 0,
      desired: spec.replicas ?? 0,
    };
  }

  /** Every pod of the API runs exactly once, and nothing runs that the API does not know. */
  async function settled(client: Client, round: number): Promise<void> {
    await until(
      async () => {
        const { items } = await client.list(pods, { namespace: 'web', labelSelector: 'app=storefront' });
        if (items.length !== 5 || items.some(({ metadata }) => metadata.deletionTimestamp !== undefined)) return false;
        const addresses = items.map(({ status }) => status?.podIP ?? '');
        return new Set(addresses).size === 5 && (await listeners(addresses[0]?.split('.')[1] ?? '')) === 7;
      },
      { timeoutMs: 30_000, what: () => `round ${round}: five storefront pods, one cache and its backup listen, no other` },
    );
  }

  /** Programs that listen on port 8080 of a pod address of this cluster: five storefronts, one cache and its backup. */
  async function listeners(network: string): Promise<number> {
    const table = await readFile('/proc/net/tcp', 'utf8');
    const prefix = new RegExp(
      `^\\s*\\d+: [0-9A-F]{2}(1[0-9A-F]|[2-9A-F][0-9A-F])${Number(network).toString(16).toUpperCase().padStart(2, '0')}7F:1F90 00000000:0000 0A`,
      'gm',
    );
    return table.match(prefix)?.length ?? 0;
  }
});
