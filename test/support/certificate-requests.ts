import 'reflect-metadata';
import { KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface RequestedNames {
  readonly commonName?: string;
  readonly organizations?: readonly string[];
  readonly names?: readonly { readonly type: 'dns' | 'ip' | 'email' | 'url'; readonly value: string }[];
}

/** A signed certificate request with its private key, both PEM. */
export async function makeCertificateRequest({ commonName, organizations = [], names = [] }: RequestedNames): Promise<{
  readonly request: string;
  readonly key: string;
}> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [...(commonName === undefined ? [] : [{ CN: [commonName] }]), ...organizations.map((organization) => ({ O: [organization] }))],
    keys,
    signingAlgorithm: algorithm,
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])],
  });
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString();
  return { request: `${request.toString('pem')}\n`, key };
}

/** As `spec.request` wants it. */
export const encoded = (pem: string): string => Buffer.from(pem).toString('base64');
