import { once } from 'node:events';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import { type ContainerWorld, entrypointImage, hasCrun } from './world.ts';

/** Programs of containers: who they are, what they are given and how they end. */
export function programTests(world: ContainerWorld): void {
  const { kubectl, apply, outputsOf, fieldOf } = world;

  it('have the user, groups and capabilities that they ask for, and write to their volumes', async () => {
    const secured = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'secured' },
      spec: {
        restartPolicy: 'Never',
        securityContext: { runAsUser: 1234, runAsGroup: 2345, supplementalGroups: [3456], fsGroup: 4567, runAsNonRoot: true },
        volumes: [{ name: 'scratch', emptyDir: {} }],
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'id; grep -E "CapEff|CapBnd|NoNewPrivs|Seccomp:" /proc/self/status; echo x > /scratch/x && ls /scratch'],
            securityContext: { capabilities: { drop: ['ALL'] }, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
            volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
          },
        ],
      },
    };
    const file = join(world.cluster.dataDirectory, 'secured.json');
    await writeFile(file, JSON.stringify(secured));
    await kubectl('apply', '-f', file);
    await kubectl('wait', 'pod/secured', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=60s');
    const seen = await kubectl('logs', 'secured');
    expect(seen).toMatch(/uid=1234 gid=2345 groups=(?=.*2345)(?=.*3456)(?=.*4567)/);
    expect(seen).toMatch(/CapEff:\s+0000000000000000\nCapBnd:\s+0000000000000000\nNoNewPrivs:\s+1\nSeccomp:\s+2\nx\n/);
  });

  it('fail their pod when they are not there and it never restarts them', async () => {
    const main = { name: 'main', image: busyboxImage, command: ['/no-such-program'] };
    await apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'absent' }, spec: { restartPolicy: 'Never', containers: [main] } });
    await kubectl('wait', 'pod/absent', '--for=jsonpath={.status.phase}=Failed', '--timeout=30s');
    expect(await fieldOf('absent', '.status.containerStatuses[0].state.terminated.reason')).toBe('StartError');
    expect(await fieldOf('absent', '.status.containerStatuses[0].restartCount')).toBe('0');
    await kubectl('delete', 'pod', 'absent');
  });

  it('run the command of their image or their own, and print to their log', async () => {
    const image = { image: entrypointImage };
    const seen = await outputsOf(
      { name: 'image-defaults', script: '', container: { ...image, command: undefined } },
      { name: 'own-arguments', script: '', container: { ...image, command: undefined, args: ['of the pod'] } },
      { name: 'own-command', script: '', container: { ...image, command: ['echo', 'command'] } },
      {
        name: 'own-both',
        script: '',
        container: { ...image, command: ['echo', 'command'], args: ['$(WHO)', '$$(WHO)'], env: [{ name: 'WHO', value: 'of both' }] },
      },
    );
    expect(seen).toEqual({
      'image-defaults': 'entrypoint of the image\n',
      'own-arguments': 'entrypoint of the pod\n',
      // The arguments of the image belong to its own command.
      'own-command': 'command\n',
      'own-both': 'command of both $(WHO)\n',
    });
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  it('have keys, fields and amounts in their environment, and the files of their network', async () => {
    await kubectl('create', 'secret', 'generic', 'words', '--from-literal=WORD=secret');
    await kubectl('create', 'configmap', 'words', '--from-literal=NAME=map');
    const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
    const amount = (name: string, resource: string) => ({ name, valueFrom: { resourceFieldRef: { resource } } });
    const show = 'env | grep -E "^(WORD|NAME|M_NAME|ONE|TWO|BOTH|HOST|UID|IP|CPU|CPU_LIMIT|MEMORY|MEMORY_LIMIT)="';
    const container = {
      env: [
        { name: 'ONE', valueFrom: { secretKeyRef: { name: 'words', key: 'WORD' } } },
        { name: 'TWO', valueFrom: { configMapKeyRef: { name: 'words', key: 'NAME' } } },
        { name: 'BOTH', value: '$(ONE) and $(TWO)' },
        field('HOST', 'status.hostIP'),
        field('UID', 'metadata.uid'),
        field('IP', 'status.podIP'),
        amount('CPU', 'requests.cpu'),
        amount('CPU_LIMIT', 'limits.cpu'),
        amount('MEMORY', 'requests.memory'),
        amount('MEMORY_LIMIT', 'limits.memory'),
      ],
      envFrom: [{ secretRef: { name: 'words' } }, { configMapRef: { name: 'words' }, prefix: 'M_' }],
    };
    const hosts = { hostAliases: [{ ip: '192.0.2.7', hostnames: ['alias', 'alias.example'] }] };
    const ofMachine = { name: 'hosts', hostPath: { path: '/etc/hosts', type: 'File' } };
    const seen = await outputsOf(
      {
        name: 'env-limits',
        script: `${show}; cat /etc/hosts`,
        spec: hosts,
        container: { ...container, resources: { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '1250m', memory: '64Mi' } } },
      },
      { name: 'env-defaults', script: show, container },
      {
        name: 'hosts-of-machine',
        script: 'cat /etc/hosts',
        spec: { volumes: [ofMachine] },
        container: { volumeMounts: [{ name: 'hosts', mountPath: '/etc/hosts' }] },
      },
      { name: 'hosts-of-network', script: 'cat /etc/hosts', spec: { hostNetwork: true } },
    );
    const ofPod = (path: string) => fieldOf('env-limits', path);
    const own = {
      WORD: 'secret',
      M_NAME: 'map',
      ONE: 'secret',
      TWO: 'map',
      BOTH: 'secret and map',
      HOST: await ofPod('.status.hostIP'),
      UID: await ofPod('.metadata.uid'),
      IP: await ofPod('.status.podIP'),
      CPU: '1',
      CPU_LIMIT: '2',
      MEMORY: String(32 * 1024 * 1024),
      MEMORY_LIMIT: String(64 * 1024 * 1024),
    };
    const environmentOf = (text = '') =>
      Object.fromEntries([...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
    expect(environmentOf(seen['env-limits'])).toEqual(own);
    expect(seen['env-limits']).toMatch(/^# Kubernetes-managed hosts file\.[\s\S]*^192\.0\.2\.7\talias\talias\.example$/m);
    const allocatable = async (name: string) => kubectl('get', 'node', 'node-a', '-o', `jsonpath={.status.allocatable.${name}}`);
    expect(environmentOf(seen['env-defaults'])).toMatchObject({ CPU_LIMIT: await allocatable('cpu'), CPU: '0', MEMORY: '0' });
    const machine = await readFile('/etc/hosts', 'utf8');
    expect(seen['hosts-of-machine']).toBe(machine);
    expect(seen['hosts-of-network']).toContain(machine);
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  it('leave the message about their end that their policy says, as any user', async () => {
    const fallBack = { terminationMessagePolicy: 'FallbackToLogsOnError' };
    const end = (name: string, script: string, container: object = fallBack) => ({ name, script, container });
    const seen = await outputsOf(
      end('succeeds', 'echo printed'),
      end('succeeds-with-file', 'echo printed; echo -n file > /dev/termination-log'),
      end('fails', 'echo -n printed; exit 1'),
      end('at-own-path', 'echo -n "of $(id -u)" > /end/message', {
        terminationMessagePath: '/end/message',
        securityContext: { runAsUser: 65_534, runAsNonRoot: true },
      }),
      end('writes-root', 'touch /file && echo written', { securityContext: { readOnlyRootFilesystem: false } }),
      end('writes-nothing', 'touch /file 2>&1', { securityContext: { readOnlyRootFilesystem: true } }),
    );
    const messageOf = (name: string) => fieldOf(name, '.status.containerStatuses[0].state.terminated.message');
    expect(await Promise.all(['succeeds', 'succeeds-with-file', 'fails', 'at-own-path'].map(messageOf))).toEqual([
      '',
      'file',
      'printed',
      'of 65534',
    ]);
    expect(seen['writes-root']).toBe('written\n');
    expect(seen['writes-nothing']).toContain('Read-only file system');
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  it('run their hooks: commands and requests, after the start and before the end', async () => {
    const asked: string[] = [];
    const server = createServer(({ url = '' }, answer) => {
      asked.push(url);
      answer.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const byRequest = (path: string) => ({ httpGet: { host: '127.0.0.1', port, path } });
    const byCommand = (word: string) => ({ exec: { command: ['sh', '-c', `echo ${word} >> /out/hooks`] } });
    const waiting = { image: busyboxImage, command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.1; done'] };
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'hooked' },
      spec: {
        volumes: [{ name: 'out', hostPath: { path: world.hostDirectory } }],
        containers: [
          {
            ...waiting,
            name: 'command',
            lifecycle: { postStart: byCommand('started'), preStop: byCommand('ends') },
            volumeMounts: [{ name: 'out', mountPath: '/out' }],
          },
          { ...waiting, name: 'request', lifecycle: { postStart: byRequest('/started'), preStop: byRequest('/ends') } },
        ],
      },
    });
    await kubectl('wait', 'pod/hooked', '--for=condition=Ready', '--timeout=30s');
    const noted = (): Promise<string> => readFile(join(world.hostDirectory, 'hooks'), 'utf8');
    expect([await noted(), asked]).toEqual(['started\n', ['/started']]);
    await kubectl('delete', 'pod', 'hooked');
    expect([await noted(), asked]).toEqual(['started\nends\n', ['/started', '/ends']]);
    server.close();
  });

  it('have the rights and namespaces that they ask for, and no others', async () => {
    await mkdir(join(world.cluster.dataDirectory, 'seccomp', 'own'), { recursive: true });
    const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }] };
    await writeFile(join(world.cluster.dataDirectory, 'seccomp', 'own', 'no-mkdir.json'), JSON.stringify(profile));
    const status = 'grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status';
    const see = 'mkdir /tmp/made 2>/dev/null && echo made; cat /proc/sys/net/ipv4/ip_unprivileged_port_start';
    const seccomp = (type: object): object => ({ container: { securityContext: { seccompProfile: type } } });
    const neighbour = { name: 'beside', image: busyboxImage, command: ['sh', '-c', 'trap "exit 0" TERM; sleep 77 & wait'] };
    const seen = await outputsOf(
      {
        name: 'plain',
        script: `${status}; ${see}; ls /proc/1/ns > /dev/null; cat /proc/1/comm; dd if=/proc/kcore bs=1 count=1 2>&1 | wc -c`,
      },
      {
        name: 'privileged',
        script: `${status}; cat /proc/1/comm; ls -d /dev/kmsg`,
        spec: { hostPID: true, hostIPC: true },
        container: { securityContext: { privileged: true } },
      },
      {
        name: 'added',
        script: `${status}; ip link add dummy9 type dummy 2>&1; ip link set lo down && echo lowered`,
        container: { securityContext: { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } } },
      },
      {
        name: 'shared-memory',
        script: 'cat /proc/sys/kernel/shm_rmid_forced',
        spec: { securityContext: { sysctls: [{ name: 'kernel.shm_rmid_forced', value: '1' }] } },
      },
      { name: 'unconfined', script: status, ...seccomp({ type: 'Unconfined' }) },
      { name: 'local', script: `${status}; ${see}`, ...seccomp({ type: 'Localhost', localhostProfile: 'own/no-mkdir.json' }) },
      {
        name: 'sharing',
        script: `${see}; for i in 1 2 3 4 5 6 7 8 9 10; do ps | grep -v grep | grep "sleep 77" && break; sleep 0.2; done`,
        spec: {
          shareProcessNamespace: true,
          securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '77' }] },
        },
        others: [neighbour],
      },
    );
    // The defaults of Kubernetes, but for the seccomp profile.
    expect(seen.plain).toMatch(/CapEff:\s+00000000a80425fb\nNoNewPrivs:\s+0\nSeccomp:\s+2\nmade\n\d+\nsh\n/);
    const machine = (await readFile('/proc/1/comm', 'utf8')).trim();
    expect(seen.privileged).toMatch(new RegExp(`NoNewPrivs:\\s+0\\nSeccomp:\\s+0\\n${machine}\\n/dev/kmsg\\n`));
    expect(seen.privileged).not.toContain('CapEff:\t00000000a80425fb');
    expect(seen.added).toMatch(/CapEff:\s+0000000000001000\n/);
    expect(seen.added).toContain('lowered');
    expect(seen['shared-memory']).toBe('1\n');
    expect(seen.unconfined).toMatch(/Seccomp:\s+0\n/);
    expect(seen.local).toMatch(/Seccomp:\s+2\n(?!made)\d+\n/);
    expect(seen.sharing).toMatch(/made\n77\n.*sleep 77/);

    await checkRejection();
    await kubectl('delete', 'pod', 'plain', 'privileged', 'added', 'shared-memory', 'unconfined', 'local', 'sharing', '--wait=false');
  });

  it('have users of their own where they ask for that, whose files on volumes are those of the same users elsewhere', async () => {
    const show = [
      'cat /proc/self/uid_map /proc/self/gid_map; id -u',
      'for d in disk memory host part; do touch /$d/new && stat -c "%n %u %g" /$d/new; done',
      'stat -L -c "%n %u %a" /map/KEY /etc/hosts; echo "192.0.2.9 own" >> /etc/hosts && echo changed',
      'chown 1000 /disk/new && stat -c %u /disk/new; mount -t tmpfs x /mnt 2>&1 | head -n 1',
      'echo -n done > /dev/termination-log',
    ].join('; ');
    await mkdir(join(world.hostDirectory, 'users'), { recursive: true });
    await kubectl('create', 'configmap', 'of-users', '--from-literal=KEY=map');
    const volumes = [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
      { name: 'host', hostPath: { path: join(world.hostDirectory, 'users') } },
      { name: 'map', configMap: { name: 'of-users' } },
    ];
    const volumeMounts = [
      ...volumes.map(({ name }) => ({ name, mountPath: `/${name}` })),
      { name: 'disk', mountPath: '/part', subPath: 'deep/er' },
    ];
    const grouped = { securityContext: { runAsUser: 1234, fsGroup: 4567 } };
    await apply({ apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: 'by-crun' }, handler: 'crun' });
    const seen = await outputsOf(
      { name: 'own-users', script: show, spec: { hostUsers: false, volumes }, container: { volumeMounts } },
      {
        name: 'own-user-and-group',
        script: 'cat /proc/self/uid_map; id; touch /disk/new && stat -c "%u %g" /disk/new /disk; grep -c " /proc/" /proc/mounts',
        spec: { hostUsers: false, volumes, ...grouped, ...(hasCrun ? { runtimeClassName: 'by-crun' } : {}) },
        container: { volumeMounts, securityContext: { procMount: 'Unmasked' } },
      },
    );
    expect(seen['own-users']?.replace(/ +/g, ' ').split('\n')).toEqual([
      expect.stringMatching(/^ 0 (\d+) 65536$/),
      expect.stringMatching(/^ 0 (\d+) 65536$/),
      '0',
      ...['disk', 'memory', 'host', 'part'].map((place) => `/${place}/new 0 0`),
      '/map/KEY 0 644',
      '/etc/hosts 0 644',
      'changed',
      '1000',
      'mount: permission denied (are you root?)',
      '',
    ]);
    expect(seen['own-user-and-group']).toMatch(/ 65536\nuid=1234 gid=0 groups=0,4567\n1234 4567\n0 4567\n0\n$/);
    const firstOf = (name: string): string => /^ +0 +(\d+) /.exec(seen[name] ?? '')?.[1] ?? '';
    // No other data directory of the machine has this number, and so none has ids of these 128 ranges.
    const { network } = JSON.parse(await readFile(join(world.cluster.dataDirectory, 'network.json'), 'utf8')) as { network: number };
    const ranges = ['own-users', 'own-user-and-group'].map((name) => Number(firstOf(name)) / 65_536 - network * 128);
    expect(new Set(ranges).size).toBe(2);
    for (const range of ranges) expect(range >= 0 && range < 128, `${range}`).toBe(true);
    // The file on the machine is of its root, not of the id that the program has there.
    expect(await stat(join(world.hostDirectory, 'users', 'new'))).toMatchObject({ uid: 0, gid: 0 });
    expect(await fieldOf('own-users', '.status.containerStatuses[0].state.terminated.message')).toBe('done');
    await kubectl('delete', 'pod', ...Object.keys(seen), '--wait=false');
  });

  async function checkRejection(): Promise<void> {
    const spec = { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '65536' }] } };
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'rejected' },
      spec: { ...spec, containers: [{ name: 'main', image: busyboxImage, command: ['true'] }] },
    });
    await until(async () => (await fieldOf('rejected', '.status.reason')) === 'SysctlForbidden', { what: 'the rejection' });
    expect(await fieldOf('rejected', '.status.phase')).toBe('Failed');
    expect(await fieldOf('rejected', '.status.message')).toContain('forbidden sysctl: "kernel.msgmax" not allowlisted');
    await kubectl('delete', 'pod', 'rejected', '--wait=false');
  }
}
