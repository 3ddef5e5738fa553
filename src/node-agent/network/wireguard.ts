import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeDurableFile } from '../../base/durable-file.ts';
import { type IpCommands, wireguardDevice } from './ip-commands.ts';
import { deviceAddressOf } from './vxlan.ts';

/** As flannel has it. */
const port = 51_820;
/** Headers around each packet, as flannel counts them: also enough for IPv6 below. */
export const wireguardOverheadBytes = 80;

/** A machine whose packets are encrypted for its key alone. */
export interface WireguardPeer {
  readonly podCidr: string;
  readonly nodeAddress: string;
  /** Base64 of 32 bytes. */
  readonly publicKey: string;
}

/** WireGuard cannot be used on this machine; `fix` says what a person can do. */
export class WireguardError extends Error {
  readonly fix: string;
  constructor(message: string, { fix, cause }: { readonly fix: string; readonly cause: unknown }) {
    super(message, { cause });
    this.fix = fix;
  }
}

/** The key of this machine. */
export interface WireguardKey {
  readonly privateKey: string;
  readonly publicKey: string;
  /** File for the configuration of the device, which has the key. */
  readonly configFile: string;
}

/** The head of a private key of curve 25519 in PKCS #8; 32 bytes follow. @see RFC 8410, section 7 */
const pkcs8Head = Buffer.from('302e020100300506032b656e04220420', 'hex');

/**
 * Reads the key of this machine from its file, or makes one. It never leaves the machine.
 *
 * @throws Error for a file that has no key
 */
export async function openWireguardKey(path: string): Promise<WireguardKey> {
  const kept = await readFile(path, 'utf8').catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return undefined;
    throw err;
  });
  if (kept !== undefined) return keyOf(kept.trim(), path);
  const made = generateKeyPairSync('x25519').privateKey.export({ format: 'der', type: 'pkcs8' });
  const privateKey = made.subarray(-32).toString('base64');
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeDurableFile(path, `${privateKey}\n`);
  return keyOf(privateKey, path);
}

function keyOf(privateKey: string, path: string): WireguardKey {
  if (!isWireguardKey(privateKey)) throw new Error(`${path} has no key of WireGuard`);
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Head, Buffer.from(privateKey, 'base64')]), format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64');
  return { privateKey, publicKey, configFile: `${path}.conf` };
}

/** True for the base64 of 32 bytes. Keys of other machines are texts that those wrote. */
export const isWireguardKey = (text: string): boolean => /^[A-Za-z0-9+/]{43}=$/.test(text);

/**
 * Makes the device, by the kernel or by the program `wireguard-go`, and leaves one that is there alone.
 *
 * @throws WireguardError where neither can
 */
export async function ensureWireguard(commands: IpCommands): Promise<void> {
  const present = await commands.list('link', 'show', 'dev', wireguardDevice).catch(() => []);
  if (present.length > 0) return;
  await commands.runWireguard('--version').catch((cause: unknown) => {
    throw new WireguardError('the program wg is not installed', { fix: 'Install the package wireguard-tools.', cause });
  });
  await commands.run('link', 'add', wireguardDevice, 'type', 'wireguard').catch(async (cause: unknown) => {
    await commands.startWireguard(wireguardDevice).catch(() => {
      throw new WireguardError('the kernel has no WireGuard, and the program wireguard-go is not installed or cannot start', {
        fix: 'Use a kernel from 5.6 on, or install the package wireguard-go.',
        cause,
      });
    });
  });
}

export interface WireguardOptions {
  readonly podCidr: string;
  readonly key: WireguardKey;
  readonly mtu: number;
}

/**
 * Brings the device in line. A peer may send packets from the addresses of its own pods alone, and gets those for them. Connections with
 * peers that stay are not disturbed.
 */
export async function syncWireguard(options: WireguardOptions, peers: readonly WireguardPeer[], commands: IpCommands): Promise<void> {
  const { podCidr, key, mtu } = options;
  await ensureWireguard(commands);
  // In a file, since every user of the machine sees arguments.
  await writeDurableFile(key.configFile, wireguardConfig(key, peers));
  await commands.runWireguard('syncconf', wireguardDevice, key.configFile);
  await commands.run('link', 'set', wireguardDevice, 'mtu', String(mtu - wireguardOverheadBytes), 'up');
  await commands.run('addr', 'replace', `${deviceAddressOf(podCidr)}/32`, 'dev', wireguardDevice);
}

/** The text that `wg syncconf` reads. */
export const wireguardConfig = ({ privateKey }: Pick<WireguardKey, 'privateKey'>, peers: readonly WireguardPeer[]): string =>
  [
    `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}\n`,
    ...peers.map(
      ({ publicKey, nodeAddress, podCidr }) =>
        `[Peer]\nPublicKey = ${publicKey}\nEndpoint = ${nodeAddress}:${port}\nAllowedIPs = ${podCidr}\n`,
    ),
  ].join('\n');

export const removeWireguard = async ({ run }: IpCommands): Promise<void> => {
  // There may be none. The program ends with its device.
  await run('link', 'del', wireguardDevice).catch(() => undefined);
};
