import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from './clock.ts';
import { writeDurableFile } from './durable-file.ts';
import type { CertificateRequest } from './pki/certificate-request.ts';
import { extendedKeyUsages, keyUsages } from './pki/usages.ts';
import { loadX509 } from './pki/x509-library.ts';

/**
 * The cluster's own certificate authority and what it issues, kept as PEM files in one directory (0700, files 0600).
 *
 * A certificate is issued once and used again as long as it fits what is asked and is not near its end, so that a restart costs three
 * file reads and does not load the X.509 library.
 */
export interface Pki {
  readonly caCertificate: string;
  /** For a TLS server that is reached under `hosts` (names and addresses). Stored as `NAME.crt` and `NAME.key`. */
  serverCertificate(options: ServerCertificateOptions): Promise<KeyPair>;
  /** For a client that the API server shall know as user `commonName` in groups `organizations`. */
  clientCertificate(options: ClientCertificateOptions): Promise<KeyPair>;
  /**
   * Signs what `request` asks for: its subject, names and key, and nothing else of it, for these usages.
   *
   * The certificate begins some minutes before now, so that a peer whose clock is behind accepts it, and never outlives the authority.
   *
   * @param options.usages  as the certificates API names them, for example `client auth`
   * @returns PEM; nothing is stored
   * @throws Error for a usage that is not known
   */
  signRequest(request: CertificateRequest, options: SignOptions): Promise<string>;
  /** Signs the tokens of service accounts; made at the first call and kept as `sa.key`, because tokens outlive the process. */
  signingKey(): Promise<SigningKey>;
}

export interface SigningKey {
  readonly algorithm: 'ES256';
  /** RFC 7638 thumbprint, the same as long as the key is. */
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly publicJwk: Readonly<Record<'kty' | 'crv' | 'x' | 'y', string>>;
}

/** PEM texts. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface SignOptions {
  readonly usages: readonly string[];
  readonly lifetimeMs: number;
}

interface ServerCertificateOptions {
  /** File name without ending. */
  readonly name: string;
  readonly commonName: string;
  readonly hosts: readonly string[];
}

interface ClientCertificateOptions {
  readonly name: string;
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export interface PkiOptions {
  readonly directory: string;
  /** Of the authority, in front of a number; default: `midship-ca`. */
  readonly authorityName?: string;
  readonly clock: Clock;
}

const dayMs = 86_400_000;
const caLifetimeMs = 3_650 * dayMs;
const leafLifetimeMs = 365 * dayMs;
/** A leaf with less than this left is issued anew; well above the time between two looks at it, see `server.ts`. */
const renewBeforeMs = 90 * dayMs;
/** Certificates begin in the past, so that a peer whose clock is behind accepts them. */
const backdateMs = 3_600_000;
/** The same for what is signed on request, some of which lives for minutes only. */
const requestBackdateMs = 300_000;
const shortLifetimeMs = 8 * 3_600_000;

const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** Opens the directory; makes it and the authority at the first start. */
export async function openPki({ directory, authorityName = 'midship-ca', clock }: PkiOptions): Promise<Pki> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const ca = (await readKeyPair(directory, 'ca')) ?? (await createAuthority({ directory, authorityName, clock }));
  const caCertificate = new X509Certificate(ca.certificate);

  const reuse = async (name: string, fits: (certificate: X509Certificate) => boolean): Promise<KeyPair | undefined> => {
    const stored = await readKeyPair(directory, name);
    if (stored === undefined) return undefined;
    const certificate = new X509Certificate(stored.certificate);
    const fresh = Date.parse(certificate.validTo) - clock.now() > renewBeforeMs && Date.parse(certificate.validFrom) <= clock.now();
    return fresh && certificate.verify(caCertificate.publicKey) && fits(certificate) ? stored : undefined;
  };

  return {
    caCertificate: ca.certificate,
    async serverCertificate({ name, commonName, hosts }) {
      const wanted = [...new Set(hosts)].sort();
      const stored = await reuse(name, (certificate) => sameHosts(certificate, wanted));
      return stored ?? issue({ directory, clock, ca, name, commonName, organizations: [], hosts: wanted });
    },
    async clientCertificate({ name, commonName, organizations = [] }) {
      const subject = subjectLines(commonName, organizations);
      const stored = await reuse(name, (certificate) => certificate.subject === subject && isClientCertificate(certificate));
      return stored ?? issue({ directory, clock, ca, name, commonName, organizations, hosts: [] });
    },
    signRequest: (request, options) => signRequest({ ca, clock, request, options }),
    signingKey: () => openSigningKey(join(directory, 'sa.key')),
  };
}

async function openSigningKey(path: string): Promise<SigningKey> {
  let pem = await tryRead(path);
  if (pem === undefined) {
    const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
    pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await writeDurableFile(path, pem);
  }
  const privateKey = createPrivateKey(pem);
  const publicKey = createPublicKey(privateKey);
  const { kty = '', crv = '', x = '', y = '' } = publicKey.export({ format: 'jwk' }) as JsonWebKey;
  // The members in this order and nothing else, as the RFC says.
  const id = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  return { algorithm: 'ES256', id, privateKey, publicKey, publicJwk: { kty, crv, x, y } };
}

const extendedKeyUsage = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;

const isClientCertificate = (certificate: X509Certificate): boolean => certificate.keyUsage?.includes(extendedKeyUsage.client) ?? false;

/** The form of `X509Certificate.subject`. */
const subjectLines = (commonName: string, organizations: readonly string[]): string =>
  [...organizations.map((organization) => `O=${organization}`), `CN=${commonName}`].join('\n');

function sameHosts(certificate: X509Certificate, wanted: readonly string[]): boolean {
  const names = (certificate.subjectAltName ?? '').split(', ').filter((name) => name !== '');
  return (
    names.length === wanted.length && wanted.every((host) => (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)))
  );
}

async function createAuthority({ directory, authorityName, clock }: Required<PkiOptions>): Promise<KeyPair> {
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(signing, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    // The number tells two clusters' authorities apart in a kubeconfig that knows both.
    name: [{ CN: [`${authorityName}@${Math.floor(clock.now() / 1_000)}`] }],
    notBefore: new Date(clock.now() - backdateMs),
    notAfter: new Date(clock.now() + caLifetimeMs),
    signingAlgorithm: signing,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pair = { certificate: `${certificate.toString('pem')}\n`, key: pemOf(keys.privateKey) };
  await writeKeyPair(directory, 'ca', pair);
  return pair;
}

interface IssueOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly ca: KeyPair;
  readonly name: string;
  readonly commonName: string;
  readonly organizations: readonly string[];
  /** Empty for a client certificate. */
  readonly hosts: readonly string[];
}

async function issue({ directory, clock, ca, name, commonName, organizations, hosts }: IssueOptions): Promise<KeyPair> {
  const x509 = await loadX509();
  const authority = new x509.X509Certificate(ca.certificate);
  const authorityKey = await importAuthorityKey(ca);
  const keys = await webcrypto.subtle.generateKey(signing, true, ['sign', 'verify']);
  const isServer = hosts.length > 0;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [...organizations.map((organization) => ({ O: [organization] })), { CN: [commonName] }],
    issuer: authority.subject,
    notBefore: new Date(clock.now() - backdateMs),
    notAfter: new Date(clock.now() + leafLifetimeMs),
    signingAlgorithm: signing,
    publicKey: keys.publicKey,
    signingKey: authorityKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([isServer ? extendedKeyUsage.server : extendedKeyUsage.client]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      ...(isServer
        ? [
            new x509.SubjectAlternativeNameExtension(
              hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host })),
            ),
          ]
        : []),
    ],
  });
  const pair = { certificate: `${certificate.toString('pem')}\n`, key: pemOf(keys.privateKey) };
  await writeKeyPair(directory, name, pair);
  return pair;
}

const importAuthorityKey = ({ key }: KeyPair): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', createPrivateKey(key).export({ type: 'pkcs8', format: 'der' }), signing, false, ['sign']);

interface SignRequestOptions {
  readonly ca: KeyPair;
  readonly clock: Clock;
  readonly request: CertificateRequest;
  readonly options: SignOptions;
}

async function signRequest({ ca, clock, request, options: { usages, lifetimeMs } }: SignRequestOptions): Promise<string> {
  const x509 = await loadX509();
  const authority = new x509.X509Certificate(ca.certificate);
  const flags = keyUsages(usages);
  const purposes = extendedKeyUsages(usages);
  const { dnsNames, ipAddresses, emailAddresses, uris, parsed } = request;
  const names = [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...emailAddresses.map((value) => ({ type: 'email' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
    ...uris.map((value) => ({ type: 'url' as const, value })),
  ];
  // Of a short life the minutes before now are no part.
  const notAfter = clock.now() + lifetimeMs - (lifetimeMs < shortLifetimeMs ? 0 : requestBackdateMs);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: parsed.subjectName,
    issuer: authority.subject,
    notBefore: new Date(clock.now() - requestBackdateMs),
    notAfter: new Date(Math.min(notAfter, authority.notAfter.getTime())),
    signingAlgorithm: signing,
    publicKey: parsed.publicKey,
    signingKey: await importAuthorityKey(ca),
    extensions: [
      ...(flags === 0 ? [] : [new x509.KeyUsagesExtension(flags, true)]),
      ...(purposes.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...purposes])]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

const pemOf = (key: webcrypto.CryptoKey): string => KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();

/** Positive, so the highest bit is clear. */
const serialNumber = (): string => {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x01, 0);
  return bytes.toString('hex');
};

/** Undefined when it is not there or was left incomplete by a crash; the certificate is written last. */
async function readKeyPair(directory: string, name: string): Promise<KeyPair | undefined> {
  const certificate = await tryRead(join(directory, `${name}.crt`));
  const key = await tryRead(join(directory, `${name}.key`));
  if (certificate === undefined || key === undefined) return undefined;
  const matches = createPublicKey(createPrivateKey(key)).equals(new X509Certificate(certificate).publicKey);
  if (matches) return { certificate, key };
  // An authority that was replaced by half would make every certificate out there worthless: a person must look.
  if (name === 'ca') throw new Error(`${join(directory, 'ca.crt')} does not belong to ca.key beside it`);
  return undefined;
}

async function tryRead(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`read ${path}`, { cause: err });
  }
}

async function writeKeyPair(directory: string, name: string, { certificate, key }: KeyPair): Promise<void> {
  await writeDurableFile(join(directory, `${name}.key`), key);
  await writeDurableFile(join(directory, `${name}.crt`), certificate);
}
