import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Secret } from '../api/core/v1/secret.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import { keyOf } from '../machinery/object.ts';

/** A certificate that can be shown to clients, or the reason why it cannot. */
export type JudgedCertificate =
  | { readonly context: SecureContext; covers(host: string): boolean; readonly validTo: number }
  | { readonly reason: 'SecretNotFound' | 'BadCertificate'; readonly message: string };

/** Contexts take some 100 KB each. */
const maxKept = 1_024;
const maxPemLength = 256 * 1024;

export type CertificateReader = (key: string, secret: Secret | undefined) => JudgedCertificate;

/** Reads certificates out of Secrets, each version of a Secret once. */
export function createCertificateReader(): CertificateReader {
  const kept = new BoundedMap<string, { readonly version: string; readonly judged: JudgedCertificate }>(maxKept);
  return (key, secret) => {
    if (secret === undefined) return { reason: 'SecretNotFound', message: `Secret ${key} does not exist` };
    const version = `${secret.metadata.uid}/${secret.metadata.resourceVersion}`;
    const known = kept.use(key);
    if (known?.version === version) return known.judged;
    const judged = judgeCertificate(secret);
    kept.set(key, { version, judged });
    return judged;
  };
}

/** Judges a Secret of type kubernetes.io/tls; its message names no content. */
function judgeCertificate(secret: Secret): JudgedCertificate {
  const bad = (why: string): JudgedCertificate => ({ reason: 'BadCertificate', message: `Secret ${keyOf(secret)} ${why}` });
  if (secret.type !== 'kubernetes.io/tls') return bad(`is of type ${secret.type}, not kubernetes.io/tls`);
  const certificate = pemIn(secret, 'tls.crt');
  const key = pemIn(secret, 'tls.key');
  if (certificate === undefined || key === undefined) return bad('lacks tls.crt or tls.key');
  if (certificate.length > maxPemLength || key.length > maxPemLength) return bad('is too large for a certificate');
  try {
    const leaf = new X509Certificate(certificate);
    if (!leaf.checkPrivateKey(createPrivateKey(key))) return bad('has a key that is not that of its certificate');
    return {
      context: createSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2' }),
      covers: (host) => coversHost(leaf, host),
      validTo: Date.parse(leaf.validTo),
    };
  } catch (err) {
    // OpenSSL names the fault ("no start line"), and nothing of the text.
    return bad(`has no usable certificate: ${err instanceof Error ? err.message : String(err)}`);
  }
}

/** A pattern of a rule is covered by the same pattern alone. */
function coversHost(leaf: X509Certificate, host: string): boolean {
  if (!host.startsWith('*.')) return leaf.checkHost(host) !== undefined;
  const names = leaf.subjectAltName?.split(', ') ?? [];
  return names.some((name) => name.toLowerCase() === `dns:${host}`);
}

function pemIn({ data }: Secret, key: string): string | undefined {
  const value = data?.[key];
  return value === undefined || value === '' ? undefined : Buffer.from(value, 'base64').toString('latin1');
}
