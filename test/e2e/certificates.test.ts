import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { createFakeTime, hasFakeTime } from '../support/fake-time.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

/**
 * The built program with a time of its own. It begins in the past and is moved to the present. There kubectl, which has the real time, sees
 * what the program's certificates are after that long.
 */
describe.skipIf(!hasKubectl || !hasFakeTime)('certificates over the years (needs kubectl and libfaketime)', { concurrent: true }, () => {
  const clusters: RunningCluster[] = [];
  afterAll(() => Promise.all(clusters.map((cluster) => cluster.stop())));

  /** A time of its own, and the programs that have it. */
  async function timeAt(days: number) {
    const time = createFakeTime(await temporaryDirectory('time'), days);
    return {
      time,
      async start(dataDirectory?: string, args: readonly string[] = []): Promise<RunningCluster> {
        const cluster = await startCluster({
          command: 'up',
          args,
          environment: time.environment,
          ...(dataDirectory === undefined ? {} : { dataDirectory }),
        });
        clusters.push(cluster);
        return cluster;
      },
      midship: (dataDirectory: string, ...args: string[]) =>
        run(process.execPath, [program, ...args, '--data-dir', dataDirectory], { ...process.env, ...time.environment, NO_COLOR: '1' }),
    };
  }
  /** API server, front proxy, metrics server, kubelet client and kubelet are all in the way of this answer. */
  const untilAllServersAnswer = async ({ kubectl }: RunningCluster): Promise<void> => {
    let last = '';
    await until(
      async () => {
        const { code, stdout, stderr } = await kubectl('top', 'nodes');
        last = stdout + stderr;
        return code === 0 && stdout.includes('node-a') && stdout.includes('node-b');
      },
      { timeoutMs: 60_000, what: () => `kubectl top nodes answers; it printed:\n${last}` },
    );
  };

  it('are renewed while the program runs for 366 days, so that kubectl and every server inside go on', async () => {
    const { time, start } = await timeAt(-366);
    const running = await start();
    const before = await readFile(running.endpoints.kubeconfig, 'utf8');
    expect(await running.midship('certs', 'check')).toMatchObject({ code: 0 });
    expect((await running.kubectl('get', 'nodes')).stderr).toContain('certificate has expired');
    time.moveTo(0);
    await until(async () => (await running.kubectl('get', 'nodes')).code === 0, { timeoutMs: 60_000, what: 'kubectl is let in' });
    await untilAllServersAnswer(running);
    expect(await readFile(running.endpoints.kubeconfig, 'utf8')).not.toBe(before);
    const { code, stdout } = await running.midship('certs', 'check', '-o', 'json');
    expect(code).toBe(0);
    const { certificates } = JSON.parse(stdout) as {
      readonly certificates: readonly { name: string; purpose: string; daysLeft: number }[];
    };
    const issued = certificates.filter(({ purpose }) => purpose !== 'authority');
    expect(issued.map(({ name }) => name)).toEqual([
      'admin',
      'apiserver',
      'apiserver-kubelet-client',
      'horizontal-pod-autoscaler',
      'kubelet-node-a',
      'kubelet-node-b',
      'metrics',
      'front-proxy/front-proxy-client',
      'kubeconfig',
    ]);
    for (const { daysLeft } of issued) expect(daysLeft).toBeGreaterThan(360);
  }, 180_000);

  it('are renewed at a start after a year; after ten the start says what to do, and a rotation repairs it', async () => {
    const { time, start, midship } = await timeAt(-3_651);
    const first = await start();
    const { dataDirectory } = first;
    await first.stop();
    time.moveTo(-3_651 + 366);
    const second = await start(dataDirectory);
    expect(second.output()).not.toContain('authority');
    expect(await second.midship('status', '-o', 'json')).toMatchObject({ code: 0 });
    await second.stop();

    time.moveTo(0);
    const third = await start(dataDirectory);
    expect(third.output()).toMatch(
      /▲ the cluster authority ended on \d{4}-\d\d-\d\d: clients refuse its certificates\. Stop the cluster, run "midship certs rotate --ca", and start it again\./,
    );
    expect((await third.kubectl('get', 'nodes')).stderr).toContain('certificate has expired');
    const checked = await third.midship('certs', 'check');
    expect(checked.code).toBe(1);
    expect(checked.stdout).toMatch(/^ca +authority .* ended$/m);
    await third.stop();

    expect(await midship(dataDirectory, 'certs', 'rotate', '--ca')).toMatchObject({ code: 0 });
    const fourth = await start(dataDirectory);
    expect(fourth.output()).not.toContain('authority');
    await untilAllServersAnswer(fourth);
    expect(await fourth.midship('certs', 'check')).toMatchObject({ code: 0 });
    await until(
      async () => {
        const { stdout } = await fourth.kubectl('get', 'configmap', 'kube-root-ca.crt', '-n', 'default', '-o', 'jsonpath={.data.ca\\.crt}');
        return stdout.trim() === (await readFile(join(dataDirectory, 'pki', 'ca.crt'), 'utf8')).trim();
      },
      { what: 'pods are given the new authority alone' },
    );
  }, 240_000);

  it('survive a rotation of their authority, which ends soon, while copies of the older kubeconfig go on', async () => {
    const { time, start, midship } = await timeAt(-3_630);
    const first = await start();
    const { dataDirectory, endpoints } = first;
    await first.stop();
    time.moveTo(0);
    const { port } = new URL(endpoints.api);
    const second = await start(dataDirectory, ['--api-port', port]);
    expect(second.output()).toMatch(/▲ the cluster authority ends on \d{4}-\d\d-\d\d, in (19|20) days\./);
    await until(
      async () => {
        const { stdout } = await second.kubectl('get', 'events', '-A', '--field-selector', 'reason=CertificateExpirationWarning');
        return /Warning +CertificateExpirationWarning +service\/kubernetes +the cluster authority ends on/.test(stdout);
      },
      { what: 'the Event' },
    );
    const refused = await second.midship('certs', 'rotate', '--ca');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('is running');
    const copy = join(dataDirectory, 'kubeconfig-elsewhere');
    await copyFile(second.endpoints.kubeconfig, copy);
    await second.stop();

    expect((await midship(dataDirectory, 'certs', 'rotate', '--ca')).stdout).toContain('the former ones stay trusted');
    const third = await start(dataDirectory, ['--api-port', port]);
    expect(await third.kubectl('get', 'nodes')).toMatchObject({ code: 0 });
    expect(await third.kubectl('get', 'nodes', '--kubeconfig', copy)).toMatchObject({ code: 0 });
    await untilAllServersAnswer(third);
    expect((await third.midship('certs', 'check')).stdout).toMatch(/^ca-former +former authority/m);
    await third.stop();

    expect(await midship(dataDirectory, 'certs', 'rotate', '--distrust-former')).toMatchObject({ code: 0 });
    const fourth = await start(dataDirectory, ['--api-port', port]);
    expect(await fourth.kubectl('get', 'nodes')).toMatchObject({ code: 0 });
    expect((await fourth.kubectl('get', 'nodes', '--kubeconfig', copy)).stderr).toContain('certificate');
  }, 240_000);
});
