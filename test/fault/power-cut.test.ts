import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import type { HttpClient } from '../../src/client/http-client.ts';
import { clientOf, type Endpoints, program, run } from '../support/cluster.ts';
import { sleeperManifest } from '../support/cluster-objects.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../support/git.ts';
import { createDisk, type Disk, whyNoPowerCuts } from '../support/power-cut.ts';
import { createRandom } from '../support/random.ts';
import { until } from '../support/until.ts';

/** `npm run fault -- --power-cuts N --seed S` sets both. */
const cuts = Number(process.env.MIDSHIP_POWER_CUTS ?? 1);
const seed = Number(process.env.MIDSHIP_SEED ?? 11);
/** Cuts of one disk; then a new cluster begins on an empty one. */
const cutsOfADisk = 5;
const reason = await whyNoPowerCuts();

const file = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\n`;

/** The program said that this is done: it has to be there after every cut. */
interface Acknowledged {
  readonly objects: Map<string, string>;
  commit: string | undefined;
  pushes: number;
  writes: number;
}

describe.skipIf(reason !== undefined)(`power cuts${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  it('lose no acknowledged write and no acknowledged push, and every start after one succeeds', {
    timeout: 60_000 + cuts * 40_000,
  }, async () => {
    process.stdout.write(`MIDSHIP_SEED=${seed}\n`);
    const random = createRandom(seed);
    const findings: string[] = [];
    const total = { writes: 0, pushes: 0, starts: 0 };
    for (let done = 0; done < cuts; ) {
      let disk = await createDisk(await temporaryDirectory('power-cut'));
      const tree = await newRepository('power-cut', { 'sleeper.yaml': sleeperManifest(2) });
      const acknowledged: Acknowledged = { objects: new Map(), commit: undefined, pushes: 0, writes: 0 };
      try {
        for (let life = 0; life < cutsOfADisk && done < cuts; life += 1, done += 1) {
          // The first life of a disk is cut while the cluster is made, and shortly after.
          const afterMs = life === 0 ? 300 + random() * 3_000 : random() * 2_500;
          const moment = life === 0 ? 'spawn' : 'start';
          const { finding, work } = await live(disk, { tree, acknowledged, afterMs, moment, random });
          if (finding !== undefined) findings.push(`cut ${done} (${moment} + ${afterMs.toFixed(0)} ms): ${finding}`);
          // Writes and pushes are under way; what is answered until the end counts as done.
          disk = await disk.cutPower();
          await work.end();
        }
        const { finding, work } = await live(disk, { tree, acknowledged, afterMs: 0, moment: 'start', random });
        await work.end();
        total.starts += 1;
        if (finding !== undefined) findings.push(`after cut ${done}: ${finding}`);
      } finally {
        await disk.close();
        total.writes += acknowledged.writes;
        total.pushes += acknowledged.pushes;
      }
      if (findings.length > 0) break;
    }
    process.stdout.write(`${cuts} cuts, ${total.writes} acknowledged writes, ${total.pushes} acknowledged pushes\n`);
    expect(findings).toEqual([]);
    expect(total.writes).toBeGreaterThan(0);
    expect(total.pushes).toBeGreaterThan(0);
  });
});

interface Life {
  readonly tree: WorkTree;
  readonly acknowledged: Acknowledged;
  /** When the power is cut, counted from `moment`. */
  readonly afterMs: number;
  readonly moment: 'spawn' | 'start';
  readonly random: () => number;
}

interface Lived {
  /** Says what is wrong. */
  readonly finding: string | undefined;
  readonly work: Work;
}

/** Writes and pushes that go on until they are ended. */
interface Work {
  end(): Promise<void>;
}

const noWork: Work = { end: async () => undefined };

/** Starts the program, looks whether all is there, and comes back when it is time for the cut, while it writes and pushes. */
async function live(disk: Disk, { tree, acknowledged, afterMs, moment, random }: Life): Promise<Lived> {
  const data = join(disk.directory, 'data');
  let output = '';
  let ended: number | null | undefined;
  const spawnedAt = performance.now();
  const args = [program, 'up', '--data-dir', data, '--api-port', '0', '--http-port', '0'];
  const { exited } = await disk.spawn(process.execPath, args, (text) => (output += text));
  void exited.then((code) => (ended = code));
  const isOver = (from: number): boolean => performance.now() - from > afterMs;
  const endpoints = await until(
    () => {
      if (ended !== undefined) return null;
      if (moment === 'spawn' && isOver(spawnedAt)) return null;
      return readEndpoints(data, output);
    },
    { timeoutMs: 60_000, intervalMs: 5, what: () => `the cluster is up; it printed:\n${output}` },
  );
  if (endpoints === null) return { finding: ended === undefined ? undefined : `it did not start (${ended}):\n${output}`, work: noWork };
  const client = await clientOf(endpoints);
  const missing = await missingIn(client, join(data, 'git', 'cluster.git'), acknowledged);
  if (missing !== undefined) return { finding: missing, work: noWork };
  const from = moment === 'spawn' ? spawnedAt : performance.now();
  let isCut = false;
  const failures: string[] = [];
  const isDone = (): boolean => isCut || ended !== undefined;
  // A failure that the cut causes is no finding.
  const note = (err: unknown): void => void (isCut || isOver(from) || failures.push(String(err)));
  // In half of the lives nothing else is written that would take a push to the disk.
  const loops = [
    push(tree, endpoints.git, acknowledged, isDone).catch(note),
    ...(random() < 0.5 ? [] : [write(client, acknowledged, isDone, random).catch(note)]),
  ];
  await until(() => isOver(from) || ended !== undefined || failures.length > 0, { intervalMs: 2, what: 'the moment of the cut' });
  const finding = ended === undefined ? failures[0] : `it ended by itself (${ended}):\n${output}`;
  return {
    finding,
    work: {
      async end() {
        isCut = true;
        await Promise.all(loops);
        client.close();
      },
    },
  };
}

/** The file is there once all is up; one of the life before names another process. */
function readEndpoints(data: string, output: string): Endpoints | undefined {
  const path = join(data, 'endpoints.json');
  if (!output.includes('API server') || !existsSync(path)) return undefined;
  try {
    const endpoints = JSON.parse(readFileSync(path, 'utf8')) as Endpoints;
    return readFileSync(`/proc/${endpoints.pid}/cmdline`, 'utf8').includes(data) ? endpoints : undefined;
  } catch {
    return undefined;
  }
}

async function missingIn(client: HttpClient, gitdir: string, { objects, commit }: Acknowledged): Promise<string | undefined> {
  const { items } = await client.list(configMaps, { namespace: 'default' });
  const found = new Map(items.map(({ metadata, data }) => [metadata.name, Number(data?.value ?? -1)]));
  const lost = [...objects].filter(([name, value]) => (found.get(name) ?? -1) < Number(value));
  if (lost.length > 0) return `${lost.length} acknowledged writes are lost, such as ${lost[0]?.join(' = ')}`;
  const fsck = await run('git', ['--git-dir', gitdir, 'fsck', '--no-dangling', '--no-progress']);
  if (fsck.code !== 0 || /missing|corrupt|error/.test(`${fsck.stdout}${fsck.stderr}`)) return `git fsck: ${fsck.stdout}${fsck.stderr}`;
  if (commit === undefined) return undefined;
  const ancestor = await run('git', ['--git-dir', gitdir, 'merge-base', '--is-ancestor', commit, 'refs/heads/main']);
  return ancestor.code === 0 ? undefined : `the acknowledged push of ${commit} is lost: ${ancestor.stderr}`;
}

async function write(client: HttpClient, acknowledged: Acknowledged, isDone: () => boolean, random: () => number): Promise<void> {
  while (!isDone()) {
    const name = `written-${Math.floor(random() * 50)}`;
    const value = String(Number(acknowledged.objects.get(name) ?? 0) + 1);
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value } };
    await client.patch(configMaps, { namespace: 'default', name }, { type: 'apply', body }, { fieldManager: 'fault', force: true });
    acknowledged.objects.set(name, value);
    acknowledged.writes += 1;
  }
}

async function push(tree: WorkTree, url: string, acknowledged: Acknowledged, isDone: () => boolean): Promise<void> {
  while (!isDone()) {
    const commit = await tree.commit('change', { 'pushed.yaml': file(`pushed-${acknowledged.pushes}`) });
    await tree.git('push', '--quiet', url, 'HEAD:refs/heads/main');
    acknowledged.commit = commit;
    acknowledged.pushes += 1;
  }
}
