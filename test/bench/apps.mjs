// Large repositories: 1,000 apps of 4 objects from one push, and a no-op pass over 10,000 manifests of one app.
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { kustomizations } from '../../dist/api/kustomize/v1/kustomization.js';
import { git, startCluster, temporary, watchUntil } from './cluster.mjs';

const configMap = (name, value) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\ndata: {value: "${value}"}\n`;

async function repository(cluster, files) {
  const directory = temporary('clone');
  git('/', 'clone', '--quiet', cluster.endpoints.git, directory);
  git(directory, 'checkout', '--quiet', '-B', 'main');
  for (const [name, text] of files) {
    mkdirSync(join(directory, name, '..'), { recursive: true });
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
        status?.lastAppliedRevision?.endsWith(sha) &&
        status.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
    );
    if (done.length >= count) return;
    // A list of a thousand apps is megabytes: asked for more often, it would be a good part of what is measured.
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function thousandApps() {
  const apps = 1_000;
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './clusters']);
  const files = [];
  for (let app = 0; app < apps; app += 1) {
    for (let object = 0; object < 4; object += 1) files.push([`apps/a${app}/c${object}.yaml`, configMap(`a${app}-c${object}`, '1')]);
    files.push([
      `clusters/a${app}.yaml`,
      `apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a${app}, namespace: flux-system}\nspec: {interval: 10m, path: ./apps/a${app}, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n`,
    ]);
  }
  const directory = await repository(cluster, files);
  const startedAt = performance.now();
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), apps + 1);
  const ms = performance.now() - startedAt;
  const rss = cluster.rssMiB();
  await cluster.stop();
  return { ms, rss };
}

async function noopPass() {
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--path', './app']);
  const files = Array.from({ length: 10_000 }, (_, index) => [`app/d${index % 100}/c${index}.yaml`, configMap(`c${index}`, '1')]);
  const directory = await repository(cluster, [...files, ['notes.md', '0']]);
  git(directory, 'push', '--quiet', 'origin', 'main');
  await allReady(cluster.client, git(directory, 'rev-parse', 'HEAD'), 1);
  const passes = [];
  const oneFile = [];
  const sumOf = (text) =>
    Number(/^controller_runtime_reconcile_time_seconds_sum\{controller="kustomization"\} (\S+)/m.exec(text)?.[1] ?? Number.NaN) * 1_000;
  const ref = { namespace: 'flux-system', name: 'flux-system' };
  for (let round = 0; round < 20; round += 1) {
    const before = sumOf(await cluster.metrics());
    const { resourceVersion } = await cluster.client
      .patch(
        kustomizations,
        ref,
        { type: 'merge', body: { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': `r${round}` } } } },
        { fieldManager: 'bench' },
      )
      .then(({ metadata }) => metadata);
    await watchUntil(cluster.client, kustomizations, {
      ...ref,
      resourceVersion,
      fits: ({ status }) => status?.lastHandledReconcileAt === `r${round}`,
    });
    // The pass itself, without the request and its answer: what the controller says it worked. The text of /metrics is kept for a second.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    passes.push(sumOf(await cluster.metrics()) - before);
  }
  for (let round = 0; round < 10; round += 1) {
    writeFileSync(join(directory, `app/d${round}/c${round}.yaml`), configMap(`c${round}`, `changed ${round}`));
    git(directory, 'commit', '--quiet', '--all', '-m', 'one file');
    // The version of a list, not of the object: that one is thousands of changes old.
    const { resourceVersion } = (await cluster.client.list(configMaps, { namespace: 'default', limit: 1 })).metadata;
    const startedAt = performance.now();
    const applied = watchUntil(cluster.client, configMaps, {
      namespace: 'default',
      name: `c${round}`,
      resourceVersion,
      startedAt,
      fits: ({ data }) => data.value === `changed ${round}`,
    });
    const pushing = new Promise((resolve) =>
      spawn('git', ['push', '--quiet', 'origin', 'main'], { cwd: directory, stdio: 'ignore' }).once('exit', resolve),
    );
    oneFile.push(await applied);
    await pushing;
  }
  await cluster.stop();
  return { passes, oneFile };
}

export async function apps() {
  const many = [];
  for (let run = 0; run < 3; run += 1) many.push(await thousandApps());
  return [
    { name: '1,000 apps x 4 objects from one push, to all ready', unit: 'ms', samples: many.map(({ ms }) => ms) },
    { name: 'resident memory with 1,000 apps', unit: 'MiB', samples: many.map(({ rss }) => rss) },
  ];
}

export async function large() {
  const { passes, oneFile } = await noopPass();
  return [
    { name: 'no-op pass over 10,000 manifests', unit: 'ms', samples: passes },
    { name: 'push of one file in a repository of 10,000, to applied', unit: 'ms', samples: oneFile },
  ];
}
