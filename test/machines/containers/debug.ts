import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

/** `kubectl debug` of pods and of the node. */
export function debugTests(world: ContainerWorld): void {
  const { kubectl, fieldOf, eventsOf } = world;

  it('are joined by kubectl debug, at the processes of one container, with logs, exec and a terminal', async () => {
    const see = 'tr "\\0" " " < /proc/1/cmdline; cat /proc/1/root/etc/hostname; echo; sleep 600';
    const quiet = ['--attach=false', '--quiet'];
    await kubectl('debug', 'pet', `--image=${busyboxImage}`, '--target=main', '-c', 'spy', ...quiet, '--', 'sh', '-c', see);
    await until(async () => (await world.cluster.kubectl('logs', 'pet', '-c', 'spy')).stdout.includes('rex'), {
      what: 'the output of the container that joined',
    });
    // The program of the other container, and its root.
    expect(await kubectl('logs', 'pet', '-c', 'spy')).toMatch(/^sh -c trap "exit 0" TERM; while :.*rex\n/);
    expect(await kubectl('exec', 'pet', '-c', 'spy', '--', 'sh', '-c', 'grep -c sleep.600 /proc/*/cmdline | grep -c ":1$"')).toMatch(
      /^[1-9]/,
    );
    const status = await fieldOf('pet', '.status.ephemeralContainerStatuses[0]');
    expect(JSON.parse(status)).toMatchObject({ name: 'spy', ready: false, restartCount: 0, state: { running: {} } });
    expect(await fieldOf('pet', '.status.conditions[?(@.type=="Ready")].status')).toBe('True');
    expect(await eventsOf('pet')).toContain('Started: ');

    const talk = world.spawnOnTerminal(`kubectl debug -it pet --image=${busyboxImage} -c talk -- sh -c 'read name; echo "hello $name"'`);
    await until(() => talk.shown().includes('pressing enter.'), { what: () => `the prompt: ${talk.shown()}` });
    talk.write('Ann\n');
    await talk.ended;
    expect(talk.shown()).toContain('hello Ann\r\n');
  });

  it('look at the whole machine where its flag allows that, as kubectl debug of a node does', async () => {
    const see = ['--', 'sh', '-c', `cat /host${world.hostDirectory}/of-machine; ls -d /proc/${process.pid}`];
    await writeFile(join(world.hostDirectory, 'of-machine'), 'seen from the node\n');
    const { stdout, code } = await world.cluster.kubectl('debug', 'node/node-a', `--image=${busyboxImage}`, '--attach=false', ...see);
    expect(code).toBe(0);
    const name = /Creating debugging pod (\S+)/.exec(stdout)?.[1] ?? '';
    await kubectl('wait', `pod/${name}`, '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
    expect(await kubectl('logs', name)).toBe(`seen from the node\n/proc/${process.pid}\n`);
    await kubectl('delete', 'pod', name, '--wait=false');
  });
}
