import { createPrivateKey, KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../durable-file.ts';
import { isPair, type KeyPair, tryReadText, writeKeyPair } from './key-pair.ts';
import { loadX509 } from './x509-library.ts';

/** An authority, and those that it replaced and that are still trusted. */
export interface Authority {
  /** Signs what is issued now. */
  readonly current: KeyPair;
  /** PEM: the current certificate first, then the former ones that have not ended. */
  readonly trusted: string;
  /** PEM: the former ones vouch for the current one. A server shows it with its own certificate; empty without former ones. */
  readonly links: string;
}

interface AuthorityOptions {
  readonly directory: string;
  /** In front of a number. */
  readonly name: string;
  readonly now: number;
}

export const dayMs = 86_400_000;
const lifetimeMs = 3_650 * dayMs;
/** Own certificates begin in the past, so that they stay valid when a clock is set back by up to a day. */
export const backdateMs = 86_400_000;

export const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export const authorityFiles = {
  certificate: 'ca.crt',
  key: 'ca.key',
  next: 'ca-next.crt',
  former: 'ca-former.crt',
  links: 'ca-links.crt',
} as const;
/** Undefined when there is none yet. */
export async function tryReadAuthority(directory: string, now: number): Promise<Authority | undefined> {
  const key = await tryReadText(join(directory, authorityFiles.key));
  let certificate = await tryReadText(join(directory, authorityFiles.certificate));
  if (key === undefined) return undefined;
  if (certificate === undefined || !isPair(certificate, key)) {
    // The key of a rotation is in place, and its certificate was written before it.
    const next = await tryReadText(join(directory, authorityFiles.next));
    if (next !== undefined && isPair(next, key)) {
      await rename(join(directory, authorityFiles.next), join(directory, authorityFiles.certificate));
      await syncDirectory(directory);
      certificate = next;
    } else if (certificate === undefined) return undefined;
    // An authority that was replaced by half would make every certificate out there worthless: a person must look.
    else throw new Error(`${join(directory, authorityFiles.certificate)} does not belong to ${authorityFiles.key} beside it`);
  }
  const readUnended = async (file: string): Promise<readonly string[]> =>
    certificatesIn((await tryReadText(join(directory, file))) ?? '').filter((pem) => now < Date.parse(new X509Certificate(pem).validTo));
  return {
    current: { certificate, key },
    trusted: [certificate, ...(await readUnended(authorityFiles.former))].join(''),
    links: (await readUnended(authorityFiles.links)).join(''),
  };
}

export async function createAuthority({ directory, name, now }: AuthorityOptions): Promise<Authority> {
  const { pair } = await selfSigned(name, now);
  await writeKeyPair(directory, 'ca', pair);
  return { current: pair, trusted: pair.certificate, links: '' };
}

/** Each certificate of a PEM text, with a line break at its end. */
export const certificatesIn = (pem: string): readonly string[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((block) => `${block}\n`);

export async function selfSigned(name: string, now: number): Promise<{ readonly pair: KeyPair; readonly keys: webcrypto.CryptoKeyPair }> {
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(signing, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    // The number distinguishes two clusters' authorities in a kubeconfig that knows both.
    name: [{ CN: [`${name}@${Math.floor(now / 1_000)}`] }],
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + lifetimeMs),
    signingAlgorithm: signing,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { pair: { certificate: `${certificate.toString('pem')}\n`, key: pemOf(keys.privateKey) }, keys };
}

export const importSigningKey = ({ key }: KeyPair): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', createPrivateKey(key).export({ type: 'pkcs8', format: 'der' }), signing, false, ['sign']);

export const pemOf = (key: webcrypto.CryptoKey): string => KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();

/** Positive, so the highest bit is clear. */
export const serialNumber = (): string => {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x01, 0);
  return bytes.toString('hex');
};
