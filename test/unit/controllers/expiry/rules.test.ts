import { describe, expect, it } from 'vitest';
import type { Job } from '../../../../src/api/batch/v1/job.ts';
import type { CertificateSigningRequest } from '../../../../src/api/certificates/v1/certificate-signing-request.ts';
import { certificateRequests, finishedJobs } from '../../../../src/controllers/expiry/rules.ts';

describe('a certificate request may go', () => {
  const created = '2026-01-01T00:00:00Z';
  const at = (hours: number): number => Date.parse(created) + hours * 3_600_000;
  const request = (types: readonly string[], certificate?: string): CertificateSigningRequest => ({
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name: 'r', creationTimestamp: created },
    spec: { request: '', signerName: 'a.b/c' },
    status: {
      conditions: types.map((type) => ({ type, status: 'True', lastUpdateTime: '2026-01-01T02:00:00Z' })),
      ...(certificate === undefined ? {} : { certificate: Buffer.from(certificate).toString('base64') }),
    },
  });

  it.each([
    ['undecided', request([]), at(24)],
    ['denied', request(['Denied']), at(3)],
    ['failed', request(['Approved', 'Failed']), at(3)],
    ['approved and issued', request(['Approved'], 'x'), at(3)],
    ['approved and not issued', request(['Approved']), undefined],
  ])('%s', (_, object, deadline) => {
    expect(certificateRequests.deadlineOf(object)).toBe(deadline);
  });
});

describe('a Job may go', () => {
  const ended = '2026-01-01T00:00:00Z';
  const job = (type: string, spec: Partial<Job['spec']>): Job => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'j' },
    spec: { template: {}, ...spec },
    status: { conditions: [{ type, status: 'True', lastTransitionTime: ended }] },
  });

  it.each([
    ['after its time to live when it succeeded', job('Complete', { ttlSecondsAfterFinished: 10 }), Date.parse(ended) + 10_000],
    ['after its time to live when it failed', job('Failed', { ttlSecondsAfterFinished: 0 }), Date.parse(ended)],
    ['at no time while it runs', job('Suspended', { ttlSecondsAfterFinished: 10 }), Number.NaN],
    ['at no time without a time to live', job('Complete', {}), undefined],
    ['at no time by this controller when it names another', job('Complete', { ttlSecondsAfterFinished: 1, managedBy: 'a.b/c' }), undefined],
  ])('%s', (_, object, deadline) => {
    expect(finishedJobs.deadlineOf(object)).toBe(deadline);
  });
});
