import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { nodes } from '../../../../src/api/core/v1/node.ts';
import { pods } from '../../../../src/api/core/v1/pod.ts';
import { createLog } from '../../../../src/base/log.ts';
import { createStaticPods, type StaticPods } from '../../../../src/node-agent/static-pods/static-pods.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';
import { until } from '../../../support/until.ts';

const nodeName = 'first';
const manifest = (name: string, image = 'busybox'): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name} }\nspec: { containers: [{ name: web, image: ${image} }] }\n`;

let api: TestApi;
let directory: string;
let clock: ManualClock;
let staticPods: StaticPods;
/** The changes that a worker of pods sees, in order. */
let changes: string[];
/** Messages of the Events of the Node. */
let warnings: string[];
let ending: { readonly namespace: string; readonly name: string; readonly uid: string }[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-static-pods-'));
  api = await startSeededApi(['default']);
  const client = api.clientFor();
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName }, spec: {} });
  clock = createManualClock();
  changes = [];
  warnings = [];
  ending = [];
  staticPods = createStaticPods({
    directory,
    nodeName,
    pods: { ready: async () => undefined, list: () => [], subscribe: () => () => undefined },
    client,
    clock,
    log: createLog({ level: 'silent' }),
    recorder: { record: (_, { message }) => warnings.push(message) },
  });
  staticPods.pods.subscribe(({ before, after }) => {
    const { name, namespace = '', uid = '', deletionTimestamp } = (after ?? before)?.metadata ?? { name: '' };
    const what = after === undefined ? 'gone' : deletionTimestamp === undefined ? 'runs' : 'ends';
    changes.push(`${name} ${what}`);
    if (what === 'ends') ending.push({ namespace, name, uid });
  });
});

afterEach(async () => {
  await staticPods.stop();
  await api.stop();
  await rm(directory, { recursive: true, force: true });
});

const path = (file: string): string => join(directory, file);
const write = (file: string, text: string): Promise<void> => writeFile(path(file), text);
const start = (): Promise<void> => staticPods.start({ signal: new AbortController().signal });
const imagesOf = (): readonly string[] => [...staticPods.pods.list()].map(({ spec }) => spec.containers[0]?.image ?? '');

/** Looks at the directory, and waits until that is over. */
async function look(): Promise<void> {
  clock.advance(2_000);
  await until(() => clock.pending > 0, { what: 'the look is over', timeoutMs: 3_000, intervalMs: 2 });
}

/** The programs of the pods that end are gone. */
async function finish(): Promise<void> {
  for (const { namespace, name, uid } of ending.splice(0)) {
    await staticPods.client.delete(pods, { namespace, name }, { preconditions: { uid } });
  }
}

it.each([
  ['a named pipe', async () => void spawnSync('mkfifo', [path('bad.yaml')]), 'is not a regular file'],
  ['a link to a device', () => symlink('/dev/null', path('bad.yaml')), 'is not a regular file'],
  ['a directory', () => mkdir(path('bad.yaml')), 'is not a regular file'],
  [
    'a large file behind a link',
    async () => {
      await write('large', '');
      await truncate(path('large'), 2 ** 40);
      await symlink('large', path('bad.yaml'));
    },
    'has 1099511627776 bytes; 1048576 are read',
  ],
])('leaves out %s with one warning, and runs the others', async (_, make, message) => {
  await make();
  await write('web.yaml', manifest('web'));
  await start();
  await look();
  await look();
  expect(changes).toEqual(['web-first runs']);
  expect(warnings).toEqual([expect.stringContaining(message)]);
  expect(warnings[0]).toMatch(/^bad\.yaml/);
});

it('follows a link to a manifest', async () => {
  await mkdir(path('..data'));
  await write('..data/web.yaml', manifest('web'));
  await symlink('..data/web.yaml', path('web.yaml'));
  await start();
  expect(changes).toEqual(['web-first runs']);
  await rm(path('..data/web.yaml'));
  await look();
  expect(changes).toEqual(['web-first runs', 'web-first ends']);
});

it.each([
  ['a.yaml', 'b.yaml'],
  ['b.yaml', 'a.yaml'],
])('a pod runs on when its file %s becomes %s', async (from, to) => {
  await write(from, manifest('web'));
  await start();
  await rename(path(from), path(to));
  await look();
  await look();
  expect(changes).toEqual(['web-first runs']);
  expect(warnings).toEqual([]);
  await rm(path(to));
  await look();
  expect(changes).toEqual(['web-first runs', 'web-first ends']);
});

it('a pod runs on when its file replaces that of another one, which ends', async () => {
  await write('a.yaml', manifest('web'));
  await write('b.yaml', manifest('db'));
  await start();
  await rename(path('a.yaml'), path('b.yaml'));
  await look();
  expect(changes).toEqual(['web-first runs', 'db-first runs', 'db-first ends']);
});

it.each([
  ['a.yaml', 'b.yaml'],
  ['b.yaml', 'a.yaml'],
])('a second file %s of a pod waits for the end of the first', async (second, first) => {
  await write(first, manifest('web', 'one'));
  await start();
  await write(second, manifest('web', 'two'));
  await look();
  await look();
  expect(imagesOf()).toEqual(['one']);
  expect(warnings).toEqual([`${second}: default/web-first is the pod of ${first} already`]);
  await rm(path(first));
  await look();
  await finish();
  expect(changes).toEqual(['web-first runs', 'web-first ends', 'web-first gone', 'web-first runs']);
  expect(imagesOf()).toEqual(['two']);
});

it('the pod of a file ends before another one of the same file begins', async () => {
  await write('a.yaml', manifest('web'));
  await start();
  await write('a.yaml', manifest('db'));
  await look();
  expect(changes).toEqual(['web-first runs', 'web-first ends']);
  await look();
  await finish();
  expect(changes).toEqual(['web-first runs', 'web-first ends', 'web-first gone', 'db-first runs']);
});

it('a pod whose file comes back while it ends has another UID, and runs on when the file is touched', async () => {
  await write('a.yaml', manifest('web'));
  await start();
  await rm(path('a.yaml'));
  await look();
  const [former] = ending;
  await write('a.yaml', manifest('web'));
  await look();
  await finish();
  const [again] = [...staticPods.pods.list()];
  expect(again?.metadata.uid).not.toBe(former?.uid);
  await write('a.yaml', `# the same\n${manifest('web')}`);
  await look();
  expect(changes).toEqual(['web-first runs', 'web-first ends', 'web-first gone', 'web-first runs']);
});

it('reads a file again that could not be read, and one that was half written', async () => {
  await write('half.yaml', manifest('half').slice(0, 60));
  // A link to itself fails for root, too.
  await symlink('loop.yaml', path('loop.yaml'));
  await start();
  await look();
  expect(warnings).toHaveLength(2);
  await write('half.yaml', manifest('half'));
  await rm(path('loop.yaml'));
  await write('loop.yaml', manifest('loop'));
  await look();
  expect(changes.sort()).toEqual(['half-first runs', 'loop-first runs']);
});

it.skipIf(process.getuid?.() === 0)('reads a file again that it had no right to read (needs a user other than root)', async () => {
  await write('a.yaml', manifest('web'));
  await chmod(path('a.yaml'), 0);
  await start();
  expect(changes).toEqual([]);
  await chmod(path('a.yaml'), 0o600);
  await look();
  expect(changes).toEqual(['web-first runs']);
});
