import { webcrypto } from 'node:crypto';
import type * as x509Library from '@peculiar/x509';
import { pemOf, signing } from './authority.ts';
import { loadX509 } from './x509-library.ts';

/** A signed PKCS#10 request for a certificate, decoded. */
export interface CertificateRequest {
  readonly commonName: string;
  /** In the order of the request. */
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly emailAddresses: readonly string[];
  readonly uris: readonly string[];
  /** The request itself, for whoever signs. */
  readonly parsed: x509Library.Pkcs10CertificateRequest;
}

/** Requests of the largest keys in use have 5 KB; what is longer is not even read. */
export const maxRequestLength = 65_536;
const maxNames = 1_000;

const subjectAlternativeName = '2.5.29.17';

/**
 * Reads a request and checks that it is signed with the key it carries.
 *
 * @param pem  text with one block `CERTIFICATE REQUEST`
 * @throws Error that says what is wrong with it
 */
export async function parseCertificateRequest(pem: string): Promise<CertificateRequest> {
  if (pem.length > maxRequestLength) throw new Error(`the request is longer than ${maxRequestLength} bytes`);
  const block = /-----BEGIN CERTIFICATE REQUEST-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE REQUEST-----/.exec(pem)?.[0];
  if (block === undefined) throw new Error('PEM block type must be CERTIFICATE REQUEST');
  const x509 = await loadX509();
  let parsed: x509Library.Pkcs10CertificateRequest;
  let isSigned: boolean;
  try {
    parsed = new x509.Pkcs10CertificateRequest(block);
    isSigned = await parsed.verify();
  } catch (err) {
    throw new Error('the request cannot be read', { cause: err });
  }
  if (!isSigned) throw new Error('the signature of the request is not valid');
  const commonNames = parsed.subjectName.getField('CN');
  // Readers differ in which of two they take for the user.
  if (commonNames.length > 1) throw new Error('the subject has more than one common name');
  return { commonName: commonNames[0] ?? '', organizations: parsed.subjectName.getField('O'), ...namesOf(x509, parsed), parsed };
}

type Names = Pick<CertificateRequest, 'dnsNames' | 'ipAddresses' | 'emailAddresses' | 'uris'>;

function namesOf(x509: typeof x509Library, { extensions }: x509Library.Pkcs10CertificateRequest): Names {
  const [extension, ...others] = extensions.filter(({ type }) => type === subjectAlternativeName);
  if (others.length > 0) throw new Error('the request has more than one subjectAltName extension');
  const named = extension === undefined ? [] : new x509.SubjectAlternativeNameExtension(extension.rawData).names.items;
  if (named.length > maxNames) throw new Error(`the request has more than ${maxNames} names`);
  const valuesOf = (wanted: string): readonly string[] => named.filter(({ type }) => type === wanted).map(({ value }) => value);
  return { dnsNames: valuesOf('dns'), ipAddresses: valuesOf('ip'), emailAddresses: valuesOf('email'), uris: valuesOf('url') };
}

export interface NewCertificateRequest {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** Makes a key and a request that is signed with it. @returns PEM texts */
export async function createCertificateRequest(names: NewCertificateRequest): Promise<{ readonly request: string; readonly key: string }> {
  const { commonName, organizations, dnsNames = [], ipAddresses = [] } = names;
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(signing, true, ['sign', 'verify']);
  const alternatives = [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [...organizations.map((organization) => ({ O: [organization] })), { CN: [commonName] }],
    keys,
    signingAlgorithm: signing,
    extensions: alternatives.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(alternatives)],
  });
  return { request: `${request.toString('pem')}\n`, key: pemOf(keys.privateKey) };
}
