import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Answer, decode, encode } from 'dns-packet';
import { type RunningCluster, run, startCluster } from '../../support/cluster.ts';
import { busyboxArchive, busyboxImage, whyNoContainerd } from '../../support/containerd.ts';
import type { CsiDriverProcess } from '../../support/csi-driver.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { type ImageRegistry, startImageRegistry } from '../../support/image-registry.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const works = (program: string): Promise<boolean> =>
  run(program, ['--version']).then(
    ({ code }) => code === 0,
    () => false,
  );
export const hasCrun = await works('crun');
/** The reason for which these tests cannot run; undefined where they can. */
export const whyNot = !hasKubectl ? 'kubectl is not installed' : !(await works('nft')) ? 'nft is not installed' : whyNoContainerd;

export const marker = `midship-e2e-${process.pid}`;
/** Prints its arguments. */
export const entrypointImage = 'localhost/midship-test-entrypoint:1';

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

export const ownLogin = { username: 'reader', password: 'a:b c' };
export const mirrorLogin = { username: 'mirror', password: 'of the machine' };

export const basic = ({ username, password }: typeof ownLogin): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

const registriesText = (mirrorHost: string): string => `
mirrors:
  registry.example: { endpoint: ["http://${mirrorHost}"] }
configs:
  "${mirrorHost}": { auth: { username: ${mirrorLogin.username}, password: "${mirrorLogin.password}" } }
`;

/**
 * A container that runs a script by the Node of the machine, with the files of the machine as its root. Its pod has them as the volume
 * `machine`.
 */
export const onMachine = (name: string, script: string, ...args: readonly string[]) => ({
  name,
  image: busyboxImage,
  command: ['/bin/busybox', 'chroot', '/machine', process.execPath, '-e', script, ...args],
  volumeMounts: [{ name: 'machine', mountPath: '/machine' }],
});

/** Images, volumes and the store fill about 100 MiB of it before the test that fills it. */
const diskMebibytes = 512;

/** The socket of the containerd that the program has started. */
export async function socketOf(dataDirectory: string): Promise<string> {
  const configuration = await readFile(join(dataDirectory, 'containerd', 'config.toml'), 'utf8');
  return /address = "(.*)"/.exec(configuration)?.[1] ?? '';
}

interface ShortPod {
  readonly name: string;
  /** Run by a shell in the container `main`; the output is what the test looks at. */
  readonly script: string;
  readonly spec?: object;
  readonly container?: object;
  readonly others?: readonly object[];
  readonly metadata?: object;
}

/** A program that runs beside the test. */
interface Spawned {
  /** Its output so far. On a terminal with what was typed, and both streams; elsewhere without its errors. */
  shown(): string;
  write(input: string): void;
  kill(): void;
  /** Its exit code; null after a signal. */
  readonly ended: Promise<number | null>;
}

interface OnTerminal extends Spawned {
  resize(rows: number, columns: number): Promise<void>;
}

/** A cluster of containers, which the files of this folder share, since its start takes seconds. */
export class ContainerWorld {
  cluster!: RunningCluster;
  /** A pod of the Deployment `web`, as `pod/NAME`. */
  pod = '';
  registry!: ImageRegistry;
  mirror!: ImageRegistry;
  /** A directory of the machine that pods may mount. */
  hostDirectory = '';
  driver: CsiDriverProcess | undefined;
  #resolver: UdpSocket | undefined;
  /** The data directory is in it. */
  #disk = '';

  readonly kubectl = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await this.cluster.kubectl(...args);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
    return stdout;
  };

  readonly apply = async (...objects: readonly object[]): Promise<void> => {
    const file = join(this.cluster.dataDirectory, 'objects.json');
    await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await this.kubectl('apply', '-f', file);
  };

  /** Runs pods to their end, all at once, and gives what each printed. */
  readonly outputsOf = async (...pods: readonly ShortPod[]): Promise<Readonly<Record<string, string>>> => {
    await this.apply(
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
      const end = (): Promise<string> => this.fieldOf(name, '.status.containerStatuses[?(@.name=="main")].state.terminated.exitCode');
      await until(async () => (await end()) !== '', { what: `the end of ${name}`, timeoutMs: 45_000 });
      found[name] = await this.kubectl('logs', name, '-c', 'main');
    }
    return found;
  };

  readonly fieldOf = (pod: string, path: string): Promise<string> => this.kubectl('get', 'pod', pod, '-o', `jsonpath={${path}}`);

  readonly eventsOf = (name: string): Promise<string> => {
    const shown = 'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}';
    return this.kubectl('get', 'events', '--field-selector', `involvedObject.name=${name}`, '-o', shown);
  };

  readonly #children = new Set<ChildProcess>();

  readonly #spawn = (command: string, args: readonly string[]): Spawned => {
    const env = { ...process.env, KUBECONFIG: this.cluster.endpoints.kubeconfig };
    const child = spawn(command, [...args], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    this.#children.add(child);
    let shown = '';
    child.stdout.on('data', (chunk) => (shown += String(chunk)));
    // It may end before it has read all of it.
    child.stdin.on('error', () => undefined);
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        this.#children.delete(child);
        resolve(code);
      });
    });
    return { shown: () => shown, write: (input) => void child.stdin.write(input), kill: () => void child.kill('SIGKILL'), ended };
  };

  readonly spawnKubectl = (...args: readonly string[]): Spawned => this.#spawn('kubectl', args);

  /** Runs a command on a terminal of 24 rows and 90 columns: kubectl asks for one only when it has one itself. */
  readonly spawnOnTerminal = (command: string): OnTerminal => {
    const spawned = this.#spawn('script', ['-qec', `stty rows 24 cols 90; tty; exec ${command}`, '/dev/null']);
    return {
      ...spawned,
      async resize(rows, columns) {
        const terminal = await until(() => /(\/dev\/pts\/\d+)\r\n/.exec(spawned.shown())?.[1], { what: 'the name of the terminal' });
        await run('stty', ['-F', terminal, 'rows', String(rows), 'cols', String(columns)]);
      },
    };
  };

  /** A file of the control group of a pod of the class Burstable; undefined without that group. */
  async readGroup(uid: string, controller: string, ...files: readonly string[]): Promise<string | undefined> {
    for (const place of [`${controller}/`, '']) {
      for (const file of files) {
        const path = `/sys/fs/cgroup/${place}midship/kubepods/burstable/pod${uid}/${file}`;
        const text = await readFile(path, 'utf8').catch(() => undefined);
        if (text !== undefined) return text.trim();
      }
    }
    return undefined;
  }

  /** Starts the program on a data directory, and gives what it serves. Pods may mount what is `allowed` of the machine. */
  async start(dataDirectory: string, allowed = '/'): Promise<RunningCluster> {
    const files = ['--resolv-conf', join(dataDirectory, 'resolv.conf'), '--private-registry', join(dataDirectory, 'registries.yaml')];
    return startCluster({ command: 'up', args: ['--runtime', 'containerd', ...files, '--allow-host-path', allowed], dataDirectory });
  }

  /** A file system of its own, which one test fills. */
  async #makeDisk(): Promise<void> {
    this.#disk = await temporaryDirectory('containers');
    const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', `size=${diskMebibytes}m,mode=700`, 'midship-test', this.#disk]);
    if (code !== 0) throw new Error(`mount ${this.#disk}: ${stderr}`);
  }

  async create(): Promise<void> {
    await this.#makeDisk();
    const dataDirectory = join(this.#disk, 'data');
    await mkdir(join(dataDirectory, 'images'), { recursive: true });
    this.hostDirectory = await temporaryDirectory('host');
    await writeFile(join(this.hostDirectory, 'file.txt'), '');
    await chmod(join(this.hostDirectory, 'file.txt'), 0o666);
    const archive = await busyboxArchive();
    await writeFile(join(dataDirectory, 'images', 'busybox.tar'), archive);
    const entrypoint = { Entrypoint: ['echo', 'entrypoint'], Cmd: ['of the image'] };
    await writeFile(join(dataDirectory, 'images', 'entrypoint.tar'), await busyboxArchive(entrypointImage, entrypoint));
    await writeFile(join(dataDirectory, 'images', 'notes.tar'), 'no archive');
    this.registry = await startImageRegistry({ images: { 'team/app:1': archive, 'team/app:latest': archive }, login: ownLogin });
    this.mirror = await startImageRegistry({ images: { 'far/app:1': archive }, login: mirrorLogin });
    await writeFile(join(dataDirectory, 'registries.yaml'), registriesText(this.mirror.host));
    await writeFile(join(dataDirectory, 'resolv.conf'), `nameserver ${resolverAddress}\nsearch corp.example\n`);
    this.#resolver = await startResolver();
    this.cluster = await this.start(dataDirectory);
    await writeFile(join(dataDirectory, 'web.yaml'), manifest);
    await this.kubectl('apply', '-f', join(dataDirectory, 'web.yaml'));
    await this.kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
    await this.kubectl('wait', 'pod/pet', '--for=condition=Ready', '--timeout=60s');
    this.pod = (await this.kubectl('get', 'pods', '-l', 'app=web', '-o', 'name')).split('\n')[0] ?? '';
  }

  async remove(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await this.cluster?.midship('down', '--purge', '--yes');
    await this.driver?.stop();
    this.#resolver?.close();
    await Promise.all([this.registry?.close(), this.mirror?.close()]);
    await run('umount', [this.#disk]);
    // It is empty without the mount.
    if (this.#disk !== '') await rmdir(this.#disk);
  }
}
