import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurableFile } from '../durable-file.ts';

/** PEM texts. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** When a certificate is valid, in milliseconds since the epoch. */
export interface Life {
  readonly from: number;
  readonly to: number;
}

export function lifeOf(certificate: string): Life {
  const { validFrom, validTo } = new X509Certificate(certificate);
  return { from: Date.parse(validFrom), to: Date.parse(validTo) };
}

/** True when two thirds of it are over, or when the clock is outside of it. */
export const isDue = ({ from, to }: Life, now: number): boolean => now < from || now > to - (to - from) / 3;

/** Undefined when it is not there, or is no pair because a crash or a disk left it incomplete. The certificate is written last. */
export async function tryReadKeyPair(directory: string, name: string): Promise<KeyPair | undefined> {
  const certificate = await tryReadText(join(directory, `${name}.crt`));
  const key = await tryReadText(join(directory, `${name}.key`));
  if (certificate === undefined || key === undefined) return undefined;
  try {
    return isPair(certificate, key) ? { certificate, key } : undefined;
  } catch {
    // Not even PEM: whoever asks issues another pair.
    return undefined;
  }
}

export async function writeKeyPair(directory: string, name: string, { certificate, key }: KeyPair): Promise<void> {
  await writeDurableFile(join(directory, `${name}.key`), key);
  await writeDurableFile(join(directory, `${name}.crt`), certificate);
}

/** @throws Error for texts that are not PEM */
export const isPair = (certificate: string, key: string): boolean =>
  createPublicKey(createPrivateKey(key)).equals(new X509Certificate(certificate).publicKey);

export async function tryReadText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`read ${path}`, { cause: err });
  }
}
