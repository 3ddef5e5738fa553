import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { type Attacker, attacks, mountPointRace, subPathRace, victims } from '../../support/pod-attacks.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

/** The image has no Node: a container has that of the machine, which sees the volume at `/mnt`. */
const attacker: Attacker = {
  sh: (script, changes = {}) => ({ name: 'main', image: busyboxImage, command: ['/bin/sh', '-c', script], ...changes }),
  node: `/bin/busybox chroot /machine ${process.execPath}`,
  topOf: () => '/mnt',
  mountsOf: (name, mountPath) => [
    { name, mountPath },
    { name: 'machine', mountPath: '/machine' },
    { name, mountPath: '/machine/mnt' },
  ],
  volumes: [{ name: 'machine', hostPath: { path: '/' } }],
};

const secret = 'PRIVATE KEY OF THE CLUSTER';

/** The attacks on processes, tried by containers. */
export function attackTests(world: ContainerWorld): void {
  const { kubectl, apply, outputsOf } = world;
  const podOf = (name: string, spec: object) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, ...spec },
  });
  const keyFile = (): string => join(world.cluster.dataDirectory, 'planted', 'ca.key');

  it('cannot reach the machine, its kernel, the data directory or other pods', async () => {
    await mkdir(dirname(keyFile()), { recursive: true });
    await writeFile(keyFile(), `${secret}\n`, { mode: 0o600 });
    await kubectl('create', 'configmap', 'attacked', '--from-literal=key=value');
    const script = attacks({ dataDirectory: world.cluster.dataDirectory, keyFile: keyFile(), variable: 'VITEST', configMap: '/c' });
    const spec = { volumes: [{ name: 'c', configMap: { name: 'attacked' } }] };
    const container = { volumeMounts: [{ name: 'c', mountPath: '/c' }] };
    const seen = await outputsOf(
      { name: 'attacks', script, spec, container },
      { name: 'attacks-with-rights', script, spec, container: { ...container, securityContext: { capabilities: { add: ['NET_ADMIN'] } } } },
    );
    expect(seen).toEqual({ attacks: 'tried\n', 'attacks-with-rights': 'tried\n' });
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  it('get no mount through links that they put in its way, also while it is made', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'midship-outside-'));
    await chmod(outside, 0o777);
    const leads = [dirname(keyFile()), '/proc/1/root/', '../../../../../../../../../etc'];
    const program = `#!/bin/sh\\nhead -1 ${keyFile()} >${outside}/by-program\\n`;
    const names = ['sub-path-race', 'mount-race', 'planted'];
    await apply(
      podOf('sub-path-race', subPathRace(attacker, leads)),
      podOf('mount-race', mountPointRace(attacker, ['/usr/sbin', outside], 'touch /a/b/made; echo ran')),
      podOf('planted', {
        volumes: [
          { name: 'e', emptyDir: {} },
          { name: 'f', emptyDir: {} },
        ],
        initContainers: [
          attacker.sh(`ln -s ${outside} /e/out; ln -s /bin /e/b; for n in mount sh; do printf '${program}' >/f/$n; chmod 755 /f/$n; done`, {
            name: 'plant',
            volumeMounts: [
              { name: 'e', mountPath: '/e' },
              { name: 'f', mountPath: '/f' },
            ],
          }),
        ],
        containers: [
          attacker.sh('echo started; touch /a/out/new', {
            terminationMessagePath: '/a/out/termination',
            volumeMounts: [
              { name: 'e', mountPath: '/a' },
              { name: 'f', mountPath: '/a/b' },
              { name: 'f', mountPath: '/a/out/made' },
            ],
          }),
        ],
      }),
    );
    // Each victim ran, or was refused its mounts: its start is then tried again, or is at its end.
    const tried = async (name: string, count: number): Promise<boolean> => {
      const path = 'jsonpath={range .status.containerStatuses[*]}{.state.terminated.reason}{.state.waiting.reason}{"\\n"}{end}';
      const reasons = (await kubectl('get', 'pod', name, '-o', path)).split('\n');
      return reasons.filter((reason) => /^(?:Completed|Error|\w*Error|CrashLoopBackOff)$/.test(reason)).length >= count;
    };
    for (const [name, count] of [
      ['sub-path-race', victims],
      ['mount-race', victims],
      ['planted', 1],
    ] as const)
      await until(() => tried(name, count), {
        what: async () => `the end of all victims: ${await kubectl('get', 'pod', name, '-o', 'jsonpath={.status.containerStatuses}')}`,
        timeoutMs: 60_000,
      });
    const outputs = await Promise.all(names.map(async (name) => (await world.cluster.kubectl('logs', name, '--all-containers')).stdout));
    const all = outputs.join('');
    expect(all).toContain('ran\n');
    expect(all).not.toContain(secret);
    expect(all).not.toContain('read ');
    expect(new Set(all.match(/saw .*/g) ?? [])).toEqual(new Set(all.includes('saw ') ? ['saw own'] : []));
    expect(await readdir(outside)).toEqual([]);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(outside);
    await kubectl('delete', 'pod', ...names, '--wait=true');
    await rm(outside, { recursive: true });
  });
}

/** After a start with `--allow-host-path` of a directory that has the data directory in it. */
export function refusedPathTests(world: ContainerWorld): void {
  const { kubectl, apply, eventsOf } = world;

  it('are refused the data directory, what holds it, and links to it', async () => {
    const { dataDirectory } = world.cluster;
    const link = join(world.hostDirectory, 'link');
    await symlink(dataDirectory, link);
    const inPart = 'it holds the data directory of the cluster, or is a part of it';
    const cases = [
      ['whole', dataDirectory, inPart],
      ['part', join(dataDirectory, 'pods'), inPart],
      ['holder', dirname(dataDirectory), inPart],
      ['linked', link, inPart],
      ['elsewhere', '/etc', 'it lies in no directory that --allow-host-path names'],
    ] as const;
    await apply(
      ...cases.map(([name, path]) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `host-${name}` },
        spec: {
          terminationGracePeriodSeconds: 0,
          volumes: [{ name: 'h', hostPath: { path } }],
          containers: [attacker.sh('sleep 1000', { volumeMounts: [{ name: 'h', mountPath: '/h' }] })],
        },
      })),
    );
    for (const [name, path, why] of cases)
      await until(async () => (await eventsOf(`host-${name}`)).includes(`hostPath ${path} is refused: ${why}`), {
        what: async () => `the refusal: ${await eventsOf(`host-${name}`)}`,
      });
    const names = cases.map(([name]) => `host-${name}`);
    expect(await kubectl('get', 'pods', ...names, '-o', 'jsonpath={.items[*].status.containerStatuses[*].started}')).not.toContain('true');
    await kubectl('delete', 'pod', ...names, '--wait=false');
  });
}
