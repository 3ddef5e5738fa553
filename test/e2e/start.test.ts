import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it, onTestFinished } from 'vitest';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { clientOf, program, type RunningCluster, startCluster } from '../support/cluster.ts';
import { cloneRepository, newRepository } from '../support/git.ts';
import { until } from '../support/until.ts';

let cluster: RunningCluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const start = async (...args: string[]): Promise<RunningCluster> => {
  cluster = await startCluster({ command: 'up', args: ['--runtime', 'simulated', ...args] });
  return cluster;
};

it('up prints the addresses although nothing of the repository works, and names the flag of a wrong path', async () => {
  const repository = await newRepository('start', { 'apps/a.yaml': 'a: [\n' });
  const { output } = await start('--repo', repository.directory, '--path', 'clusters/home');
  // An app gets a minute to become healthy; the addresses do not wait for it.
  await until(() => output().includes('kubectl '), { timeoutMs: 20_000, what: () => `addresses; ${output()}` });
  await until(() => output().includes('--path'), { what: () => `the flag; ${output()}` });
  expect(output()).toMatch(/Status page +http:[\s\S]*kubectl +export KUBECONFIG=[\s\S]*✗ flux-system +clusters is not a directory/);
  // The cluster follows the directory: a push to the built-in remote would do nothing.
  expect(output()).not.toContain('Push to');
});

it('up with an empty built-in remote waits for the first push, without an error', async () => {
  const { output, endpoints } = await start();
  await until(() => output().includes('waiting for the first push'), { what: () => `what comes next; ${output()}` });
  expect(output()).toMatch(/Push to +http:\S+cluster\.git/);
  const tree = await cloneRepository(endpoints.git, 'first');
  await tree.git('checkout', '--quiet', '-b', 'main');
  await tree.commit('one map', { 'a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n' });
  await tree.git('push', '--quiet', 'origin', 'main');
  await until(() => output().includes('created ConfigMap default/a'), { what: () => `the commit is applied; ${output()}` });
  expect(output()).not.toContain('✗');
});

/** A component in a process of its own. */
function startComponent(name: 'controllers' | 'scheduler', kubeconfig: string) {
  const times = ['--leader-elect-lease-duration', '9s', '--leader-elect-retry-period', '1s'];
  const child: ChildProcess = spawn(process.execPath, [program, name, '--kubeconfig', kubeconfig, '--secure-port', '0', ...times], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    says: (what: RegExp): Promise<unknown> =>
      until(() => what.test(text), { timeoutMs: 30_000, what: () => `${name} says ${what}: ${text}` }),
    async end(signal: NodeJS.Signals): Promise<number | null> {
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

it('controllers and scheduler work from processes of their own, of which another one goes on when the leader is killed', async () => {
  const { endpoints } = await start('--simulate-nodes', '1', '--disable', 'controllers,scheduler,gitops,node');
  const client = await clientOf(endpoints);
  onTestFinished(() => client.close());
  const web = { namespace: 'default', name: 'web' };
  const template = {
    metadata: { labels: { app: 'web' } },
    spec: { containers: [{ name: 'web', image: 'web' }], tolerations: [{ operator: 'Exists' as const }] },
  };
  await client.create(deployments, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: web,
    spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template },
  });
  const status = async (): Promise<Deployment['status']> => (await client.get(deployments, web)).status;
  const hasReady = (count: number): Promise<unknown> =>
    until(async () => (await status())?.readyReplicas === count, {
      timeoutMs: 40_000,
      what: async () => `${count}: ${JSON.stringify(await status())}`,
    });

  const controllers = startComponent('controllers', endpoints.kubeconfig);
  const leader = startComponent('scheduler', endpoints.kubeconfig);
  await leader.says(/works on https:\S+, by the lease kube-system\/kube-scheduler/);
  const standby = startComponent('scheduler', endpoints.kubeconfig);
  await hasReady(1);
  await standby.says(/stands by: \S+ holds the lease kube-system\/kube-scheduler/);
  await leader.end('SIGKILL');
  await client.patch(deployments, web, { type: 'merge', body: { spec: { replicas: 2 } } });
  await hasReady(2);
  await standby.says(/works on/);
  expect(await standby.end('SIGTERM')).toBe(0);
  expect(await controllers.end('SIGINT')).toBe(130);
});
