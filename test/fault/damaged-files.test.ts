import { chmod, cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { pods } from '../../src/api/core/v1/pod.ts';
import { clientOf, startCluster } from '../support/cluster.ts';
import { sleeperManifest } from '../support/cluster-objects.ts';
import { newRepository, temporaryDirectory } from '../support/git.ts';
import { createRandom } from '../support/random.ts';
import { until } from '../support/until.ts';

/** `npm run fault -- --damage N --seed S` sets both: files that are damaged alone, each in one way. */
const singles = Number(process.env.MIDSHIP_DAMAGED_FILES ?? 1);
const random = createRandom(Number(process.env.MIDSHIP_SEED ?? 5));

const damages: Readonly<Record<string, (content: Buffer) => Buffer>> = {
  empty: () => Buffer.alloc(0),
  'full of zeros': (content) => Buffer.alloc(content.byteLength),
  'cut in half': (content) => content.subarray(0, content.byteLength >> 1),
  garbage: (content) => Buffer.from(content.map(() => Math.floor(random() * 256))),
};

describe('files of the data directory, apart from the store and its keys', () => {
  let original: string;
  let files: readonly string[];

  beforeAll(async () => {
    const cluster = await startCluster({ command: 'up' });
    original = cluster.dataDirectory;
    const tree = await newRepository('damaged', { 'sleeper.yaml': sleeperManifest(1) });
    await tree.git('push', '--quiet', cluster.endpoints.git, 'HEAD:refs/heads/main');
    const client = await clientOf(cluster.endpoints);
    await until(async () => (await client.list(pods, { namespace: 'default' })).items.some(({ status }) => status?.phase !== 'Pending'), {
      timeoutMs: 60_000,
      what: () => `a pod was started; ${cluster.output()}`,
    });
    client.close();
    const endpoints = await readFile(join(original, 'endpoints.json'));
    await cluster.stop();
    // A crash leaves it.
    await writeFile(join(original, 'endpoints.json'), endpoints);
    files = (await readdir(original, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => relative(original, join(entry.parentPath, entry.name)))
      .filter((path) => !/^(state\.db|pki\/)/.test(path));
  });
  afterAll(() => rm(original, { recursive: true, force: true }));

  async function startWith(damaged: readonly string[], damage: (content: Buffer) => Buffer): Promise<void> {
    const dataDirectory = join(await temporaryDirectory('damaged'), 'data');
    await cp(original, dataDirectory, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    await chmod(dataDirectory, 0o700);
    for (const path of damaged) {
      const file = join(dataDirectory, path);
      const content = await readFile(file);
      // Objects of git may not be written.
      await chmod(file, 0o600);
      await writeFile(file, damage(content));
    }
    const cluster = await startCluster({ command: 'up', dataDirectory });
    try {
      const client = await clientOf(cluster.endpoints);
      expect((await client.list(namespaces)).items.map(({ metadata }) => metadata.name)).toContain('default');
      client.close();
    } finally {
      await cluster.stop();
    }
    await rm(dataDirectory, { recursive: true, force: true });
  }

  it('are of every part', () => {
    for (const part of ['network.json', 'git-token', 'kubeconfig', 'endpoints.json', 'git/cluster.git/HEAD', 'git/hooks/pre-receive']) {
      expect(files).toContain(part);
    }
    expect(files.some((path) => path.startsWith('pods/'))).toBe(true);
  });

  it.each(Object.keys(damages))(
    'keep the cluster from starting in no case, when all are %s at once',
    { timeout: 120_000 },
    async (name) => {
      await startWith(files, damages[name] ?? (() => Buffer.alloc(0)));
    },
  );

  it('keep the cluster from starting in no case, one at a time', { timeout: 60_000 + singles * 60_000 }, async () => {
    const order = [...files].sort(() => random() - 0.5).slice(0, singles);
    for (const path of order) {
      const [name = '', damage = () => Buffer.alloc(0)] = Object.entries(damages)[Math.floor(random() * 4)] ?? [];
      await startWith([path], damage).catch((cause: unknown) => {
        throw new Error(`${path}, ${name}`, { cause });
      });
    }
  });
});
