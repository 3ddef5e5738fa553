import { X509Certificate } from 'node:crypto';
import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { type CertificateSigningRequest, certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import { type Secret, secrets } from '../../api/core/v1/secret.ts';
import { certificateOf, findCondition } from '../certificates/request-conditions.ts';
import { isManagedHere } from '../job/job-controller.ts';
import type { ExpiryRule } from './expiry-controller.ts';

const hourMs = 3_600_000;
const pendingMs = 24 * hourMs;

/** Bootstrap tokens go at their expiration. One without an end, or with one that cannot be read, admits nobody and stays. */
export const bootstrapTokens: ExpiryRule<Secret> = {
  name: 'token-cleaner',
  resource: secrets,
  scope: { namespace: 'kube-system', fieldSelector: 'type=bootstrap.kubernetes.io/token' },
  deadlineOf: ({ data }) => Date.parse(Buffer.from(data?.expiration ?? '', 'base64').toString()),
};

/** Finished Jobs go after `ttlSecondsAfterFinished`, when everything that they own is gone. */
export const finishedJobs: ExpiryRule<Job> = {
  name: 'ttl-after-finished',
  resource: jobs,
  propagationPolicy: 'Foreground',
  deadlineOf(job) {
    const { ttlSecondsAfterFinished } = job.spec;
    if (ttlSecondsAfterFinished === undefined || job.metadata.deletionTimestamp !== undefined || !isManagedHere(job)) return undefined;
    const finished = job.status?.conditions?.find(({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True');
    return Date.parse(finished?.lastTransitionTime ?? '') + ttlSecondsAfterFinished * 1_000;
  },
};

/** Requests that nobody needs any more go: settled ones an hour later, those that nobody decided after a day. */
export const certificateRequests: ExpiryRule<CertificateSigningRequest> = {
  name: 'csrcleaner',
  resource: certificateSigningRequests,
  deadlineOf(request) {
    const settled = (['Denied', 'Failed', ...(certificateOf(request) === '' ? [] : (['Approved'] as const))] as const)
      .map((type) => findCondition(request, type))
      .flatMap((condition) =>
        condition === undefined ? [] : [Date.parse(condition.lastUpdateTime ?? request.metadata.creationTimestamp ?? '')],
      );
    const created = Date.parse(request.metadata.creationTimestamp ?? '');
    const isPending = findCondition(request, 'Approved') === undefined && settled.length === 0;
    const deadlines = [...settled.map((time) => time + hourMs), ...(isPending ? [created + pendingMs] : []), ...endOfCertificate(request)];
    const known = deadlines.filter((time) => !Number.isNaN(time));
    return known.length === 0 ? undefined : Math.min(...known);
  },
};

function endOfCertificate(request: CertificateSigningRequest): readonly number[] {
  const pem = certificateOf(request);
  if (pem === '') return [];
  try {
    return [Date.parse(new X509Certificate(pem).validTo)];
  } catch {
    // Signed by somebody else, in a form that is not ours to judge.
    return [];
  }
}
