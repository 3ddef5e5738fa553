import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

/** Input and output of containers, as kubectl gives them to people: as they come, and on terminals. */
export function streamTests(world: ContainerWorld): void {
  const { kubectl, apply, fieldOf } = world;
  const exitCodeOf = (pod: string): Promise<string> => fieldOf(pod, '.status.containerStatuses[0].state.terminated.exitCode');
  const pod = (name: string, container: object) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: busyboxImage, stdin: true, ...container }],
    },
  });

  it('are heard by logs -f and by attach while they print, to their end, and read what is typed', async () => {
    const echo = 'echo begun; while read -r line; do echo "heard $line"; [ "$line" != end ] || exit 3; done';
    await apply(pod('talker', { command: ['sh', '-c', echo] }));
    await kubectl('wait', 'pod/talker', '--for=condition=Ready', '--timeout=30s');
    const log = world.spawnKubectl('logs', '-f', 'talker');
    const first = world.spawnKubectl('attach', '-i', 'talker');
    await until(() => log.shown().includes('begun\n'), { what: () => `the log: ${log.shown()}` });
    first.write('one\n');
    await until(() => first.shown().includes('heard one\n'), { what: () => `the answer: ${first.shown()}` });
    await until(() => log.shown() === 'begun\nheard one\n', { what: () => `the same in the log: ${log.shown()}` });
    first.kill();
    await first.ended;
    // The input stays open for the next one who attaches.
    const second = world.spawnKubectl('attach', '-i', 'talker');
    second.write('end\n');
    await Promise.all([log.ended, second.ended]);
    expect([await log.ended, log.shown()]).toEqual([0, 'begun\nheard one\nheard end\n']);
    expect(second.shown()).toContain('heard end\n');
    expect(second.shown()).not.toContain('heard one');
    await until(async () => (await exitCodeOf('talker')) === '3', { what: 'the exit code' });
    await kubectl('delete', 'pod', 'talker', '--wait=false');
  });

  it('give commands and programs a terminal with the size of that of kubectl, Ctrl-C and an exit code', async () => {
    await apply(pod('shell', { tty: true, command: ['sh'] }));
    await kubectl('wait', 'pod/shell', '--for=condition=Ready', '--timeout=30s');
    const look = 'trap "echo interrupted" INT; while :; do read -r line && stty size; [ "$line" != end ] || exit 7; done';
    const talk = world.spawnOnTerminal(`kubectl exec -it shell -- sh -c '${look}'`);
    const sizeBecomes = (terminal: typeof talk, size: string) =>
      until(
        () => {
          terminal.write('stty size\r');
          return terminal.shown().includes(`\r\n${size}\r\n`);
        },
        { what: () => `a terminal of ${size}: ${terminal.shown()}`, intervalMs: 200 },
      );
    await sizeBecomes(talk, '24 90');
    await talk.resize(50, 120);
    await sizeBecomes(talk, '50 120');
    await until(
      () => {
        // Busybox's shell loses a signal that comes just before its `read` blocks: 1 of 4,375 on a terminal without Midship.
        talk.write('\x03');
        return talk.shown().includes('interrupted\r\n');
      },
      { what: () => `Ctrl-C: ${talk.shown()}`, intervalMs: 200 },
    );
    talk.write('end\r');
    expect(await talk.ended).toBe(7);

    const attached = world.spawnOnTerminal('kubectl attach -it shell');
    await sizeBecomes(attached, '24 90');
    await attached.resize(40, 100);
    await sizeBecomes(attached, '40 100');
    attached.write('exit 5\r');
    await attached.ended;
    await until(async () => (await exitCodeOf('shell')) === '5', { what: 'the exit code of the shell' });
    // Its log is what the terminal has shown; containerd ends each line without the carriage return.
    expect(await kubectl('logs', 'shell')).toContain('\n40 100\n');
    await kubectl('delete', 'pod', 'shell', '--wait=false');
  });
}
