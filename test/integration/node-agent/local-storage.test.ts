import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { removeTree } from '../../../src/base/remove-tree.ts';
import { findExcess, hasStorageBounds } from '../../../src/node-agent/local-storage.ts';
import { hasNamespaces } from '../../support/isolation.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

const podOf = (spec: Partial<Pod['spec']>): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'main' }], ...spec },
});
const withVolume = (sizeLimit: string | undefined, storage?: string): Pod =>
  podOf({
    containers: [{ name: 'main', ...(storage === undefined ? {} : { resources: { limits: { 'ephemeral-storage': storage } } }) }],
    volumes: [{ name: 'cache', emptyDir: sizeLimit === undefined ? {} : { sizeLimit } }],
  });

describe('the disk that a pod uses', () => {
  let directory: string;
  let cache: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'midship-storage-'));
    cache = join(directory, 'volumes/cache');
    await mkdir(cache, { recursive: true });
    await mkdir(join(directory, 'logs/main'), { recursive: true });
  });
  afterEach(() => removeTree(directory));
  const find = (pod: Pod, maxEntries?: number) =>
    findExcess(pod, {
      volumes: join(directory, 'volumes'),
      logs: join(directory, 'logs'),
      ...(maxEntries === undefined ? {} : { maxEntries }),
    });
  const excess = async (pod: Pod) => (await find(pod)).excess;
  const mebibytes = (count: number): Buffer => Buffer.alloc(count * 1024 * 1024, 1);

  it('is compared with the limit of each emptyDir, directories below it included', async () => {
    await mkdir(join(cache, 'a/b'), { recursive: true });
    await writeFile(join(cache, 'a/b/file'), mebibytes(2));
    expect(await excess(withVolume('1Mi'))).toBe('Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ');
    expect(await excess(withVolume('4Mi'))).toBeUndefined();
    expect(await excess(withVolume(undefined))).toBeUndefined();
  });

  it('is compared with the limits of containers: logs of each, and all of the pod', async () => {
    await writeFile(join(directory, 'logs/main/0.log'), mebibytes(2));
    expect(await excess(withVolume(undefined, '1Mi'))).toBe('Container main exceeded its local ephemeral storage limit "1Mi". ');
    await writeFile(join(cache, 'file'), mebibytes(2));
    expect(await excess(withVolume(undefined, '3Mi'))).toBe(
      'Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ',
    );
    expect(await excess(withVolume(undefined, '8Mi'))).toBeUndefined();
  });

  it('is named where it has more files than are counted', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await writeFile(join(cache, name), 'x');
    expect(await find(withVolume('1Gi'), 4)).toEqual({ excess: undefined, uncounted: undefined });
    expect((await find(withVolume('1Gi'), 3)).uncounted).toBe(
      'emptyDir volume "cache" has more than 3 files and directories: those beyond are not counted, so its limit is not held',
    );
  });

  it('is what lies on the disk: no holes of files, and nothing behind links', async () => {
    await writeFile(join(cache, 'sparse'), '');
    await truncate(join(cache, 'sparse'), 1024 ** 4);
    await symlink('/usr', join(cache, 'link'));
    expect(await excess(withVolume('1Mi'))).toBeUndefined();
  });

  it('cannot be hidden in a tree that is too deep to be named', async () => {
    const name = 'd'.repeat(250);
    const before = process.cwd();
    process.chdir(cache);
    try {
      for (let depth = 0; depth < 20; depth += 1) {
        await mkdir(name);
        process.chdir(name);
      }
    } finally {
      process.chdir(before);
    }
    expect(await excess(withVolume('1Mi'))).toContain('exceeds the limit');
  });

  it('is of no interest without limits', () => {
    expect([withVolume(undefined), withVolume('0'), withVolume('1Mi'), withVolume(undefined, '1Mi')].map(hasStorageBounds)).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });
});

describe.skipIf(!hasNamespaces)('a node (needs user namespaces)', () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await startTestNode();
  });
  afterAll(() => node?.stop());

  it('evicts a pod that fills its emptyDir beyond the limit', { timeout: 60_000 }, async () => {
    await node.run({
      name: 'filler',
      containers: [
        {
          name: 'main',
          image: 'host/sh',
          command: ['sh', '-c', 'head -c 3000000 /dev/zero >/cache/file; exec sleep 600'],
          volumeMounts: [{ name: 'cache', mountPath: '/cache' }],
        },
      ],
      volumes: [{ name: 'cache', emptyDir: { sizeLimit: '1Mi' } }],
    });
    const message = 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ';
    const pod = await node.pod(
      'filler',
      'eviction',
      ({ status }) => status?.containerStatuses?.[0]?.state?.terminated !== undefined,
      50_000,
    );
    expect(pod.status).toMatchObject({ phase: 'Failed', reason: 'Evicted', message });
    await until(async () => (await node.messagesOf('filler')).includes(`Evicted: ${message}`), { what: 'the Event of the eviction' });
    // The disk has room again while the pod is still in the API.
    const place = join(node.directory, 'pods', pod.metadata.uid ?? '');
    await until(() => !existsSync(place), { what: 'the end of its files' });
  });

  it('says on a pod that its records are damaged, and runs it again', { timeout: 60_000 }, async () => {
    await node.run({ name: 'damaged', containers: [{ name: 'main', image: 'host/sh', command: ['sleep', '600'] }] });
    const isReady = ({ status }: Pod): boolean => status?.containerStatuses?.[0]?.ready === true;
    const before = await node.pod('damaged', 'start', isReady);
    const sandboxes = join(node.directory, 'run/sandboxes');
    const own = (await readdir(sandboxes)).find((name) => name.startsWith(before.metadata.uid ?? 'none')) ?? 'missing';
    await truncate(join(sandboxes, own, 'sandbox.json'), 20);
    await node.crash();
    const after = await node.pod(
      'damaged',
      'second start',
      (pod) => isReady(pod) && pod.status?.containerStatuses?.[0]?.restartCount === 1,
    );
    expect(after.status?.phase).toBe('Running');
    const messages = await node.messagesOf('damaged');
    expect(messages.filter((text) => text.startsWith('RecordDamaged: the sandbox of this pod was ended'))).toHaveLength(1);
  });
});
