// The built program for benchmarks: started on free ports with a data directory of its own, reached through the product's own HTTP client.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createHttpClient } from '../../dist/client/http-client.js';
import { loadKubeconfig } from '../../dist/client/kubeconfig.js';
import { programEnvironment } from '../../scripts/setup.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export const temporary = (name) => mkdtempSync(join(tmpdir(), `midship-bench-${name}-`));

export async function startCluster(command, args, dataDirectory = temporary('data')) {
  const startedAt = performance.now();
  const child = spawn(
    process.execPath,
    [join(root, 'dist/main.js'), command, '--data-dir', dataDirectory, '--api-port', '0', '--http-port', '0', ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      // As npm start starts it.
      env: { ...programEnvironment, NO_COLOR: '1' },
    },
  );
  let text = '';
  let apiReadyMs;
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
    if (apiReadyMs === undefined && text.includes('✓ API server')) apiReadyMs = performance.now() - startedAt;
  });
  const endpointsFile = join(dataDirectory, 'endpoints.json');
  while (!existsSync(endpointsFile)) {
    if (child.exitCode !== null) throw new Error(`the cluster ended with ${child.exitCode}\n${text}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const endpoints = JSON.parse(readFileSync(endpointsFile, 'utf8'));
  const client = createHttpClient({ ...(await loadKubeconfig(endpoints.kubeconfig)), userAgent: 'bench/0' });
  return {
    child,
    client,
    endpoints,
    dataDirectory,
    apiReadyMs: () => apiReadyMs,
    healthyMs: () => Number(/healthy after ([\d.]+) s/.exec(text)?.[1] ?? Number.NaN) * 1000,
    text: () => text,
    rssMiB: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024,
    /** Processor time of the program so far: beside the wall clock, since other work may share the machine. */
    cpuMs() {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return (Number(fields[11]) + Number(fields[12])) * 10;
    },
    metrics: async () => (await fetch(`${endpoints.http}/metrics`)).text(),
    async stop() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}

/** Watches one object and gives the time of the first event that fits, counted from `startedAt`. */
export function watchUntil(client, resource, { namespace, name, resourceVersion = '0', startedAt = performance.now(), fits }) {
  const abort = new AbortController();
  return new Promise((resolve, reject) => {
    client
      .watch(resource, {
        namespace,
        fieldSelector: `metadata.name=${name}`,
        resourceVersion,
        signal: abort.signal,
        onEvents(events) {
          for (const { type, object } of events) {
            if (type === 'BOOKMARK' || !fits(object, type)) continue;
            resolve(performance.now() - startedAt);
            abort.abort();
            return;
          }
        },
      })
      .catch((err) => {
        if (!abort.signal.aborted) reject(err);
      });
  });
}

export async function untilNone(client, resource, namespace) {
  for (;;) {
    const { items } = await client.list(resource, { namespace, limit: 1 });
    if (items.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function git(cwd, ...args) {
  const identity = {
    GIT_AUTHOR_NAME: 'Bench',
    GIT_AUTHOR_EMAIL: 'bench@example.com',
    GIT_COMMITTER_NAME: 'Bench',
    GIT_COMMITTER_EMAIL: 'bench@example.com',
  };
  const result = spawnSync('git', args, { cwd, env: { ...process.env, ...identity }, encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`git ${args.join(' ')}: ${result.stderr}`);
  return result.stdout.trim();
}
