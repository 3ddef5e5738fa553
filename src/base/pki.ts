import { webcrypto, X509Certificate } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Clock } from './clock.ts';
import { backdateMs, createAuthority, dayMs, importSigningKey, pemOf, serialNumber, signing, tryReadAuthority } from './pki/authority.ts';
import type { CertificateRequest } from './pki/certificate-request.ts';
import { isDue, type KeyPair, type Life, lifeOf, tryReadKeyPair, writeKeyPair } from './pki/key-pair.ts';
import { openSigningKey, type SigningKey } from './pki/signing-key.ts';
import { extendedKeyUsages, keyUsages } from './pki/usages.ts';
import { loadX509 } from './pki/x509-library.ts';

/**
 * The cluster's own certificate authority and what it issues, kept as PEM files in one directory (0700, files 0600).
 *
 * A certificate is issued once and reused until two thirds of its validity have passed. A restart then costs three file
 * reads and does not load the X.509 library. A process that runs longer calls `renew`.
 */
export interface Pki {
  /** PEM: the authority that signs, and after it those that it replaced and that are still trusted. */
  readonly caCertificate: string;
  /** For a TLS server that is reached under `hosts` (names and addresses). Stored as `NAME.crt` and `NAME.key`. */
  serverCertificate(options: ServerCertificateOptions): Promise<LiveKeyPair>;
  /** For a client that the API server authenticates as user `commonName` in groups `organizations`. */
  clientCertificate(options: ClientCertificateOptions): Promise<LiveKeyPair>;
  /**
   * Replaces each certificate of this process that is past two thirds of its life or not valid by the clock. Hands the new ones to
   * those who use them. Cheap when there is nothing to do.
   *
   * @returns names of what was replaced
   * @throws AggregateError when something could not be replaced or handed over; the next call tries that again
   */
  renew(): Promise<readonly string[]>;
  /**
   * Signs what `request` asks for: its subject, names and key, and nothing else of it, for these usages.
   *
   * The certificate begins some minutes before now, so that a peer whose clock is behind accepts it, and never outlives the authority.
   *
   * @param options.usages  as the certificates API names them, for example `client auth`
   * @returns PEM, after a rotation with what makes the former authority vouch for the present one; nothing is stored
   * @throws Error for a usage that is not known
   */
  signRequest(request: CertificateRequest, options: SignOptions): Promise<string>;
  /** Signs the tokens of service accounts; made at the first call and kept as `sa.key`, because tokens outlive the process. */
  signingKey(): Promise<SigningKey>;
}

/** A key pair that `renew` replaces while it is in use: its fields give the newest one. */
export interface LiveKeyPair extends KeyPair {
  /** Calls `apply` after each replacement. When it fails, the next `renew` calls it again. */
  onRenewed(apply: () => void | Promise<void>): void;
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
  /** Prefix of the authority's name, before a number; default: `midship-ca`. */
  readonly authorityName?: string;
  readonly clock: Clock;
}

const leafLifetimeMs = 365 * dayMs;
/** Certificates signed on request begin less early than own ones: some live for minutes only. */
const requestBackdateMs = 300_000;
const shortLifetimeMs = 8 * 3_600_000;

/** Opens the directory; makes it and the authority at the first start. */
export async function openPki({ directory, authorityName = 'midship-ca', clock }: PkiOptions): Promise<Pki> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const authority =
    (await tryReadAuthority(directory, clock.now())) ?? (await createAuthority({ directory, name: authorityName, now: clock.now() }));
  const ca = authority.current;
  const caKey = new X509Certificate(ca.certificate).publicKey;
  const held = new Map<string, HeldKeyPair>();

  /** The stored key pair when it is good for as long as it has to be, or a new one. */
  const obtain = async (request: IssueRequest, fits: (certificate: X509Certificate) => boolean): Promise<KeyPair> => {
    const stored = await tryReadKeyPair(directory, request.name);
    if (stored !== undefined && !isDue(lifeOf(stored.certificate), clock.now())) {
      const certificate = new X509Certificate(stored.certificate);
      if (certificate.verify(caKey) && fits(certificate)) return stored;
    }
    return issue({ directory, clock, ca, ...request });
  };

  const hold = async (request: IssueRequest, fits: (certificate: X509Certificate) => boolean): Promise<LiveKeyPair> => {
    const current = await obtain(request, fits);
    const pair: HeldKeyPair = { current, life: lifeOf(current.certificate), request, users: [], pending: new Set() };
    held.set(request.name, pair);
    return {
      // Clients too: a server that has not started since a rotation knows the former authority alone.
      get certificate() {
        return pair.current.certificate + authority.links;
      },
      get key() {
        return pair.current.key;
      },
      onRenewed: (apply) => void pair.users.push(apply),
    };
  };

  const renewOne = async (pair: HeldKeyPair): Promise<boolean> => {
    const isRenewed = isDue(pair.life, clock.now());
    if (isRenewed) {
      pair.current = await issue({ directory, clock, ca, ...pair.request });
      pair.life = lifeOf(pair.current.certificate);
      for (const apply of pair.users) pair.pending.add(apply);
    }
    for (const apply of pair.pending) {
      await apply();
      pair.pending.delete(apply);
    }
    return isRenewed;
  };

  return {
    caCertificate: authority.trusted,
    serverCertificate({ name, commonName, hosts }) {
      const wanted = [...new Set(hosts)].sort();
      return hold({ name, commonName, organizations: [], hosts: wanted }, (certificate) => sameHosts(certificate, wanted));
    },
    clientCertificate({ name, commonName, organizations = [] }) {
      const subject = subjectLines(commonName, organizations);
      return hold(
        { name, commonName, organizations, hosts: [] },
        (certificate) => certificate.subject === subject && isClientCertificate(certificate),
      );
    },
    async renew() {
      const renewed: string[] = [];
      const errors: unknown[] = [];
      for (const [name, pair] of held) {
        try {
          if (await renewOne(pair)) renewed.push(name);
        } catch (cause) {
          errors.push(new Error(`renew certificate ${name}`, { cause }));
        }
      }
      if (errors.length > 0) throw new AggregateError(errors, `${errors.length} certificates could not be renewed`);
      return renewed;
    },
    signRequest: async (request, options) => (await signRequest({ ca, clock, request, options })) + authority.links,
    signingKey: () => openSigningKey(join(directory, 'sa.key')),
  };
}

interface IssueRequest {
  /** File name without ending. */
  readonly name: string;
  readonly commonName: string;
  readonly organizations: readonly string[];
  /** Empty for a client certificate. */
  readonly hosts: readonly string[];
}

interface HeldKeyPair {
  current: KeyPair;
  /** Kept, because reading it of the certificate takes 0.5 ms. */
  life: Life;
  readonly request: IssueRequest;
  readonly users: (() => void | Promise<void>)[];
  /** Users that do not use the current one yet. */
  readonly pending: Set<() => void | Promise<void>>;
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

interface IssueOptions extends IssueRequest {
  readonly directory: string;
  readonly clock: Clock;
  readonly ca: KeyPair;
}

async function issue({ directory, clock, ca, name, commonName, organizations, hosts }: IssueOptions): Promise<KeyPair> {
  const x509 = await loadX509();
  const authority = new x509.X509Certificate(ca.certificate);
  const authorityKey = await importSigningKey(ca);
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
  // A short-lived certificate gets no minutes before now, since they would be most of its life.
  const notAfter = clock.now() + lifetimeMs - (lifetimeMs < shortLifetimeMs ? 0 : requestBackdateMs);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: parsed.subjectName,
    issuer: authority.subject,
    notBefore: new Date(clock.now() - requestBackdateMs),
    notAfter: new Date(Math.min(notAfter, authority.notAfter.getTime())),
    signingAlgorithm: signing,
    publicKey: parsed.publicKey,
    signingKey: await importSigningKey(ca),
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
