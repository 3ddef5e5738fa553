import 'reflect-metadata';
import { KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const algorithms = {
  ec: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
} as const;

export interface RequestedNames {
  readonly commonName?: string;
  readonly organizations?: readonly string[];
  /** Default: `ec`. */
  readonly keyType?: keyof typeof algorithms;
  readonly names?: readonly { readonly type: 'dns' | 'ip' | 'email' | 'url'; readonly value: string }[];
}

/** A signed certificate request with its private key, both PEM. */
export async function makeCertificateRequest({ commonName, organizations = [], names = [], keyType = 'ec' }: RequestedNames): Promise<{
  readonly request: string;
  readonly key: string;
}> {
  const algorithm = algorithms[keyType];
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
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
