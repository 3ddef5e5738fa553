import { accessSync, constants } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { hasNamespaces } from '../../support/isolation.ts';
import { startTestNode, type TestNode, testNodeName } from '../../support/node-agent.ts';
import { type Attacker, attacks, mountPointRace, subPathRace, swapper, victims } from '../../support/pod-attacks.ts';
import { until } from '../../support/until.ts';

const isRoot = process.getuid?.() === 0;
const secret = 'PRIVATE KEY OF THE CLUSTER';

type Container = Pod['spec']['containers'][number];
const sh = (script: string, changes: Partial<Container> = {}): Container => ({
  name: 'main',
  image: 'host/sh',
  command: ['/bin/sh', '-c', script],
  ...changes,
});
/** Its containers have the programs of the machine. */
const attacker: Attacker = {
  sh,
  node: 'node',
  topOf: (top) => top,
  mountsOf: (name, mountPath) => [{ name, mountPath }],
  volumes: [],
};

const main = (pod: Pod) => pod.status?.containerStatuses?.[0];
const isOver = (pod: Pod): boolean => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';

const canWrite = (directory: string): boolean => {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    // Not root, as far as this directory goes.
    return false;
  }
};

const modes = [
  { mode: 'root', asUser: false, parent: tmpdir(), skip: !isRoot },
  { mode: 'an ordinary user', asUser: true, parent: tmpdir(), skip: false },
  { mode: 'root, with the data below a directory that pods see', asUser: false, parent: '/opt', skip: !isRoot || !canWrite('/opt') },
  { mode: 'a user, with the data below a directory that pods see', asUser: true, parent: '/opt', skip: !canWrite('/opt') },
];

describe.each(modes.filter(({ skip }) => !skip && hasNamespaces))('a pod of $mode', ({ asUser, parent }) => {
  let node: TestNode;
  /** On the machine, outside of the data directory, writable for everybody: a link that leads here leads out. */
  let outside: string;
  /** Directory of `--allow-host-path`. */
  let shared: string;
  let sequence = 0;

  beforeAll(async () => {
    // With the data directory in it, which pods get neither whole nor in part.
    shared = await mkdtemp(join(parent, 'midship-shared-'));
    await chmod(shared, 0o777);
    node = await startTestNode({ asUser, parent: shared, allowedHostPaths: [shared] });
    await mkdir(join(node.directory, 'pki'));
    await writeFile(join(node.directory, 'pki', 'ca.key'), `${secret}\n`);
    outside = await mkdtemp(join(tmpdir(), 'midship-outside-'));
    await chmod(outside, 0o777);
  });
  afterAll(async () => {
    await node.stop();
    for (const path of [outside, shared]) await rm(path, { recursive: true, force: true });
  });

  async function outputOf(name: string): Promise<string> {
    const containers = node.agent.podNamed('default', name)?.sandbox?.containers ?? [];
    const texts = await Promise.all(containers.map(({ id }) => readFile(node.runtime.logOf(id)?.path ?? '', 'utf8').catch(() => '')));
    return texts.join('');
  }

  /** Runs to its end; all output and the last message. */
  async function run(
    spec: Partial<Pod['spec']> & { readonly containers: readonly Container[] },
  ): Promise<{ pod: Pod; output: string; said: string }> {
    sequence += 1;
    const name = `attack-${sequence}`;
    await node.run({ name, restartPolicy: 'Never', ...spec, containers: [...spec.containers] });
    const pod = await node.pod(name, 'the end', isOver);
    const output = await outputOf(name);
    await node.client.delete(pods, { namespace: 'default', name }, { gracePeriodSeconds: 0 });
    return { pod, output, said: main(pod)?.state?.terminated?.message ?? '' };
  }

  /** Every container but the first has ended: it ran, or was refused its mounts. */
  const tried = (name: string): Promise<Pod> =>
    node.pod(
      name,
      'the end of all victims',
      ({ status }) => (status?.containerStatuses ?? []).filter(({ state }) => state?.terminated !== undefined).length === victims,
      60_000,
    );

  it('gets no mount through a link that it wrote, and nothing of the machine is changed by it', async () => {
    // A program of the pod in place of the one that changes the root, which runs with the machine in view.
    const program = `#!/bin/sh\\nhead -1 ${node.directory}/pki/ca.key\\nid\\necho escaped >${outside}/by-program\\n`;
    const { pod, output, said } = await run({
      volumes: [
        { name: 'e', emptyDir: {} },
        { name: 'f', emptyDir: {} },
      ],
      initContainers: [
        sh(
          `ln -s /usr/sbin /e/b; ln -s ${outside} /e/out; for name in pivot_root umount mount setpriv; do printf '${program}' >/f/$name; chmod 755 /f/$name; done`,
          {
            name: 'plant',
            volumeMounts: [
              { name: 'e', mountPath: '/e' },
              { name: 'f', mountPath: '/f' },
            ],
          },
        ),
      ],
      containers: [
        sh('echo started', {
          terminationMessagePath: '/a/out/termination',
          volumeMounts: [
            { name: 'e', mountPath: '/a' },
            { name: 'f', mountPath: '/a/b' },
            { name: 'f', mountPath: '/a/out/made' },
          ],
        }),
      ],
    });
    expect(output).not.toContain(secret);
    expect(output).not.toContain('started');
    expect(pod.status?.phase).toBe('Failed');
    expect(said).toContain('cannot be used: a part of its path is a link');
    expect(await readdir(outside)).toEqual([]);
  });

  it('gets a mount where it asked or none, while another container changes the path', async () => {
    await node.run({
      name: 'racer',
      restartPolicy: 'Never',
      ...mountPointRace(
        attacker,
        ['/usr/sbin', outside],
        `grep ' /' /proc/self/mountinfo | while read -r _ _ _ root point _; do case $root in */volumes/f) echo "at $point";; esac; done; echo ran`,
      ),
    });
    await tried('racer');
    const output = await outputOf('racer');
    const points = output.match(/at \/.*/g) ?? [];
    // The directory may have another name in its volume by then; the place where volumes wait is covered.
    for (const point of points) expect(point).toMatch(/^at (\/a\/(b|dir)|\/\.vol\/\d+)$/);
    expect(await readdir(outside)).toEqual([]);
    await node.client.delete(pods, { namespace: 'default', name: 'racer' }, { gracePeriodSeconds: 0 });
    await node.gone('racer');
  });

  it('gets no subPath that leads out of its volume, also while it changes', async () => {
    const leads = [`${node.directory}/pki`, '/proc/1/root/', '../../../../../../../../../etc'];
    await node.run({
      name: 'swapper',
      restartPolicy: 'Never',
      ...subPathRace(attacker, leads),
    });
    await tried('swapper');
    const output = await outputOf('swapper');
    expect(output).not.toContain(secret);
    expect(output).not.toContain('read ');
    expect(new Set(output.match(/saw .*/g) ?? [])).toEqual(new Set(output.includes('saw ') ? ['saw own'] : []));
    await node.client.delete(pods, { namespace: 'default', name: 'swapper' }, { gracePeriodSeconds: 0 });
    await node.gone('swapper');

    const { said } = await run({
      volumes: [{ name: 'e', emptyDir: {} }],
      initContainers: [sh(`ln -s ${node.directory} /e/s`, { name: 'plant', volumeMounts: [{ name: 'e', mountPath: '/e' }] })],
      containers: [sh('ls /sub', { volumeMounts: [{ name: 'e', mountPath: '/sub', subPath: 's' }] })],
    });
    expect(said).toContain('path "s" of a volume leads to nothing, or out of the volume');
  });

  it('cannot write to its ConfigMap volume, and leads no file of the agent elsewhere', async () => {
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'keys', namespace: 'default' } };
    await node.client.create(configMaps, { ...map, data: { authorized_keys: 'one\n' } });
    await node.run({
      name: 'writer',
      volumes: [{ name: 'c', configMap: { name: 'keys' } }],
      containers: [
        sh(
          `rm -rf /c/..data; ln -sfn ${outside} /c/..data && echo linked; ln -s ${outside} /c/..data_tmp && echo linked; touch /c/new && echo wrote; umount /c && echo unmounted; echo tried; while :; do cat /c/authorized_keys; sleep 0.1; done`,
          {
            volumeMounts: [{ name: 'c', mountPath: '/c', readOnly: false }],
          },
        ),
      ],
    });
    await until(async () => (await outputOf('writer')).includes('tried'), { what: 'the attempt', timeoutMs: 15_000 });
    await node.client.update(configMaps, { ...map, data: { authorized_keys: 'two\n' } });
    await until(async () => (await outputOf('writer')).includes('two'), { what: 'the change in the pod', timeoutMs: 15_000 });
    const output = await outputOf('writer');
    expect(output).toContain('Read-only file system');
    for (const word of ['linked', 'wrote', 'unmounted']) expect(output).not.toContain(word);
    expect(await readdir(outside)).toEqual([]);
    await node.client.delete(pods, { namespace: 'default', name: 'writer' }, { gracePeriodSeconds: 0 });
    await node.gone('writer');
  });

  it('has no privilege, gains none, and sees nothing of the data directory', async () => {
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'attacked', namespace: 'default' } };
    await node.client.create(configMaps, { ...map, data: { key: 'value' } });
    const { output } = await run({
      volumes: [{ name: 'c', configMap: { name: 'attacked' } }],
      containers: [
        sh(
          [
            'grep -E "^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)" /proc/self/status',
            'mknod /tmp/disk b 8 0 && echo made a device',
            'for directory in /usr /opt /etc /; do mount -o remount,rw,bind $directory && echo remounted; umount -l $directory && echo unmounted; done',
            'touch /usr/by-pod && echo wrote',
            `ls -A ${node.directory} | sed "s/^/saw /"; cat ${node.directory}/pki/ca.key /.vol/*/pki/ca.key /proc/1/root${node.directory}/pki/ca.key`,
            'ls /.vol | sed "s/^/saw /"; readlink /proc/1/fd/* | sed "s/^/descriptor /"',
            ...(asUser ? [] : ['cat /etc/shadow | sed "s/^/read /"']),
            attacks({
              dataDirectory: node.directory,
              keyFile: join(node.directory, 'pki/ca.key'),
              variable: 'VITEST',
              configMap: '/c',
              hasIdOfRoot: asUser && isRoot,
            }),
          ].join('\n'),
          { volumeMounts: [{ name: 'c', mountPath: '/c' }] },
        ),
      ],
    });
    expect(output).toContain('NoNewPrivs:\t1\n');
    expect(output.match(/^Cap.*/gm)?.map((line) => line.replace(/^\w+:\t0+$/, ''))).toEqual(['', '', '', '', '']);
    expect(output).not.toContain(secret);
    expect(output).toMatch(/\ntried\n$/);
    for (const word of ['broke out', 'made a device', 'wrote', 'saw ', 'descriptor ', 'read ']) expect(output).not.toContain(`\n${word}`);
  });

  it('has no more in a command that is run in it than its program has', async () => {
    await node.run({ name: 'entered', containers: [sh('sleep 1000', { securityContext: { runAsUser: 1234, runAsGroup: 2345 } })] });
    await node.pod('entered', 'running', (pod) => main(pod)?.state?.running !== undefined);
    const id = node.agent.podNamed('default', 'entered')?.sandbox?.containers[0]?.id ?? '';
    const script = `id -u; id -g; grep -E "^(CapPrm|CapEff|NoNewPrivs)" /proc/self/status; cat ${node.directory}/pki/ca.key /etc/shadow 2>/dev/null; unshare --user true && echo nested; grep -c . /proc/1/cmdline`;
    const { stdout } = await node.runtime.exec(id, ['/bin/sh', '-c', script], { timeoutMs: 10_000, limitBytes: 10_000 });
    const lines = stdout.toString().split('\n');
    expect(lines.slice(0, 5)).toEqual(['1234', '2345', 'CapPrm:\t0000000000000000', 'CapEff:\t0000000000000000', 'NoNewPrivs:\t1']);
    expect(stdout.toString()).not.toContain('nested');
    if (!asUser) expect(stdout.toString()).not.toContain('root:');
    expect(stdout.toString()).not.toContain(secret);
    await node.client.delete(pods, { namespace: 'default', name: 'entered' }, { gracePeriodSeconds: 0 });
    await node.gone('entered');
  });

  it('runs as restricted, with the ids that it asks for', async () => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await node.client.patch(namespaces, { name: 'default' }, { type: 'merge', body: { metadata: { labels } } });
    const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    const securityContext = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
    const volumes = [{ name: 'e', emptyDir: {} }];
    const volumeMounts = [{ name: 'e', mountPath: '/e' }];
    const unnamed = await run({
      securityContext,
      volumes,
      containers: [sh('id -u; touch /e/x; stat -c %u /e/x', { securityContext: restricted, volumeMounts })],
    });
    expect(unnamed.output).toBe('65532\n65532\n');
    const named = await run({
      securityContext: { ...securityContext, runAsUser: 1000660000, runAsGroup: 3, fsGroup: 4 },
      volumes,
      containers: [
        sh('id -u; id -g; touch /e/x && stat -c %u:%g /e/x; touch /x || echo read-only', {
          securityContext: { ...restricted, readOnlyRootFilesystem: true },
          volumeMounts,
        }),
      ],
    });
    expect(named.output).toMatch(/^1000660000\n3\n1000660000:3\n[\s\S]*read-only\n$/);
    await node.client.patch(
      namespaces,
      { name: 'default' },
      { type: 'merge', body: { metadata: { labels: { 'pod-security.kubernetes.io/enforce': null } } } },
    );
  });

  it.skipIf(asUser)('owns what it writes under an id of its own on the machine (needs root)', async () => {
    const owners: number[] = [];
    for (const name of ['first', 'second']) {
      const pod = await node.run({
        name,
        volumes: [{ name: 'e', emptyDir: {} }],
        containers: [sh('touch /e/x; sleep 1000', { volumeMounts: [{ name: 'e', mountPath: '/e' }] })],
      });
      const file = join(node.directory, 'pods', pod.metadata.uid ?? '', 'volumes/e/x');
      owners.push((await until(() => stat(file).catch(() => undefined), { what: `file of pod ${name}`, timeoutMs: 15_000 })).uid);
      await node.client.delete(pods, { namespace: 'default', name }, { gracePeriodSeconds: 0 });
    }
    for (const uid of owners) expect(uid).toBeGreaterThan(65_535);
    expect(owners[0]).not.toBe(owners[1]);
  });

  it('is refused a directory of the machine, the data directory above all', async () => {
    for (const path of [node.directory, join(node.directory, 'pki'), shared, '/etc', '/']) {
      const name = `host-${sequence++}`;
      await node.run({
        name,
        volumes: [{ name: 'h', hostPath: { path } }],
        containers: [sh('cat /h/ca.key /h/pki/ca.key', { volumeMounts: [{ name: 'h', mountPath: '/h' }] })],
      });
      const refusal = `hostPath ${path} is refused: it`;
      await until(async () => (await node.messagesOf(name)).some((text) => text.startsWith('FailedMount') && text.includes(refusal)), {
        what: `the refusal of ${path}`,
      });
      expect(await outputOf(name)).not.toContain(secret);
      await node.client.delete(pods, { namespace: 'default', name }, { gracePeriodSeconds: 0 });
    }
  });

  it('gets a directory of the machine that is allowed, and nothing else through what pods write there', async () => {
    const own = await mkdtemp(join(shared, 'own-'));
    await chmod(own, 0o777);
    const volumes = [
      { name: 'own', hostPath: { path: own } },
      { name: 'new', hostPath: { path: join(own, 'a/b'), type: 'DirectoryOrCreate' } },
    ];
    const written = await run({
      volumes,
      containers: [
        sh('echo hello >/new/file', {
          volumeMounts: [
            { name: 'own', mountPath: '/own' },
            { name: 'new', mountPath: '/new' },
          ],
        }),
      ],
    });
    expect(written.pod.status?.phase).toBe('Succeeded');
    expect(await readFile(join(own, 'a/b/file'), 'utf8')).toBe('hello\n');

    const leads = [`../${basename(node.directory)}/pki`, outside];
    await node.run({
      name: 'hostswap',
      restartPolicy: 'Never',
      volumes: [
        { name: 'own', hostPath: { path: own } },
        { name: 'x', hostPath: { path: join(own, 'x') } },
      ],
      containers: [
        swapper(attacker, { volume: 'own', top: '/own', directory: 'x', links: leads }),
        ...Array.from({ length: victims }, (_, index) =>
          sh('cat /x/ca.key; ls -A /x | sed "s/^/saw /"', { name: `victim-${index}`, volumeMounts: [{ name: 'x', mountPath: '/x' }] }),
        ),
      ],
    });
    await tried('hostswap');
    const output = await outputOf('hostswap');
    expect(output).not.toContain(secret);
    expect(output.replaceAll('saw own\n', '')).not.toContain('saw ');
    await node.client.delete(pods, { namespace: 'default', name: 'hostswap' }, { gracePeriodSeconds: 0 });
    await node.gone('hostswap');
  });

  it('mounts a volume within one of a ConfigMap', async () => {
    const { output } = await run({
      volumes: [
        { name: 'c', configMap: { name: 'keys' } },
        { name: 'e', emptyDir: {} },
      ],
      containers: [
        sh('cat /c/authorized_keys; echo cached >/c/cache/x && cat /c/cache/x', {
          volumeMounts: [
            { name: 'c', mountPath: '/c' },
            { name: 'e', mountPath: '/c/cache' },
          ],
        }),
      ],
    });
    expect(output).toBe('two\ncached\n');
  });

  it('is refused a mount over the programs that containers are started with', async () => {
    await node.run({
      name: 'cover',
      volumes: [{ name: 'e', emptyDir: {} }],
      containers: [sh('true', { volumeMounts: [{ name: 'e', mountPath: '/usr/bin' }] })],
    });
    const pod = await node.pod('cover', 'refusal', (found) => main(found)?.state?.waiting?.reason === 'CreateContainerError');
    expect(main(pod)?.state?.waiting?.message).toBe(
      'mountPath /usr/bin of container main is refused: it would cover programs of the machine that containers are started with',
    );
    await node.client.delete(pods, { namespace: 'default', name: 'cover' }, { gracePeriodSeconds: 0 });
  });
});

describe('a machine that cannot isolate', () => {
  const start = (insecurePlainPods: boolean) => startTestNode({ host: { plain: true, insecurePlainPods } });
  const isolationOf = async (node: TestNode) =>
    (await node.client.get(nodes, { name: testNodeName })).status?.conditions?.find(({ type }) => type === 'midship.dev/PodIsolation');

  it('runs no pods, and says so on the pod and the node', async () => {
    const node = await start(false);
    try {
      await node.run({ name: 'plain', containers: [sh('echo ran')] });
      const pod = await node.pod('plain', 'refusal', (found) => main(found)?.state?.waiting?.reason === 'CreateContainerError');
      expect(main(pod)?.state?.waiting?.message).toMatch(/This machine cannot isolate pods.*--insecure-plain-pods/);
      expect(await isolationOf(node)).toMatchObject({ status: 'False', reason: 'PodsRefused' });
      await until(async () => (await node.messagesOf(testNodeName)).some((text) => text.startsWith('PodsRefused: ')), {
        what: 'Event of the node',
      });
    } finally {
      await node.stop();
    }
  });

  it('runs them as plain processes when a flag asks for it, without new privileges', async () => {
    const node = await start(true);
    try {
      await node.run({
        name: 'plain',
        restartPolicy: 'Never',
        automountServiceAccountToken: false,
        containers: [sh('grep -E "^(CapEff|NoNewPrivs)" /proc/self/status')],
      });
      await node.pod('plain', 'the end', isOver);
      const id = node.agent.podNamed('default', 'plain')?.sandbox?.containers[0]?.id ?? '';
      const output = await readFile(node.runtime.logOf(id)?.path ?? '', 'utf8');
      expect(output).toBe('CapEff:\t0000000000000000\nNoNewPrivs:\t1\n');
      expect(await isolationOf(node)).toMatchObject({ status: 'False', reason: 'PlainProcesses' });
    } finally {
      await node.stop();
    }
  });
});
