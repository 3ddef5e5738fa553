import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { maxRequestLength, parseCertificateRequest } from '../../../../src/base/pki/certificate-request.ts';
import { openPki, type Pki } from '../../../../src/base/pki.ts';
import { makeCertificateRequest } from '../../../support/certificate-requests.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'requests-'));
const clock = createManualClock();
let pki: Pki;
beforeAll(async () => {
  pki = await openPki({ directory, clock });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('reading a request', () => {
  it('gives names by their form', async () => {
    const { request } = await makeCertificateRequest({
      commonName: 'system:node:a',
      organizations: ['system:nodes', 'b'],
      names: [
        { type: 'dns', value: 'a.example' },
        { type: 'ip', value: '10.0.0.1' },
        { type: 'email', value: 'a@example' },
        { type: 'url', value: 'http://example/' },
      ],
    });
    const { parsed: _, ...names } = await parseCertificateRequest(request);
    expect(names).toEqual({
      commonName: 'system:node:a',
      organizations: ['system:nodes', 'b'],
      dnsNames: ['a.example'],
      ipAddresses: ['10.0.0.1'],
      emailAddresses: ['a@example'],
      uris: ['http://example/'],
    });
  });

  it('refuses what is no request, not signed by its key, or too long', async () => {
    const { request } = await makeCertificateRequest({ commonName: 'a' });
    const body = (pem: string): Buffer => Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    const wrap = (der: Buffer): string =>
      `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
    const forged = body(request);
    // In the common name, behind the signature's back.
    forged[forged.indexOf(Buffer.from([0x13, 0x01, 0x61])) + 2] = 0x62;
    await expect(parseCertificateRequest(wrap(forged))).rejects.toThrow('signature of the request is not valid');
    await expect(parseCertificateRequest(wrap(body(request).subarray(0, 60)))).rejects.toThrow('cannot be read');
    await expect(parseCertificateRequest(wrap(Buffer.alloc(40, 0x30)))).rejects.toThrow('cannot be read');
    await expect(parseCertificateRequest(pki.caCertificate)).rejects.toThrow('PEM block type');
    await expect(parseCertificateRequest(`${request}${' '.repeat(maxRequestLength)}`)).rejects.toThrow('longer than');
  });
});

describe('signing a request', () => {
  it('copies subject, names and key, and sets usages and life', async () => {
    const { request } = await makeCertificateRequest({
      commonName: 'dave',
      organizations: ['devs'],
      names: [{ type: 'dns', value: 'd.example' }],
    });
    const names = await parseCertificateRequest(request);
    const certificate = new X509Certificate(
      await pki.signRequest(names, { usages: ['digital signature', 'client auth'], lifetimeMs: 3_600_000 }),
    );
    expect(certificate.subject).toBe('CN=dave\nO=devs');
    expect(certificate.subjectAltName).toBe('DNS:d.example');
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(new X509Certificate(pki.caCertificate).publicKey)).toBe(true);
    expect(Date.parse(certificate.validTo) - clock.now()).toBe(3_600_000);
    expect(clock.now() - Date.parse(certificate.validFrom)).toBe(300_000);
  });

  it('never outlives the authority', async () => {
    const names = await parseCertificateRequest((await makeCertificateRequest({ commonName: 'a' })).request);
    const certificate = new X509Certificate(await pki.signRequest(names, { usages: ['client auth'], lifetimeMs: 1e12 }));
    expect(certificate.validTo).toBe(new X509Certificate(pki.caCertificate).validTo);
  });

  it('refuses usages that are not known', async () => {
    const names = await parseCertificateRequest((await makeCertificateRequest({ commonName: 'a' })).request);
    await expect(pki.signRequest(names, { usages: ['client auth', 'constructor'], lifetimeMs: 1 })).rejects.toThrow(
      'unrecognized usage values: ["constructor"]',
    );
  });

  it('signs RSA requests', async () => {
    const { request } = await makeCertificateRequest({ commonName: 'erin', organizations: ['ops'], keyType: 'rsa' });
    const names = await parseCertificateRequest(request);
    expect(names).toMatchObject({ commonName: 'erin', organizations: ['ops'] });
    const certificate = new X509Certificate(await pki.signRequest(names, { usages: ['client auth'], lifetimeMs: 86_400_000 }));
    expect(certificate.publicKey.asymmetricKeyType).toBe('rsa');
  });
});
