import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import { checkCertificates, rotateCertificates } from '../../../src/cli/certs.ts';
import { authoritiesOf } from '../../../src/cli/configuration.ts';
import { claimNetwork } from '../../../src/cli/data-directory.ts';
import { temporaryDirectory } from '../../support/git.ts';

const dayMs = 86_400_000;

describe('midship certs', () => {
  let dataDirectory: string;

  /** Makes the files that a start makes. */
  const open = async (): Promise<Pki> => {
    const { cluster, frontProxy } = authoritiesOf(dataDirectory);
    const pki = await openPki({ ...cluster, clock: systemClock });
    await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    const proxy = await openPki({ ...frontProxy, clock: systemClock });
    await proxy.clientCertificate({ name: 'front-proxy-client', commonName: 'front-proxy-client' });
    return pki;
  };
  const check = async (format: 'text' | 'json', now = Date.now()): Promise<{ readonly code: number; readonly printed: string }> => {
    const output = new PassThrough();
    const code = await checkCertificates({ dataDirectory, format, output, now });
    output.end();
    return { code, printed: await text(output) };
  };
  const rotate = async (flags: { authorities?: boolean; distrustFormer?: boolean; serviceAccountKey?: boolean } = {}): Promise<string> => {
    const output = new PassThrough();
    await rotateCertificates({
      dataDirectory,
      authorities: false,
      distrustFormer: false,
      serviceAccountKey: false,
      output,
      now: Date.now(),
      ...flags,
    });
    output.end();
    return text(output);
  };

  beforeEach(async () => {
    dataDirectory = await temporaryDirectory('certs');
    await (await claimNetwork(dataDirectory)).release();
    await open();
  });
  afterEach(() => rm(dataDirectory, { recursive: true, force: true }));

  it('check lists purpose and days left, and exits with 1 when something ends within 30 days or is not valid yet', async () => {
    const now = await check('json');
    expect(now.code).toBe(0);
    const { certificates } = JSON.parse(now.printed) as { readonly certificates: readonly Readonly<Record<string, unknown>>[] };
    expect(certificates.map(({ name, purpose, commonName, daysLeft, state }) => [name, purpose, commonName, daysLeft, state])).toEqual([
      ['admin', 'client', 'admin', 364, 'ok'],
      ['ca', 'authority', expect.stringMatching(/^midship-ca@\d+$/), 3649, 'ok'],
      ['front-proxy/ca', 'authority', expect.stringMatching(/^midship-front-proxy-ca@\d+$/), 3649, 'ok'],
      ['front-proxy/front-proxy-client', 'client', 'front-proxy-client', 364, 'ok'],
    ]);
    const inElevenMonths = await check('text', Date.now() + 340 * dayMs);
    expect(inElevenMonths.code).toBe(1);
    expect(inElevenMonths.printed).toMatch(
      /^NAME +PURPOSE +EXPIRES +DAYS LEFT +STATE\nadmin +client +\S+ \S+ +24 +ends soon\nca +authority/,
    );
    expect(inElevenMonths.printed).toContain('a stopped one does so when it starts');
    const inTenYears = await check('text', Date.now() + 3_651 * dayMs);
    expect(inTenYears.code).toBe(1);
    expect(inTenYears.printed).toMatch(/^ca +authority .* -2 +ended$/m);
    expect(inTenYears.printed).toContain('midship certs rotate --ca');
    expect((await check('text', 0)).printed).toContain('not yet valid');
  });

  it('check names a file that holds no certificate', async () => {
    await writeFile(join(dataDirectory, 'pki', 'admin.crt'), 'nothing');
    const { code, printed } = await check('text');
    expect(code).toBe(1);
    expect(printed).toMatch(/^admin .* ended$/m);
  });

  it('rotate replaces what was issued and keeps the authority, the key of tokens and files that it does not know', async () => {
    const pki = await open();
    const { id } = await pki.signingKey();
    await writeFile(join(dataDirectory, 'pki', 'encryption.key'), 'kept');
    const read = (name: string): Promise<string> => readFile(join(dataDirectory, 'pki', name), 'utf8');
    const before = await read('admin.crt');
    expect(await rotate()).toContain('removed 2 certificates');
    expect((await readdir(join(dataDirectory, 'pki'))).sort()).toEqual(['ca.crt', 'ca.key', 'encryption.key', 'front-proxy', 'sa.key']);
    const after = await open();
    expect(after.caCertificate).toBe(pki.caCertificate);
    expect(await read('admin.crt')).not.toBe(before);
    expect((await after.signingKey()).id).toBe(id);
    expect(await rotate({ serviceAccountKey: true })).toContain('every token in use stops working');
    expect((await (await open()).signingKey()).id).not.toBe(id);
  });

  it('rotate refuses while the cluster runs', async () => {
    const { release } = await claimNetwork(dataDirectory);
    await expect(rotate({ authorities: true })).rejects.toThrow('is running');
    await release();
    await rotate();
  });

  it('rotate --ca trusts the former authority until it is distrusted; clients that trust only the former one accept the servers', async () => {
    const old = await open();
    const oldAdmin = await old.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    const former = { ca: old.caCertificate, cert: oldAdmin.certificate, key: oldAdmin.key };
    // Twice, so that one authority vouches for the next.
    await rotate({ authorities: true });
    await open();
    await rotate({ authorities: true });
    const next = await open();
    expect(next.caCertificate.match(/BEGIN/g)).toHaveLength(3);
    expect(await isAccepted(next, former)).toBe(true);
    const nextAdmin = await next.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    expect(await isAccepted(next, { ca: next.caCertificate, cert: nextAdmin.certificate, key: nextAdmin.key })).toBe(true);
    expect((await check('json')).code).toBe(0);

    await rotate({ distrustFormer: true });
    const alone = await open();
    expect(alone.caCertificate.match(/BEGIN/g)).toHaveLength(1);
    expect(await isAccepted(alone, former)).toBe(false);
  });

  it('rotate --ca leaves the new authority when the machine stops between its key and its certificate', async () => {
    const directory = join(dataDirectory, 'pki');
    const before = await readFile(join(directory, 'ca.crt'), 'utf8');
    await rotate({ authorities: true });
    const after = await readFile(join(directory, 'ca.crt'), 'utf8');
    await rename(join(directory, 'ca.crt'), join(directory, 'ca-next.crt'));
    await writeFile(join(directory, 'ca.crt'), before);
    expect((await open()).caCertificate.startsWith(after)).toBe(true);
    expect(await readFile(join(directory, 'ca.crt'), 'utf8')).toBe(after);
    expect(await readdir(directory)).not.toContain('ca-next.crt');
  });

  it('rotate refuses a directory without certificates', async () => {
    dataDirectory = await temporaryDirectory('empty');
    await expect(rotate()).rejects.toThrow('there are no certificates');
    await expect(check('text')).rejects.toThrow('there are no certificates');
  });
});

/** True when the client and a server of `pki` accept each other. */
async function isAccepted(pki: Pki, client: { readonly ca: string; readonly cert: string; readonly key: string }): Promise<boolean> {
  const { certificate, key } = await pki.serverCertificate({ name: 'apiserver', commonName: 'kube-apiserver', hosts: ['127.0.0.1'] });
  const server: Server = createServer(
    { cert: certificate, key, ca: pki.caCertificate, requestCert: true, rejectUnauthorized: true },
    (_, answer) => answer.end('ok'),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, ...client });
      socket.on('error', () => resolve(false));
      socket.on('data', () => {
        resolve(true);
        socket.destroy();
      });
      socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
