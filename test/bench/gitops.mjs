// Measures the GitOps engine: a commit that does not change 1,000 apps, and a commit of one file in repositories from
// 100 to 50,000 files. Then the correction of changes by hand, and a revert that arrives while its commit is being
// applied.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { kustomizations } from '../../dist/api/kustomize/v1/kustomization.js';
import { git, startCluster, temporary, watchUntil } from './cluster.mjs';

const configMap = (name, value) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\ndata: {value: "${value}"}\n`;

function clone(cluster, files) {
  const directory = temporary('clone');
  git('/', 'clone', '--quiet', cluster.endpoints.git, directory);
  git(directory, 'checkout', '--quiet', '-B', 'main');
  for (const [name, text] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  git(directory, 'add', '--all');
  git(directory, 'commit', '--quiet', '-m', 'first');
  return directory;
}

async function allReady(client, sha, count) {
  for (;;) {
    const { items } = await client.list(kustomizations, { namespace: 'flux-system' });
    const done = items.filter(
      ({ status }) =>
        status?.lastAppliedRevision?.endsWith(sha) && status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    );
    if (done.length >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** Milliseconds of processor that the program has used. */
function cpuMs({ child }) {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const peakMiB = ({ child }) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;

/** Objects that apps have written so far. */
async function writesOf(cluster) {
  // The text of /metrics is kept for a second.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const text = await cluster.metrics();
  return [...text.matchAll(/^gitops_apply_objects_total\{[^}]*action="(?:created|configured|pruned)"\} (\d+)/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
}

async function noopOverApps() {
  const count = 1_000;
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './clusters']);
  const files = [['notes.md', '0']];
  for (let app = 0; app < count; app += 1) {
    for (let object = 0; object < 4; object += 1) files.push([`apps/a${app}/c${object}.yaml`, configMap(`a${app}-c${object}`, '1')]);
    files.push([
      `clusters/a${app}.yaml`,
      `apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a${app}, namespace: flux-system}\nspec: {interval: 10m, path: ./apps/a${app}, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n`,
    ]);
  }
  const directory = clone(cluster, files);
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), count + 1);
  const cpu = [];
  const writes = [];
  for (let round = 1; round <= 5; round += 1) {
    writeFileSync(join(directory, 'notes.md'), String(round));
    git(directory, 'commit', '--quiet', '--all', '-m', 'notes');
    const before = await writesOf(cluster);
    const cpuBefore = cpuMs(cluster);
    git(directory, 'push', '--quiet', 'origin', 'main');
    await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), count + 1);
    cpu.push(cpuMs(cluster) - cpuBefore);
    writes.push((await writesOf(cluster)) - before);
  }
  const peak = peakMiB(cluster);
  await cluster.stop();
  rmSync(directory, { recursive: true, force: true });
  return { cpu, writes, peak };
}

async function oneFileIn(size) {
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './app']);
  const files = [];
  for (let index = 0; index < 50; index += 1) files.push([`app/c${index}.yaml`, configMap(`c${index}`, '1')]);
  for (let index = files.length; index < size; index += 1)
    files.push([`other/d${index % 200}/f${index}.yaml`, configMap(`f${index}`, '1')]);
  const directory = clone(cluster, files);
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), 1);
  const samples = [];
  for (let round = 0; round < 15; round += 1) {
    writeFileSync(join(directory, `app/c${round}.yaml`), configMap(`c${round}`, `changed ${round}`));
    git(directory, 'commit', '--quiet', '--all', '-m', 'one file');
    const { resourceVersion } = (await cluster.client.list(configMaps, { namespace: 'default', limit: 1 })).metadata;
    const startedAt = performance.now();
    const applied = watchUntil(cluster.client, configMaps, {
      namespace: 'default',
      name: `c${round}`,
      resourceVersion,
      startedAt,
      fits: ({ data }) => data.value === `changed ${round}`,
    });
    const pushing = pushOf(directory);
    samples.push(await applied);
    await pushing;
  }
  const peak = peakMiB(cluster);
  await cluster.stop();
  rmSync(directory, { recursive: true, force: true });
  return { samples, peak };
}

const pushOf = (directory, revision = 'main') =>
  new Promise((resolve) =>
    spawn('git', ['push', '--quiet', 'origin', `${revision}:main`], { cwd: directory, stdio: 'ignore' }).once('exit', resolve),
  );

/** From the request that changes an object by hand, which is part of it, to the object as Git has it. */
async function driftCorrected() {
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './app']);
  const count = 40;
  const directory = clone(
    cluster,
    Array.from({ length: count }, (_, index) => [`app/c${index}.yaml`, configMap(`c${index}`, '1')]),
  );
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), 1);
  const samples = [];
  for (let round = 0; round < count; round += 1) {
    const ref = { namespace: 'default', name: `c${round}` };
    const { resourceVersion } = (await cluster.client.get(configMaps, ref)).metadata;
    let isChanged = false;
    const restored = watchUntil(cluster.client, configMaps, {
      ...ref,
      resourceVersion,
      fits({ data }) {
        isChanged ||= data.value === 'by hand';
        return isChanged && data.value === '1';
      },
    });
    await cluster.client.patch(configMaps, ref, { type: 'merge', body: { data: { value: 'by hand' } } }, { fieldManager: 'bench' });
    samples.push(await restored);
  }
  await cluster.stop();
  rmSync(directory, { recursive: true, force: true });
  return samples;
}

/** From the start of the push of a revert, while the commit before is being applied to 2,000 objects, to the last write of either. */
async function revertUnderWay() {
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './app']);
  const count = 2_000;
  const filesOf = (value) => Array.from({ length: count }, (_, index) => [`app/c${index}.yaml`, configMap(`c${index}`, value)]);
  const directory = clone(cluster, filesOf('1'));
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), 1);
  const samples = [];
  const begun = [];
  for (let round = 0; round < 7; round += 1) {
    for (const [name, text] of filesOf(`bad ${round}`)) writeFileSync(join(directory, name), text);
    git(directory, 'commit', '--quiet', '--all', '-m', 'bad');
    git(directory, 'revert', '--no-edit', 'HEAD');
    const { resourceVersion } = (await cluster.client.list(configMaps, { namespace: 'default', limit: 1 })).metadata;
    const abort = new AbortController();
    const bad = new Set();
    let touched = 0;
    let startedAt;
    let lastWrite;
    let reverting;
    const watching = cluster.client
      .watch(configMaps, {
        namespace: 'default',
        resourceVersion,
        signal: abort.signal,
        onEvents(events) {
          for (const { type, object } of events) {
            if (type === 'BOOKMARK') continue;
            lastWrite = performance.now();
            if (object.data.value === '1') bad.delete(object.metadata.name);
            else {
              bad.add(object.metadata.name);
              touched += 1;
            }
          }
          if (reverting !== undefined || bad.size === 0) return;
          startedAt = performance.now();
          reverting = pushOf(directory);
        },
      })
      .catch((err) => {
        if (!abort.signal.aborted) throw err;
      });
    await pushOf(directory, 'main~1');
    while (reverting === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    await reverting;
    await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), 1);
    while (bad.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort();
    await watching;
    samples.push(lastWrite - startedAt);
    begun.push(touched);
  }
  await cluster.stop();
  rmSync(directory, { recursive: true, force: true });
  return { samples, begun };
}

export async function gitops() {
  const drift = await driftCorrected();
  const revert = await revertUnderWay();
  const noop = await noopOverApps();
  const rows = [
    { name: 'commit that is nothing to 1,000 apps: processor time', unit: 'ms', samples: noop.cpu },
    { name: 'commit that is nothing to 1,000 apps: objects written', unit: 'objects', samples: noop.writes },
    { name: 'peak resident memory with 1,000 apps', unit: 'MiB', samples: [noop.peak] },
    { name: 'change by hand to put back', unit: 'ms', samples: drift },
    { name: 'push of a revert amid 2,000 writes, to the last write', unit: 'ms', samples: revert.samples },
    { name: 'objects that the reverted commit had come to', unit: 'objects', samples: revert.begun },
  ];
  for (const size of [100, 1_000, 10_000, 50_000]) {
    const { samples, peak } = await oneFileIn(size);
    rows.push({ name: `push of one file in a repository of ${size} files, to applied`, unit: 'ms', samples });
    rows.push({ name: `peak resident memory, repository of ${size} files`, unit: 'MiB', samples: [peak] });
  }
  return rows;
}
