// npm run fault -- soak [--minutes M]. Runs the built program under churn of objects, pods, watches, pushes and page views, and follows its
// memory. Fails when the memory after the first quarter of the time grows by more than a tenth.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { pods } from '../../dist/api/core/v1/pod.js';
import { startCluster, temporary } from '../bench/cluster.mjs';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '120' } } });
const totalMs = Number(values.minutes) * 60_000;
if (!(totalMs >= 60_000)) throw new Error('--minutes is a number from 1');

const sampleEveryMs = 2_000;
/** The curve that is printed and judged: each point is what a part of the time was like. */
const points = 16;
const warmUpPoints = points / 4;
/** The points that are compared: the first after the first quarter, and the last. */
const comparedPoints = 3;
const maxGrowth = 1.1;
/** Share of all operations; a conflict or a missing object is no failure. */
const maxFailures = 0.001;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const counts = {};
const failures = {};
let isOver = false;

/** Does `step` again and again, about every `everyMs`, until the time is over. */
async function churn(name, everyMs, step) {
  counts[name] = 0;
  for (let round = 0; !isOver; round += 1) {
    try {
      await step(round);
    } catch (err) {
      if (isOver) return;
      if (err.code !== 404 && err.code !== 409) {
        const what = `${name}: ${String(err.message).slice(0, 160)}`;
        failures[what] = (failures[what] ?? 0) + 1;
      }
    }
    counts[name] += 1;
    await sleep(everyMs * (0.5 + Math.random()));
  }
}

const namespace = 'default';
const workload = (name, replicas) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        tolerations: [{ key: 'midship.dev/simulated', operator: 'Exists' }],
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'web', image: 'host/none' }],
      },
    },
  },
});

/** Fifty ConfigMaps that come, change and go. */
async function changeObject(client, round) {
  const ref = { namespace, name: `soak-${round % 50}` };
  const data = { round: String(round), text: 'x'.repeat(1 + ((round * 7_919) % 60_000)) };
  if (round % 150 < 50) {
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: ref, data });
  } else if (round % 150 < 100) await client.patch(configMaps, ref, { type: 'merge', body: { data } });
  else await client.delete(configMaps, ref);
}

/** Ten Deployments between one and twenty replicas, and pods that are deleted by hand. */
async function changePods(client, round) {
  const name = `soak-${round % 10}`;
  if (round < 10) await client.create(deployments, workload(name, 5));
  else if (round % 3 === 0) {
    const { items } = await client.list(pods, { namespace, labelSelector: `app=${name}`, limit: 5 });
    for (const { metadata } of items) await client.delete(pods, { namespace, name: metadata.name }, { gracePeriodSeconds: 0 });
  } else await client.patch(deployments, { namespace, name }, { type: 'merge', body: { spec: { replicas: 1 + ((round * 13) % 20) } } });
}

async function watchForAWhile(client, round) {
  const resource = [configMaps, pods, deployments][round % 3];
  const signal = AbortSignal.timeout(500 + ((round * 331) % 5_000));
  const { metadata } = await client.list(resource, { namespace, limit: 1 });
  await client.watch(resource, { namespace, resourceVersion: metadata.resourceVersion, signal, onEvents: () => undefined });
}

/** Adds, changes and removes objects of an app, and takes a commit back now and then. */
async function pushCommit(directory, round) {
  const git = (...args) => promisify(execFile)('git', args, { cwd: directory, env: { ...process.env, ...identity } });
  const isRevert = round % 10 === 9;
  if (isRevert) await git('revert', '--no-edit', 'HEAD');
  else {
    for (let index = 0; index < 5; index += 1) {
      const name = `app-${(round + index) % 20}`;
      const value = JSON.stringify('y'.repeat(1 + ((round * 31 + index) % 2_000)));
      const text = `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: ${namespace}}\ndata: {round: "${round}", text: ${value}}\n`;
      if (round % 20 === 19) rmSync(join(directory, `${name}.yaml`), { force: true });
      else writeFileSync(join(directory, `${name}.yaml`), text);
    }
    await git('add', '--all');
    await git('commit', '--quiet', '--allow-empty', '-m', `round ${round}`);
  }
  await git('push', '--quiet', 'origin', 'HEAD:main');
}
const identity = {
  GIT_AUTHOR_NAME: 'Soak',
  GIT_AUTHOR_EMAIL: 'soak@example.com',
  GIT_COMMITTER_NAME: 'Soak',
  GIT_COMMITTER_EMAIL: 'soak@example.com',
};

const paths = [
  '/',
  '/events',
  '/steps',
  '/status.json',
  '/metrics',
  '/apps/flux-system/flux-system',
  '/nodes/sim-1',
  '/?q=soak',
  '/badge/flux-system/flux-system.svg',
];

async function viewPage(http, round) {
  const path = paths[round % paths.length];
  const response = await fetch(`${http}${path}`);
  await response.arrayBuffer();
  // Busy is an answer, too.
  if (!response.ok && response.status !== 503) throw new Error(`${path}: ${response.status}`);
}

/** An open page, for some seconds. */
function followPage(http, round) {
  return new Promise((resolve, reject) => {
    const request = get(`${http}/events/stream?path=${encodeURIComponent(paths[round % 3])}`, (response) => {
      response.resume();
      setTimeout(() => request.destroy(), 500 + ((round * 577) % 5_000));
    });
    request.on('close', resolve);
    request.on('error', (err) => (request.destroyed ? resolve() : reject(err)));
  });
}

/** Reads the resident memory, and how much of the heap is in use at the moment. */
async function sample(cluster) {
  const text = await (await fetch(`${cluster.endpoints.http}/metrics`)).text();
  const mib = (name) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN) / 1_048_576;
  return { residentMiB: cluster.rssMiB(), heapMiB: mib('nodejs_heap_size_used_bytes'), externalMiB: mib('nodejs_external_memory_bytes') };
}

/**
 * Garbage makes every single sample a matter of luck. The least heap of many samples is what was left after a collection, and the median
 * of the resident memory is where it stays.
 */
function pointOf(samples) {
  const sorted = (name) => samples.map((each) => each[name]).sort((a, b) => a - b);
  const middle = (list) => list[Math.floor(list.length / 2)];
  return { heapMiB: sorted('heapMiB')[0], residentMiB: middle(sorted('residentMiB')), externalMiB: middle(sorted('externalMiB')) };
}

const mean = (list) => list.reduce((sum, each) => sum + each, 0) / list.length;

async function soak(cluster) {
  const { client, endpoints } = cluster;
  const directory = temporary('soak');
  mkdirSync(directory, { recursive: true });
  const git = (...args) => promisify(execFile)('git', args, { cwd: directory });
  await git('init', '--quiet', '--initial-branch=main');
  await git('remote', 'add', 'origin', endpoints.git);
  const work = [
    churn('object changes', 10, (round) => changeObject(client, round)),
    churn('pod changes', 100, (round) => changePods(client, round)),
    ...Array.from({ length: 5 }, (_, index) => churn(`watches ${index}`, 50, (round) => watchForAWhile(client, round + index))),
    churn('pushes', 2_000, (round) => pushCommit(directory, round)),
    churn('page views', 100, (round) => viewPage(endpoints.http, round)),
    ...Array.from({ length: 5 }, (_, index) => churn(`open pages ${index}`, 50, (round) => followPage(endpoints.http, round + index))),
  ];
  const curve = [];
  const startedAt = performance.now();
  process.stdout.write('minutes   heap MiB (least)   resident MiB   external MiB\n');
  for (let point = 0; point < points; point += 1) {
    const samples = [];
    const until = startedAt + (totalMs * (point + 1)) / points;
    while (performance.now() < until) {
      samples.push(await sample(cluster));
      await sleep(Math.max(0, Math.min(sampleEveryMs, until - performance.now())));
    }
    const { heapMiB, residentMiB, externalMiB } = pointOf(samples);
    curve.push({ heapMiB, residentMiB });
    const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1);
    process.stdout.write(
      `${minutes.padStart(7)} ${heapMiB.toFixed(1).padStart(18)} ${residentMiB.toFixed(1).padStart(14)} ${externalMiB.toFixed(1).padStart(14)}\n`,
    );
  }
  isOver = true;
  await Promise.race([Promise.all(work), sleep(15_000)]);
  rmSync(directory, { recursive: true, force: true });
  return curve;
}

function judge(curve) {
  const complaints = [];
  for (const [name, what] of [
    ['heapMiB', 'heap'],
    ['residentMiB', 'resident memory'],
  ]) {
    const before = mean(curve.slice(warmUpPoints, warmUpPoints + comparedPoints).map((point) => point[name]));
    const after = mean(curve.slice(-comparedPoints).map((point) => point[name]));
    process.stdout.write(
      `${what}: ${before.toFixed(1)} MiB after the first quarter, ${after.toFixed(1)} MiB at the end (${((after / before - 1) * 100).toFixed(1)} %)\n`,
    );
    if (!(after <= before * maxGrowth)) complaints.push(`the ${what} grew by more than a tenth`);
  }
  const done = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
  process.stdout.write(`${done} operations: ${JSON.stringify(counts)}\n${failed} failed: ${JSON.stringify(failures, undefined, 2)}\n`);
  if (failed > done * maxFailures) complaints.push(`${failed} of ${done} operations failed`);
  return complaints;
}

const cluster = await startCluster('up', ['--runtime', 'simulated', '--simulate-nodes', '20']);
let complaints;
try {
  complaints = judge(await soak(cluster));
  const log = readFileSync(join(cluster.dataDirectory, 'logs', 'midship.log'), 'utf8');
  // Levels of pino: 50 is error, 60 fatal.
  const errors = log.split('\n').filter((line) => /"level":(50|60)/.test(line));
  process.stdout.write(`${errors.length} errors in the log\n${errors.slice(0, 5).join('\n')}\n`);
} finally {
  await cluster.stop();
}
for (const complaint of complaints) process.stderr.write(`✗ ${complaint}\n`);
process.exit(complaints.length === 0 ? 0 : 1);
