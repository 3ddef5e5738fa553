import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { daemonSets } from '../../src/api/apps/v1/daemon-set.ts';
import { deployments } from '../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../src/api/apps/v1/replica-set.ts';
import { statefulSets } from '../../src/api/apps/v1/stateful-set.ts';
import { jobs } from '../../src/api/batch/v1/job.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { pods as podResource } from '../../src/api/core/v1/pod.ts';
import { kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../src/api/source/v1/git-repository.ts';
import { createHttpClient } from '../../src/client/http-client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import * as daemonSet from '../../src/lifecycle/daemon-set.facts.ts';
import * as deployment from '../../src/lifecycle/deployment.facts.ts';
import * as gitRepository from '../../src/lifecycle/git-repository.facts.ts';
import * as job from '../../src/lifecycle/job.facts.ts';
import * as kustomization from '../../src/lifecycle/kustomization.facts.ts';
import * as node from '../../src/lifecycle/node.facts.ts';
import * as podRun from '../../src/lifecycle/pod-run.facts.ts';
import * as podScheduling from '../../src/lifecycle/pod-scheduling.facts.ts';
import * as replicaSet from '../../src/lifecycle/replica-set.facts.ts';
import * as statefulSet from '../../src/lifecycle/stateful-set.facts.ts';
import { stateNameOf } from '../../src/lifecycle/step.ts';
import type { KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

interface KubeList {
  readonly items: readonly {
    readonly metadata: {
      readonly name: string;
      readonly uid: string;
      readonly labels?: Readonly<Record<string, string>>;
      readonly deletionTimestamp?: string;
    };
    readonly spec: Readonly<Record<string, unknown>> & { readonly nodeName?: string };
    readonly status: {
      readonly podIP?: string;
      readonly conditions?: readonly { readonly type: string; readonly status: string }[];
      readonly containerStatuses?: readonly { readonly restartCount: number; readonly state?: { readonly running?: object } }[];
    };
  }[];
}

describe.skipIf(!hasNamespaces || !hasKubectl)('a running cluster (needs user namespaces and kubectl)', () => {
  let cluster: RunningCluster;
  let clone: WorkTree;

  beforeAll(async () => {
    cluster = await startCluster({ args: ['--simulate-nodes', '2'] });
    clone = await cloneRepository(cluster.endpoints.git, 'delivery');
  });
  afterAll(() => cluster?.stop());

  const get = async (...args: string[]): Promise<KubeList> => {
    const { stdout, stderr, code } = await cluster.kubectl('get', ...args, '-o', 'json');
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout) as KubeList;
  };
  const pods = async (app: string): Promise<KubeList['items']> =>
    (await get('pods', '-n', 'web', '-l', `app=${app}`)).items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const isReady = ({ status }: KubeList['items'][number]): boolean =>
    status.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
  const readyPods = async (app: string, count: number): Promise<KubeList['items']> =>
    until(
      async () => {
        const all = await pods(app);
        return all.length === count && all.every(isReady) && all;
      },
      { timeoutMs: 60_000, what: () => `${count} ready pods of ${app}; ${cluster.output()}` },
    );
  const quiet = (): Promise<unknown> =>
    until(async () => (await cluster.midship('status', '--exit-code')).code === 0, { what: () => `quiet; ${cluster.output()}` });
  const edit = async (message: string, file: string, change: (text: string) => string): Promise<void> => {
    const path = join(clone.directory, file);
    await writeFile(path, change(await readFile(path, 'utf8')));
    await clone.commit(message, {});
    await clone.git('push', '--quiet');
  };
  const revert = async (): Promise<void> => {
    await clone.git('revert', '--no-edit', 'HEAD');
    await clone.git('push', '--quiet');
  };

  it('has what a cluster has from its first start', async () => {
    const { stdout } = await cluster.kubectl('get', 'namespaces', '-o', 'name');
    for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease', 'flux-system', 'web'])
      expect(stdout).toContain(`namespace/${name}\n`);
    const answers = await cluster.kubectl('get', 'deploy,rs,pods,svc,endpointslices', '-A');
    expect(answers.code, answers.stderr).toBe(0);
    expect(answers.stdout).toMatch(/default +service\/kubernetes +ClusterIP/);
    const nodes = await cluster.kubectl('get', 'nodes');
    expect(nodes.stdout.match(/ Ready /g)).toHaveLength(4);
    for (const namespace of ['default', 'web']) {
      expect((await cluster.kubectl('get', 'serviceaccount/default', 'configmap/kube-root-ca.crt', '-n', namespace)).code).toBe(0);
    }
  });

  it('runs five pods after a push of replicas 3 to 5, and three after its revert', async () => {
    await quiet();
    // Its load needs more than one replica, and Git allows two.
    await readyPods('pricer', 2);
    const before = await get('deploy,svc,cm', '-n', 'web');
    // The same commit changes a StatefulSet, whose volume goes from pod to pod.
    const backup = join(clone.directory, 'apps/cache/backup.yaml');
    await writeFile(
      backup,
      (await readFile(backup, 'utf8')).replace('terminationGracePeriodSeconds: 5', 'terminationGracePeriodSeconds: 4'),
    );
    const backupWith = (seconds: number) =>
      until(async () => (await readyPods('cache-backup', 1))[0]?.spec.terminationGracePeriodSeconds === seconds, {
        what: () => `the backup with ${seconds} s; ${cluster.output()}`,
      });
    // So it does with a DaemonSet, the times of a CronJob, and how far an autoscaler may go under its load.
    const changeFile = async (file: string, from: string, to: string): Promise<void> => {
      const text = await readFile(join(clone.directory, file), 'utf8');
      expect(text).toContain(from);
      await writeFile(join(clone.directory, file), text.replace(from, to));
    };
    await changeFile('apps/storefront/check.yaml', 'terminationGracePeriodSeconds: 5', 'terminationGracePeriodSeconds: 4');
    await changeFile('apps/storefront/pricer.yaml', 'maxReplicas: 2', 'maxReplicas: 3');
    await changeFile('jobs/migrate/restock.yaml', '"0 3 * * *"', '"@every 2s"');
    const checksWith = (seconds: number) =>
      until(
        async () => {
          const all = await pods('storefront-check');
          return all.length >= 2 && all.every((pod) => isReady(pod) && pod.spec.terminationGracePeriodSeconds === seconds);
        },
        { timeoutMs: 60_000, what: () => `a check on each node with ${seconds} s; ${cluster.output()}` },
      );
    const restocked = () =>
      until(
        async () =>
          (await get('jobs', '-n', 'web')).items.some(
            ({ metadata, status }) =>
              metadata.name.startsWith('restock-') &&
              status.conditions?.some(({ type, status: is }) => type === 'Complete' && is === 'True'),
          ),
        { timeoutMs: 60_000, what: () => `a Job of the CronJob; ${cluster.output()}` },
      );
    // And the port of a load balancer, which answers people outside the cluster.
    const service = join(clone.directory, 'apps/storefront/service.yaml');
    await writeFile(service, (await readFile(service, 'utf8')).replace('port: 8088', 'port: 8089'));
    const balancerAnswers = async (port: number): Promise<boolean> => {
      const path = 'jsonpath={.status.loadBalancer.ingress[*].ip} {.spec.ports[*].port}';
      const { stdout } = await cluster.kubectl('get', 'service', '-n', 'web', 'storefront-public', '-o', path);
      const [address = '', ...rest] = stdout.split(' ');
      if (Number(rest.at(-1)) !== port) return false;
      return await fetch(`http://${address}:${port}/fast`).then(
        ({ ok }) => ok,
        () => false,
      );
    };
    const balancerAt = (port: number) =>
      until(() => balancerAnswers(port), { what: () => `the load balancer answers at ${port}; ${cluster.output()}` });
    await balancerAt(8088);
    await edit('storefront: 5 replicas', 'apps/storefront/deployment.yaml', (text) => text.replace('replicas: 3', 'replicas: 5'));
    const five = await readyPods('storefront', 5);
    // Simulated nodes never get a pod that somebody talks to.
    expect(five.every(({ spec }) => spec.nodeName === 'node-a' || spec.nodeName === 'node-b')).toBe(true);
    await backupWith(4);
    await balancerAt(8089);
    expect(await balancerAnswers(8088)).toBe(false);
    await checksWith(4);
    await restocked();
    await readyPods('pricer', 3);
    await revert();
    await readyPods('storefront', 3);
    await readyPods('pricer', 2);
    await checksWith(5);
    const { stdout: times } = await cluster.kubectl('get', 'cronjob', '-n', 'web', 'restock', '-o', 'jsonpath={.spec.schedule}');
    expect(times).toBe('0 3 * * *');
    await backupWith(5);
    await balancerAt(8088);
    const { stdout: log } = await cluster.kubectl('logs', '-n', 'web', 'cache-backup-0');
    expect(log).toContain('saved before: ["sextant","chronometer","lead line"]');
    const after = await get('deploy,svc,cm', '-n', 'web');
    const shape = ({ items }: KubeList) => items.map(({ metadata, spec }) => ({ name: metadata.name, uid: metadata.uid, spec }));
    expect(shape(after)).toEqual(shape(before));
  });

  it('brings a killed pod process back within two seconds, counted', async () => {
    const [cache] = await readyPods('cache', 1);
    const uid = cache?.metadata.uid ?? '';
    const killedAt = performance.now();
    process.kill(await programOf(uid), 'SIGKILL');
    await until(
      async () => {
        const { items } = await get('pods', '-n', 'web');
        const container = items.find(({ metadata }) => metadata.uid === uid)?.status.containerStatuses?.[0];
        return container?.restartCount === 1 && container.state?.running !== undefined;
      },
      { timeoutMs: 5_000, what: () => `a restart is counted; ${cluster.output()}` },
    );
    process.stdout.write(`killed pod process runs again after ${Math.round(performance.now() - killedAt)} ms\n`);
  });

  /** The program of a pod: the child of the first process of its container. */
  async function programOf(podUid: string): Promise<number> {
    const { stdout } = await run('pgrep', ['-f', `^/bin/sh -s midship-container ${cluster.dataDirectory}/pods/.*/${podUid}-`]);
    const { stdout: child } = await run('pgrep', ['-P', stdout.trim()]);
    const program = Number(child.trim());
    // Zero would kill the test's own process group.
    expect(program, `the programs under ${stdout}are ${child}`).toBeGreaterThan(0);
    return program;
  }

  it('serves every request through a Service while its pods are replaced', async () => {
    const { items } = await get('services', '-n', 'web', '--field-selector', 'metadata.name=storefront');
    const address = items[0]?.spec.clusterIP;
    // The client is a pod: it asks by the Service's address, one connection a request, and prints what went wrong.
    // It says when all three pods of a version have answered it, and goes on until those of the last one have. Each push waits for that of
    // the version before, so both rollouts happen, whole, under its requests.
    const program = `
      const http = require('node:http');
      let ok = 0, failed = 0;
      const podsOf = { '1.4.1': new Set(), '1.4.2': new Set(), '1.4.3': new Set() };
      const ask = () => new Promise((done) => {
        http.get({ host: '${address}', port: 8080, path: '/fast', agent: false, timeout: 5000 }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk) => { text += chunk; }).on('end', () => {
            response.statusCode === 200 ? ok++ : failed++;
            const [, version, pod] = / (1\\.4\\.\\d), served by (\\S+)/.exec(text) ?? [];
            const pods = podsOf[version];
            if (pods.size < 3 && pods.add(pod).size === 3) console.log('SERVED ' + version);
            done();
          });
        }).on('error', (err) => { failed++; console.log('FAILED ' + err.message); done(); });
      });
      (async () => {
        while (ok + failed < 3000 || podsOf['1.4.3'].size < 3) await Promise.all([ask(), ask(), ask(), ask()]);
        console.log('RESULT ' + ok + ' ' + failed);
      })();`;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'client', namespace: 'default' },
      spec: { restartPolicy: 'Never', containers: [{ name: 'client', image: 'host/node', command: ['node', '-e', program] }] },
    };
    await writeFile(join(clone.directory, '..', 'client-pod.json'), JSON.stringify(pod));
    expect((await cluster.kubectl('apply', '-f', join(clone.directory, '..', 'client-pod.json'))).code).toBe(0);
    const printed = (line: string): Promise<string> =>
      until(
        async () => {
          const { stdout } = await cluster.kubectl('logs', 'client');
          return stdout.includes(line) && stdout;
        },
        { timeoutMs: 90_000, what: () => `the client prints ${line}; ${cluster.output()}` },
      );
    await printed('SERVED 1.4.1');
    await edit('storefront 1.4.2', 'apps/storefront/deployment.yaml', (text) => text.replace('1.4.1', '1.4.2'));
    await printed('SERVED 1.4.2');
    await edit('storefront 1.4.3', 'apps/storefront/deployment.yaml', (text) => text.replace('1.4.2', '1.4.3'));
    const logs = await printed('RESULT');
    expect(logs).not.toContain('FAILED');
    const [, ok = '0', failed = ''] = /RESULT (\d+) (\d+)/.exec(logs) ?? [];
    process.stdout.write(`requests through the Service during two rollouts: ${ok} answered, ${failed} failed\n`);
    expect(Number(ok)).toBeGreaterThanOrEqual(3_000);
    expect(failed).toBe('0');
  });

  it('has, once it is quiet, every live object in the state that its machine claims', async () => {
    await readyPods('storefront', 3);
    await quiet();
    const connection = await loadKubeconfig(cluster.endpoints.kubeconfig);
    const client = createHttpClient({ ...connection, userAgent: 'e2e/0' });
    const statesOf = async <T extends KubeObject>(
      resource: Resource<T>,
      stateOf: (object: T) => Parameters<typeof stateNameOf>[0],
    ): Promise<readonly string[]> => [...new Set((await client.list(resource)).items.map((object) => stateNameOf(stateOf(object))))];
    expect(await statesOf(deployments, deployment.stateOf)).toEqual(['Active.Complete']);
    expect(await statesOf(replicaSets, replicaSet.stateOf)).toEqual(['Live.Available']);
    expect(await statesOf(statefulSets, statefulSet.stateOf)).toEqual(['Live.Available']);
    expect(await statesOf(daemonSets, daemonSet.stateOf)).toEqual(['Live.Available']);
    expect(await statesOf(jobs, job.stateOf)).toEqual(['Complete']);
    expect((await statesOf(podResource, podRun.stateOf)).toSorted()).toEqual(['Running', 'Succeeded']);
    expect(await statesOf(podResource, (pod) => podScheduling.stateOf(pod, undefined))).toEqual(['Bound']);
    expect(await statesOf(nodes, node.stateOf)).toEqual(['eviction.Keeping+health.Ready+schedulability.Open']);
    expect(await statesOf(kustomizations, kustomization.stateOf)).toEqual(['Ready']);
    expect(await statesOf(gitRepositories, gitRepository.stateOf)).toEqual(['Ready']);
  });

  it('refuses what it cannot do in three lines', async () => {
    const wrong = await cluster.midship('up', '--runtime', 'podman');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr.trimEnd().split('\n')).toHaveLength(3);
    const inUse = await cluster.midship('demo', '--api-port', '0', '--http-port', '0');
    expect(inUse.code).toBe(2);
    expect(inUse.stderr).toMatch(/the cluster of .* is running(.|\n)*midship down/);
    const stray = await run(
      process.execPath,
      [...process.execArgv, 'dist/main.js', 'demo', '8080'],
      { ...process.env, npm_lifecycle_event: 'start' },
      join(import.meta.dirname, '../..'),
    );
    expect(stray.stderr).toMatch(/npm start -- --http-port/);
  });
});
