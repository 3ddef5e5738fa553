import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { type Answer, decode, encode } from 'dns-packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { removeContainerdState, startContainerd } from '../../src/node-agent/containerd/containerd-service.ts';
import { type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { busyboxArchive, busyboxImage, whyNoContainerd } from '../support/containerd.ts';
import { CsiDriverProcess } from '../support/csi-driver.ts';
import { temporaryDirectory } from '../support/git.ts';
import { type ImageRegistry, startImageRegistry } from '../support/image-registry.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

const hasNft = await run('nft', ['--version']).then(
  ({ code }) => code === 0,
  () => false,
);
const hasCrun = await run('crun', ['--version']).then(
  ({ code }) => code === 0,
  () => false,
);
const whyNot = !hasKubectl ? 'kubectl is not installed' : !hasNft ? 'nft is not installed' : whyNoContainerd;
const marker = `midship-e2e-${process.pid}`;
/** Prints its arguments. */
const entrypointImage = 'localhost/midship-test-entrypoint:1';

const manifest = `
apiVersion: v1
kind: ConfigMap
metadata: { name: page }
data: { index.html: "hello from a container", settings.txt: "of the map" }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: web
          image: ${busyboxImage}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'echo begun; trap "exit 0" TERM; httpd -p 8080 -h /www; while :; do sleep 0.1; done']
          env: [{ name: MARKER, value: ${marker} }]
          readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 }
          livenessProbe: { exec: { command: [cat, /etc/one/settings.txt] }, periodSeconds: 2 }
          resources: { requests: { cpu: 10m }, limits: { memory: 64Mi } }
          volumeMounts:
            - { name: page, mountPath: /www }
            - { name: page, mountPath: /etc/one/settings.txt, subPath: settings.txt }
            - { name: scratch, mountPath: /scratch }
      volumes:
        - { name: page, configMap: { name: page } }
        - { name: scratch, emptyDir: {} }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: pets }
spec: { clusterIP: None, selector: { app: pet }, ports: [{ name: http, port: 8080 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: pet, labels: { app: pet } }
spec:
  hostname: rex
  subdomain: pets
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: ${busyboxImage}
      command: [sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']
`;

/** Resolver of the machine, as the cluster learns: a server of this test, for names that are not of the cluster. */
const resolverAddress = `127.63.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`;
const startResolver = async (): Promise<UdpSocket> => {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const { id, questions = [] } = decode(message);
    const name = questions[0]?.name ?? '';
    const isKnown = name === 'outside.example' && questions[0]?.type === 'A';
    const answers: Answer[] = isKnown ? [{ name, type: 'A', ttl: 60, data: '192.0.2.77' }] : [];
    const reply = encode({ type: 'response', id, flags: 0x0180 | (name === 'outside.example' ? 0 : 3), questions, answers });
    socket.send(reply, from.port, from.address);
  });
  socket.bind(53, resolverAddress);
  await once(socket, 'listening');
  return socket;
};

const ownLogin = { username: 'reader', password: 'a:b c' };
const mirrorLogin = { username: 'mirror', password: 'of the machine' };

const basic = ({ username, password }: typeof ownLogin): string => `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

const registriesText = (mirrorHost: string): string => `
mirrors:
  registry.example: { endpoint: ["http://${mirrorHost}"] }
configs:
  "${mirrorHost}": { auth: { username: ${mirrorLogin.username}, password: "${mirrorLogin.password}" } }
`;

/** The socket of the containerd that the program has started. */
async function socketOf(dataDirectory: string): Promise<string> {
  const configuration = await readFile(join(dataDirectory, 'containerd', 'config.toml'), 'utf8');
  return /address = "(.*)"/.exec(configuration)?.[1] ?? '';
}

describe.skipIf(whyNot !== undefined)(
  `pods as containers (skipped where they cannot run: ${whyNot ?? 'they can here'})`,
  { shuffle: false },
  () => {
    let cluster: RunningCluster;
    let driver: CsiDriverProcess;
    let pod: string;
    let resolver: UdpSocket;
    let registry: ImageRegistry;
    let mirror: ImageRegistry;
    /** A directory of the machine that pods may mount. */
    let hostDirectory: string;

    const kubectl = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await cluster.kubectl(...args);
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    const start = (dataDirectory: string) =>
      startCluster({
        command: 'up',
        args: [
          '--runtime',
          'containerd',
          '--resolv-conf',
          join(dataDirectory, 'resolv.conf'),
          '--private-registry',
          join(dataDirectory, 'registries.yaml'),
          '--allow-host-path',
          '/',
        ],
        dataDirectory,
      });

    const apply = async (...objects: readonly object[]): Promise<void> => {
      const file = join(cluster.dataDirectory, 'objects.json');
      await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
      await kubectl('apply', '-f', file);
    };
    interface ShortPod {
      readonly name: string;
      /** Run by a shell in the container `main`; the output is what the test looks at. */
      readonly script: string;
      readonly spec?: object;
      readonly container?: object;
      readonly others?: readonly object[];
      readonly metadata?: object;
    }

    /** Runs pods to their end, all at once, and gives what each printed. */
    async function outputsOf(...pods: readonly ShortPod[]): Promise<Readonly<Record<string, string>>> {
      await apply(
        ...pods.map(({ name, script, spec, container, others = [], metadata }) => ({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { ...metadata, name },
          spec: {
            restartPolicy: 'Never',
            terminationGracePeriodSeconds: 0,
            ...spec,
            containers: [{ name: 'main', image: busyboxImage, command: ['sh', '-c', script], ...container }, ...others],
          },
        })),
      );
      const found: Record<string, string> = {};
      for (const { name } of pods) {
        const ended = '{.status.containerStatuses[?(@.name=="main")].state.terminated.exitCode}';
        const end = async (): Promise<string> => kubectl('get', 'pod', name, '-o', `jsonpath=${ended}`);
        await until(async () => (await end()) !== '', { what: `the end of ${name}`, timeoutMs: 45_000 });
        found[name] = await kubectl('logs', name, '-c', 'main');
      }
      return found;
    }
    const fieldOf = (pod: string, path: string): Promise<string> => kubectl('get', 'pod', pod, '-o', `jsonpath={${path}}`);

    const eventsOf = (name: string): Promise<string> =>
      kubectl(
        'get',
        'events',
        '--field-selector',
        `involvedObject.name=${name}`,
        '-o',
        'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
      );

    /** A file of the control group of a pod of the class Burstable; undefined without that group. */
    async function readGroup(uid: string, controller: string, ...files: readonly string[]): Promise<string | undefined> {
      for (const place of [`${controller}/`, '']) {
        for (const file of files) {
          const path = `/sys/fs/cgroup/${place}midship/kubepods/burstable/pod${uid}/${file}`;
          const text = await readFile(path, 'utf8').catch(() => undefined);
          if (text !== undefined) return text.trim();
        }
      }
      return undefined;
    }

    beforeAll(async () => {
      const dataDirectory = await temporaryDirectory('containers');
      await mkdir(join(dataDirectory, 'images'), { recursive: true });
      hostDirectory = await temporaryDirectory('host');
      await writeFile(join(hostDirectory, 'file.txt'), '');
      await chmod(join(hostDirectory, 'file.txt'), 0o666);
      const archive = await busyboxArchive();
      await writeFile(join(dataDirectory, 'images', 'busybox.tar'), archive);
      const entrypoint = { Entrypoint: ['echo', 'entrypoint'], Cmd: ['of the image'] };
      await writeFile(join(dataDirectory, 'images', 'entrypoint.tar'), await busyboxArchive(entrypointImage, entrypoint));
      await writeFile(join(dataDirectory, 'images', 'notes.tar'), 'no archive');
      registry = await startImageRegistry({ images: { 'team/app:1': archive, 'team/app:latest': archive }, login: ownLogin });
      mirror = await startImageRegistry({ images: { 'far/app:1': archive }, login: mirrorLogin });
      await writeFile(join(dataDirectory, 'registries.yaml'), registriesText(mirror.host));
      await writeFile(join(dataDirectory, 'resolv.conf'), `nameserver ${resolverAddress}\nsearch corp.example\n`);
      resolver = await startResolver();
      cluster = await start(dataDirectory);
      await writeFile(join(dataDirectory, 'web.yaml'), manifest);
      await kubectl('apply', '-f', join(dataDirectory, 'web.yaml'));
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
      await kubectl('wait', 'pod/pet', '--for=condition=Ready', '--timeout=60s');
      pod = (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'name')).split('\n')[0] ?? '';
    });
    afterAll(async () => {
      await cluster?.midship('down', '--purge', '--yes');
      await driver?.stop();
      resolver?.close();
      await Promise.all([registry?.close(), mirror?.close()]);
    });

    it('run on a node that names the runtime, with addresses of their own', async () => {
      expect(await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}')).toMatch(
        /^containerd:\/\//,
      );
      const addresses = (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.podIP}')).split(' ');
      expect(new Set(addresses).size).toBe(2);
    });

    it('see their image, volumes, one key of a volume and their limits, and nothing of the machine', async () => {
      const seen = await kubectl(
        'exec',
        pod,
        '--',
        'sh',
        '-c',
        'cat /www/index.html /etc/one/settings.txt; ls /; ls /proc | grep -c "^[0-9]"; echo x > /scratch/x && ls /scratch',
      );
      expect(seen).toContain('hello from a containerof the map');
      expect(seen).not.toContain('lib64');
      // The program, its helpers and this command, but none of the machine's processes.
      expect(Number(/^\d+$/m.exec(seen)?.[0])).toBeLessThan(12);
      const group = await kubectl(
        'exec',
        pod,
        '--',
        'sh',
        '-c',
        'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max',
      );
      expect(group.trim()).toBe(String(64 * 1024 * 1024));
    });

    it('reach Services and the API by their addresses', async () => {
      const address = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
      expect(await kubectl('exec', pod, '--', 'wget', '-qO-', '-T', '5', `http://${address}/`)).toBe('hello from a container');
      // Rules of the kernel lead there, and the node says so.
      const rules = await run('nft', ['list', 'table', 'ip', `midship-proxy-${address.split('.')[1]}`]);
      expect(rules.stdout).toContain(`${address} . tcp . 80 : goto service-`);
      expect(await kubectl('get', 'nodes', '-l', 'midship.dev/service-proxy=nftables', '-o', 'name')).toBe('node/node-a\n');
      const version = 'wget -qO- -T 5 --no-check-certificate https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version';
      expect(await kubectl('exec', pod, '--', 'sh', '-c', version)).toContain('"major":"1"');
    });

    it('resolve Services by short names, pods of headless Services, and names outside', async () => {
      const [addresses, pet] = await Promise.all([
        kubectl('get', 'services', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIP}{"\\n"}{end}'),
        kubectl('get', 'pod', 'pet', '-o', 'jsonpath={.status.podIP}'),
      ]);
      const addressOf = (name: string): string => new RegExp(`^${name} (.*)$`, 'm').exec(addresses)?.[1] ?? '';
      const dns = addressOf('kube-dns');
      // The tenth address of the range, whose first is the API's.
      expect(dns).toBe(`${addressOf('kubernetes')}0`);
      const commands = [
        'cat /etc/resolv.conf',
        'wget -qO- -T 5 http://web/',
        'echo; wget -qO- -T 5 http://web.default/',
        'echo; for name in web rex.pets outside.example missing.example; do ping -c 1 -W 1 $name 2>&1 | head -n 1; done',
      ];
      const seen = await kubectl('exec', pod, '--', 'sh', '-c', commands.join('; '));
      expect(seen.split('\n')).toEqual([
        'search default.svc.cluster.local svc.cluster.local cluster.local corp.example',
        `nameserver ${dns}`,
        'options ndots:5',
        'hello from a container',
        'hello from a container',
        `PING web (${addressOf('web')}): 56 data bytes`,
        `PING rex.pets (${pet}): 56 data bytes`,
        'PING outside.example (192.0.2.77): 56 data bytes',
        "ping: bad address 'missing.example'",
        '',
      ]);
      expect(await kubectl('exec', 'pet', '--', 'cat', '/etc/hosts')).toContain(`${pet}\trex.pets.default.svc.cluster.local\trex\n`);
    });

    it('serve logs, exec with input, cp, port-forward and top', async () => {
      expect(await kubectl('logs', pod)).toContain('begun');
      const missing = await cluster.kubectl('exec', pod, '--', 'no-such-program');
      expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('"no-such-program": executable file not found in $PATH') });
      const file = join(cluster.dataDirectory, 'big');
      await writeFile(file, randomBytes(4 * 1024 * 1024));
      const name = pod.replace('pod/', '');
      await kubectl('cp', file, `${name}:/scratch/big`);
      await kubectl('cp', `${name}:/scratch/big`, `${file}.back`);
      expect((await readFile(`${file}.back`)).equals(await readFile(file))).toBe(true);
      // The port is one that kubectl chooses and prints.
      const command = `kubectl port-forward "$0" :8080 > "$1" & until wget -qO- "http://$(sed -n 's/^Forwarding from \\(127[^ ]*\\) .*/\\1/p' "$1")/" 2>/dev/null || ! kill -0 $!; do sleep 0.1; done; kill $!`;
      const forwarded = await run('sh', ['-c', command, pod, `${file}.log`], { ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig });
      expect(forwarded.stdout).toContain('hello from a container');
      await until(async () => (await cluster.kubectl('top', 'pods')).stdout.includes(name), { what: 'a measurement', timeoutMs: 60_000 });
    });

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
              command: [
                'sh',
                '-c',
                'id; grep -E "CapEff|CapBnd|NoNewPrivs|Seccomp:" /proc/self/status; echo x > /scratch/x && ls /scratch',
              ],
              securityContext: { capabilities: { drop: ['ALL'] }, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
              volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
            },
          ],
        },
      };
      const file = join(cluster.dataDirectory, 'secured.json');
      await writeFile(file, JSON.stringify(secured));
      await kubectl('apply', '-f', file);
      await kubectl('wait', 'pod/secured', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=60s');
      const seen = await kubectl('logs', 'secured');
      expect(seen).toMatch(/uid=1234 gid=2345 groups=(?=.*2345)(?=.*3456)(?=.*4567)/);
      expect(seen).toMatch(/CapEff:\s+0000000000000000\nCapBnd:\s+0000000000000000\nNoNewPrivs:\s+1\nSeccomp:\s+2\nx\n/);
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

    it('find keys and fields in files with the modes that they ask for, as root and as others', async () => {
      const labels = { labels: { team: 'a' }, annotations: { note: 'first' } };
      const fields = {
        items: [
          { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
          { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
          { path: 'name', fieldRef: { fieldPath: 'metadata.name' }, mode: 0o400 },
          ...['requests.cpu', 'limits.cpu', 'requests.memory', 'limits.memory'].map((resource) => ({
            path: resource,
            resourceFieldRef: { containerName: 'main', resource },
          })),
        ],
      };
      const items = [{ key: 'KEY', path: 'deep/key', mode: 0o400 }];
      const optional = { name: 'comes-later', optional: true };
      await kubectl('create', 'secret', 'generic', 'keys', '--from-literal=KEY=secret');
      await kubectl('create', 'configmap', 'keys', '--from-literal=KEY=map');
      const volumes = [
        { name: 'map', configMap: { name: 'keys' } },
        { name: 'map-mode', configMap: { name: 'keys', defaultMode: 0o440 } },
        { name: 'map-items', configMap: { name: 'keys', items } },
        { name: 'secret', secret: { secretName: 'keys' } },
        { name: 'secret-mode', secret: { secretName: 'keys', defaultMode: 0o440 } },
        { name: 'secret-items', secret: { secretName: 'keys', items } },
        { name: 'fields', downwardAPI: fields },
        {
          name: 'all',
          projected: {
            defaultMode: 0o440,
            sources: [{ configMap: { name: 'keys', items } }, { secret: { name: 'keys' } }, { downwardAPI: fields }],
          },
        },
        { name: 'optional', configMap: optional },
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory' } },
      ];
      const container = {
        resources: { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '500m', memory: '64Mi' } },
        volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/v/${name}` })),
      };
      const show = [
        'cd /v; stat -c "%n %a" disk memory; ls optional | wc -l',
        'for f in map/KEY map-mode/KEY map-items/deep/key secret/KEY secret-mode/KEY secret-items/deep/key fields/name all/deep/key all/KEY all/labels; do stat -L -c "%n %a" $f; done',
        'cat map/KEY secret/KEY all/KEY fields/labels fields/requests.cpu fields/limits.cpu fields/requests.memory fields/limits.memory; echo',
        'for d in disk memory; do for m in 644 666 777; do echo x > $d/$m && chmod $m $d/$m && stat -c "%n %a %u" $d/$m; done; done',
      ].join('; ');
      const script = `${show}; until grep -q second fields/annotations && grep -q "team=.b" fields/labels && [ -e optional/new ]; do sleep 0.1; done; echo updated; until [ ! -e optional/new ]; do sleep 0.1; done; echo gone`;
      const running = outputsOf(
        { name: 'files-of-root', script, spec: { volumes }, container, metadata: labels },
        {
          name: 'files-of-others',
          script,
          spec: { volumes, securityContext: { runAsUser: 1000, fsGroup: 1001 } },
          container,
          metadata: labels,
        },
      );
      const printed = async (text: string): Promise<void> => {
        for (const name of ['files-of-root', 'files-of-others'])
          await until(async () => (await cluster.kubectl('logs', name)).stdout.includes(text), {
            what: `${name} prints ${text}`,
            timeoutMs: 40_000,
          });
      };
      await printed('memory/777');
      await kubectl('create', 'configmap', 'comes-later', '--from-literal=new=1');
      await kubectl('label', '--overwrite', 'pod', 'files-of-root', 'files-of-others', 'team=b');
      await kubectl('annotate', '--overwrite', 'pod', 'files-of-root', 'files-of-others', 'note=second');
      await printed('updated');
      await kubectl('delete', 'configmap', 'comes-later');
      const seen = await running;
      const modes = (mode: string, itemMode: string, user: number, directory: string): string[] => [
        `disk ${directory}`,
        `memory ${directory}`,
        '0',
        'map/KEY 644',
        `map-mode/KEY ${mode}`,
        `map-items/deep/key ${itemMode}`,
        'secret/KEY 644',
        `secret-mode/KEY ${mode}`,
        `secret-items/deep/key ${itemMode}`,
        `fields/name ${itemMode}`,
        `all/deep/key ${itemMode}`,
        `all/KEY ${mode}`,
        `all/labels ${mode}`,
        `mapsecretsecretteam="a"1133554432${64 * 1024 * 1024}`,
        ...['disk', 'memory'].flatMap((place) => ['644', '666', '777'].map((each) => `${place}/${each} ${each} ${user}`)),
        'updated',
        'gone',
        '',
      ];
      expect(seen['files-of-root']?.split('\n')).toEqual(modes('440', '400', 0, '777'));
      // The group of the pod may read what its owner may.
      expect(seen['files-of-others']?.split('\n')).toEqual(modes('440', '440', 1000, '2777'));
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
          volumes: [{ name: 'out', hostPath: { path: hostDirectory } }],
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
      const noted = (): Promise<string> => readFile(join(hostDirectory, 'hooks'), 'utf8');
      expect([await noted(), asked]).toEqual(['started\n', ['/started']]);
      await kubectl('delete', 'pod', 'hooked');
      expect([await noted(), asked]).toEqual(['started\nends\n', ['/started', '/ends']]);
      server.close();
    });

    it('have the rights and namespaces that they ask for, and no others', async () => {
      await mkdir(join(cluster.dataDirectory, 'seccomp', 'own'), { recursive: true });
      const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }] };
      await writeFile(join(cluster.dataDirectory, 'seccomp', 'own', 'no-mkdir.json'), JSON.stringify(profile));
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

    it('open ports of the machine', async () => {
      // Rules of the kernel take this port on every address of the machine: no other test uses it.
      const port = 28_000 + (process.pid % 1_000);
      await apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'host-port' },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [
            {
              name: 'main',
              image: busyboxImage,
              command: ['sh', '-c', 'mkdir /www; echo -n by a port > /www/index.html; httpd -f -p 8080 -h /www'],
              ports: [{ containerPort: 8080, hostPort: port }],
            },
          ],
        },
      });
      await kubectl('wait', 'pod/host-port', '--for=condition=Ready', '--timeout=30s');
      const node = await kubectl('get', 'node', 'node-a', '-o', 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}');
      await until(
        async () =>
          (await fetch(`http://${node}:${port}/`).then(
            (answer) => answer.text(),
            () => '',
          )) === 'by a port',
        {
          what: 'an answer at the port of the machine',
        },
      );
      await kubectl('delete', 'pod', 'host-port', '--wait=false');
    });

    it('have volumes in memory with their size, of their group, of parts that variables name, and of the machine', async () => {
      await kubectl('create', 'secret', 'generic', 'key', '--from-literal=key=secret of the pod');
      const seen = await outputsOf({
        name: 'volumes',
        script: [
          'grep " /memory " /proc/mounts',
          'dd if=/dev/zero of=/memory/big bs=1024 count=2000 2>&1 | grep -o "No space left on device"',
          'stat -c "%g %a" /memory /scratch',
          'touch /scratch/of-group && stat -c %g /scratch/of-group',
          'cat /key/key; echo',
          'echo x > /part/file && ls /scratch',
          'echo appended >> /machine.txt',
          'stat -c %F /made /device',
          'exec 2>&1; cat /image/etc/passwd; /image/bin/busybox true; cat /accounts',
        ].join('; '),
        spec: {
          securityContext: { runAsUser: 1234, fsGroup: 4567, runAsNonRoot: true },
          volumes: [
            { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
            { name: 'scratch', emptyDir: {} },
            { name: 'key', secret: { secretName: 'key', defaultMode: 0o400 } },
            { name: 'file', hostPath: { path: join(hostDirectory, 'file.txt'), type: 'File' } },
            { name: 'made', hostPath: { path: join(hostDirectory, 'made.txt'), type: 'FileOrCreate' } },
            { name: 'device', hostPath: { path: '/dev/zero', type: 'CharDevice' } },
            { name: 'image', image: { reference: busyboxImage, pullPolicy: 'IfNotPresent' } },
          ],
        },
        container: {
          env: [{ name: 'PART', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
          volumeMounts: [
            { name: 'memory', mountPath: '/memory' },
            { name: 'scratch', mountPath: '/scratch' },
            { name: 'scratch', mountPath: '/part', subPathExpr: 'of-$(PART)' },
            { name: 'key', mountPath: '/key' },
            { name: 'file', mountPath: '/machine.txt' },
            { name: 'made', mountPath: '/made' },
            { name: 'device', mountPath: '/device' },
            { name: 'image', mountPath: '/image' },
            { name: 'image', mountPath: '/accounts', subPath: 'etc/passwd' },
          ],
        },
      });
      expect(seen.volumes?.split('\n')).toEqual([
        expect.stringMatching(/^tmpfs \/memory tmpfs rw.*size=1024k.*gid=4567/),
        'No space left on device',
        '4567 2777',
        '4567 2777',
        '4567',
        'secret of the pod',
        'of-group',
        'of-volumes',
        'regular empty file',
        'character special file',
        'root:x:0:0:root:/root:/bin/sh',
        expect.stringContaining('/image/bin/busybox: Permission denied'),
        'root:x:0:0:root:/root:/bin/sh',
        '',
      ]);
      await kubectl('delete', 'pod', 'volumes');
      await until(async () => !/volumes\/memory|images\/image/.test(await readFile('/proc/self/mountinfo', 'utf8')), {
        what: 'the end of its memory and its image',
      });
    });

    it('keep the files of claims from pod to pod, with the group of the pod, and never leave the volume', async () => {
      const claimOf = (name: string, volumeType: string) => ({
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name, annotations: { volumeType } },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      });
      const volumesOf = (...names: string[]) => names.map((name) => ({ name, persistentVolumeClaim: { claimName: name } }));
      const mountsOf = (...names: string[]) => names.map((name) => ({ name, mountPath: `/${name}` }));
      await apply(claimOf('kept', 'hostPath'), claimOf('grouped', 'local'), {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'keeper' },
        spec: {
          terminationGracePeriodSeconds: 0,
          volumes: volumesOf('kept'),
          containers: [
            {
              name: 'main',
              image: busyboxImage,
              command: ['sh', '-c', 'echo start >> /kept/starts; ln -s /etc /kept/out; sleep 1000'],
              volumeMounts: mountsOf('kept'),
            },
          ],
        },
      });
      await kubectl('wait', 'pod/keeper', '--for=condition=Ready', '--timeout=60s');
      const seen = await outputsOf(
        {
          name: 'grouped',
          script: 'stat -c "%g %a" /grouped; touch /grouped/file; stat -c %g /grouped/file; cat /kept/starts; touch /kept/x 2>&1',
          spec: {
            securityContext: { runAsUser: 1234, fsGroup: 4567, runAsNonRoot: true },
            volumes: [...volumesOf('grouped'), { name: 'kept', persistentVolumeClaim: { claimName: 'kept', readOnly: true } }],
          },
          container: { volumeMounts: mountsOf('grouped', 'kept') },
        },
        {
          name: 'again',
          script: 'stat -c %g /grouped/file 2>/dev/null || echo none; cat /part/starts',
          spec: { volumes: volumesOf('grouped', 'kept') },
          container: {
            volumeMounts: [...mountsOf('grouped'), { name: 'kept', mountPath: '/part/starts', subPath: 'starts' }],
          },
        },
      );
      expect(seen.grouped?.split('\n')).toEqual(['4567 2777', '4567', 'start', 'touch: /kept/x: Read-only file system', '']);
      expect(seen.again).toMatch(/^(?:4567|none)\nstart\n$/);
      await apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'escapes' },
        spec: {
          volumes: volumesOf('kept'),
          containers: [
            {
              name: 'main',
              image: busyboxImage,
              volumeMounts: [{ name: 'kept', mountPath: '/out', subPath: 'out' }],
              command: ['ls', '/out'],
            },
          ],
        },
      });
      await until(async () => (await eventsOf('escapes')).includes('leaves its volume'), { what: 'the refusal of a link' });
      await kubectl('delete', 'pod', 'grouped', 'again', 'escapes', '--wait=false');
    });

    it('have volumes of a driver (CSI), from the claim to the mount', async () => {
      const volumes = join(cluster.dataDirectory, 'driver');
      await mkdir(volumes);
      driver = await CsiDriverProcess.start({ kubelet: join(cluster.dataDirectory, 'kubelet'), volumes });
      const provisioner = 'test.csi.example';
      await apply(
        { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: provisioner }, spec: { fsGroupPolicy: 'File' } },
        { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'driven' }, provisioner },
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name: 'driven' },
          spec: { storageClassName: 'driven', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        },
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'driven' },
          spec: {
            terminationGracePeriodSeconds: 0,
            securityContext: { runAsUser: 1234, fsGroup: 4567 },
            volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'driven' } }],
            containers: [
              {
                name: 'main',
                image: busyboxImage,
                command: ['sh', '-c', 'stat -c "%g %a" /data; echo mine > /data/file; sleep 1000'],
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
              },
            ],
          },
        },
      );
      // The part of the driver's controller: its provisioner and its attacher.
      const asked = 'jsonpath={.metadata.annotations.volume\\.kubernetes\\.io/storage-provisioner} {.metadata.uid}';
      const claim = await until(
        async () => {
          const [by, uid] = (await kubectl('get', 'pvc', 'driven', '-o', asked)).split(' ');
          return by === provisioner ? uid : undefined;
        },
        { what: 'a claim for the provisioner' },
      );
      await apply({
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name: 'driven' },
        spec: {
          storageClassName: 'driven',
          capacity: { storage: '1Gi' },
          accessModes: ['ReadWriteOnce'],
          persistentVolumeReclaimPolicy: 'Retain',
          claimRef: { namespace: 'default', name: 'driven', uid: claim },
          csi: { driver: provisioner, volumeHandle: 'handle' },
        },
      });
      const attachment = await until(async () => (await kubectl('get', 'volumeattachments', '-o', 'name')).trim() || undefined, {
        what: 'an attachment',
      });
      const attached = '{"status":{"attached":true}}';
      await kubectl('patch', attachment, '--subresource', 'status', '--type', 'merge', '-p', attached);
      await kubectl('wait', 'pod/driven', '--for=condition=Ready', '--timeout=60s');
      expect(await kubectl('logs', 'driven')).toBe('4567 2777\n');
      expect(await readFile(join(volumes, 'handle', 'file'), 'utf8')).toBe('mine\n');
      expect(driver.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume']);
    });

    it('see mounts of the machine as they come, and give theirs to it, where they ask for that', async () => {
      await mkdir(join(hostDirectory, 'shared'), { recursive: true });
      await run('mount', ['-t', 'tmpfs', 'shared-by-test', join(hostDirectory, 'shared')]);
      try {
        await run('mount', ['--make-shared', join(hostDirectory, 'shared')]);
        await mkdir(join(hostDirectory, 'shared', 'sub'));
        const volumeMounts = [{ name: 'shared', mountPath: '/shared', mountPropagation: 'Bidirectional' }];
        const seen = await outputsOf({
          name: 'mounter',
          script: 'mount -t tmpfs of-the-pod /shared/sub && echo mounted; mount -t tmpfs x /private && echo own',
          spec: {
            volumes: [
              { name: 'shared', hostPath: { path: join(hostDirectory, 'shared') } },
              { name: 'private', emptyDir: {} },
            ],
          },
          container: { securityContext: { privileged: true }, volumeMounts: [...volumeMounts, { name: 'private', mountPath: '/private' }] },
        });
        expect(seen.mounter).toBe('mounted\nown\n');
        const mounts = await readFile('/proc/self/mountinfo', 'utf8');
        expect(mounts).toMatch(new RegExp(`${hostDirectory}/shared/sub .* of-the-pod `));
        expect(mounts).not.toContain('volumes/private');
      } finally {
        await run('umount', ['-R', join(hostDirectory, 'shared')]);
        await kubectl('delete', 'pod', 'mounter', '--ignore-not-found');
      }
    });

    it('are bounded as a whole, by their class, and report an end for want of memory', async () => {
      const amounts = (memory: string) => ({ resources: { requests: { cpu: '100m', memory: '8Mi' }, limits: { cpu: '500m', memory } } });
      const beside = {
        name: 'beside',
        image: busyboxImage,
        command: ['sh', '-c', 'trap "exit 0" TERM; sleep 600 & wait'],
        ...amounts('32Mi'),
      };
      await outputsOf({
        name: 'bounded',
        script: 'dd if=/dev/zero of=/dev/null bs=64M count=1',
        container: amounts('16Mi'),
        others: [beside],
      });
      expect(await fieldOf('bounded', '.status.containerStatuses[?(@.name=="main")].state.terminated.reason')).toBe('OOMKilled');
      const uid = await fieldOf('bounded', '.metadata.uid');
      const read = (controller: string, ...files: readonly string[]) => readGroup(uid, controller, ...files);
      expect(await read('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(48 * 1024 * 1024));
      expect(await read('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^100000(?: 100000)?$/);
      expect(await read('cpu', 'cpu.shares', 'cpu.weight')).toMatch(/^(?:204|8)$/);
      await kubectl('delete', 'pod', 'bounded');
      await until(async () => (await read('memory', 'memory.limit_in_bytes', 'memory.max')) === undefined, {
        what: 'the end of its group',
      });
    });

    it.skipIf(!hasCrun)('run in the runtime of their class, and are given its overhead (needs crun)', async () => {
      const classOf = (name: string, handler: string, more: object = {}) => ({
        apiVersion: 'node.k8s.io/v1',
        kind: 'RuntimeClass',
        metadata: { name },
        handler,
        ...more,
      });
      await apply(classOf('small', 'crun', { overhead: { podFixed: { memory: '16Mi' } } }), classOf('unknown', 'no-such-handler'));
      const podOf = (name: string, runtimeClassName: string) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          runtimeClassName,
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'main',
              image: busyboxImage,
              command: ['sh', '-c', 'trap "exit 0" TERM; echo begun; sleep 600 & wait'],
              resources: { limits: { memory: '32Mi', cpu: '500m' }, requests: { memory: '8Mi', cpu: '10m' } },
            },
          ],
        },
      });
      await apply(podOf('by-crun', 'small'), podOf('by-nobody', 'unknown'));
      await kubectl('wait', 'pod/by-crun', '--for=condition=Ready', '--timeout=30s');
      expect(await kubectl('exec', 'by-crun', '--', 'sh', '-c', 'echo in; cat /proc/1/comm')).toBe('in\nsh\n');
      expect(await kubectl('logs', 'by-crun')).toBe('begun\n');
      const id = (await fieldOf('by-crun', '.status.containerStatuses[0].containerID')).replace('containerd://', '');
      const records = join(dirname(await socketOf(cluster.dataDirectory)), 'crun', 'k8s.io', id);
      expect(JSON.parse(await readFile(join(records, 'status'), 'utf8'))).toMatchObject({ pid: expect.any(Number) });
      const uid = await fieldOf('by-crun', '.metadata.uid');
      expect(await readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(48 * 1024 * 1024));
      await until(async () => (await eventsOf('by-nobody')).includes('no runtime for "no-such-handler" is configured'), {
        what: 'the refusal of the handler',
      });
      await kubectl('delete', 'pod', 'by-crun', 'by-nobody', '--wait=false');
    });

    it('get other amounts of CPU and memory while they run, or by a restart where they ask for that', async () => {
      const resources = { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu: '200m', memory: '32Mi' } };
      const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 600 & wait'];
      const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
      await apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'resized' },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            { name: 'main', image: busyboxImage, command, resources },
            { name: 'beside', image: busyboxImage, command, resources, resizePolicy },
          ],
        },
      });
      await kubectl('wait', 'pod/resized', '--for=condition=Ready', '--timeout=30s');
      const resize = (name: string, memory: string, cpu: string): Promise<string> => {
        const containers = [{ name, resources: { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu, memory } } }];
        return kubectl('patch', 'pod', 'resized', '--subresource=resize', '-p', JSON.stringify({ spec: { containers } }));
      };
      const see = (container: string): Promise<string> => {
        const version1 = 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null';
        return kubectl('exec', 'resized', '-c', container, '--', 'sh', '-c', `${version1} || cat memory.max cpu.max`);
      };
      const restarts = (): Promise<string> => fieldOf('resized', '.status.containerStatuses[*].restartCount');
      const uid = await fieldOf('resized', '.metadata.uid');
      await resize('main', '64Mi', '400m');
      await until(async () => /^67108864\n40000\b/.test(await see('main')), { what: 'more for the container' });
      expect(await readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(96 * 1024 * 1024));
      await until(async () => (await fieldOf('resized', '.status.containerStatuses[1].resources.limits.memory')) === '64Mi', {
        what: 'the report of it',
      });
      await resize('main', '48Mi', '100m');
      await until(async () => /^50331648\n10000\b/.test(await see('main')), { what: 'less for the container' });
      await until(async () => (await readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')) === String(80 * 1024 * 1024), {
        what: 'less for the pod',
      });
      expect(await restarts()).toBe('0 0');

      await resize('beside', '40Mi', '200m');
      await until(async () => (await restarts()) === '1 0', { what: 'the restart' });
      await until(async () => /^41943040\n20000\b/.test(await see('beside').catch(() => '')), { what: 'its memory' });

      const tooMuch = [{ name: 'main', resources: { requests: { cpu: '900' }, limits: { cpu: '900' } } }];
      await kubectl('patch', 'pod', 'resized', '--subresource=resize', '-p', JSON.stringify({ spec: { containers: tooMuch } }));
      const pending = '.status.conditions[?(@.type=="PodResizePending")]';
      await until(async () => (await fieldOf('resized', `${pending}.reason`)) === 'Infeasible', { what: 'the refusal' });
      expect(await fieldOf('resized', `${pending}.message`)).toContain("Node didn't have enough capacity: cpu, requested: 900");
      await kubectl('delete', 'pod', 'resized', '--wait=false');
    });

    it('are joined by kubectl debug, at the processes of one container, with logs, exec and a terminal', async () => {
      const see = 'tr "\\0" " " < /proc/1/cmdline; cat /proc/1/root/etc/hostname; echo; sleep 600';
      const quiet = ['--attach=false', '--quiet'];
      await kubectl('debug', 'pet', `--image=${busyboxImage}`, '--target=main', '-c', 'spy', ...quiet, '--', 'sh', '-c', see);
      await until(async () => (await cluster.kubectl('logs', 'pet', '-c', 'spy')).stdout.includes('rex'), {
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

      // kubectl asks for a terminal only when it has one itself.
      const command = `kubectl debug -it pet --image=${busyboxImage} -c talk -- sh -c 'read name; echo "hello $name"'`;
      const talk = spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig } });
      let shown = '';
      talk.stdout.on('data', (chunk) => {
        shown += String(chunk);
        if (shown.includes('pressing enter.')) talk.stdin.end('Ann\n');
      });
      await once(talk, 'close');
      expect(shown).toContain('hello Ann\r\n');
    });

    it('look at the whole machine where its flag allows that, as kubectl debug of a node does', async () => {
      const see = ['--', 'sh', '-c', `cat /host${hostDirectory}/of-machine; ls -d /proc/${process.pid}`];
      await writeFile(join(hostDirectory, 'of-machine'), 'seen from the node\n');
      const { stdout, code } = await cluster.kubectl('debug', 'node/node-a', `--image=${busyboxImage}`, '--attach=false', ...see);
      expect(code).toBe(0);
      const name = /Creating debugging pod (\S+)/.exec(stdout)?.[1] ?? '';
      await kubectl('wait', `pod/${name}`, '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
      expect(await kubectl('logs', name)).toBe(`seen from the node\n/proc/${process.pid}\n`);
      await kubectl('delete', 'pod', name, '--wait=false');
    });

    it('say why an image cannot be had, and how a program ended', async () => {
      await kubectl('run', 'missing', `--image=localhost/${marker}:1`, '--restart=Never');
      await kubectl(
        'run',
        'failing',
        `--image=${busyboxImage}`,
        '--restart=Never',
        '--',
        'sh',
        '-c',
        'echo why > /dev/termination-log; exit 3',
      );
      const read = (name: string, path: string) =>
        kubectl('get', 'pod', name, '-o', `jsonpath={.status.containerStatuses[0].state.${path}}`);
      await until(async () => /ErrImagePull|ImagePullBackOff/.test(await read('missing', 'waiting.reason')), { what: 'a failed pull' });
      await until(async () => (await read('failing', 'terminated.exitCode')) === '3', { what: 'the end' });
      expect(await read('failing', 'terminated.message')).toBe('why\n');
      await kubectl('delete', 'pod', 'missing', 'failing', '--wait=false');
    });

    it('get private images by the secrets of their pod or account, and ask again where the policy says so', async () => {
      const { username, password } = ownLogin;
      const flags = [`--docker-server=${registry.host}`, `--docker-username=${username}`, `--docker-password=${password}`];
      await kubectl('create', 'secret', 'docker-registry', 'pull', ...flags);
      await kubectl('create', 'serviceaccount', 'puller');
      await kubectl('patch', 'serviceaccount', 'puller', '-p', '{"imagePullSecrets":[{"name":"pull"}]}');
      const podOf = (name: string, spec: object, container: object = {}) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          restartPolicy: 'Never',
          ...spec,
          containers: [{ name: 'main', image: `${registry.host}/team/app:1`, command: ['echo', 'pulled'], ...container }],
        },
      });
      const done = async (object: ReturnType<typeof podOf>): Promise<void> => {
        await apply(object);
        await kubectl('wait', `pod/${object.metadata.name}`, '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
      };
      await apply(podOf('stranger', { imagePullSecrets: [{ name: 'missing' }] }));
      await until(async () => /ErrImagePull|ImagePullBackOff/.test(await kubectl('get', 'pod', 'stranger')), { what: 'a refused pull' });
      const refusals = await eventsOf('stranger');
      expect(refusals).toContain(`Pulling: Pulling image "${registry.host}/team/app:1"`);
      expect(refusals).toContain('FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing);');
      expect(refusals).toMatch(/Failed: Failed to pull image ".*": .*(?:401|authorization|unauthorized)/i);
      expect(refusals).not.toContain(password);
      await apply(podOf('never', {}, { imagePullPolicy: 'Never' }));
      await until(async () => (await kubectl('get', 'pod', 'never')).includes('ErrImageNeverPull'), {
        what: 'an image that is not pulled',
      });

      await done(podOf('by-secret', { imagePullSecrets: [{ name: 'pull' }] }));
      expect(await eventsOf('by-secret')).toMatch(
        /Pulled: Successfully pulled image ".*" in [\d.]+s \([\d.]+s including waiting\)\. Image size: \d+ bytes\./,
      );
      const first = registry.pulls.length;
      expect(first).toBeGreaterThan(0);
      await done(podOf('present', {}));
      expect(registry.pulls).toHaveLength(first);
      expect(await eventsOf('present')).toContain('already present on machine');
      // The tag decides where the pod does not.
      await done(podOf('latest', { serviceAccountName: 'puller' }, { image: `${registry.host}/team/app` }));
      const second = registry.pulls.length;
      await done(podOf('latest-again', { serviceAccountName: 'puller' }, { image: `${registry.host}/team/app` }));
      expect(registry.pulls.slice(second)).toContain('team/app:latest');
      await kubectl('delete', 'pod', 'stranger', 'never', 'by-secret', 'present', 'latest', 'latest-again', '--wait=false');
    });

    it('get images by the mirrors of the machine, whose passwords no other host sees', async () => {
      await kubectl('run', 'mirrored', '--image=registry.example/far/app:1', '--restart=Never', '--', 'true');
      await kubectl('wait', 'pod/mirrored', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
      expect(mirror.pulls).toContain('far/app:1');
      expect([...mirror.credentials]).toEqual([basic(mirrorLogin)]);
      expect([...registry.credentials]).toEqual([basic(ownLogin)]);
      await kubectl('delete', 'pod', 'mirrored', '--wait=false');
    });

    it('keep the images of archives from their collection, and name a file that is no archive', async () => {
      expect(await eventsOf('node-a')).toMatch(
        /ImageImportFailed: containerd takes no images from \S+notes\.tar: .+\. Make the archive again/,
      );
      const socket = await socketOf(cluster.dataDirectory);
      const { stdout } = await run('ctr', ['-a', socket, '-n', 'k8s.io', 'images', 'ls', 'labels."io.cri-containerd.pinned"==pinned']);
      expect(stdout).toContain(busyboxImage);
      expect(stdout).not.toContain('/team/app');
    });

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
      const socket = await socketOf(cluster.dataDirectory);
      const pidFile = join(dirname(socket), 'pid');
      const [pid = ''] = (await readFile(pidFile, 'utf8')).split(' ');
      process.kill(Number(pid), 'SIGKILL');
      await until(async () => (await readFile(pidFile, 'utf8')).split(' ')[0] !== pid, { what: 'another containerd', timeoutMs: 30_000 });
      await until(async () => (await cluster.kubectl('exec', pod, '--', 'true')).code === 0, { what: 'a command in an adopted container' });
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
      const containers = await run('ctr', [
        '-a',
        socket,
        '-n',
        'k8s.io',
        'containers',
        'ls',
        '-q',
        `labels."io.kubernetes.pod.uid"==${uid}`,
      ]);
      // The sandbox, the run before, and the one that runs.
      expect(containers.stdout.trim().split('\n')).toHaveLength(3);
      await kubectl('delete', 'pod', 'restarting', '--wait=false');
    });

    it('run on while the program is killed, and are adopted by the next one without a restart', async () => {
      const before = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}');
      await cluster.kill();
      cluster = await start(cluster.dataDirectory);
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
      expect(await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}')).toBe(
        before,
      );
      expect(await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}')).toBe(
        '0 0',
      );
    });

    it('have the files of their claims after that, and lose the directory with the claim', async () => {
      expect(await kubectl('exec', 'driven', '--', 'cat', '/data/file')).toBe('mine\n');
      await kubectl('delete', 'pod', 'driven');
      await until(async () => (await kubectl('get', 'volumeattachments', '-o', 'name')) === '', { what: 'a detached volume' });
      expect(driver.methods()).toEqual(['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume']);
      expect(await kubectl('exec', 'keeper', '--', 'cat', '/kept/starts')).toBe('start\n');
      const volume = await kubectl('get', 'pvc', 'kept', '-o', 'jsonpath={.spec.volumeName}');
      const directory = join(cluster.dataDirectory, 'storage', `${volume}_default_kept`);
      expect(await readFile(join(directory, 'starts'), 'utf8')).toBe('start\n');
      await kubectl('delete', 'pod', 'keeper');
      await kubectl('delete', 'pvc', 'kept');
      await kubectl('wait', `pv/${volume}`, '--for=delete', '--timeout=30s');
      await expect(stat(directory)).rejects.toThrow('ENOENT');
    });

    it('are ended by down after a kill, and nothing of them stays on the machine', async () => {
      const network = (await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}')).split('.')[1];
      const uids = (await kubectl('get', 'pods', '-o', 'jsonpath={.items[*].metadata.uid}')).split(' ');
      const groups = async (): Promise<readonly string[]> => {
        const { stdout } = await run('find', ['/sys/fs/cgroup', '-type', 'd', '-path', '*/midship/kubepods/*/pod*']);
        return stdout.split('\n').filter((path) => uids.some((uid) => path.includes(uid)));
      };
      expect(await groups()).not.toEqual([]);
      await cluster.kill();
      // The rules outlive the program, as the containers do.
      expect((await run('nft', ['list', 'tables'])).stdout).toContain(`midship-proxy-${network}`);
      const { code, stderr } = await cluster.midship('down', '--purge', '--yes');
      expect(code).toBe(0);
      expect(stderr).toContain('stopped 3 pods that outlived a crash');
      const environments = await run('sh', [
        '-c',
        `cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -c "^MARKER=${marker}" || true`,
      ]);
      expect(environments.stdout.trim()).toBe('0');
      expect((await run('nft', ['list', 'tables'])).stdout).not.toContain(`midship-proxy-${network}`);
      expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(cluster.dataDirectory);
      expect(await groups()).toEqual([]);
    });
  },
);

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
