import { type FSWatcher, watch } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { dnsSubdomainErrors } from '../../api/formats.ts';
import { type Clock, within } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import { isNoEntry } from '../volume-directories.ts';
import type { CsiCapability, CsiClient, CsiNodeInfo, PluginInfo } from './csi-client.ts';
import type { CsiNodeObjects, InstalledDriver } from './csi-node.ts';

/**
 * The drivers of volumes (CSI) on this machine. A driver makes itself known by a socket in a directory that the agent watches, as a kubelet
 * does. The agent asks it for its name, writes it into the API, and answers whether it was taken. A driver is known for as long as its
 * socket is there.
 *
 * Programs that write there have the rights of root. The bounds here keep a broken driver from the others. Each socket has its own
 * deadlines and back-off, and a name belongs to the first one that has it.
 *
 * @see Kubernetes documentation, "Device Plugins", "Kubelet plugin registration"
 */
export interface CsiDrivers extends Component {
  /** @throws Error in the kubelet's words for a driver that is not registered */
  find(name: string): CsiDriverConnection;
}

export interface CsiDriverConnection {
  readonly client: CsiClient;
  /** Asked once. */
  capabilities(): Promise<ReadonlySet<CsiCapability>>;
}

export interface CsiDriversOptions {
  /** Made when it is missing. */
  readonly directory: string;
  readonly objects: CsiNodeObjects;
  /** A driver was registered: volumes that waited for it can be had. */
  readonly onRegistered: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** More sockets than a machine has drivers; those beyond are passed over. */
const maxSockets = 64;
const scanEveryMs = 10_000;
const minBackoffMs = 1_000;
const maxBackoffMs = 2 * 60_000;
/** Drivers that answer are known before the first pod asks for them; the others come later. */
const startPatienceMs = 2_000;
/** Bounds of the specification. */
const maxNameLength = 63;
const maxNodeIdBytes = 256;
const maxTopologyBytes = 4_096;

interface Socket {
  readonly path: string;
  /** Changes when another program makes the socket again. */
  readonly identity: string;
  delayMs: number;
  isGone: boolean;
  driver: (CsiDriverConnection & { readonly name: string }) | undefined;
  cancelRetry: (() => void) | undefined;
  /** The attempt under way, if any. */
  attempt: Promise<void>;
}

export function createCsiDrivers({ directory, objects, onRegistered, clock, log }: CsiDriversOptions): CsiDrivers {
  const sockets = new Map<string, Socket>();
  /** The socket that has each name, from the moment at which its driver is looked at. */
  const owners = new Map<string, Socket>();
  let watcher: FSWatcher | undefined;
  let cancelScan: (() => void) | undefined;
  let scanning: Promise<void> = Promise.resolve();
  let isStopped = false;

  async function findSockets(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const name of (await readdir(directory)).toSorted()) {
      if (name.startsWith('.')) continue;
      const path = join(directory, name);
      const info = await lstat(path).catch((err: unknown) => {
        if (isNoEntry(err)) return undefined;
        throw err;
      });
      if (info?.isSocket() !== true) continue;
      if (found.size === maxSockets) {
        log.warn({ directory, maxSockets }, 'Passed over sockets of drivers beyond the bound');
        break;
      }
      found.set(path, `${info.ino} ${info.mtimeMs}`);
    }
    return found;
  }

  async function scan(): Promise<void> {
    const found = await findSockets();
    for (const socket of [...sockets.values()]) if (found.get(socket.path) !== socket.identity) await forget(socket);
    for (const [path, identity] of found) {
      if (sockets.has(path) || isStopped) continue;
      const socket: Socket = {
        path,
        identity,
        delayMs: minBackoffMs,
        isGone: false,
        driver: undefined,
        cancelRetry: undefined,
        attempt: Promise.resolve(),
      };
      sockets.set(path, socket);
      attempt(socket);
    }
  }

  /** The scan under way. A change during it is seen by the next one. */
  function scanSoon(): void {
    scanning = scanning.then(async () => {
      if (isStopped) return;
      await scan().catch((err: unknown) => log.warn({ err, directory }, 'Could not look for drivers of volumes'));
    });
  }

  function scheduleScan(): void {
    cancelScan = clock.after(scanEveryMs, () => {
      scanSoon();
      scheduleScan();
    });
  }

  function attempt(socket: Socket): void {
    socket.attempt = register(socket).catch((err: unknown) => {
      log.warn({ err, socket: socket.path, retryMs: socket.delayMs }, 'Could not register driver of volumes');
      if (socket.isGone || isStopped) return;
      socket.cancelRetry = clock.after(socket.delayMs, () => attempt(socket));
      socket.delayMs = Math.min(maxBackoffMs, socket.delayMs * 2);
    });
  }

  async function register(socket: Socket): Promise<void> {
    // Most machines have no driver, and need none of this.
    const { createCsiClient, createRegistrationClient } = await import('./csi-client.ts');
    const registrar = createRegistrationClient({ socketPath: socket.path, clock });
    try {
      const info = await registrar.info();
      try {
        await accept(socket, info, createCsiClient);
      } catch (err) {
        const why = `plugin registration failed with err: ${err instanceof Error ? err.message : String(err)}`;
        await registrar.notify(why).catch(() => undefined);
        throw err;
      }
      log.info({ driver: info.name, socket: socket.path }, 'Registered driver of volumes');
      onRegistered();
      await registrar
        .notify(undefined)
        .catch((err: unknown) => log.warn({ err, driver: info.name }, 'Could not say to a driver that it is registered'));
    } finally {
      registrar.close();
    }
  }

  async function accept(socket: Socket, info: PluginInfo, createClient: typeof import('./csi-client.ts').createCsiClient): Promise<void> {
    const { name } = info;
    checkPlugin(info, socket.path);
    const owner = owners.get(name);
    if (owner !== undefined && owner !== socket) {
      throw new Error(`CSI driver "${name}" failed. Another driver with the same name is already registered at socket ${owner.path}`);
    }
    owners.set(name, socket);
    const client = createClient({ socketPath: info.endpoint === '' ? socket.path : info.endpoint, clock });
    try {
      await objects.install(describe(name, await client.nodeInfo()));
      if (socket.isGone || isStopped) throw new Error(`the socket of CSI driver "${name}" is gone`);
      let capabilities: Promise<ReadonlySet<CsiCapability>> | undefined;
      socket.driver = {
        name,
        client,
        capabilities() {
          capabilities ??= client.capabilities().catch((err: unknown) => {
            capabilities = undefined;
            throw err;
          });
          return capabilities;
        },
      };
    } catch (err) {
      owners.delete(name);
      client.close();
      throw err;
    }
  }

  async function forget(socket: Socket): Promise<void> {
    socket.isGone = true;
    socket.cancelRetry?.();
    sockets.delete(socket.path);
    const { driver } = socket;
    if (driver === undefined) return;
    driver.client.close();
    owners.delete(driver.name);
    log.info({ driver: driver.name, socket: socket.path }, 'Forgot driver of volumes');
    await objects
      .uninstall(driver.name)
      .catch((err: unknown) => log.warn({ err, driver: driver.name }, 'Could not take a driver of volumes out of the API'));
  }

  return {
    name: 'csi-drivers',

    find(name) {
      const driver = owners.get(name)?.driver;
      if (driver === undefined) throw unknownDriver(name);
      return driver;
    },

    async start() {
      await mkdir(directory, { recursive: true, mode: 0o750 });
      // A wake-up only: what is there is seen by a scan.
      watcher = watch(directory, scanSoon);
      watcher.on('error', (err) => log.warn({ err, directory }, 'Could not watch for drivers of volumes'));
      scanSoon();
      await scanning;
      scheduleScan();
      const first = Promise.all([...sockets.values()].map((socket) => socket.attempt));
      await within(clock, startPatienceMs, first);
    },

    async stop() {
      isStopped = true;
      watcher?.close();
      cancelScan?.();
      await scanning;
      for (const { cancelRetry, driver } of sockets.values()) {
        cancelRetry?.();
        driver?.client.close();
      }
      // Each attempt ends by the deadlines of its calls, and changes nothing any more.
    },
  };
}

/** In the kubelet's words. */
export const unknownDriver = (name: string): Error => new Error(`driver name ${name} not found in the list of registered CSI drivers`);

/** @throws Error when the plugin is no driver of volumes, or gives itself a name that leads elsewhere */
function checkPlugin({ type, name, endpoint, supportedVersions }: PluginInfo, socketPath: string): void {
  const shown = JSON.stringify(name.slice(0, 2 * maxNameLength));
  if (type !== 'CSIPlugin')
    throw new Error(`no handler registered for plugin type: ${type.slice(0, maxNameLength)} at socket ${socketPath}`);
  // The name becomes a part of paths.
  if (name.length > maxNameLength || dnsSubdomainErrors(name.toLowerCase()).length > 0) {
    throw new Error(`CSI driver ${shown} failed. Its name must be a DNS subdomain of at most ${maxNameLength} characters`);
  }
  if (endpoint !== '' && (!isAbsolute(endpoint) || endpoint.split('/').includes('..'))) {
    throw new Error(`CSI driver ${shown} failed. Its endpoint must be an absolute path`);
  }
  if (supportedVersions.length === 0) {
    throw new Error(`CSI driver ${shown} failed. Plugin returned an empty list for supported versions`);
  }
  if (!supportedVersions.some((version) => /^v?1(\.\d+){0,2}$/.test(version))) {
    const versions = JSON.stringify(supportedVersions.slice(0, 8)).slice(0, 200);
    throw new Error(`CSI driver ${shown} failed. Its versions ${versions} are not supported, only 1.x is`);
  }
}

/** @throws Error when the driver breaks a bound of the specification */
function describe(name: string, { nodeId, maxVolumesPerNode, accessibleTopology }: CsiNodeInfo): InstalledDriver {
  const topology = accessibleTopology?.segments ?? {};
  if (nodeId === '') throw new Error('error adding CSI driver node info: driverNodeID must not be empty');
  if (Buffer.byteLength(nodeId) > maxNodeIdBytes) throw new Error(`its node id has more than ${maxNodeIdBytes} bytes`);
  if (Buffer.byteLength(JSON.stringify(topology)) > maxTopologyBytes)
    throw new Error(`its topology has more than ${maxTopologyBytes} bytes`);
  return { name, nodeId, maxVolumes: maxVolumesPerNode, topology };
}
