import { type webcrypto, X509Certificate } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeDurableFile } from '../durable-file.ts';
import {
  backdateMs,
  certificatesIn,
  authorityFiles as files,
  importSigningKey,
  selfSigned,
  serialNumber,
  signing,
  tryReadAuthority,
} from './authority.ts';
import type { KeyPair } from './key-pair.ts';
import { loadX509 } from './x509-library.ts';

/** Everything here is for a directory that no process uses: one that runs has read its files already. */

interface RotationOptions {
  readonly directory: string;
  /** In front of a number. */
  readonly authorityName: string;
  readonly now: number;
}

/** Former authorities that are remembered; the oldest ones go first. */
const maxFormer = 4;

/** Removes the certificates that the authority issued, with their keys; the next `openPki` issues others. Gives their names. */
export async function removeIssued(directory: string): Promise<readonly string[]> {
  const own: readonly string[] = Object.values(files);
  const names = (await readdir(directory))
    .filter((file) => file.endsWith('.crt') && !own.includes(file))
    .map((file) => file.slice(0, -'.crt'.length))
    .sort();
  for (const name of names) for (const ending of ['crt', 'key']) await rm(join(directory, `${name}.${ending}`), { force: true });
  await syncDirectory(directory);
  return names;
}

/**
 * Replaces the authority. The former one stays trusted until it ends, and vouches for the new one. Clients that know only the former one
 * then still accept a server. A crash leaves the old or the new authority, see `tryReadAuthority`.
 */
export async function rotateAuthority({ directory, authorityName, now }: RotationOptions): Promise<void> {
  const old = await tryReadAuthority(directory, now);
  if (old === undefined) throw new Error(`${directory} has no authority`);
  const { pair, keys } = await selfSigned(authorityName, now);
  const hasEnded = Date.parse(new X509Certificate(old.current.certificate).validTo) <= now;
  if (!hasEnded) {
    const link = await vouch({ former: old.current, certificate: pair.certificate, publicKey: keys.publicKey, now });
    // A crash in an earlier rotation may have left the old one there already.
    const former = [...new Set(certificatesIn(old.trusted))].slice(0, maxFormer);
    await writeDurableFile(join(directory, files.former), former.join(''));
    await writeDurableFile(join(directory, files.links), [link, ...certificatesIn(old.links)].slice(0, maxFormer).join(''));
  }
  await writeDurableFile(join(directory, files.next), pair.certificate);
  await writeDurableFile(join(directory, files.key), pair.key);
  await rename(join(directory, files.next), join(directory, files.certificate));
  await syncDirectory(directory);
}

/** From the next start on the current authority alone is trusted. */
export async function distrustFormerAuthorities(directory: string): Promise<void> {
  for (const file of [files.former, files.links]) await rm(join(directory, file), { force: true });
  await syncDirectory(directory);
}

interface VouchOptions {
  readonly former: KeyPair;
  readonly certificate: string;
  readonly publicKey: webcrypto.CryptoKey;
  readonly now: number;
}

/** A certificate of the new authority's name and key that the former one signed. */
async function vouch({ former, certificate, publicKey, now }: VouchOptions): Promise<string> {
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(former.certificate);
  const link = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: new x509.X509Certificate(certificate).subjectName,
    issuer: issuer.subjectName,
    notBefore: new Date(now - backdateMs),
    notAfter: issuer.notAfter,
    signingAlgorithm: signing,
    publicKey,
    signingKey: await importSigningKey(former),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return `${link.toString('pem')}\n`;
}
