import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createIpCommands } from '../../../../src/node-agent/network/ip-commands.ts';
import { ensureWireguard, isWireguardKey, openWireguardKey, wireguardConfig } from '../../../../src/node-agent/network/wireguard.ts';
import { temporaryDirectory } from '../../../support/git.ts';

it('makes the key of a machine once, readable by its user alone', async () => {
  const path = join(await temporaryDirectory('wireguard'), 'keys', 'private.key');
  const made = await openWireguardKey(path);
  expect(isWireguardKey(made.publicKey)).toBe(true);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readFile(path, 'utf8')).toBe(`${made.privateKey}\n`);
  expect(await openWireguardKey(path)).toEqual(made);
});

it('derives the public key as curve 25519 says', async () => {
  // RFC 7748, section 6.1.
  const path = join(await temporaryDirectory('wireguard'), 'private.key');
  const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
  await writeFile(path, base64('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
  expect((await openWireguardKey(path)).publicKey).toBe(base64('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'));
});

it('names a file without a key, and puts none in its place', async () => {
  const path = join(await temporaryDirectory('wireguard'), 'private.key');
  await writeFile(path, 'damaged');
  await expect(openWireguardKey(path)).rejects.toThrow(`${path} has no key of WireGuard`);
  expect(await readFile(path, 'utf8')).toBe('damaged');
});

it('lets each machine send from the addresses of its own pods alone', () => {
  const key = (letter: string) => `${letter.repeat(42)}A=`;
  const peers = [{ podCidr: '10.42.1.0/24', nodeAddress: '192.168.1.11', publicKey: key('b') }];
  expect(wireguardConfig({ privateKey: key('a') }, peers)).toBe(
    `[Interface]\nPrivateKey = ${key('a')}\nListenPort = 51820\n\n[Peer]\nPublicKey = ${key('b')}\nEndpoint = 192.168.1.11:51820\nAllowedIPs = 10.42.1.0/24\n`,
  );
});

it.each([
  [['wg'], 'the program wg is not installed', 'wireguard-tools'],
  [['link add', 'wireguard-go'], 'the kernel has no WireGuard, and the program wireguard-go', 'wireguard-go'],
] as const)('says what a machine without %s lacks', async (missing, message, fix) => {
  const commands = createIpCommands(async (program, args) => {
    if (args.includes('show')) throw new Error('Device does not exist');
    if (missing.some((each) => program === each || args.join(' ').startsWith(each))) throw new Error('not there');
    return '';
  });
  const failure = await ensureWireguard(commands).catch((err: unknown) => err);
  expect(failure).toMatchObject({ message: expect.stringContaining(message), fix: expect.stringContaining(fix) });
});
