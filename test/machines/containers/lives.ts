import { readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '../../support/cluster.ts';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import { refusedPathTests } from './attacks.ts';
import { pressureTests, roomTests } from './pressure.ts';
import { type ContainerWorld, marker, socketOf } from './world.ts';

/** Containers outlive their runtime and their agent. These tests come last, since they end both. */
export function lifeTests(world: ContainerWorld): void {
  const { kubectl, apply, fieldOf } = world;

  it('run on while containerd is killed, and one dead container of each is kept', async () => {
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'restarting' },
      spec: {
        terminationGracePeriodSeconds: 0,
        volumes: [{ name: 'count', emptyDir: {} }],
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'echo x >> /count/runs; [ $(wc -l < /count/runs) -gt 2 ] && sleep 1000; exit 1'],
            volumeMounts: [{ name: 'count', mountPath: '/count' }],
          },
        ],
      },
    });
    const before = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}');
    const socket = await socketOf(world.cluster.dataDirectory);
    const pidFile = join(dirname(socket), 'pid');
    const [pid = ''] = (await readFile(pidFile, 'utf8')).split(' ');
    process.kill(Number(pid), 'SIGKILL');
    await until(async () => (await readFile(pidFile, 'utf8')).split(' ')[0] !== pid, { what: 'another containerd', timeoutMs: 30_000 });
    await until(async () => (await world.cluster.kubectl('exec', world.pod, '--', 'true')).code === 0, {
      what: 'a command in an adopted container',
    });
    const path = 'jsonpath={.items[*].status.containerStatuses[*].containerID} {.items[*].status.containerStatuses[*].restartCount}';
    expect(await kubectl('get', 'pods', '-l', 'app=web', '-o', path)).toBe(`${before} 0 0`);
    await until(async () => (await fieldOf('restarting', '.status.containerStatuses[0].restartCount')) === '2', {
      what: 'two restarts',
      timeoutMs: 60_000,
    });
    await until(async () => (await fieldOf('restarting', '.status.containerStatuses[0].state.running.startedAt')) !== '', {
      what: 'the third run',
    });
    const uid = await fieldOf('restarting', '.metadata.uid');
    const containers = await run('ctr', ['-a', socket, '-n', 'k8s.io', 'containers', 'ls', '-q', `labels."io.kubernetes.pod.uid"==${uid}`]);
    // The sandbox, the run before, and the one that runs.
    expect(containers.stdout.trim().split('\n')).toHaveLength(3);
    await kubectl('delete', 'pod', 'restarting', '--wait=false');
  });

  pressureTests(world);

  it('run on while the program is killed, and are adopted by the next one without a restart', async () => {
    const before = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}');
    await world.cluster.kill();
    world.cluster = await world.start(world.cluster.dataDirectory, tmpdir());
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    expect(await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}')).toBe(
      before,
    );
    expect(await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}')).toBe(
      '0 0',
    );
  });

  roomTests(world);
  refusedPathTests(world);

  it('have the files of their claims after that, and lose the directory with the claim', async () => {
    expect(await kubectl('exec', 'driven', '--', 'cat', '/data/file')).toBe('mine\n');
    await kubectl('delete', 'pod', 'driven');
    await until(async () => (await kubectl('get', 'volumeattachments', '-o', 'name')) === '', { what: 'a detached volume' });
    expect(world.driver?.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume']);
    expect(await kubectl('exec', 'keeper', '--', 'cat', '/kept/starts')).toBe('start\n');
    const volume = await kubectl('get', 'pvc', 'kept', '-o', 'jsonpath={.spec.volumeName}');
    const directory = join(world.cluster.dataDirectory, 'storage', `${volume}_default_kept`);
    expect(await readFile(join(directory, 'starts'), 'utf8')).toBe('start\n');
    await kubectl('delete', 'pod', 'keeper');
    await kubectl('delete', 'pvc', 'kept');
    await kubectl('wait', `pv/${volume}`, '--for=delete', '--timeout=30s');
    await expect(stat(directory)).rejects.toThrow('ENOENT');
  });

  it('are ended by down after a kill, and nothing of them stays on the machine', async () => {
    const network = (await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}')).split('.')[1];
    const running = ['--field-selector', 'status.phase=Running', '-o', 'jsonpath={.items[*].metadata.uid}'];
    const uids = (await kubectl('get', 'pods', ...running)).split(' ');
    const groups = async (): Promise<readonly string[]> => {
      const { stdout } = await run('find', ['/sys/fs/cgroup', '-type', 'd', '-path', '*/midship/kubepods/*/pod*']);
      return stdout.split('\n').filter((path) => uids.some((uid) => path.includes(uid)));
    };
    expect(await groups()).not.toEqual([]);
    await world.cluster.kill();
    // The rules outlive the program, as the containers do.
    expect((await run('nft', ['list', 'tables'])).stdout).toContain(`midship-proxy-${network}`);
    const { code, stderr } = await world.cluster.midship('down', '--purge', '--yes');
    expect(code).toBe(0);
    expect(stderr).toContain(`stopped ${uids.length} pods that outlived a crash`);
    const environments = await run('sh', [
      '-c',
      `cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -c "^MARKER=${marker}" || true`,
    ]);
    expect(environments.stdout.trim()).toBe('0');
    expect((await run('nft', ['list', 'tables'])).stdout).not.toContain(`midship-proxy-${network}`);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(world.cluster.dataDirectory);
    expect(await groups()).toEqual([]);
  });
}
