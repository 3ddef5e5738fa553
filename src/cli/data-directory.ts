import { chmod, readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname, relative, sep } from 'node:path';
import { makeDurableDirectory, writeDurableFile } from '../base/durable-file.ts';
import { bootId, isRunning, type KnownProcess } from '../base/process-identity.ts';
import { filesOf } from './configuration.ts';
import { Failure } from './failure.ts';

/** Other names in a data directory than those of `filesOf`. A disk of its own has `lost+found`. */
const otherNames = /^(state\..*|repaired|(new-keys|migrate)-.*|.*\.tmp|lost\+found)$/;

/**
 * Makes the data directory with everything below it readable by its owner alone.
 *
 * @throws Failure for a directory of somebody else, since `down --purge` would delete it with all that is in it
 */
export async function ensureDataDirectory(dataDirectory: string): Promise<void> {
  const { pods, logs } = filesOf(dataDirectory);
  await refuseForeign(dataDirectory);
  try {
    await makeDurableDirectory(dataDirectory);
    await chmod(dataDirectory, 0o700);
    for (const directory of [pods, logs]) await makeDurableDirectory(directory);
  } catch (cause) {
    throw new Failure(`${dataDirectory} cannot be used`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Choose another directory with --data-dir DIR.',
      cause,
    });
  }
}

async function refuseForeign(dataDirectory: string): Promise<void> {
  const files = Object.values(filesOf(dataDirectory));
  const entries = await readdir(dataDirectory, { withFileTypes: true }).catch(() => []);
  if (entries.some(({ name }) => name === 'network.json')) return;
  const known = new Set(files.map((path) => relative(dataDirectory, path).split(sep)[0]));
  // Single files may be those of flags, such as a list of tokens.
  const foreign = entries.find((entry) => entry.isDirectory() && !known.has(entry.name) && !otherNames.test(entry.name));
  if (foreign === undefined) return;
  throw new Failure(`${dataDirectory} is not a data directory of Midship`, {
    why: `It has other things, such as ${foreign.name}, and "midship down --purge" would delete them.`,
    fix: 'Name a directory of its own with --data-dir DIR; one that is not there is made.',
  });
}

/** The token of a file, made at first start. */
export async function ensureToken(path: string): Promise<string> {
  try {
    const token = (await readFile(path, 'utf8')).trim();
    // A power cut may leave zeros or the like, which are no token.
    if (/^[\x21-\x7e]+$/.test(token)) return token;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
  }
  const { randomBytes } = await import('node:crypto');
  const token = randomBytes(20).toString('hex');
  await writeDurableFile(path, `${token}\n`);
  return token;
}

/**
 * The kind of addresses that a cluster has. `loopback`: in 127/8, which every process of the machine reaches without
 * rights. `routed`: in 10/8, which the machine routes, so that containers reach them, too. `machines`: ranges that a
 * person may choose, since several machines have to route them.
 */
export type NetworkKind = 'loopback' | 'routed' | 'machines';

/** The cluster's part of the addresses: `127.N.0.0/16`, `10.N.0.0/16`, or ranges of several machines. */
export interface Network {
  readonly n: number;
  readonly kind: NetworkKind;
  /** `127.N.0.0/20` */
  readonly serviceCidr: string;
  readonly clusterCidr: string;
  /** Ranges that a machine with containers answers for itself. */
  readonly localRanges: readonly string[];
  /** `127.N.(16+i).0/24`, for nodes 0 to 223; undefined where the cluster gives each Node its range. */
  podCidr(node: number): string | undefined;
  nodeAddress(node: number): string;
}

/** The request of a start for its network. */
export type WantedNetwork = { readonly kind: 'loopback' | 'routed' } | MachinesNetwork;

/** The addresses of a cluster of several machines. */
export interface MachinesNetwork {
  readonly kind: 'machines';
  readonly clusterCidr: string;
  readonly serviceCidr: string;
  /** The address of this machine. */
  readonly nodeAddress: string;
}

const lowest = 64;
const highest = 254;

function networkOf(kept: KeptNetwork, nodeAddress = ''): Network {
  const { n, kind } = kept;
  if (kind === 'machines') {
    const { clusterCidr, serviceCidr } = kept;
    return {
      n,
      kind,
      serviceCidr,
      clusterCidr,
      localRanges: [serviceCidr],
      podCidr: () => undefined,
      nodeAddress: () => nodeAddress,
    };
  }
  const prefix = `${firstByteOf[kind]}.${n}`;
  const serviceCidr = `${prefix}.0.0/20`;
  const addressOf = (node: number): string => `${prefix}.${16 + node}.1`;
  return {
    n,
    kind,
    serviceCidr,
    clusterCidr: `${prefix}.0.0/16`,
    localRanges: [serviceCidr, `${addressOf(0)}/32`],
    podCidr: (node) => `${prefix}.${16 + node}.0/24`,
    nodeAddress: addressOf,
  };
}

const firstByteOf = { loopback: 127, routed: 10 } as const;

/**
 * Takes the cluster's network for the life of this process, so that two clusters on one machine never meet. It binds a port of the
 * network's last address, which no two processes can. The number is kept in `network.json`, because pods and Services live on it.
 * A damaged file is written again.
 *
 * @param storedServiceAddress  of the Service `default/kubernetes` in the store: it has the network that a damaged file named
 */
export async function claimNetwork(
  dataDirectory: string,
  storedServiceAddress: () => Promise<string | undefined> = async () => undefined,
  wanted: WantedNetwork = { kind: 'loopback' },
): Promise<{ readonly network: Network; release(): Promise<void> }> {
  const { network: path } = filesOf(dataDirectory);
  await repairNetwork(path, wanted.kind === 'machines' ? async () => undefined : storedServiceAddress);
  const nodeAddress = wanted.kind === 'machines' ? wanted.nodeAddress : '';
  const kept = await claimKeptNetwork(dataDirectory, nodeAddress);
  if (kept !== undefined) {
    const trouble = mismatchOf(dataDirectory, kept.network, wanted);
    if (trouble === undefined) return kept;
    await kept.release();
    throw trouble;
  }
  // Starting at a place that depends on the directory keeps the clusters of one machine apart also while some are stopped.
  const { createHash } = await import('node:crypto');
  const start = createHash('sha256').update(dataDirectory).digest().readUInt32BE(0) % (highest - lowest + 1);
  const busy = await networksInUse(wanted.kind);
  for (let step = 0; step <= highest - lowest; step += 1) {
    const n = lowest + ((start + step) % (highest - lowest + 1));
    if (busy.has(n)) continue;
    const server = await bind(n);
    if (server === undefined) continue;
    const chosen = wanted.kind === 'machines' ? keptOf(n, wanted) : { n, kind: wanted.kind };
    await writeNetwork(path, chosen);
    return claimed(chosen, server, nodeAddress);
  }
  throw new Failure('no free network is left in 127.64.0.0 to 127.254.0.0', {
    why: 'Each data directory owns one /16 of the loopback addresses, and all are in use.',
    fix: 'Stop clusters that are not needed (midship down --data-dir DIR).',
  });
}

/**
 * Keeps a stopped cluster stopped until the function that is given is called: no process can start on the directory meanwhile.
 *
 * @throws Failure when one runs, or when the directory is none of a cluster
 */
export async function claimStopped(dataDirectory: string): Promise<() => Promise<void>> {
  const claim = await claimKeptNetwork(dataDirectory).catch((cause: unknown) => {
    if (!(cause instanceof NetworkInUse)) throw cause;
    throw new Failure(`the cluster of ${dataDirectory} is running`, {
      why: 'Its addresses are in use.',
      fix: `Stop it first: midship down --data-dir ${dataDirectory}`,
      cause,
    });
  });
  if (claim !== undefined) return claim.release;
  throw new Failure(`${dataDirectory} is not a data directory of Midship`, { why: 'It has no network.json.', fix: 'Check --data-dir.' });
}

/** The cluster of the data directory runs, or another process has its addresses. */
export class NetworkInUse extends Failure {}

/** The network that the data directory has already; undefined when it has none. @throws NetworkInUse */
export async function claimKeptNetwork(
  dataDirectory: string,
  nodeAddress = '',
): Promise<{ readonly network: Network; release(): Promise<void> } | undefined> {
  const { network: path } = filesOf(dataDirectory);
  const kept = await readNetwork(path);
  if (kept === undefined) return undefined;
  const server = await bind(kept.n);
  if (server === undefined) {
    throw new NetworkInUse(`the addresses ${networkOf(kept).clusterCidr} are in use by another cluster on this machine`, {
      why: `${path} says that this data directory owns them.`,
      fix: 'Stop the other cluster (midship down --data-dir OTHER), or remove network.json after "midship down" to take new addresses.',
    });
  }
  return claimed(kept, server, nodeAddress);
}

/** Services, pods and nodes in the store have addresses of the former kind, which never change. */
function mismatchOf(dataDirectory: string, kept: Network, wanted: WantedNetwork): Failure | undefined {
  if (kept.kind !== wanted.kind) {
    return new Failure(`${dataDirectory} was made for ${userOf[kept.kind]}`, {
      why: 'Its Services and pods have addresses that the other kind of cluster cannot reach.',
      fix: `Start it with ${startOf[kept.kind]}, or take another --data-dir.`,
    });
  }
  if (wanted.kind !== 'machines') return undefined;
  for (const [flag, before, now] of [
    ['--cluster-cidr', kept.clusterCidr, wanted.clusterCidr],
    ['--service-cidr', kept.serviceCidr, wanted.serviceCidr],
  ] as const) {
    if (before === now) continue;
    return new Failure(`${flag} cannot change to ${now}`, {
      why: `Services and Nodes in the store have addresses of ${before}.`,
      fix: `Start it with ${flag} ${before}, or take another --data-dir.`,
    });
  }
  return undefined;
}

const userOf = { loopback: 'pods that are processes', routed: 'pods that are containers', machines: 'a server that machines join' };
const startOf = { loopback: '"midship up"', routed: '"midship up --runtime containerd"', machines: '"midship server"' };

type KeptNetwork =
  | { readonly n: number; readonly kind: 'loopback' | 'routed' }
  | ({ readonly n: number } & Pick<MachinesNetwork, 'kind' | 'clusterCidr' | 'serviceCidr'>);

const keptOf = (
  n: number,
  { kind, clusterCidr, serviceCidr }: Pick<MachinesNetwork, 'kind' | 'clusterCidr' | 'serviceCidr'>,
): KeptNetwork => ({
  n,
  kind,
  clusterCidr,
  serviceCidr,
});

function claimed(kept: KeptNetwork, server: Server, nodeAddress: string): { readonly network: Network; release(): Promise<void> } {
  server.unref();
  return { network: networkOf(kept, nodeAddress), release: () => new Promise((resolve) => server.close(() => resolve())) };
}

async function readNetwork(path: string): Promise<KeptNetwork | undefined> {
  const network = await tryReadNetwork(path);
  if (network !== 'damaged') return network;
  throw new Failure(`${path} does not name a network`, {
    why: `It should read {"network": N} with N from ${lowest} to ${highest}, and the ranges of a server.`,
    fix: 'Start the cluster once: it knows the network and writes the file again.',
  });
}

async function repairNetwork(path: string, storedServiceAddress: () => Promise<string | undefined>): Promise<void> {
  if ((await tryReadNetwork(path)) !== 'damaged') return;
  const [, first, second] = /^(127|10)\.(\d+)\./.exec((await storedServiceAddress()) ?? '') ?? [];
  const network = networkIn({ network: Number(second), kind: first === '10' ? 'routed' : 'loopback' });
  if (network === undefined) await rm(path);
  else await writeNetwork(path, network);
}

function writeNetwork(path: string, { n, ...kept }: KeptNetwork): Promise<void> {
  const file: NetworkFile = { network: n, ...(kept.kind === 'loopback' ? {} : kept) };
  return writeDurableFile(path, `${JSON.stringify(file)}\n`);
}

interface NetworkFile {
  readonly network?: unknown;
  /** Absent: `loopback`. */
  readonly kind?: unknown;
  readonly clusterCidr?: unknown;
  readonly serviceCidr?: unknown;
}

async function tryReadNetwork(path: string): Promise<KeptNetwork | 'damaged' | undefined> {
  try {
    return networkIn(tryJson<NetworkFile>(await readFile(path, 'utf8')) ?? {}) ?? 'damaged';
  } catch (err) {
    // There never was one, or somebody removed it to take new addresses.
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

function networkIn({ network: n, kind = 'loopback', clusterCidr, serviceCidr }: NetworkFile): KeptNetwork | undefined {
  if (typeof n !== 'number' || !Number.isInteger(n) || n < lowest || n > highest) return undefined;
  if (kind === 'loopback' || kind === 'routed') return { n, kind };
  if (kind !== 'machines' || typeof clusterCidr !== 'string' || typeof serviceCidr !== 'string') return undefined;
  return keptOf(n, { kind, clusterCidr, serviceCidr });
}

/** Undefined for what is not JSON, and for null. */
function tryJson<T>(text: string): T | undefined {
  try {
    return (JSON.parse(text) as T | null) ?? undefined;
  } catch {
    // A power cut of an older version, or an editor, left a part of the file.
    return undefined;
  }
}

const noLoopback = (cause: Error): Failure =>
  new Failure('this machine has no loopback addresses of IPv4', {
    why: 'Parts of a cluster meet at addresses in 127.0.0.0/8.',
    fix: 'Give them to it: ip link set lo up; ip addr add 127.0.0.1/8 dev lo',
    cause,
  });

/** Bound by the process that has a network; no two can. */
export const claimPort = 10_255;
export const isClaimAddress = (address: string): boolean => /^127\.\d+\.255\.254$/.test(address);

/** Undefined when the network is taken. @throws Failure on a machine that has none of them */
function bind(n: number): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (err: NodeJS.ErrnoException) => (err.code === 'EADDRNOTAVAIL' ? reject(noLoopback(err)) : resolve(undefined)));
    server.listen({ host: `127.${n}.255.254`, port: claimPort, exclusive: true }, () => resolve(server));
  });
}

/** Networks on which something listens now, since pods that outlived a killed cluster hold no claim; and those that the machine routes. */
async function networksInUse(kind: NetworkKind): Promise<ReadonlySet<number>> {
  const used = new Set<number>();
  // Addresses are hexadecimal and little-endian: 0100007F is 127.0.0.1.
  const collect = async (path: string, pattern: RegExp): Promise<void> => {
    for (const line of (await readFile(path, 'utf8').catch(() => '')).split('\n').slice(1)) {
      const [, n] = pattern.exec(line) ?? [];
      if (n !== undefined) used.add(Number.parseInt(n, 16));
    }
  };
  await collect('/proc/net/tcp', /^\s*\d+: [0-9A-F]{4}([0-9A-F]{2})7F:/);
  if (kind === 'routed') await collect('/proc/net/route', /^\S+\s+[0-9A-F]{4}([0-9A-F]{2})0A\s/);
  return used;
}

/** The process of a data directory, and which directory that is. */
interface OwnProcess extends KnownProcess {
  /** `directoryIdentity` of the data directory; absent in an earlier version. */
  readonly directory?: string;
}

/** Device and inode. A copy has another one, and a directory that was renamed keeps it. */
export async function directoryIdentity(directory: string): Promise<string> {
  const { dev, ino } = await stat(directory, { bigint: true });
  return `${dev}:${ino}`;
}

/** The file by which scripts find a running cluster. */
export interface Endpoints extends OwnProcess {
  /** True from the request to stop on: the process still runs, and its addresses answer no more. */
  readonly isStopping?: boolean;
  readonly api: string;
  /** Page, metrics and Git remote, for programs on this machine. */
  readonly http: string;
  /** The same for people, where it differs. */
  readonly page?: string;
  /** File with the bearer token of page and metrics; absent when they ask for none. */
  readonly pageTokenFile?: string;
  /** File with the bearer token of programs that make links for the owner of the cluster; absent in an earlier version. */
  readonly pageOwnerTokenFile?: string;
  /** With HTTPS: PEM, in which the certificate of that port is the first. */
  readonly httpCertificateFile?: string;
  /** The authority of the cluster, when it signed that certificate. */
  readonly httpCaFile?: string;
  /** Carries the push token. */
  readonly git: string;
  readonly kubeconfig: string;
}

/** The same file in the data directory of an agent, which has no addresses of its own. */
export interface RunningAgent extends OwnProcess {
  /** Its server: `https://HOST:PORT`. */
  readonly agentOf: string;
  /** False while it waits for its server or joins; absent in an earlier version, whose file says that it runs. */
  readonly isJoined?: boolean;
}

const isAgent = (running: Endpoints | RunningAgent): running is RunningAgent => 'agentOf' in running;

/**
 * The running cluster of a data directory; undefined when none runs, and for that of an agent.
 *
 * @throws Failure for a directory that this user may not read: nobody knows then whether one runs
 */
export async function tryEndpoints(dataDirectory: string): Promise<Endpoints | undefined> {
  const running = await tryProcess(dataDirectory);
  return running === undefined || isAgent(running) || running.isStopping === true ? undefined : running;
}

/** A cluster or an agent runs with this data directory. */
export const runsIn = async (dataDirectory: string): Promise<boolean> => (await tryProcess(dataDirectory)) !== undefined;

async function tryProcess(dataDirectory: string): Promise<Endpoints | RunningAgent | undefined> {
  const running = await readEndpointsFile(dataDirectory);
  if (running === undefined || !(await isRunning(running))) return undefined;
  return (await isOfCopy(dataDirectory, running)) ? undefined : running;
}

/** True in a copy of the directory of a running cluster: the file names the process of the original, which `down` must not stop. */
const isOfCopy = async (dataDirectory: string, { directory }: OwnProcess): Promise<boolean> =>
  directory !== undefined && directory !== (await directoryIdentity(dataDirectory));

/**
 * True in a copy of the directory of a cluster that was killed, until a cluster is started in it. Its records name the processes of pods
 * of the original. Processes do not survive a boot, and a boot may give a disk another number.
 */
export async function isCopyOfKilled(dataDirectory: string): Promise<boolean> {
  const former = await readEndpointsFile(dataDirectory);
  return former !== undefined && former.bootId === (await bootId()) && (await isOfCopy(dataDirectory, former));
}

/** @throws Failure when the cluster of the data directory runs already, and in a copy while pods of the killed original run */
export async function refuseRunning(dataDirectory: string): Promise<void> {
  const running = await tryProcess(dataDirectory);
  if (running === undefined) {
    if (await isCopyOfKilled(dataDirectory)) await refusePodsOfOriginal(dataDirectory);
    return;
  }
  throw new Failure(`the cluster of ${dataDirectory} is running`, {
    why: `It is process ${running.pid}.`,
    fix: 'See it with "midship status", or stop it with "midship down".',
  });
}

/** A start would take them over, and they write into the directory of the original. */
async function refusePodsOfOriginal(dataDirectory: string): Promise<void> {
  const { runningPodsOf } = await import('./compose/running-pods.ts');
  const [first, ...others] = await runningPodsOf(dataDirectory);
  if (first === undefined) return;
  const former = await readEndpointsFile(dataDirectory);
  const original = former === undefined || isAgent(former) ? 'DIR' : dirname(former.kubeconfig);
  throw new Failure(`pods of the cluster that ${dataDirectory} was copied from still run`, {
    why: `${first}${others.length === 0 ? ' writes' : ` and ${others.length} more write`} into the directory of the original, which was killed.`,
    fix: `Stop them with "midship down --data-dir ${original}", or end their processes where that directory is gone.`,
  });
}

/**
 * The same.
 *
 * @throws Failure when none runs, when the directory may not be read, and for that of an agent, whose server has the answers
 */
export async function readEndpoints(dataDirectory: string): Promise<Endpoints> {
  const running = await readProcess(dataDirectory);
  if (!isAgent(running) && running.isStopping === true) {
    throw new Failure(`the cluster of ${dataDirectory} is stopping`, {
      why: `Process ${running.pid} ends its pods.`,
      fix: 'Wait for it with "midship down", then start it again.',
    });
  }
  if (!isAgent(running)) return running;
  throw new Failure(`${dataDirectory} is that of an agent`, {
    why: `It runs pods for ${running.agentOf} and knows nothing of the cluster.`,
    fix: 'Ask on the server, or with a kubeconfig of the cluster: --kubeconfig FILE',
  });
}

/** The process of the data directory, server or agent. @throws Failure when none runs */
export async function readProcess(dataDirectory: string): Promise<Endpoints | RunningAgent> {
  const running = await tryProcess(dataDirectory);
  if (running !== undefined) return running;
  const { endpoints: path } = filesOf(dataDirectory);
  const former = await readEndpointsFile(dataDirectory);
  throw new Failure('Midship is not running', {
    why: await whyNotRunning(path, former),
    fix: 'Start it with "npm start" or "midship up"; give --data-dir DIR when its data is elsewhere.',
  });
}

async function whyNotRunning(path: string, former: Endpoints | RunningAgent | undefined): Promise<string> {
  if (former === undefined) return `There is no ${path}.`;
  const isGone = !(await isRunning(former));
  if (isGone && (await isCopyOfKilled(dirname(path)))) {
    return `The directory is a copy of that of process ${former.pid}, which is gone; pods of the original are left alone.`;
  }
  if (isGone) return `The process of ${path} (${former.pid}) is gone.`;
  return `The process of ${path} (${former.pid}) runs the cluster of another directory, of which this one is a copy.`;
}

async function readEndpointsFile(dataDirectory: string): Promise<Endpoints | RunningAgent | undefined> {
  try {
    return tryJson<Endpoints | RunningAgent>(await readFile(filesOf(dataDirectory).endpoints, 'utf8'));
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'EACCES') return undefined;
    throw new Failure(`${dataDirectory} may not be read by this user`, {
      why: 'A data directory is open to the user who started its cluster, and to root.',
      fix: 'Run it as that user (with sudo for a service), or name a kubeconfig of the cluster: --kubeconfig FILE',
      cause: err,
    });
  }
}
