// Push to applied and to ready, on the demo with real processes. Counted from before `git push` starts, so git's own time is in it; the
// baseline is a push to a path that no app reads.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { git, startCluster, temporary, watchUntil } from './cluster.mjs';

const rounds = 30;

export async function push() {
  const cluster = await startCluster('demo', []);
  const directory = temporary('clone');
  git('/', 'clone', '--quiet', cluster.endpoints.git, directory);
  const file = join(directory, 'apps/storefront/deployment.yaml');
  const applied = [];
  const ready = [];
  const baseline = [];
  for (let round = 0; round < rounds; round += 1) {
    writeFileSync(join(directory, 'NOTES.md'), `${round}\n`);
    git(directory, 'add', '--all');
    git(directory, 'commit', '--quiet', '-m', 'notes');
    const before = performance.now();
    git(directory, 'push', '--quiet');
    baseline.push(performance.now() - before);

    const replicas = round % 2 === 0 ? 4 : 3;
    writeFileSync(file, readFileSync(file, 'utf8').replace(/replicas: \d+/, `replicas: ${replicas}`));
    git(directory, 'commit', '--quiet', '--all', '-m', `${replicas} replicas`);
    const ref = { namespace: 'web', name: 'storefront' };
    const { resourceVersion } = (await cluster.client.get(deployments, ref)).metadata;
    // The push runs in another process, so both watches see their moment while git is still saying goodbye.
    const startedAt = performance.now();
    const whenApplied = watchUntil(cluster.client, deployments, {
      ...ref,
      resourceVersion,
      startedAt,
      fits: ({ spec }) => spec.replicas === replicas,
    });
    const whenReady = watchUntil(cluster.client, deployments, {
      ...ref,
      resourceVersion,
      startedAt,
      fits: ({ spec, status, metadata }) =>
        spec.replicas === replicas &&
        status.readyReplicas === replicas &&
        status.replicas === replicas &&
        status.observedGeneration === metadata.generation,
    });
    const { spawn } = await import('node:child_process');
    const pushing = new Promise((resolve) => spawn('git', ['push', '--quiet'], { cwd: directory, stdio: 'ignore' }).once('exit', resolve));
    applied.push(await whenApplied);
    ready.push(await whenReady);
    await pushing;
  }
  await cluster.stop();
  return [
    { name: 'git push alone (nothing to apply), baseline', unit: 'ms', samples: baseline },
    { name: 'push to applied', unit: 'ms', samples: applied },
    { name: 'push to ready (scale up and down, real processes)', unit: 'ms', samples: ready },
  ];
}
