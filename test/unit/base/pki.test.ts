import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/base/clock.ts';
import { openPki } from '../../../src/base/pki.ts';
import { createManualClock } from '../../support/manual-clock.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pki-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const dayMs = 86_400_000;
const later = (ms: number): Clock => ({ ...systemClock, now: () => Date.now() + ms });

describe('pki', () => {
  it('makes an authority once, and issues server certificates that it signed', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    const { certificate, key } = await pki.serverCertificate({
      name: 'apiserver',
      commonName: 'kube-apiserver',
      hosts: ['localhost', 'kubernetes.default.svc', '127.0.0.1', '::1'],
    });
    const leaf = new X509Certificate(certificate);
    const ca = new X509Certificate(pki.caCertificate);
    expect(ca.ca).toBe(true);
    expect(leaf.checkIssued(ca)).toBe(true);
    expect(leaf.verify(ca.publicKey)).toBe(true);
    expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(leaf.checkHost('kubernetes.default.svc')).toBe('kubernetes.default.svc');
    expect((await openPki({ directory, clock: systemClock })).caCertificate).toBe(pki.caCertificate);
  });

  it('issues client certificates with the user as CN and the groups as O', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    const { certificate } = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters', 'ops'] });
    expect(new X509Certificate(certificate).subject).toBe('O=system:masters\nO=ops\nCN=admin');
    const again = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters', 'ops'] });
    expect(again.certificate).toBe(certificate);
    const other = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['ops'] });
    expect(other.certificate).not.toBe(certificate);
  });

  it('uses a stored server certificate again until its hosts change or its end is near', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    const options = { name: 'apiserver', commonName: 'kube-apiserver', hosts: ['localhost', '127.0.0.1'] };
    const first = await pki.serverCertificate(options);
    expect((await pki.serverCertificate({ ...options, hosts: ['127.0.0.1', 'localhost'] })).certificate).toBe(first.certificate);
    expect((await pki.serverCertificate({ ...options, hosts: ['localhost', '127.0.0.2'] })).certificate).not.toBe(first.certificate);

    const second = await pki.serverCertificate(options);
    const inTenMonths = await openPki({ directory, clock: later(300 * 86_400_000) });
    const renewed = await inTenMonths.serverCertificate(options);
    expect(renewed.certificate).not.toBe(second.certificate);
    expect(Date.parse(new X509Certificate(renewed.certificate).validTo)).toBeGreaterThan(Date.now() + 600 * 86_400_000);
  });

  it('replaces certificates in use when two thirds of their life are over, and hands them over', async () => {
    const clock = createManualClock();
    const pki = await openPki({ directory, clock });
    const server = await pki.serverCertificate({ name: 'apiserver', commonName: 'kube-apiserver', hosts: ['localhost'] });
    const client = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    const seen: string[] = [];
    client.onRenewed(() => void seen.push(client.certificate));
    const before = { ...server, ...client };
    clock.advance(240 * dayMs);
    expect(await pki.renew()).toEqual([]);
    clock.advance(5 * dayMs);
    expect(await pki.renew()).toEqual(['apiserver', 'admin']);
    expect(await pki.renew()).toEqual([]);
    expect(client.certificate).not.toBe(before.certificate);
    expect(seen).toEqual([client.certificate]);
    for (const { certificate, key } of [server, client]) {
      const leaf = new X509Certificate(certificate);
      expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true);
      expect(Date.parse(leaf.validTo)).toBe(clock.now() + 365 * dayMs);
    }
    expect(new X509Certificate(client.certificate).subject).toBe('O=system:masters\nCN=admin');
    // A restart goes on with the same ones.
    const restarted = await openPki({ directory, clock });
    const again = await restarted.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    expect(again.certificate).toBe(client.certificate);
  });

  it('hands a renewed certificate over again until its user has taken it', async () => {
    const clock = createManualClock();
    const pki = await openPki({ directory, clock });
    const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    const other = await pki.clientCertificate({ name: 'other', commonName: 'other' });
    const taken: string[] = [];
    let isFull = true;
    admin.onRenewed(() => {
      if (isFull) throw new Error('no space left');
      taken.push(admin.certificate);
    });
    other.onRenewed(() => void taken.push(other.certificate));
    clock.advance(300 * dayMs);
    await expect(pki.renew()).rejects.toThrow('1 certificates could not be renewed');
    expect(taken).toEqual([other.certificate]);
    const { certificate } = admin;
    isFull = false;
    expect(await pki.renew()).toEqual([]);
    expect(taken).toEqual([other.certificate, certificate]);
  });

  it('keeps certificates valid when the clock is set back by 23 hours, and replaces them when it is set back further', async () => {
    let now = Date.parse('2026-06-01T00:00:00Z');
    const pki = await openPki({ directory, clock: { ...systemClock, now: () => now } });
    const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    const validFrom = (pem: string): number => Date.parse(new X509Certificate(pem).validFrom);
    const first = admin.certificate;
    now -= 23 * 3_600_000;
    expect(validFrom(first)).toBeLessThan(now);
    expect(validFrom(pki.caCertificate)).toBeLessThan(now);
    expect(await pki.renew()).toEqual([]);
    now -= 2 * 3_600_000;
    expect(await pki.renew()).toEqual(['admin']);
    expect(validFrom(admin.certificate)).toBeLessThan(now);
  });

  it('issues another certificate for one that a power cut left empty', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    await writeFile(join(directory, 'admin.crt'), '');
    const { certificate } = await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    expect(new X509Certificate(certificate).subject).toBe('CN=admin');
  });

  it('lets nobody else read keys', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const file of ['ca.key', 'ca.crt', 'admin.key', 'admin.crt']) {
      expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
    }
  });

  it('issues another leaf when a crash left key and certificate of different age, but refuses to continue with half an authority', async () => {
    const pki = await openPki({ directory, clock: systemClock });
    const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    const other = await pki.clientCertificate({ name: 'other', commonName: 'other' });
    await writeFile(join(directory, 'admin.key'), other.key);
    expect((await pki.clientCertificate({ name: 'admin', commonName: 'admin' })).certificate).not.toBe(admin.certificate);
    await writeFile(join(directory, 'ca.key'), other.key);
    await expect(openPki({ directory, clock: systemClock })).rejects.toThrow('does not belong to ca.key');
  });
});
