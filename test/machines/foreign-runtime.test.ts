import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { removeContainerdState, startContainerd } from '../../src/node-agent/containerd/containerd-service.ts';
import { run, startCluster } from '../support/cluster.ts';
import { busyboxArchive, busyboxImage } from '../support/containerd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { whyNot } from './containers/world.ts';

it.skipIf(whyNot !== undefined)(
  'pods run in a containerd that somebody else runs, which outlives the cluster (skipped where they cannot run)',
  async () => {
    const directory = await temporaryDirectory('foreign');
    const log = createLog({ level: 'silent' });
    const foreign = await startContainerd({ directory, searchPath: process.env.PATH ?? '', clock: systemClock, log });
    const withSocket = (socket: string) => ['--runtime', 'containerd', '--container-runtime-endpoint', `unix://${socket}`];
    const dataDirectory = await temporaryDirectory('containers');
    try {
      const refused = await run('node', [
        'dist/main.js',
        'up',
        ...withSocket('/run/no.sock'),
        '--data-dir',
        dataDirectory,
        '--api-port',
        '0',
        '--http-port',
        '0',
      ]);
      expect(refused.stderr).toMatch(
        /No container runtime answers at \/run\/no\.sock: .*ENOENT.*\n.*leave --container-runtime-endpoint out/,
      );
      await mkdir(join(dataDirectory, 'images'), { recursive: true });
      await writeFile(join(dataDirectory, 'images', 'busybox.tar'), await busyboxArchive());
      const cluster = await startCluster({ command: 'up', args: withSocket(foreign.socketPath), dataDirectory });
      const command = ['--', 'sh', '-c', 'trap "exit 0" TERM; sleep 600 & wait'];
      await cluster.kubectl('run', 'guest', `--image=${busyboxImage}`, '--image-pull-policy=IfNotPresent', ...command);
      const ready = await cluster.kubectl('wait', 'pod/guest', '--for=condition=Ready', '--timeout=40s');
      expect(ready.stderr).toBe('');
      const tasks = () => run('ctr', ['-a', foreign.socketPath, '-n', 'k8s.io', 'tasks', 'ls', '-q']);
      expect((await tasks()).stdout.trim().split('\n')).toHaveLength(2);
      await cluster.kill();
      const down = await cluster.midship('down', '--purge', '--yes');
      expect(down.stderr).toContain('stopped 1 pod that outlived a crash');
      expect(await tasks()).toMatchObject({ code: 0, stdout: '' });
    } finally {
      await foreign.stop();
      await removeContainerdState(directory);
    }
  },
);

it.skipIf(whyNot !== undefined)('a data directory for processes is refused to containers (skipped where they cannot run)', async () => {
  const processes = await startCluster({ command: 'up', args: ['--runtime', 'simulated'] });
  await processes.stop();
  const refused = await run('node', [
    'dist/main.js',
    'up',
    '--runtime',
    'containerd',
    '--data-dir',
    processes.dataDirectory,
    '--api-port',
    '0',
    '--http-port',
    '0',
  ]);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('was made for pods that are processes');
  await processes.midship('down', '--purge', '--yes');
});
