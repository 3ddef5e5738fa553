import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog } from '../../../../src/base/log.ts';
import { createCertificateKeeper, tryAuthorityTrouble } from '../../../../src/base/pki/certificate-keeper.ts';
import { lifeOf } from '../../../../src/base/pki/key-pair.ts';
import { openPki } from '../../../../src/base/pki.ts';
import { createManualClock } from '../../../support/manual-clock.ts';
import { until } from '../../../support/until.ts';

const dayMs = 86_400_000;
const log = createLog({ level: 'silent' });
const signal = new AbortController().signal;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pki-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('certificate keeper', () => {
  it('renews within seconds after the clock jumped a year ahead or back, and looks no more often meanwhile', async () => {
    const clock = createManualClock();
    let jumpMs = 0;
    const jumping = { ...clock, now: () => clock.now() + jumpMs };
    const pki = await openPki({ directory, clock: jumping });
    const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin' });
    let looks = 0;
    const counted = {
      caCertificate: pki.caCertificate,
      renew() {
        looks += 1;
        return pki.renew();
      },
    };
    const keeper = createCertificateKeeper({ authorities: { cluster: counted }, onTrouble: () => undefined, clock: jumping, log });
    await keeper.start({ signal });
    for (const jump of [366 * dayMs, -5 * dayMs]) {
      jumpMs = jump;
      const before = admin.certificate;
      const looksBefore = looks;
      clock.advance(10_000);
      await until(() => clock.pending === 1, { what: 'the look is over' });
      expect(looks).toBe(looksBefore + 1);
      expect(admin.certificate).not.toBe(before);
      const { validFrom, validTo } = new X509Certificate(admin.certificate);
      expect(Date.parse(validFrom)).toBeLessThan(jumping.now());
      expect(Date.parse(validTo)).toBeGreaterThan(jumping.now());
    }
    await keeper.stop();
    expect(clock.pending).toBe(0);
  });

  it('waits five minutes after a renewal that failed', async () => {
    const clock = createManualClock();
    const { caCertificate } = await openPki({ directory, clock });
    let attempts = 0;
    const renew = (): Promise<readonly string[]> => {
      attempts += 1;
      return Promise.reject(new Error('no space left'));
    };
    const keeper = createCertificateKeeper({ authorities: { cluster: { caCertificate, renew } }, onTrouble: () => undefined, clock, log });
    await keeper.start({ signal });
    clock.advance(299_000);
    expect(attempts).toBe(1);
    clock.advance(1_000);
    await until(() => clock.pending === 1, { what: 'the second attempt is over' });
    expect(attempts).toBe(2);
    await keeper.stop();
  });

  it('warns of the end of an authority once a day from 30 days before', async () => {
    const clock = createManualClock();
    const { caCertificate } = await openPki({ directory, clock });
    const warnings: string[] = [];
    const authorities = { cluster: { caCertificate, renew: async () => [] } };
    const keeper = createCertificateKeeper({ authorities, onTrouble: (message) => void warnings.push(message), clock, log });
    const passDays = async (days: number): Promise<void> => {
      for (let day = 0; day < days; day += 1) {
        clock.advance(dayMs);
        await until(() => clock.pending === 1, { what: 'the look is over' });
      }
    };
    clock.advance((3_650 - 31) * dayMs);
    await keeper.start({ signal });
    // The look of a day comes ten seconds after it has begun.
    await passDays(1);
    expect(warnings).toEqual([]);
    await passDays(2);
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(
      /^the cluster authority ends on 2035-12-30, in 29 days\. Stop the cluster, run "midship certs rotate --ca"/,
    );
    await passDays(30);
    expect(warnings).toHaveLength(32);
    expect(warnings.at(-1)).toMatch(/^the cluster authority ended on 2035-12-30: clients refuse its certificates\. Stop the cluster/);
    await keeper.stop();
  });

  it('names the clock when the authority is not valid yet', async () => {
    const clock = createManualClock();
    const { caCertificate } = await openPki({ directory, clock });
    expect(tryAuthorityTrouble('cluster', lifeOf(caCertificate), clock.now())).toBeUndefined();
    expect(tryAuthorityTrouble('cluster', lifeOf(caCertificate), 0)).toBe(
      'the cluster authority is valid from 2025-12-31 on: the clock of this machine is behind. Set the clock.',
    );
  });
});
