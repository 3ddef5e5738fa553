import { webcrypto } from 'node:crypto';
import { backdateMs, pemOf, serialNumber, signing } from './authority.ts';
import type { KeyPair } from './key-pair.ts';
import { loadX509 } from './x509-library.ts';

/** Nobody trusts it in any case, so it never has to be replaced. */
const lifetimeMs = 3_650 * 86_400_000;

/** As OpenSSL's tools make RSA keys. */
export const rsaSigning = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2_048 };

/** A certificate that no authority signed, for a TLS server that has no other. It is kept nowhere. */
export async function makeSelfSigned(
  commonName: string,
  now: number,
  algorithm: typeof signing | typeof rsaSigning = signing,
): Promise<KeyPair> {
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + lifetimeMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: pemOf(keys.privateKey) };
}
