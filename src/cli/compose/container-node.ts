import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBoundedFile } from '../../base/bounded-file.ts';
import type { Clock } from '../../base/clock.ts';

import { mapBounded } from '../../base/concurrency.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import type { NftKeeper } from '../../base/nft/keeper.ts';
import { removeNftTable, whyNoNft } from '../../base/nft/run-program.ts';
import { policyFrame } from '../../network-policy/policy-rules.ts';
import type { NodeProblem } from '../../node-agent/agent.ts';
import type { ContainerRuntime } from '../../node-agent/container-runtime.ts';
import { writePodNetwork } from '../../node-agent/containerd/cni-config.ts';
import { openContainerdRuntime } from '../../node-agent/containerd/containerd-runtime.ts';
import {
  addressDirectory,
  ContainerdError,
  type ContainerdService,
  startContainerd,
} from '../../node-agent/containerd/containerd-service.ts';
import { createCriClient } from '../../node-agent/containerd/cri-client.ts';
import { openForeignRuntime } from '../../node-agent/containerd/foreign-runtime.ts';
import { openQosCgroups } from '../../node-agent/containerd/qos-cgroups.ts';
import { noRegistries, parseRegistries, type Registries, RegistriesError } from '../../node-agent/containerd/registries.ts';
import { unmountBelow } from '../../node-agent/containerd/sub-path.ts';
import { type FileSystemSpace, measureFileSystem } from '../../node-agent/disk-pressure.ts';
import { removeAnnouncedAddresses } from '../../node-agent/network/announced-addresses.ts';
import { removeHostRoutes } from '../../node-agent/network/host-routes.ts';
import { createMasquerade } from '../../node-agent/network/masquerade.ts';
import type { ProxyBackend } from '../../proxy/backend.ts';
import { addLocalAddresses, removeLocalAddresses } from '../../proxy/local-addresses.ts';
import { frameOf, type NftTable } from '../../proxy/nft-rules.ts';
import { createNodeBackend } from '../../proxy/node-backend.ts';
import type { BackendOptions } from '../../proxy/service-proxy.ts';
import { anyNodeAddress, type NodeAddress } from '../../proxy/table.ts';
import { filesOf } from '../configuration.ts';
import type { NetworkKind } from '../data-directory.ts';
import { Failure } from '../failure.ts';
import { defaultRegistriesFile } from '../pod-flags.ts';

export interface ContainerNodeOptions {
  readonly dataDirectory: string;
  readonly nodeName: string;
  readonly network: ContainerNetwork;
  readonly registries?: Registries;
  /** The socket of a runtime that somebody else runs; undefined: a containerd of our own. */
  readonly runtimeSocket?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** The part of the cluster's network that a machine with containers needs. */
export interface ContainerNetwork {
  /** Distinguishes it from the networks of other clusters on this machine. */
  readonly n: number;
  readonly kind: NetworkKind;
  /** Ranges that the machine answers for, for as long as the node runs. */
  readonly localRanges: readonly string[];
  readonly serviceCidr: string;
  /** Addresses of the pods of all machines; empty while that is not known. */
  readonly clusterCidr: string;
  nodeAddress(node: number): string;
}

/** Addresses of the pods of all machines; those of this one for as long as nothing else is known. */
export const podRangeOf = ({ clusterCidr }: Pick<ContainerNetwork, 'clusterCidr'>, podCidr: string): string => clusterCidr || podCidr;

/** A machine on which pods are containers. */
export interface ContainerNode {
  readonly runtime: ContainerRuntime;
  readonly proxy: NodeProxy;
  /** Archives that are no images; pods that need others run. */
  readonly problems: readonly NodeProblem[];
  /** Space of the file system that has the images. */
  readonly imageSpace: () => Promise<FileSystemSpace>;
  /** The table of NetworkPolicies; undefined where the kernel cannot enforce them. */
  readonly policyTable: string | undefined;
  /** Gives pods their addresses, `podCidr`: without it no pod starts. `mtu` in bytes; absent: that of the kernel. */
  connectPods(podCidr: string, mtu?: number): Promise<void>;
  /** Ends containerd, once its pods have ended, and gives the addresses back. */
  close(): Promise<void>;
}

/** The way in which connections to Services get to pods of the machine. */
export interface NodeProxy {
  readonly mode: 'nftables' | 'userspace';
  /** The reason for which the kernel takes no rules; absent where it does. */
  readonly why?: string;
  readonly nodeAddresses: readonly NodeAddress[];
  /** Absent: connections pass through this process. */
  readonly createBackend?: (podCidr: string) => (options: BackendOptions) => ProxyBackend;
}

const stopsAtOnce = 8;
const maxRegistriesBytes = 1024 * 1024;

/**
 * Starts containerd, or adopts the one that runs for this data directory, and makes the addresses of Services reachable for containers.
 *
 * @throws Failure that names what the machine lacks
 */
export async function openContainerNode(options: ContainerNodeOptions): Promise<ContainerNode> {
  const { dataDirectory, nodeName, network, clock, log } = options;
  const files = filesOf(dataDirectory);
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (let each = closers.pop(); each !== undefined; each = closers.pop()) await each();
  };
  try {
    await mkdir(files.containerd, { recursive: true, mode: 0o700 });
    const service = await openService(options);
    closers.push(() => service.stop());
    const cgroups = await openQosCgroups();
    await addLocalAddresses(network.localRanges);
    closers.push(() => removeLocalAddresses(network.localRanges));
    // A killed process leaves its routes and addresses.
    if (network.kind === 'machines')
      closers.push(
        () => removeHostRoutes(),
        () => removeAnnouncedAddresses(),
      );
    const proxy = await chooseProxy(nodeName, network, log);
    const masqueradeTable = `midship-network-${network.n}`;
    let masquerade: NftKeeper<undefined> | undefined;
    if (proxy.mode === 'nftables') {
      closers.push(() => removeNftTable(nftTableOf(network, '')));
      closers.push(() => masquerade?.stop() ?? removeNftTable({ name: masqueradeTable }));
    }
    const problems = [...proxyProblems(proxy), ...(await importArchives(files.images, service, log))];
    const imageSpace = (): Promise<FileSystemSpace> => measureFileSystem(files.containerd);
    const client = createCriClient({ socketPath: service.socketPath, clock });
    const runtime = await openContainerdRuntime({
      client,
      cgroups,
      cluster: network.n,
      directory: join(files.containerd, 'pods'),
      seccompDirectory: files.seccomp,
      imageSpace,
      nodeName,
      ctr: service.ctr,
      clock,
      log,
    });
    closers.push(() => runtime.close());
    const policyTable = proxy.mode === 'nftables' ? await choosePolicyTable(network, log) : undefined;
    // Rules of policies outlive the pods that they hold for.
    if (policyTable !== undefined) closers.push(() => removeNftTable({ name: policyTable }));
    closers.push(() => stopSandboxes(runtime));
    const connectPods: ContainerNode['connectPods'] = async (podCidr, mtu) => {
      if (proxy.mode === 'nftables') {
        masquerade = createMasquerade({ name: masqueradeTable, podCidr, clusterCidr: podRangeOf(network, podCidr), clock, log });
        await masquerade.apply();
      }
      await writePodNetwork(service.cniDirectory, {
        podCidr,
        name: `midship-${network.n}`,
        masquerade: masquerade === undefined,
        ...(mtu === undefined ? {} : { mtu }),
        addressDirectory: addressDirectory(files.containerd),
      });
    };
    return { runtime, proxy, policyTable, problems, imageSpace, connectPods, close };
  } catch (err) {
    await close();
    if (err instanceof ContainerdError) {
      // A machine of a cluster runs containers alone.
      const fix = network.kind === 'routed' ? `${err.fix} Or run pods as processes: --runtime process.` : err.fix;
      throw new Failure('containers cannot run here', { why: err.message, fix, cause: err });
    }
    throw err;
  }
}

/** The runtime that has the pods of this machine, and the name by which they are found in it. "midship down" reads it after a crash. */
interface UsedRuntime {
  readonly nodeName: string;
  /** Absent: that of a containerd of our own. */
  readonly runtimeSocket?: string | undefined;
}

const usedRuntimeFile = (dataDirectory: string): string => join(filesOf(dataDirectory).containerd, 'runtime.json');

async function openService({ dataDirectory, nodeName, runtimeSocket, clock, log, ...options }: ContainerNodeOptions) {
  const { registries = noRegistries } = options;
  const directory = filesOf(dataDirectory).containerd;
  const searchPath = process.env.PATH ?? '';
  const used: UsedRuntime = { nodeName, runtimeSocket };
  if (runtimeSocket === undefined) {
    // containerd starts without control groups, and its pods do not.
    const service = await startContainerd({ directory, searchPath, registries, beforeStart: openQosCgroups, clock, log });
    await writeDurableFile(usedRuntimeFile(dataDirectory), JSON.stringify(used));
    return service;
  }
  if (registries !== noRegistries) log.warn({ runtimeSocket }, 'Left out the file of registries, which a foreign runtime does not read');
  const service = await openForeignRuntime({ socketPath: runtimeSocket, searchPath, clock });
  await mkdir(addressDirectory(directory), { recursive: true, mode: 0o700 });
  await writeDurableFile(usedRuntimeFile(dataDirectory), JSON.stringify(used));
  return service;
}

/** Versions before this file had one node, with the usual name. */
async function readUsedRuntime(dataDirectory: string): Promise<UsedRuntime> {
  const text = await readFile(usedRuntimeFile(dataDirectory), 'utf8').catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return JSON.stringify({ nodeName: containerNodeName });
    throw err;
  });
  return JSON.parse(text) as UsedRuntime;
}

/** A table for each cluster, since several may run on one machine. */
const nftTableOf = (network: ContainerNetwork, podCidr: string): NftTable => ({
  name: `midship-proxy-${network.n}`,
  podCidr,
  clusterCidr: podRangeOf(network, podCidr),
  serviceCidr: network.serviceCidr,
});

async function choosePolicyTable({ n }: ContainerNetwork, log: Log): Promise<string | undefined> {
  const table = `midship-policy-${n}`;
  const why = await whyNoNft(policyFrame(table));
  if (why === undefined) return table;
  log.warn({ why }, 'Network policies are not enforced');
  return undefined;
}

async function chooseProxy(nodeName: string, network: ContainerNetwork, log: Log): Promise<NodeProxy> {
  // The table is written when the range of the pods is known; here it shows whether the kernel takes one.
  const table = nftTableOf(network, network.serviceCidr);
  const why = await whyNoNft(frameOf(table));
  // No rule of the kernel reaches 127.0.0.1, where node ports are open on this machine.
  const local = { address: '127.0.0.1' };
  if (why === undefined) {
    log.info({ mode: 'nftables', table: table.name }, 'Chose the Service proxy');
    return {
      mode: 'nftables',
      nodeAddresses: [{ address: anyNodeAddress, nodeName }, local],
      createBackend: (podCidr) => createNodeBackend({ table: nftTableOf(network, podCidr), nodeName }),
    };
  }
  log.warn({ mode: 'userspace', why }, 'Chose the Service proxy');
  return { mode: 'userspace', why, nodeAddresses: [{ address: network.nodeAddress(0), nodeName }, local] };
}

function proxyProblems({ why }: NodeProxy): readonly NodeProblem[] {
  if (why === undefined) return [];
  const message = `Services go through a program of this node, and no NetworkPolicy is enforced on it: ${why}. Install nftables, or use a kernel that has nf_tables.`;
  return [{ reason: 'NftablesUnavailable', message }];
}

/** Without containerd nobody looks after them; their records stay, so that restarts go on being counted. */
async function stopSandboxes(runtime: ContainerRuntime): Promise<void> {
  const ready = (await runtime.list()).filter((sandbox) => sandbox.ready);
  await mapBounded(ready, stopsAtOnce, ({ id }) => runtime.stopPodSandbox(id));
}

/**
 * Reads the registries that the machine knows.
 *
 * @param chosen  named by a flag; undefined: the usual file, which need not be there
 * @throws Failure that names the line of a mistake
 */
export async function readRegistries(chosen: string | undefined): Promise<Registries> {
  const path = chosen ?? defaultRegistriesFile;
  const text = await readBoundedFile(path, maxRegistriesBytes).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT' && chosen === undefined) return Buffer.alloc(0);
    throw new Failure(`${path} cannot be read`, { why: err.message, fix: 'Name a readable file with --private-registry.', cause: err });
  });
  try {
    return text.length === 0 ? noRegistries : parseRegistries(text.toString('utf8'));
  } catch (err) {
    if (!(err instanceof RegistriesError)) throw err;
    throw new Failure(`${path}:${err.line} cannot be used`, { why: err.message, fix: err.fix, cause: err });
  }
}

async function importArchives(directory: string, service: ContainerdService, log: Log): Promise<readonly NodeProblem[]> {
  const problems: NodeProblem[] = [];
  for (const archive of await archivesIn(directory)) {
    try {
      await service.importImage(archive);
      log.info({ archive }, 'Imported image archive');
    } catch (err) {
      if (!(err instanceof ContainerdError)) throw err;
      // A bad file must not keep a machine from its cluster.
      log.error({ err, archive, fix: err.fix }, 'Could not import image archive');
      problems.push({ reason: 'ImageImportFailed', message: `${err.message} ${err.fix}` });
    }
  }
  return problems;
}

async function archivesIn(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return [];
    throw err;
  });
  return names
    .filter((name) => name.endsWith('.tar'))
    .sort()
    .map((name) => join(directory, name));
}

export interface LeftoverOptions extends Omit<ContainerNodeOptions, 'nodeName'> {
  /** Longest time that a container has to end. */
  readonly graceMs: number;
  /** Removes the pods' records, too. */
  readonly forget: boolean;
}

/**
 * Ends the containers of a cluster that was killed, and containerd with them. Only while the cluster does not run.
 *
 * @returns the names of the pods that ran
 */
export async function endLeftoverContainers({ graceMs, forget, ...options }: LeftoverOptions): Promise<readonly string[]> {
  const { runtime, close } = await openContainerNode({ ...options, ...(await readUsedRuntime(options.dataDirectory)) });
  const files = filesOf(options.dataDirectory);
  try {
    const sandboxes = await runtime.list();
    await mapBounded(sandboxes, stopsAtOnce, async ({ id, containers, gracePeriodMs = graceMs }) => {
      const running = containers.filter(({ state }) => state === 'running');
      await Promise.all(running.map((each) => runtime.stopContainer(each.id, Math.min(gracePeriodMs, graceMs))));
      if (forget) await runtime.removePodSandbox(id);
    });
    // Volumes in memory and those of drivers are mounts: a removal would fail at them, or reach into them.
    if (forget) for (const place of [files.pods, files.kubelet]) await unmountBelow(place);
    return sandboxes.filter(({ ready }) => ready).map(({ namespace, name }) => `${namespace}/${name}`);
  } finally {
    await close();
  }
}

/** The one node of `up` and `demo` where pods are containers. */
export const containerNodeName = 'node-a';
