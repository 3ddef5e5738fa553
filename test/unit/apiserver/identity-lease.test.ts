import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { leases } from '../../../src/api/coordination/v1/lease.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { createIdentityLease, leaseNameOf } from '../../../src/apiserver/identity-lease.ts';
import { createLog } from '../../../src/base/log.ts';
import { startTestApi } from '../../support/api.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

it('the name of the lease is the hash of the host name', () => {
  // RFC 4648 by another way: five bits at a time of the number that the bytes are.
  const number = BigInt(`0x${createHash('sha256').update('vm').digest().subarray(0, 16).toString('hex')}`) << 2n;
  const letters = Array.from(
    { length: 26 },
    (_, at) => 'abcdefghijklmnopqrstuvwxyz234567'[Number((number >> BigInt(5 * (25 - at))) & 31n)],
  );
  expect(leaseNameOf('vm')).toBe(`apiserver-${letters.join('')}`);
  expect(leaseNameOf('vm')).toBe('apiserver-lphjr5z7h3imqn7sokpnsue3ha');
});

it('a server makes its lease, takes that of an earlier start over, and keeps it valid', async () => {
  const api = await startTestApi();
  const client = api.clientFor();
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
  const clock = createManualClock();
  const log = createLog({ level: 'silent' });
  const name = leaseNameOf('vm');
  const stored = () => client.get(leases, { namespace: 'kube-system', name });
  const signal = new AbortController().signal;
  for (const uid of ['one', 'two']) {
    const lease = createIdentityLease({ client, hostname: 'vm', uid, clock, log });
    await lease.start({ signal });
    expect((await stored()).metadata.labels).toEqual({
      'apiserver.kubernetes.io/identity': 'kube-apiserver',
      'kubernetes.io/hostname': 'vm',
    });
    expect((await stored()).spec).toMatchObject({ holderIdentity: `${name}_${uid}`, leaseDurationSeconds: 3_600 });
    const { renewTime } = (await stored()).spec ?? {};
    clock.advance(30 * 60_000);
    await until(async () => (await stored()).spec?.renewTime !== renewTime, { what: 'a renewal within half of the duration' });
    await lease.stop();
  }
  await api.stop();
});
