import { afterEach, expect, it } from 'vitest';
import { type RunningCluster, startCluster } from '../support/cluster.ts';
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
