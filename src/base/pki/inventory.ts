import { X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { authorityFiles, certificatesIn } from './authority.ts';

export interface CertificateEntry {
  /** Name of its file, without ending. */
  readonly name: string;
  readonly purpose: 'authority' | 'former authority' | 'server' | 'client';
  readonly commonName: string;
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validTo: number;
}

/** Read at most; a directory of ours has fewer than ten. */
const maxFiles = 1_000;

/** Reads the certificate files of a directory, also while a process uses them. A file that is no certificate is an entry without a life. */
export async function readCertificates(directory: string): Promise<readonly CertificateEntry[]> {
  const hidden: readonly string[] = [authorityFiles.next, authorityFiles.links];
  const names = (await readdir(directory))
    .filter((file) => file.endsWith('.crt') && !hidden.includes(file))
    .map((file) => file.slice(0, -'.crt'.length))
    .sort();
  const entries: CertificateEntry[] = [];
  for (const name of names.slice(0, maxFiles)) {
    const file = `${name}.crt`;
    const text = await readFile(join(directory, file), 'utf8');
    const purpose = file === authorityFiles.former ? 'former authority' : undefined;
    const blocks = purpose === undefined ? certificatesIn(text).slice(0, 1) : certificatesIn(text);
    entries.push(...(blocks.length === 0 ? [unreadable(name)] : blocks.map((pem) => entryOf(name, pem, purpose))));
  }
  return entries;
}

/** The first certificate of `pem`. */
export function entryOf(name: string, pem: string, purpose?: CertificateEntry['purpose']): CertificateEntry {
  try {
    const certificate = new X509Certificate(pem);
    const isClient = certificate.keyUsage?.includes(clientAuthentication) ?? false;
    return {
      name,
      purpose: purpose ?? (certificate.ca ? 'authority' : isClient ? 'client' : 'server'),
      commonName: /^CN=(.*)$/m.exec(certificate.subject)?.[1] ?? '',
      validFrom: Date.parse(certificate.validFrom),
      validTo: Date.parse(certificate.validTo),
    };
  } catch {
    return unreadable(name);
  }
}

const clientAuthentication = '1.3.6.1.5.5.7.3.2';

const unreadable = (name: string): CertificateEntry => ({ name, purpose: 'server', commonName: '', validFrom: 0, validTo: 0 });
